package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// A named route demands a token wherever it is invoked, also where an error of its own is handled.
func TestNamedRoute(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const token = "token-at-a-named-route"
	as.on(token, active(claims{"scope": "read"}))
	guard := "&(guard) {\n\theader Cache-Control no-cache\n\tintrospect scope read\n}\n"
	g.Start(t, g.caddyfile(as.option(""), "invoke guard\nhandle_errors {\n\tinvoke guard\n\t"+app.Proxy()+"}\n"+app.Proxy())+guard)

	assert.Equal(t, http.StatusOK, g.get(t, "/", token).Status)
	app.Take()
	assert.Equal(t, http.StatusUnauthorized, g.get(t, "/", "").Status)
	assert.Equal(t, http.StatusUnauthorized, g.get(t, "/", "unknown-token-at-a-named-route").Status)
	assert.Empty(t, app.Take(), "K09: what was refused does not reach the backend by the way of an error")
}

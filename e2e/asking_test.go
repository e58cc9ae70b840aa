package e2e

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// What the authority is asked, and what it does not learn.
func TestAsking(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const secret = "p@ss:w+rd/é%-7Jk"
	g.GuardClient("gate way", secret)
	g.Start(t, g.caddyfile("introspect {\n endpoint "+as.URL+"/introspect?tenant=a\n client \"gate way\" `"+secret+"`\n}\n",
		"introspect\n"+app.Proxy()))
	const token = "a+b/c~d.e_f-g=="
	as.on(token, active(nil))
	g.Guard(token)
	got := g.raw(t, "GET /?q=secret-query", []string{
		"Authorization: Bearer " + token,
		"Cookie: session=1",
		"X-Forwarded-For: 203.0.113.7",
		"User-Agent: browser/1",
		"DPoP: a-proof",
		"Referer: https://client.example.com",
	}, "")
	require.Equal(t, http.StatusOK, got.Status)

	asked := as.asked(token)
	require.Len(t, asked, once, "C01 the token arrives unchanged")
	assert.Equal(t, "/introspect", asked[0].path)
	assert.Equal(t, url.Values{"token": {token}, "token_type_hint": {"access_token"}}, asked[0].form,
		"C02 the hint, C05 and no credentials in the body")
	assert.Equal(t, "application/x-www-form-urlencoded", asked[0].header.Get("Content-Type"))
	assert.Equal(t, "application/json", asked[0].header.Get("Accept"))
	assert.Equal(t, "Basic "+testgateway.Basic("gate+way", "p%40ss%3Aw%2Brd%2F%C3%A9%25-7Jk"), asked[0].header.Get("Authorization"),
		"C04 form-encoded")
	for _, name := range []string{"Cookie", "X-Forwarded-For", "Dpop", "Referer"} {
		assert.NotContains(t, asked[0].header, name, "C12")
	}
	assert.NotContains(t, asked[0].header.Get("User-Agent"), "browser", "C12")
	assert.NotContains(t, app.One(t, "/").Header, "Dpop", "G20")
}

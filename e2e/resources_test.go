package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// The resources of these tests: what the gateway is, and what it is not.
const (
	ordersResource = "https://orders.example.com"
	stockResource  = "https://stock.example.com/v1"
)

func TestTokensForResources(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.GuardClient("robot", demoSecret)
	s.GuardClient("stock", demoSecret)
	config := func(resource string) string {
		return s.caddyfile(s.serverOption(resource, `client robot `+demoSecret+` {
			grants client_credentials
			scopes orders:read
			audiences `+ordersResource+` `+stockResource+`
		}`, `client stock `+demoSecret+` {
			introspect
			audiences `+stockResource+`
		}`), "authorization_server\nintrospect /strict scope orders:read {\naudience "+ordersResource+"\n}\nintrospect /lax scope orders:read\n"+app.Proxy())
	}
	s.Start(t, config("resource "+ordersResource))
	token := func(resources ...string) string {
		form := url.Values{"grant_type": {"client_credentials"}, "resource": resources}
		return s.tokenIn(t, s.post(t, "/oauth2/token", "robot", demoSecret, form))
	}
	forOrders, forStock, forBoth, forNone := token(ordersResource), token(stockResource), token(ordersResource, stockResource), token()

	for name, test := range map[string]struct {
		token       string
		strict, lax int
	}{
		"AS-N02 for the resource":         {forOrders, http.StatusOK, http.StatusOK},
		"AS-N01 for two resources":        {forBoth, http.StatusOK, http.StatusOK},
		"for none in particular":          {forNone, http.StatusUnauthorized, http.StatusOK},
		"attack: for another one":         {forStock, http.StatusUnauthorized, http.StatusUnauthorized},
		"as a URL library writes it":      {token(strings.ToUpper("https") + "://Orders.example.com/"), http.StatusOK, http.StatusOK},
		"attack: one that it may not ask": {"", http.StatusUnauthorized, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			if test.token == "" {
				got := s.post(t, "/oauth2/token", "robot", demoSecret, url.Values{"grant_type": {"client_credentials"}, "resource": {"https://evil.example"}})
				assert.Equal(t, http.StatusBadRequest, got.Status)
				assert.Equal(t, "invalid_target", members(t, got.Body)["error"])
				return
			}
			assert.Equal(t, test.strict, s.get(t, "/strict", test.token).Status)
			assert.Equal(t, test.lax, s.get(t, "/lax", test.token).Status)
		})
	}
	t.Run("AS-J03 attack: a resource tries the tokens of another at the endpoint", func(t *testing.T) {
		active := func(id, secret, token string) any {
			return members(t, s.post(t, "/oauth2/introspect", id, secret, url.Values{"token": {token}}).Body)["active"]
		}
		assert.Equal(t, true, active("stock", demoSecret, forStock))
		assert.Equal(t, true, active("stock", demoSecret, forNone))
		assert.Equal(t, false, active("stock", demoSecret, forOrders))
		assert.Equal(t, true, active(gatewayID, gatewaySecret, forOrders), "one without audiences is what the server is")
		assert.Equal(t, false, active(gatewayID, gatewaySecret, forStock))
	})
	t.Run("a resource that is taken out of the configuration has no good tokens from then on", func(t *testing.T) {
		require.Equal(t, http.StatusOK, s.get(t, "/lax", forOrders).Status, "it is remembered")
		s.reload(t, config(""))
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/lax", forOrders).Status)
		assert.Equal(t, http.StatusOK, s.get(t, "/lax", forNone).Status)
		s.reload(t, config("resource "+ordersResource))
		assert.Equal(t, http.StatusOK, s.get(t, "/lax", forOrders).Status)
	})
}

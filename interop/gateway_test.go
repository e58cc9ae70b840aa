package interop_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// caddyfile asks Authlib in each way that the tests need, one path for each. Unless a test is about the memory, nothing
// is remembered, so that what Authlib says now is what counts.
const caddyfile = `{
	introspect {
		endpoint {$AUTHLIB}/oauth/introspect
		client gateway {env.GATEWAY_SECRET}
		cache off
	}
	introspect remembering {
		endpoint {$AUTHLIB}/oauth/introspect
		client gateway {env.GATEWAY_SECRET}
	}
	introspect strange {
		endpoint {$AUTHLIB}/oauth/introspect
		client gateway-2 {env.STRANGE_SECRET}
		cache off
	}
}

http://localhost:{$PORT} {
	introspect /asked default
	introspect /scope default scope orders:write
	introspect /audience default {
		audience orders-app
	}
	introspect /foreign default {
		audience https://orders.example.com
	}
	introspect /remembered remembering
	introspect /strange strange
	reverse_proxy {$BACKEND}
}
`

const wrongSecret = "canary-wrong-secret"

// gateway is the gateway in front of a backend, with Authlib for its authority.
type gateway struct {
	*testgateway.Gateway
	url     string
	backend *testgateway.Backend
}

func startGateway(t *testing.T, authority *authlib) *gateway {
	t.Helper()
	backend, port := testgateway.StartBackend(t), testgateway.Port(t)
	process := testgateway.Start(t, caddyfile,
		"AUTHLIB="+authority.url,
		"BACKEND="+backend.Address,
		"GATEWAY_SECRET="+gatewaySecret,
		"PORT="+port,
		"STRANGE_SECRET="+strangeSecret,
	)
	process.GuardClient("gateway", gatewaySecret)
	process.GuardClient("gateway-2", strangeSecret)
	return &gateway{Gateway: process, url: "http://localhost:" + port, backend: backend}
}

// get asks for a path with a token.
func (g *gateway) get(t *testing.T, path, token string) *testgateway.Reply {
	t.Helper()
	g.Guard(token)
	return testgateway.Send(t, testgateway.Request(t, http.MethodGet, g.url+path, token))
}

// told lists the identity headers that the backend got.
func told(t *testing.T, seen testgateway.Sight) map[string]string {
	t.Helper()
	got := make(map[string]string)
	for _, header := range identity {
		if values, ok := seen.Header[header]; ok {
			require.Len(t, values, 1, header)
			got[header] = values[0]
		}
	}
	return got
}

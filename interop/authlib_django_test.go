package interop_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func startAuthlibOnDjango(t *testing.T) site {
	t.Helper()
	_, url := startPython(t, "authlib-django", "authlib, django", "python3-authlib python3-django")
	return site{
		tokens:        url + "/oauth/token",
		introspection: url + "/oauth/introspect",
		revocation:    url + "/oauth/revoke",
		expiry:        url + "/test/expire",
	}
}

func TestTheGatewayAsksAuthlibOnDjango(t *testing.T) {
	authlib := startAuthlibOnDjango(t)
	c := authlib.counterpart("401 (invalid_client)")
	refresh := c.refresh
	c.refresh = func(t *testing.T) string {
		t.Helper()
		token := refresh(t)
		require.Contains(t, authlib.introspect(t, authlib.introspection, token), `"active":true`, "without token_type_hint it is as good as an access token")
		return token
	}
	prove(t, c)
}

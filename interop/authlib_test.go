// Package interop holds the gateway against authorization servers that nobody here wrote.
package interop_test

import (
	"crypto/rand"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// identity are the headers in which the backend learns who came.
var identity = []string{"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Remote-Client", "Remote-Scope"}

const (
	invalidToken      = `Bearer realm="portcullis", error="invalid_token"`
	insufficientScope = `Bearer realm="portcullis", error="insufficient_scope", scope="orders:write"`
)

func TestTheGatewayAsksAuthlib(t *testing.T) {
	authority := startAuthlib(t)
	active := func(t *testing.T) string {
		t.Helper()
		return authority.issue(t, "orders:read")
	}
	prove(t, counterpart{
		authority: []string{"endpoint " + authority.url + "/oauth/introspect"},
		client:    credentials{"gateway", gatewaySecret},
		strange:   strange,
		refused:   "401 (invalid_client)",
		told:      map[string]string{"Remote-Client": app, "Remote-Scope": "orders:read"},
		active:    active,
		expired: func(t *testing.T) string {
			t.Helper()
			token := rand.Text()
			hourAgo := time.Now().Add(-time.Hour).Unix()
			authority.store(t, map[string]any{"client_id": app, "access_token": token, "issued_at": hourAgo, "expires_in": 60})
			return token
		},
		revoked: func(t *testing.T) string {
			t.Helper()
			token := active(t)
			authority.revoke(t, token)
			return token
		},
		refresh: func(t *testing.T) string {
			t.Helper()
			token := rand.Text()
			authority.store(t, map[string]any{"client_id": app, "access_token": rand.Text(), "refresh_token": token, "expires_in": 3600})
			require.Contains(t, authority.introspect(t, token), `"active": true`, "to whoever gives no token_type_hint")
			return token
		},
		revoke: authority.revoke,
	})
}

func TestWhatAuthlibSaysOfATokenCounts(t *testing.T) {
	authority := startAuthlib(t)
	gateway := startGateway(t, authority)
	stored := func(fields map[string]any) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			token := rand.Text()
			fields["client_id"] = app
			if fields["refresh_token"] == nil {
				fields["access_token"] = token
			} else {
				fields["access_token"], fields["refresh_token"] = "access-"+token, token
			}
			authority.store(t, fields)
			return token
		}
	}
	// active is for tokens of which Authlib says by itself that they are good.
	active := func(token func(*testing.T) string) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			value := token(t)
			require.Contains(t, authority.introspect(t, value), `"active": true`)
			return value
		}
	}
	issued := func(scope string) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			return authority.issue(t, scope)
		}
	}
	hourAgo := time.Now().Add(-time.Hour).Unix()

	for name, test := range map[string]struct {
		path      string // default: /asked
		token     func(*testing.T) string
		status    int
		challenge string
		told      map[string]string // what the backend learns, and nothing else
	}{
		"A01 D16 a client's own token names the client and no user": {
			token:  issued("orders:read"),
			status: http.StatusOK,
			told:   map[string]string{"Remote-Client": app, "Remote-Scope": "orders:read"},
		},
		"C04 Authlib does not decode the gateway's credentials, which is found out": {
			path:   "/strange",
			token:  issued("orders:read"),
			status: http.StatusOK,
			told:   map[string]string{"Remote-Client": app, "Remote-Scope": "orders:read"},
		},
		"J09 J11 no scope, no header": {
			token:  issued(""),
			status: http.StatusOK,
			told:   map[string]string{"Remote-Client": app},
		},
		"a user's token names the user": {
			token: stored(map[string]any{
				"username": "jane", "sub": "248289761001", "scope": "orders:read profile", "expires_in": 3600,
			}),
			status: http.StatusOK,
			told:   map[string]string{"Remote-User": "jane", "Remote-Client": app, "Remote-Scope": "orders:read profile"},
		},
		"a user without username is its subject": {
			token:  stored(map[string]any{"sub": "248289761001", "expires_in": 3600}),
			status: http.StatusOK,
			told:   map[string]string{"Remote-User": "248289761001", "Remote-Client": app},
		},
		"C01 the token arrives as it was sent": {
			token: func(t *testing.T) string {
				t.Helper()
				authority.store(t, map[string]any{"client_id": app, "access_token": "a+b/c-._~==", "expires_in": 3600})
				return "a+b/c-._~=="
			},
			status: http.StatusOK,
			told:   map[string]string{"Remote-Client": app},
		},
		"B04 D02 expired": {
			token:     stored(map[string]any{"username": "jane", "issued_at": hourAgo, "expires_in": 60}),
			status:    http.StatusUnauthorized,
			challenge: invalidToken,
		},
		"B04 D02 B14 garbage": {
			token:     func(*testing.T) string { return "garbage" },
			status:    http.StatusUnauthorized,
			challenge: invalidToken,
		},
		"D02 B14 revoked before it was used": {
			token: func(t *testing.T) string {
				t.Helper()
				token := authority.issue(t, "orders:read")
				authority.revoke(t, token)
				return token
			},
			status:    http.StatusUnauthorized,
			challenge: invalidToken,
		},
		// Authlib calls it active, and Bearer, unless it is asked with token_type_hint=access_token.
		"D13 a refresh token is no access token": {
			token:     active(stored(map[string]any{"username": "jane", "refresh_token": true, "expires_in": 3600})),
			status:    http.StatusUnauthorized,
			challenge: invalidToken,
		},
		// A token without a lifetime: its exp is its iat.
		"D04 active and past its exp": {
			token:     active(stored(map[string]any{"username": "jane", "expires_in": 0})),
			status:    http.StatusUnauthorized,
			challenge: invalidToken,
		},
		"B05 a scope is missing": {
			path:      "/scope",
			token:     issued("orders:read"),
			status:    http.StatusForbidden,
			challenge: insufficientScope,
		},
		"D11 the scope is there": {
			path:   "/scope",
			token:  issued("orders:read orders:write"),
			status: http.StatusOK,
			told:   map[string]string{"Remote-Client": app, "Remote-Scope": "orders:read orders:write"},
		},
		// The audience in Authlib's documentation is the client.
		"D08 the audience is a string": {
			path:   "/audience",
			token:  issued("orders:read"),
			status: http.StatusOK,
			told:   map[string]string{"Remote-Client": app, "Remote-Scope": "orders:read"},
		},
		"D08 D09 the audience is another": {
			path:      "/foreign",
			token:     issued("orders:read"),
			status:    http.StatusUnauthorized,
			challenge: invalidToken,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.path == "" {
				test.path = "/asked"
			}
			answer := gateway.get(t, test.path, test.token(t))
			assert.Equal(t, test.status, answer.Status)
			assert.Equal(t, test.challenge, answer.Challenge(t))
			seen := gateway.backend.Take()
			if test.status != http.StatusOK {
				assert.Empty(t, seen, "the backend must not be asked")
				assert.Equal(t, "no-store", answer.Header.Get("Cache-Control"), "B13")
				return
			}
			require.Len(t, seen, 1)
			assert.Equal(t, test.told, told(t, seen[0]))
			assert.NotContains(t, seen[0].Header, "Authorization", "J13")
		})
	}
}

func TestARevocationAtAuthlib(t *testing.T) {
	authority := startAuthlib(t)
	gateway := startGateway(t, authority)
	token := authority.issue(t, "orders:read")
	require.Equal(t, http.StatusOK, gateway.get(t, "/asked", token).Status)
	require.Equal(t, http.StatusOK, gateway.get(t, "/remembered", token).Status)

	authority.revoke(t, token)

	t.Run("D20 counts at once where nothing is remembered", func(t *testing.T) {
		answer := gateway.get(t, "/asked", token)
		assert.Equal(t, http.StatusUnauthorized, answer.Status)
		assert.Equal(t, invalidToken, answer.Challenge(t))
	})
	t.Run("D20 counts later where the answer is remembered", func(t *testing.T) {
		assert.Equal(t, http.StatusOK, gateway.get(t, "/remembered", token).Status)
	})
}

func TestAuthlibIsGone(t *testing.T) {
	authority := startAuthlib(t)
	gateway := startGateway(t, authority)
	known, unknown := authority.issue(t, "orders:read"), authority.issue(t, "orders:read")
	require.Equal(t, http.StatusOK, gateway.get(t, "/asked", known).Status)
	require.Equal(t, http.StatusOK, gateway.get(t, "/remembered", known).Status)
	gateway.backend.Take()

	authority.Stop(t)

	for name, test := range map[string]struct {
		path, token string
		status      int
	}{
		"B15 nothing is remembered":      {"/asked", known, http.StatusServiceUnavailable},
		"B15 this token is unknown":      {"/remembered", unknown, http.StatusServiceUnavailable},
		"a remembered token is not hurt": {"/remembered", known, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			answer := gateway.get(t, test.path, test.token)
			assert.Equal(t, test.status, answer.Status)
			assert.NotContains(t, answer.Header, "Www-Authenticate", "a client must not throw its token away")
			if test.status == http.StatusOK {
				assert.Len(t, gateway.backend.Take(), 1)
				return
			}
			assert.NotEmpty(t, answer.Header.Get("Retry-After"))
			assert.Empty(t, gateway.backend.Take())
		})
	}
}

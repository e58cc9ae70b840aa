package e2e

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// protectedNames are the headers that only the gateway may set, whatever the route: those of all presets, X-Claim-*,
// the targets of all copy_claims (X-Roles is another route's), and the certificate headers (J01, J16, H07).
var protectedNames = []string{
	"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Remote-Client", "Remote-Scope",
	"X-Forwarded-User", "X-Forwarded-Preferred-Username", "X-Forwarded-Email", "X-Forwarded-Groups",
	"X-Auth-Request-User", "X-Auth-Request-Preferred-Username", "X-Auth-Request-Email", "X-Auth-Request-Groups",
	"X-Claim-Tenant", "X-Claim-Anything", "X-Roles", "Client-Cert", "Client-Cert-Chain",
}

// spellings are the names that some backend takes for a protected one (J02), in the form that Go gives them.
func spellings(name string) []string {
	under, dotted := strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", ".")
	all := []string{
		name, under, dotted, strings.Replace(name, "-", "_", 1), strings.Replace(name, "-", ".", 1),
		strings.Replace(dotted, ".", "_", 1),
	}
	for i := range all {
		all[i] = textproto.CanonicalMIMEHeaderKey(all[i])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// forgeries are header lines that pretend to be the gateway's, each spelling in another case.
func forgeries() []string {
	lines := []string{"Harmless: kept", "Remote-Userx: kept", "X-Remote-User: kept"}
	cases := []func(string) string{strings.Clone, strings.ToLower, strings.ToUpper}
	for _, name := range protectedNames {
		for i, spelling := range spellings(name) {
			lines = append(lines, cases[i%len(cases)](spelling)+": admin")
		}
	}
	return lines
}

// identityIn lists the headers that a backend might take for the gateway's word.
func identityIn(header http.Header) map[string][]string {
	protected := make(map[string]bool)
	for _, name := range protectedNames {
		protected[strings.ToLower(name)] = true
	}
	found := make(map[string][]string)
	for name, values := range header {
		folded := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
		if protected[folded] || strings.HasPrefix(folded, "x-claim-") {
			found[name] = values
		}
	}
	return found
}

// letThrough are the server options with which Caddy itself lets the odd spellings through (N05). It drops the others
// then, and whatever comes twice.
func letThrough() string {
	var under, dotted []string
	for _, name := range protectedNames {
		for _, spelling := range spellings(name) {
			if strings.Contains(spelling, "_") {
				under = append(under, spelling)
			}
			if strings.Contains(spelling, ".") {
				dotted = append(dotted, spelling)
			}
		}
	}
	return "servers {\n\texpected_underscore_headers " + strings.Join(under, " ") +
		"\n\texpected_dot_headers " + strings.Join(dotted, " ") + "\n}\n"
}

func TestForgedIdentity(t *testing.T) {
	t.Parallel()
	t.Run("as Caddy is", func(t *testing.T) { forge(t, "", "Remote-User") })
	t.Run("with Caddy letting odd spellings through", func(t *testing.T) {
		forge(t, letThrough(), "Remote_user", "Remote.user", "X_auth.request.user", "Client.cert-Chain")
	})
}

// forge sends forged headers on every path through the directive. Those of the given names come as far as to it.
func forge(t *testing.T, servers string, through ...string) {
	t.Helper()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("token-of-alice", active(claims{
		"username": "alice", "client_id": "shop", "scope": "read write", "name": "Alice A.", "email": "alice@example.com",
		"groups": []string{"staff", "ops"}, "realm_access": claims{"roles": []string{"boss"}},
	}))
	as.on("token-of-a-client", active(claims{"sub": "shop", "client_id": "shop", "scope": "read"}))
	as.on("token-of-nobody", active(claims{"username": "", "sub": nil, "email": "", "groups": []string{}, "name": nil}))
	g.Start(t, g.caddyfile(servers+as.option(""), `
		introspect /user/*
		introspect /optional/* {
			optional
		}
		introspect /none/* {
			identity none
		}
		introspect /roles/* {
			copy_claims realm_access.roles>X-Roles tenant
		}
		`+app.Proxy()+`
		handle_errors {
			rewrite /error{uri}
			reverse_proxy `+app.Address+` {
				replace_status {err.status_code}
			}
		}`))
	alice := map[string][]string{
		"Remote-User": {"alice"}, "Remote-Client": {"shop"}, "Remote-Scope": {"read write"},
		"Remote-Name": {"Alice A."}, "Remote-Email": {"alice@example.com"}, "Remote-Groups": {"staff,ops"},
	}
	aliceWithRoles := map[string][]string{"X-Roles": {"boss"}}
	maps.Copy(aliceWithRoles, alice)
	nothing := map[string][]string{}

	for _, c := range []struct {
		name   string
		path   string
		token  string
		status int
		seenAt string
		told   map[string][]string
	}{
		{"J01 a user's token", "/user/1", "token-of-alice", 200, "/user/1", alice},
		{"J01 D16 a client's own token names no user", "/user/2", "token-of-a-client", 200, "/user/2", map[string][]string{
			"Remote-Client": {"shop"}, "Remote-Scope": {"read"},
		}},
		{"J01 J11 a token that names nobody", "/user/3", "token-of-nobody", 200, "/user/3", nothing},
		{"J01 optional, without a token", "/optional/1", "", 200, "/optional/1", nothing},
		{"J01 optional, with a token", "/optional/2", "token-of-alice", 200, "/optional/2", alice},
		{"J01 J16 identity none", "/none/1", "token-of-alice", 200, "/none/1", nothing},
		{"J01 copy_claims, one of them absent", "/roles/1", "token-of-alice", 200, "/roles/1", aliceWithRoles},
		{"J01 refused for want of a token, error page from the backend", "/user/4", "", 401, "/error/user/4", nothing},
		{"J01 refused, error page from the backend", "/user/5", "token-nobody-knows", 401, "/error/user/5", nothing},
		{"J01 malformed, error page from the backend", "/user/6", "not,a,token", 400, "/error/user/6", nothing},
		{"J01 optional, with a bad token", "/optional/3", "token-nobody-knows", 401, "/error/optional/3", nothing},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers := forgeries()
			if c.token != "" {
				g.Guard(c.token)
				headers = append(headers, "Authorization: Bearer "+c.token)
			}
			got := g.raw(t, "GET "+c.path, headers, "")
			require.Equal(t, c.status, got.Status)
			seen := app.One(t, c.seenAt)
			assert.Equal(t, c.told, identityIn(seen.Header))
			assert.NotContains(t, seen.Header, "Authorization", "J13")
			for _, name := range []string{"Harmless", "Remote-Userx", "X-Remote-User"} {
				assert.Equal(t, []string{"kept"}, seen.Header[name])
			}
		})
	}
	t.Run("requests that no introspect selects are not touched", func(t *testing.T) {
		got := g.raw(t, "GET /public", append(forgeries(), "Authorization: Basic eDp5"), "")
		require.Equal(t, http.StatusOK, got.Status)
		seen := app.One(t, "/public").Header
		assert.Equal(t, "Basic eDp5", seen.Get("Authorization"))
		for _, name := range through {
			assert.Equal(t, []string{"admin"}, seen[name], name)
		}
	})
}

func TestConnectionTricks(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("token-of-alice", active(claims{"username": "alice", "tenant": "acme"}))
	g.Guard("token-of-alice")
	g.Start(t, g.caddyfile(letThrough()+as.option(""), `
		introspect {
			copy_claims tenant
		}
		`+app.Proxy()))
	told := map[string][]string{"Remote-User": {"alice"}, "X-Claim-Tenant": {"acme"}}

	for name, connection := range map[string][]string{
		"J03 close":           {"Connection: close, Remote-User, X-Claim-Tenant"},
		"J03 other spellings": {"Connection: remote-user,REMOTE-USER , remote_user", "connection: x.claim.tenant,x-claim-tenant"},
		"J03 several lines":   {"Connection: keep-alive", "Connection: Remote-User", "Connection: X-Claim-Tenant"},
		"J03 an empty option": {"Connection: ,, ,Remote-User,, X-Claim-Tenant,"},
	} {
		t.Run(name, func(t *testing.T) {
			path := "/" + strings.ReplaceAll(name, " ", "-")
			got := g.raw(t, "GET "+path, append(connection, "Authorization: Bearer token-of-alice"), "")
			require.Equal(t, http.StatusOK, got.Status)
			assert.Equal(t, told, identityIn(app.One(t, path).Header))
		})
	}
	t.Run("J03 the token cannot be hidden", func(t *testing.T) {
		got := g.raw(t, "GET /hidden", []string{"Connection: Authorization", "Authorization: Bearer token-nobody-knows"}, "")
		assert.Equal(t, http.StatusUnauthorized, got.Status)
	})
	t.Run("J03 options of the client's own still count", func(t *testing.T) {
		got := g.raw(t, "GET /own", []string{"Connection: X-Hop, Remote-User", "X-Hop: 1", "Authorization: Bearer token-of-alice"}, "")
		require.Equal(t, http.StatusOK, got.Status)
		assert.NotContains(t, app.One(t, "/own").Header, "X-Hop")
		assert.Equal(t, told, identityIn(app.One(t, "/own").Header))
	})
	t.Run("J04 an upgrade goes through, with the identity", func(t *testing.T) {
		got := g.raw(t, "GET /upgrade", []string{
			"Connection: Upgrade, Remote-User", "Upgrade: chat", "Authorization: Bearer token-of-alice",
		}, "")
		require.Equal(t, http.StatusSwitchingProtocols, got.Status)
		seen := app.One(t, "/upgrade")
		assert.Equal(t, "chat", seen.Header.Get("Upgrade"))
		assert.Equal(t, told, identityIn(seen.Header))
	})
}

func TestTrailers(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("token-of-alice", active(claims{"username": "alice"}))
	g.Guard("token-of-alice")
	g.Start(t, g.caddyfile(as.option(""), "@protected not path /public\nintrospect @protected {\n optional\n}\n"+app.Proxy()))
	const body = "5\r\nhello\r\n0\r\nRemote-User: admin\r\nX-Trailer: 1\r\nAuthorization: Bearer x\r\n\r\n"

	for name, headers := range map[string][]string{
		"J12 announced":                  {"Trailer: Remote-User, X-Trailer", "Authorization: Bearer token-of-alice"},
		"J12 not announced":              {"Authorization: Bearer token-of-alice"},
		"J12 announced, without a token": {"Trailer: Remote-User", "Trailer: X-Trailer"},
		"J12 the backend may have them":  {"Trailer: Remote-User, X-Trailer", "TE: trailers", "Authorization: Bearer token-of-alice"},
	} {
		t.Run(name, func(t *testing.T) {
			path := "/" + strings.ReplaceAll(name, " ", "-")
			got := g.raw(t, "POST "+path, append(headers, "Transfer-Encoding: chunked"), body)
			require.Equal(t, http.StatusOK, got.Status)
			seen := app.One(t, path)
			assert.Equal(t, "hello", seen.Body)
			assert.Empty(t, seen.Trailer)
			assert.NotContains(t, seen.Header, "Trailer")
			assert.NotEqual(t, "admin", seen.Header.Get("Remote-User"))
		})
	}
	t.Run("trailers go through where no introspect is", func(t *testing.T) {
		got := g.raw(t, "POST /public", []string{"Trailer: X-Trailer", "Transfer-Encoding: chunked"}, body)
		require.Equal(t, http.StatusOK, got.Status)
		assert.Equal(t, "1", app.One(t, "/public").Trailer.Get("X-Trailer"))
	})
}

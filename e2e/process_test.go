package e2e

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// The story that the README tells, on the Caddyfile that it tells it of.
func TestReadme(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile(filepath.Join("..", "Caddyfile.example"))
	require.NoError(t, err)
	s, behind := &issuer{gateway: newGateway(t)}, testgateway.Address(t)
	caddyfile := strings.NewReplacer(
		"localhost:2019", s.Admin,
		"localhost:8080", "localhost:"+testgateway.PortOf(t, s.address),
		"127.0.0.1:8081", behind,
		":8081", ":"+testgateway.PortOf(t, behind),
	).Replace(string(example))
	s.address = "localhost:" + testgateway.PortOf(t, s.address)
	s.Start(t, caddyfile)
	s.Guard(testgateway.Basic(demoID, "demo-secret"))

	got := s.get(t, "/orders", "")
	assert.Equal(t, http.StatusUnauthorized, got.Status)
	assert.Equal(t, `Bearer realm="portcullis", scope="orders:read"`, got.Challenge(t))

	got = s.post(t, "/oauth2/token", demoID, "demo-secret", map[string][]string{"grant_type": {"client_credentials"}})
	require.Equal(t, http.StatusOK, got.Status, got.Body)
	token := s.tokenIn(t, got)

	request := s.request(t, t.Context(), "/orders", token)
	request.Header.Set("Remote-User", "admin")
	got = testgateway.Send(t, request)
	require.Equal(t, http.StatusOK, got.Status)
	said := regexp.MustCompile(` *\n`).ReplaceAllString(got.Body, "\n")
	assert.Equal(t, "GET /orders\nRemote-User:\nRemote-Client: demo\nRemote-Scope:  orders:read\nAuthorization:\n", said)

	got = s.get(t, "/admin/users", token)
	assert.Equal(t, http.StatusForbidden, got.Status)
	assert.Equal(t, `Bearer realm="portcullis", error="insufficient_scope", scope="orders:admin"`, got.Challenge(t))

	got = s.post(t, "/oauth2/revoke", demoID, "demo-secret", map[string][]string{"token": {token}})
	assert.Equal(t, http.StatusOK, got.Status)
	got = s.get(t, "/orders", token)
	assert.Equal(t, http.StatusUnauthorized, got.Status)
	assert.Equal(t, challengeInvalidToken, got.Challenge(t))
	assert.FileExists(t, filepath.Join(s.Dir, "portcullis-example.db"))
}

// Caddy's admin endpoint shows nearly everything to whoever reaches it, but no token, and no secret that has a placeholder.
func TestAdminEndpointShowsNoToken(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const held, remembered = "token-in-flight-1mQe", "token-in-memory-6sUd"
	gate := make(chan struct{})
	as.on(held, as.after(gate, active(nil)))
	as.on(remembered, active(nil))
	g.Start(t, strings.ReplaceAll(g.caddyfile(as.option(""), "introspect\n"+app.Proxy()), gatewaySecret, "{env.GATEWAY_SECRET}"),
		"GATEWAY_SECRET="+gatewaySecret)
	require.Equal(t, http.StatusOK, g.get(t, "/", remembered).Status)
	pending := g.send(t, t.Context(), "/", held)
	require.Eventually(t, func() bool { return len(as.asked(held)) == once }, patience, tick)

	for path, shows := range map[string]string{
		"/config/":                       "introspect",
		"/metrics":                       "caddy_http_requests_in_flight",
		"/debug/vars":                    "memstats",
		"/debug/pprof/goroutine?debug=1": "portcullis",
		"/debug/pprof/goroutine?debug=2": "portcullis",
		"/debug/pprof/heap?debug=1":      "heap",
		"/debug/pprof/cmdline":           "run",
	} {
		t.Run("K14 "+path, func(t *testing.T) {
			shown := testgateway.Get(t, "http://"+g.Admin+path)
			assert.Equal(t, http.StatusOK, shown.Status)
			assert.Contains(t, shown.Body, shows)
			for _, secret := range []string{held, remembered, gatewaySecret, testgateway.Basic(gatewayID, gatewaySecret)} {
				assert.NotContains(t, shown.Body, secret)
			}
		})
	}
	close(gate)
	assert.Equal(t, http.StatusOK, receive(t, pending).Status)
}

// files lists the files below a directory.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			all = append(all, path)
		}
		return err
	}))
	return all
}

func TestValidate(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.store = filepath.Join(s.Dir, "state", storeFileName)
	caddyfile := s.caddyfile(s.option()+authorityOption("remote", "http://"+testgateway.Address(t)),
		"authorization_server\nintrospect remote\nintrospect /own {\nembedded\n}\n"+app.Proxy())
	s.Write(t, caddyfile)
	validate := func() (string, error) {
		output, err := s.Command(t, "validate", "--config", s.File, "--adapter", "caddyfile").CombinedOutput()
		return string(output), err
	}

	t.Run("creates nothing, and asks nobody", func(t *testing.T) {
		said, err := validate()
		require.NoError(t, err, said)
		assert.NoDirExists(t, filepath.Dir(s.store))
		assert.Equal(t, []string{s.File}, files(t, s.Dir))
	})
	t.Run("starting creates no store either, until it is needed", func(t *testing.T) {
		s.Start(t, caddyfile)
		assert.NoDirExists(t, filepath.Dir(s.store))
	})
	t.Run("works beside a server that holds the store's lock", func(t *testing.T) {
		token := s.token(t, "")
		require.FileExists(t, s.store)
		s.Await(t, "finished cleaning storage units") // Caddy's own, after which it leaves its files alone
		before := files(t, s.Dir)
		said, err := validate()
		require.NoError(t, err, said)
		for _, secret := range []string{gatewaySecret, demoSecret, oddSecret, token} {
			assert.NotContains(t, said, secret)
		}
		assert.Equal(t, before, files(t, s.Dir))
		s.revoke(t, token)
	})
	t.Run("finds mistakes", func(t *testing.T) {
		for _, mistake := range []string{"introspect nosuch\n", "introspect remote {\ntiemout 3s\n}\n"} {
			s.Write(t, strings.Replace(caddyfile, "introspect remote\n", mistake, 1))
			said, err := validate()
			require.Error(t, err)
			assert.Contains(t, said, "Caddyfile:")
			assert.NotContains(t, said, demoSecret)
		}
	})
}

func TestTwoProcessesWithOneStore(t *testing.T) {
	t.Parallel()
	first, second, app := newIssuer(t), newIssuer(t), testgateway.StartBackend(t)
	second.store = first.store
	first.Start(t, first.caddyfile(first.option(), first.site(app)))
	token := first.token(t, "")
	require.Equal(t, http.StatusOK, first.get(t, "/", token).Status)

	second.Start(t, second.caddyfile(second.option(), second.site(app)))
	got := second.get(t, "/second", token)
	assert.Equal(t, http.StatusServiceUnavailable, got.Status, "B15 the token may be good")
	assert.Equal(t, challengeNone, got.Challenge(t))
	assert.NotEmpty(t, got.Header.Get("Retry-After"))
	assert.Empty(t, app.At("/second"))
	got = second.post(t, "/oauth2/token", demoID, demoSecret, map[string][]string{"grant_type": {"client_credentials"}})
	assert.Equal(t, http.StatusServiceUnavailable, got.Status)
	assert.NotEmpty(t, got.Header.Get("Retry-After"))
	assert.NotContains(t, got.Body, first.store, "which is nobody's business")
	second.Await(t, first.store) // its log names the file
	assert.Regexp(t, `another process.* holds the lock`, second.Output.String())
	assert.Equal(t, http.StatusOK, first.get(t, "/", token).Status, "the first goes on")

	first.Stop(t)
	require.Eventually(t, func() bool { return second.get(t, "/later", token).Status == http.StatusOK }, patience, tick)
}

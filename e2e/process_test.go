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
)

// The story that the README tells, on the Caddyfile that it tells it of.
func TestReadme(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile(filepath.Join(moduleRoot, "Caddyfile.example"))
	require.NoError(t, err)
	s, behind := &issuer{gateway: newGateway(t)}, reserve(t)
	caddyfile := strings.NewReplacer(
		"localhost:2019", s.admin,
		"localhost:8080", "localhost:"+port(t, s.address),
		"127.0.0.1:8081", behind,
		":8081", ":"+port(t, behind),
	).Replace(string(example))
	s.address = "localhost:" + port(t, s.address)
	s.start(t, caddyfile)
	s.guard(basic(demoID, "demo-secret"))

	got := s.get(t, "/orders", "")
	assert.Equal(t, http.StatusUnauthorized, got.status)
	assert.Equal(t, `Bearer realm="portcullis", scope="orders:read"`, got.challenge(t))

	got = s.post(t, "/oauth2/token", demoID, "demo-secret", map[string][]string{"grant_type": {"client_credentials"}})
	require.Equal(t, http.StatusOK, got.status, got.body)
	token := s.tokenIn(t, got)

	request := s.request(t, t.Context(), "/orders", token)
	request.Header.Set("Remote-User", "admin")
	got = do(t, request)
	require.Equal(t, http.StatusOK, got.status)
	said := regexp.MustCompile(` *\n`).ReplaceAllString(got.body, "\n")
	assert.Equal(t, "GET /orders\nRemote-User:\nRemote-Client: demo\nRemote-Scope:  orders:read\nAuthorization:\n", said)

	got = s.get(t, "/admin/users", token)
	assert.Equal(t, http.StatusForbidden, got.status)
	assert.Equal(t, `Bearer realm="portcullis", error="insufficient_scope", scope="orders:admin"`, got.challenge(t))

	got = s.post(t, "/oauth2/revoke", demoID, "demo-secret", map[string][]string{"token": {token}})
	assert.Equal(t, http.StatusOK, got.status)
	got = s.get(t, "/orders", token)
	assert.Equal(t, http.StatusUnauthorized, got.status)
	assert.Equal(t, challengeInvalidToken, got.challenge(t))
	assert.FileExists(t, filepath.Join(s.dir, "portcullis-example.db"))
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
	s, app := newIssuer(t), newBackend(t)
	s.store = filepath.Join(s.dir, "state", storeFileName)
	caddyfile := s.caddyfile(s.option()+authorityOption("remote", "http://"+reserve(t)),
		"authorization_server\nintrospect remote\nintrospect /own {\nembedded\n}\n"+app.proxy())
	require.NoError(t, os.WriteFile(s.file, []byte(caddyfile), 0o600))
	validate := func() (string, error) {
		output, err := portcullis(t, s.dir, "validate", "--config", s.file, "--adapter", "caddyfile").CombinedOutput()
		return string(output), err
	}

	t.Run("creates nothing, and asks nobody", func(t *testing.T) {
		said, err := validate()
		require.NoError(t, err, said)
		assert.NoDirExists(t, filepath.Dir(s.store))
		assert.Equal(t, []string{s.file}, files(t, s.dir))
	})
	t.Run("starting creates no store either, until it is needed", func(t *testing.T) {
		s.start(t, caddyfile)
		assert.NoDirExists(t, filepath.Dir(s.store))
	})
	t.Run("works beside a server that holds the store's lock", func(t *testing.T) {
		token := s.token(t, "")
		require.FileExists(t, s.store)
		before := files(t, s.dir)
		said, err := validate()
		require.NoError(t, err, said)
		for _, secret := range []string{gatewaySecret, demoSecret, oddSecret, token} {
			assert.NotContains(t, said, secret)
		}
		assert.Equal(t, before, files(t, s.dir))
		s.revoke(t, token)
	})
	t.Run("finds mistakes", func(t *testing.T) {
		for _, mistake := range []string{"introspect nosuch\n", "introspect remote {\ntiemout 3s\n}\n"} {
			require.NoError(t, os.WriteFile(s.file, []byte(strings.Replace(caddyfile, "introspect remote\n", mistake, 1)), 0o600))
			said, err := validate()
			require.Error(t, err)
			assert.Contains(t, said, "Caddyfile:")
			assert.NotContains(t, said, demoSecret)
		}
	})
}

func TestTwoProcessesWithOneStore(t *testing.T) {
	t.Parallel()
	first, second, app := newIssuer(t), newIssuer(t), newBackend(t)
	second.store = first.store
	first.start(t, first.caddyfile(first.option(), first.site(app)))
	token := first.token(t, "")
	require.Equal(t, http.StatusOK, first.get(t, "/", token).status)

	second.start(t, second.caddyfile(second.option(), second.site(app)))
	got := second.get(t, "/second", token)
	assert.Equal(t, http.StatusServiceUnavailable, got.status, "B15 the token may be good")
	assert.Equal(t, challengeNone, got.challenge(t))
	assert.NotEmpty(t, got.header.Get("Retry-After"))
	assert.Empty(t, app.at("/second"))
	got = second.post(t, "/oauth2/token", demoID, demoSecret, map[string][]string{"grant_type": {"client_credentials"}})
	assert.Equal(t, http.StatusServiceUnavailable, got.status)
	assert.NotEmpty(t, got.header.Get("Retry-After"))
	assert.NotContains(t, got.body, first.store, "which is nobody's business")
	require.Eventually(t, func() bool { return second.logs(first.store) }, patience, tick, "its log names the file")
	assert.Regexp(t, `another process.* holds the lock`, second.output.String())
	assert.Equal(t, http.StatusOK, first.get(t, "/", token).status, "the first goes on")

	first.stop(t)
	require.Eventually(t, func() bool { return second.get(t, "/later", token).status == http.StatusOK }, patience, tick)
}

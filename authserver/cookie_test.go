package authserver_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/authserver/filestore"
)

// FuzzCookie: whatever a browser calls a cookie, it signs nobody in; and a request that goes on to somebody else has no
// session cookie any more, and has all others.
func FuzzCookie(f *testing.F) {
	for _, seed := range []string{
		"",
		"__Host-portcullis_session=pse_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"a=1; __Host-portcullis_session=x; b=2",
		"__Host-portcullis_session; a",
		" __Host-portcullis_session =x;a=\"1;2\"",
		"__host-portcullis_session=x; x__Host-portcullis_session=y",
		";;=;__Host-portcullis_session==;",
	} {
		f.Add(seed)
	}
	const name = "__Host-portcullis_session"
	server, err := authserver.New(authserver.Config{
		Issuer: "https://auth.example.com", Logger: slog.New(slog.DiscardHandler),
	}, filestore.New(filepath.Join(f.TempDir(), "as.db")))
	require.NoError(f, err)
	others := func(lines []string) (parts []string) {
		for _, line := range lines {
			for part := range strings.SplitSeq(line, ";") {
				if called, _, _ := strings.Cut(part, "="); strings.TrimSpace(called) != name && strings.TrimSpace(part) != "" {
					parts = append(parts, strings.TrimLeft(part, " "))
				}
			}
		}
		return parts
	}
	f.Fuzz(func(t *testing.T, line string) {
		r := httptest.NewRequest(http.MethodGet, "/oauth2/account", nil)
		r.Header["Cookie"] = []string{line}
		w := httptest.NewRecorder()
		server.Endpoint("/oauth2/account").ServeHTTP(w, r)
		require.Less(t, w.Code, 500)
		require.NotContains(t, w.Body.String(), "Sign out")

		before := others(r.Header["Cookie"])
		server.WithoutSession(r)
		require.Equal(t, before, others(r.Header["Cookie"]))
		require.NotContains(t, strings.Split(strings.Join(r.Header["Cookie"], ";"), ";"), name)
		for _, cookie := range r.Cookies() {
			require.NotEqual(t, name, cookie.Name)
		}
	})
}

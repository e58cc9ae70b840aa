package authserver_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
)

// FuzzToken: whatever the body of a request to the token endpoint or to that for pushed requests says, it is answered with
// JSON that no cache keeps, and nobody without a secret gets anything but the name of a request that was pushed.
func FuzzToken(f *testing.F) {
	for _, body := range []string{
		exchange("pac_x", "client_id", "app").Encode(), passwordGrant("client_id", "app").Encode(), grant("client_id", "app", "resource", apiResource).Encode(),
		"grant_type=refresh_token&refresh_token=prt_x&client_id=app&resource=a&resource=b", assertionForm("a.b.c").Encode(),
		pushing("client_id", "app").Encode(), "client_id=app&client_id=robot&client_secret=%zz;", "grant_type=implicit&client_id=app",
	} {
		f.Add(body)
	}
	var network atomic.Int64
	robot, err := authserver.NewSecret("0dc6b3d2-a-secret-that-nobody-guesses")
	require.NoError(f, err)
	server, err := authserver.New(authserver.Config{
		Issuer: issuer, LegacyPassword: true, LegacyImplicit: true, Resources: []string{apiResource},
		Clients: []authserver.Client{
			{ID: "app", Auth: authserver.AuthNone, Grants: []string{authserver.GrantAuthorizationCode, authserver.GrantRefreshToken, authserver.GrantPassword, authserver.GrantImplicit}, RedirectURIs: []string{callback}, Scopes: []string{"read", "write"}, Audiences: []string{apiResource}},
			{ID: "robot", Secret: robot, Grants: []string{authserver.GrantClientCredentials}, Audiences: []string{apiResource}},
		},
		ClientAddress: func(*http.Request) string { return fmt.Sprintf("2001:db8:0:%x::1", network.Add(1)%0xffff) },
		Logger:        slog.New(slog.DiscardHandler),
	}, new(memory))
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, body string) {
		for path, good := range map[string]int{"/oauth2/token": 0, "/oauth2/par": 201} {
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			recorder := httptest.NewRecorder()
			server.Endpoint(path).ServeHTTP(recorder, r)
			var members map[string]any
			require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &members))
			assert.Equal(t, "no-store", recorder.Header().Get("Cache-Control"))
			assert.Empty(t, recorder.Header().Get("Location"))
			if recorder.Code == good {
				assert.Len(t, members, 2)
				assert.Regexp(t, `^urn:ietf:params:oauth:request_uri:`, members["request_uri"])
				continue
			}
			assert.Contains(t, []int{400, 401, 413, 429}, recorder.Code, members)
			assert.NotEmpty(t, members["error"])
			assert.NotContains(t, members, "access_token")
		}
	})
}

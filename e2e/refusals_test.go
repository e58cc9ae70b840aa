package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// A refusal is not the only thing on its way: others have challenges of their own.
func TestChallengesOfOthers(t *testing.T) {
	t.Parallel()
	as, g := newAuthority(t), newGateway(t)
	const token, basic, digest = "token-of-challenges", `Basic realm="x", charset="UTF-8"`, `Digest realm="y", nonce="1"`
	as.on(token, active(nil))
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Www-Authenticate"] = []string{basic, digest}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(app.Close)
	g.Start(t, g.caddyfile(as.option(""), "header /other +WWW-Authenticate `"+basic+"`\nintrospect\nreverse_proxy "+app.Listener.Addr().String()))

	for _, c := range []struct {
		name, path, token string
		challenges        []string
	}{
		{"B10 one of another handler's stays, on a line of its own", "/other", "", []string{basic, challengeNoToken, offerDPoP}},
		{"B11 the backend's are its own", "/", token, []string{basic, digest}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := g.get(t, c.path, c.token)
			assert.Equal(t, http.StatusUnauthorized, got.Status)
			assert.Equal(t, c.challenges, got.Header["Www-Authenticate"])
		})
	}
}

// A challenge names only schemes under which the route would find a token, and one of them has the error.
func TestG18_ChallengesOfPlaces(t *testing.T) {
	t.Parallel()
	as, g := newAuthority(t), newGateway(t)
	places := map[string]string{
		"cookie": "cookie session", "header": "header X-Api-Token", "scheme": "header Authorization Token",
		"bearer": "header Authorization Bearer", "dpop": "header Authorization DPoP", "both": "header",
	}
	var site strings.Builder
	for name, place := range places {
		fmt.Fprintf(&site, "introspect /%s {\ntoken_from %s\n}\n", name, place)
	}
	g.Start(t, g.caddyfile(hidesTokens+as.option(""), site.String()))

	for _, c := range []struct {
		name, path, header string
		challenges         []string
	}{
		{"a cookie", "/cookie", "", []string{challengeNoToken}},
		{"a cookie that is none, beside a header that nobody looks at", "/cookie", "Authorization: DPoP a b\r\nCookie: session=a b", []string{challengeInvalidRequest}},
		{"a header of its own", "/header", "", []string{challengeNoToken}},
		{"a header of its own that holds no token", "/header", "X-Api-Token: a b", []string{challengeInvalidRequest}},
		{"a scheme of its own", "/scheme", "Authorization: DPoP a", []string{challengeNoToken}},
		{"Bearer alone", "/bearer", "Authorization: Bearer unknown-to-all", []string{challengeInvalidToken}},
		{"DPoP alone", "/dpop", "Authorization: Bearer a", []string{offerDPoP}},
		{"DPoP alone, malformed", "/dpop", "Authorization: DPoP a b", []string{challengeInvalidRequestDPoP}},
		{"both", "/both", "", []string{challengeNoToken, offerDPoP}},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers := []string{"Harmless: x"}
			if c.header != "" {
				headers = strings.Split(c.header, "\r\n")
			}
			assert.Equal(t, c.challenges, g.raw(t, "GET "+c.path, headers, "").Header["Www-Authenticate"])
		})
	}
}

// Whoever is refused does not send the body first.
func TestRefusalsDoNotAskForTheBody(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option(""), "introspect\n"+app.Proxy()))
	const token = "token-of-a-large-body"
	as.on(token, active(nil))

	for _, c := range []struct {
		name, token string
		statuses    []int // of all responses, in turn
	}{
		{"K11 a bad token", "token-nobody-knows", []int{http.StatusUnauthorized}},
		{"K11 a good one", token, []int{http.StatusContinue, http.StatusOK}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.Guard(c.token)
			connection := testgateway.Dial(t, g.address)
			_, err := fmt.Fprintf(connection, "POST / HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
				g.address, c.token)
			require.NoError(t, err)
			var statuses []int
			for replies := bufio.NewReader(connection); len(statuses) == 0 || statuses[len(statuses)-1] == http.StatusContinue; {
				response, err := http.ReadResponse(replies, nil)
				require.NoError(t, err)
				if len(statuses) == 0 && response.StatusCode == http.StatusContinue {
					_, err = io.WriteString(connection, "hello")
					require.NoError(t, err)
				}
				statuses = append(statuses, response.StatusCode)
			}
			assert.Equal(t, c.statuses, slices.Compact(statuses))
		})
	}
	assert.Equal(t, "hello", app.One(t, "/").Body)
}

// A browser shows a script what was refused, and why, if the site says so.
func TestScriptsOfOtherOrigins(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("token-of-a-script", active(nil))
	as.on("token-of-a-failure", sends(500, "", ""))
	const origin = "https://app.example.com"
	g.Start(t, g.caddyfile(as.option(""), `
		header {
			Access-Control-Allow-Origin `+origin+`
			Access-Control-Expose-Headers WWW-Authenticate
			+Vary Origin
		}
		introspect scope read {
			preflight
		}
		@preflight method OPTIONS
		route {
			header @preflight Access-Control-Allow-Headers Authorization
			respond @preflight 204
			`+app.Proxy()+`}`))

	for name, test := range map[string]struct {
		headers []string
		status  int
	}{
		"no token":            {nil, 401},
		"an unknown token":    {[]string{"Authorization: Bearer token-nobody-knows"}, 401},
		"a malformed token":   {[]string{"Authorization: Bearer"}, 400},
		"a scope is missing":  {[]string{"Authorization: Bearer token-of-a-script"}, 403},
		"the authority fails": {[]string{"Authorization: Bearer token-of-a-failure"}, 503},
	} {
		t.Run("K03 K04 "+name, func(t *testing.T) {
			got := g.raw(t, "GET /", append(test.headers, "Origin: "+origin), "")
			assert.Equal(t, test.status, got.Status)
			assert.Equal(t, []string{origin}, got.Header["Access-Control-Allow-Origin"])
			assert.Equal(t, []string{"WWW-Authenticate"}, got.Header["Access-Control-Expose-Headers"])
			assert.Contains(t, got.Header["Vary"], "Origin")
		})
	}
	t.Run("K01 K05 a preflight learns that it may send a token", func(t *testing.T) {
		got := g.raw(t, "OPTIONS /", []string{
			"Origin: " + origin, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization",
		}, "")
		assert.Equal(t, http.StatusNoContent, got.Status)
		assert.Equal(t, []string{"Authorization"}, got.Header["Access-Control-Allow-Headers"])
		assert.Equal(t, []string{origin}, got.Header["Access-Control-Allow-Origin"])
	})
	t.Run("K02 any other OPTIONS learns nothing", func(t *testing.T) {
		got := g.raw(t, "OPTIONS /", []string{"Origin: " + origin}, "")
		assert.Equal(t, http.StatusUnauthorized, got.Status)
		assert.Empty(t, got.Header["Access-Control-Allow-Headers"])
	})
	assert.Empty(t, app.All())
}

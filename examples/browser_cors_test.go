package examples_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// origin is that of the browser application.
const origin = "http://localhost:3000"

// api is the API behind its gateway.
type api struct{ url, token string }

func startBrowserCORS(t *testing.T, oldnew ...string) *api {
	t.Helper()
	port := testgateway.Port(t)
	url := "http://localhost:" + port
	gateway := testgateway.Start(t, caddyfile(t, "browser-cors", append([]string{"http://localhost:8080", url}, oldnew...)...))
	a := &api{url: url, token: issue(t, url, "shop")}
	gateway.GuardClient("shop", "shop-secret")
	gateway.Guard(a.token)
	return a
}

// backend are the replacements that give the example's own backend another port.
func backend(t *testing.T) []string {
	t.Helper()
	port := testgateway.Port(t)
	return []string{"127.0.0.1:8081", "127.0.0.1:" + port, "http://:8081", "http://:" + port}
}

// ask sends a request with header lines as a browser would.
func (a *api) ask(t *testing.T, method, path string, headers ...string) *testgateway.Reply {
	t.Helper()
	request := testgateway.Request(t, method, a.url+path, "")
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Add(name, value)
	}
	return testgateway.Send(t, request)
}

// problem is what the application reads of a refusal.
func problem(status int) string {
	return fmt.Sprintf(`{"status":%d,"title":"%s"}`, status, http.StatusText(status))
}

// readable demands that a browser lets the application read an answer.
func readable(t *testing.T, answer *testgateway.Reply) {
	t.Helper()
	assert.Equal(t, []string{origin}, answer.Header["Access-Control-Allow-Origin"], "K03")
	assert.Equal(t, []string{"true"}, answer.Header["Access-Control-Allow-Credentials"])
	assert.Contains(t, answer.Header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate", "K04")
	assert.Contains(t, answer.Header["Vary"], "Origin")
}

// unreadable demands that a browser lets no other site read an answer.
func unreadable(t *testing.T, answer *testgateway.Reply) {
	t.Helper()
	for name := range answer.Header {
		assert.False(t, strings.HasPrefix(name, "Access-Control-"), name)
	}
	assert.Contains(t, answer.Header["Vary"], "Origin")
}

func TestBrowserCORS(t *testing.T) {
	a := startBrowserCORS(t, backend(t)...)
	cookie := "Cookie: theme=dark; __Host-token=" + a.token
	const from = "Origin: " + origin

	told := func(method, cookie string) string {
		return fmt.Sprintf("%s /orders\nRemote-Client: shop\nAuthorization: \nCookie:        %s\n", method, cookie)
	}

	for name, test := range map[string]struct {
		method    string
		headers   []string
		status    int
		challenge string
		body      string
		cache     string
	}{
		"a cookie":                    {"GET", []string{from, cookie}, 200, "", told("GET", "theme=dark"), "private"},
		"a cookie, to change a thing": {"POST", []string{from, cookie}, 200, "", told("POST", "theme=dark"), "private"},
		"a header":                    {"POST", []string{from, bearer(a.token)}, 200, "", told("POST", ""), ""},
		"K03 B03 no token":            {"GET", []string{from}, 401, `Bearer realm="portcullis", scope="orders"`, problem(401), "no-store"},
		"K03 B04 a bad token":         {"GET", []string{from, bearer("bad-token")}, 401, `Bearer realm="portcullis", error="invalid_token"`, problem(401), "no-store"},
		"K03 B04 a bad cookie":        {"POST", []string{from, "Cookie: __Host-token=bad-token"}, 401, `Bearer realm="portcullis", error="invalid_token"`, problem(401), "no-store"},
		"K03 B04 a malformed token":   {"GET", []string{from, bearer("a b")}, 400, `Bearer realm="portcullis", error="invalid_request"`, problem(400), "no-store"},
		"K03 a bad header beside a good cookie": {
			"GET",
			[]string{from, cookie, bearer("bad-token")},
			401,
			`Bearer realm="portcullis", error="invalid_token"`, problem(401), "no-store",
		},
		"K02 OPTIONS that is no preflight": {"OPTIONS", []string{from}, 401, `Bearer realm="portcullis", scope="orders"`, problem(401), "no-store"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := a.ask(t, test.method, "/orders", test.headers...)
			assert.Equal(t, test.status, answer.Status)
			assert.Equal(t, test.challenge, answer.Challenge(t))
			assert.Equal(t, test.body, answer.Body)
			assert.Equal(t, test.cache, answer.Header.Get("Cache-Control"))
			readable(t, answer)
		})
	}
	t.Run("K01 a preflight needs no token", func(t *testing.T) {
		answer := a.ask(t, "OPTIONS", "/orders", from, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: authorization")
		assert.Equal(t, http.StatusNoContent, answer.Status)
		assert.Contains(t, answer.Header.Get("Access-Control-Allow-Methods"), "PUT")
		assert.Equal(t, "Authorization, Content-Type", answer.Header.Get("Access-Control-Allow-Headers"), "K05: * does not mean Authorization")
		assert.Equal(t, "600", answer.Header.Get("Access-Control-Max-Age"))
		assert.Empty(t, answer.Body)
		readable(t, answer)
	})
	t.Run("a program that is no browser", func(t *testing.T) {
		answer := a.ask(t, "POST", "/orders", bearer(a.token))
		assert.Equal(t, http.StatusOK, answer.Status)
		assert.Equal(t, told("POST", ""), answer.Body)
		unreadable(t, answer)
	})
	t.Run("a link that leads here", func(t *testing.T) {
		answer := a.ask(t, "GET", "/orders", cookie)
		assert.Equal(t, http.StatusOK, answer.Status, "SameSite decides whether there is a cookie")
		unreadable(t, answer)
	})
}

// Another site has the browser of a signed-in user send requests (K05): nothing that it can make a browser send changes
// anything, and it can read no answer.
func TestBrowserCORSAgainstOtherSites(t *testing.T) {
	app := testgateway.StartBackend(t)
	a := startBrowserCORS(t, "reverse_proxy 127.0.0.1:8081", "reverse_proxy "+app.Address)
	cookie := "Cookie: __Host-token=" + a.token

	for name, from := range map[string]string{
		"another site":            "https://evil.example.com",
		"a sandbox or a file":     "null",
		"a longer name":           "http://localhost:3000.evil.example.com",
		"a longer port":           "http://localhost:30000",
		"another scheme":          "https://localhost:3000",
		"another port":            "http://localhost:3001",
		"this one":                a.url,
		"a list":                  origin + " https://evil.example.com",
		"nothing":                 "",
		"what a pattern would be": "*",
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "BREW"} {
				answer := a.ask(t, method, "/orders", "Origin: "+from, cookie)
				assert.Equal(t, http.StatusForbidden, answer.Status, method)
				assert.Empty(t, answer.Challenge(t))
				assert.Equal(t, problem(http.StatusForbidden), answer.Body)
				unreadable(t, answer)
			}
			opening := []string{"Origin: " + from, cookie, "Connection: Upgrade", "Upgrade: websocket"}
			socket := raw(t, strings.TrimPrefix(a.url, "http://"), "GET", "/orders", opening, "")
			assert.Equal(t, http.StatusForbidden, socket.Status, "a WebSocket is opened by GET")

			preflight := a.ask(t, "OPTIONS", "/orders", "Origin: "+from, "Access-Control-Request-Method: POST")
			assert.Equal(t, http.StatusNoContent, preflight.Status)
			unreadable(t, preflight)

			assert.Empty(t, app.Take(), "the backend was asked")
		})
	}
	t.Run("a form without an origin", func(t *testing.T) {
		answer := a.ask(t, "POST", "/orders", "Content-Type: text/plain", cookie)
		assert.Equal(t, http.StatusForbidden, answer.Status)
		unreadable(t, answer)
		assert.Empty(t, app.Take())
	})
}

// A backend that would let everybody read is not asked who may.
func TestBrowserCORSOfTheBackend(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Headers", "*")
		w.Header().Set("Vary", "Accept-Encoding")
	}))
	t.Cleanup(app.Close)
	a := startBrowserCORS(t, "reverse_proxy 127.0.0.1:8081", "reverse_proxy "+app.Listener.Addr().String())

	answer := a.ask(t, "GET", "/orders", "Origin: "+origin, bearer(a.token))
	assert.Equal(t, http.StatusOK, answer.Status)
	readable(t, answer)
	assert.Len(t, answer.Header["Access-Control-Allow-Headers"], 1)
	assert.Contains(t, answer.Header["Vary"], "Accept-Encoding")

	answer = a.ask(t, "GET", "/orders", "Origin: https://evil.example.com", bearer(a.token))
	assert.Equal(t, http.StatusOK, answer.Status)
	unreadable(t, answer)
}

package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

func TestStatusHandler(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const operator, user = "token-of-an-operator", "token-of-a-user"
	as.on(operator, active(claims{"scope": "admin"}))
	as.on(user, active(claims{"scope": "read"}))
	g.GuardClient(gatewayID, gatewaySecret)
	g.Start(t, g.caddyfile(as.option(""), `
		introspect /status* scope admin
		introspect_status /status*
		`+app.Proxy()))
	url := "http://" + g.address + "/status"
	send := func(t *testing.T, method, path, accept string) *testgateway.Reply {
		t.Helper()
		request := testgateway.Request(t, method, url+path, operator)
		if accept != "" {
			request.Header.Set("Accept", accept)
		}
		return testgateway.Send(t, request)
	}

	t.Run("introspect on the same site protects it", func(t *testing.T) {
		for _, path := range []string{"/status", "/status/ready"} {
			assert.Equal(t, http.StatusUnauthorized, g.get(t, path, "").Status)
			assert.Equal(t, http.StatusForbidden, g.get(t, path, user).Status)
			assert.Equal(t, http.StatusOK, g.get(t, path, operator).Status)
		}
		assert.Empty(t, app.Take())
	})
	for name, accept := range map[string]string{
		"nothing": "", "anything": "*/*", "JSON": "application/json", "both": "text/html, application/json", "anything but HTML": "text/html;q=0, */*",
	} {
		t.Run("JSON for who asks for "+name, func(t *testing.T) {
			got := send(t, http.MethodGet, "", accept)
			require.Equal(t, http.StatusOK, got.Status)
			assert.Equal(t, "application/json", got.Header.Get("Content-Type"))
			assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
			assert.Equal(t, "Accept", got.Header.Get("Vary"))
			status := statuses(t, got.Body)["default"]
			assert.Equal(t, true, status["ready"])
			assert.Equal(t, as.URL, status["endpoint"])
			assert.InDelta(t, 2, status["entries"], 0)
		})
	}
	t.Run("a page for a browser, which runs nothing but its own", func(t *testing.T) {
		got := send(t, http.MethodGet, "", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
		require.Equal(t, http.StatusOK, got.Status)
		assert.Equal(t, "text/html; charset=utf-8", got.Header.Get("Content-Type"))
		assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
		assert.Equal(t, "nosniff", got.Header.Get("X-Content-Type-Options"))
		hash := func(element string) string {
			matches := regexp.MustCompile(`(?s)<`+element+`[^>]*>(.*?)</`+element+`>`).FindAllStringSubmatch(got.Body, -1)
			require.Len(t, matches, 1, element)
			sum := sha256.Sum256([]byte(matches[0][1]))
			return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
		}
		assert.Equal(t, "default-src 'none'; connect-src 'self'; style-src "+hash("style")+"; script-src "+hash("script")+
			"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", got.Header.Get("Content-Security-Policy"))
		assert.NotRegexp(t, `(?i)\s(src|href|style|on[a-z]+)\s*=\s*["']`, got.Body, "nothing from elsewhere, and nothing that the policy forbids")
		assert.NotContains(t, got.Body, "innerHTML")
		assert.NotContains(t, got.Body, as.URL, "what it draws it fetches")
	})
	t.Run("HEAD", func(t *testing.T) {
		for _, path := range []string{"", "/ready"} {
			got := send(t, http.MethodHead, path, "")
			assert.Equal(t, http.StatusOK, got.Status)
			assert.Empty(t, got.Body)
		}
	})
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		t.Run("refused: "+method, func(t *testing.T) {
			got := send(t, method, "/ready", "")
			assert.Equal(t, http.StatusMethodNotAllowed, got.Status)
			assert.Equal(t, "GET, HEAD", got.Header.Get("Allow"))
		})
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("/good", active(nil))
	as.on("/broken", sends(500, "", ""))
	as.on("/refusing", refusesGateway(401))
	g.GuardClient(gatewayID, gatewaySecret)
	config := func(open string) string {
		return g.caddyfile(authorityOption("good", as.URL+"/good")+
			authorityOption("broken", as.URL+"/broken", "retries 0", "breaker 3 "+open)+
			authorityOption("refusing", as.URL+"/refusing"), `
		introspect /good good
		introspect /broken broken
		introspect /refusing refusing
		handle_path /status/* {
			introspect_status
		}
		`+app.Proxy())
	}
	g.Start(t, config("1h"))
	ready := func(t *testing.T) *testgateway.Reply {
		t.Helper()
		return testgateway.Get(t, "http://"+g.address+"/status/ready")
	}
	got := ready(t)
	assert.Equal(t, http.StatusOK, got.Status, "there is no reason to doubt anybody yet")
	assert.JSONEq(t, `{"ready":true,"not_ready":[]}`, got.Body)
	assert.Empty(t, as.asked("/good"), "a probe asks nobody")

	for _, token := range []string{"token-1", "token-2", "token-3"} {
		require.Equal(t, http.StatusOK, g.get(t, "/good", token).Status)
		require.Equal(t, http.StatusServiceUnavailable, g.get(t, "/broken", token).Status)
	}
	got = ready(t)
	assert.Equal(t, http.StatusServiceUnavailable, got.Status)
	assert.JSONEq(t, `{"ready":false,"not_ready":["broken"]}`, got.Body)
	assert.Equal(t, "open", g.status(t)["broken"]["breaker"])
	assert.NotEmpty(t, g.status(t)["broken"]["reason"])

	for _, token := range []string{"token-1", "token-2"} {
		require.Equal(t, http.StatusBadGateway, g.get(t, "/refusing", token).Status)
	}
	assert.JSONEq(t, `{"ready":false,"not_ready":["broken","refusing"]}`, ready(t).Body)

	as.on("/refusing", active(nil))
	g.reload(t, config("2h"))
	assert.JSONEq(t, `{"ready":false,"not_ready":["broken"]}`, ready(t).Body,
		"a reload may bring the right credentials; that an authority is down it does not change")
}

// A gateway that gets no requests while it is not ready has to become ready by itself.
func TestReadyAgain(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("/", sends(500, "", ""))
	g.Start(t, g.caddyfile(as.option("", "retries 0", "breaker 3 500ms"),
		"introspect /api\nhandle /ready {\nintrospect_status\n}\n"+app.Proxy()))
	for _, token := range []string{"token-1", "token-2", "token-3"} {
		require.Equal(t, http.StatusServiceUnavailable, g.get(t, "/api", token).Status)
	}
	assert.Equal(t, http.StatusServiceUnavailable, g.get(t, "/ready", "").Status)
	require.Eventually(t, func() bool { return g.get(t, "/ready", "").Status == http.StatusOK }, patience, tick)
	assert.Len(t, as.asked("/"), 3)
}

// What was not discovered yet is no reason for doubt, what cannot be discovered is.
func TestStatusOfADiscoveredAuthority(t *testing.T) {
	t.Parallel()
	app, g := testgateway.StartBackend(t), newGateway(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	issuer := "http://" + listener.Addr().String()
	var up atomic.Bool
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !up.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.Method == http.MethodPost:
			active(nil)(w, r)
		default:
			says(claims{"issuer": issuer, "introspection_endpoint": issuer + "/ask?key=query-canary"})(w, r)
		}
	}))
	require.NoError(t, server.Listener.Close())
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	g.Start(t, g.caddyfile("introspect {\nissuer "+issuer+"\nclient "+gatewayID+" "+gatewaySecret+"\n}\n",
		"introspect /api\nintrospect_status /status*\n"+app.Proxy()))

	status := g.status(t)["default"]
	assert.Equal(t, "", status["endpoint"])
	assert.Equal(t, true, status["ready"])
	require.Equal(t, http.StatusServiceUnavailable, g.get(t, "/api", "token-too-early").Status)
	assert.Equal(t, http.StatusServiceUnavailable, g.get(t, "/status/ready", "").Status)
	status = g.status(t)["default"]
	assert.Contains(t, status["reason"], "503")
	assert.Contains(t, status["last_error"].(map[string]any)["error"], "503")

	up.Store(true)
	require.Eventually(t, func() bool { return g.get(t, "/api", "token-in-time").Status == http.StatusOK }, patience, tick)
	assert.Equal(t, http.StatusOK, g.get(t, "/status/ready", "").Status)
	assert.Equal(t, issuer+"/ask", g.status(t)["default"]["endpoint"])
}

// The embedded server has no endpoint and no breaker.
func TestStatusOfTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Start(t, s.caddyfile(s.option(), "introspect_status /status*\n"+s.site(app)))
	token := s.token(t, "orders:read")
	status := s.status(t)["embedded"]
	require.NotNil(t, status)
	assert.Equal(t, true, status["embedded"])
	assert.Equal(t, "off", status["breaker"])
	for range 2 {
		require.Equal(t, http.StatusOK, s.get(t, "/", token).Status)
	}
	assert.InDelta(t, 0.5, s.status(t)["embedded"]["hit_ratio"], 0)
	assert.InDelta(t, 1, s.metrics(t)[`upstream_total{authority="embedded",result="active"}`], 0)
	assert.Equal(t, http.StatusUnauthorized, s.get(t, "/status/ready", "").Status, "the site is protected")
	assert.Equal(t, http.StatusOK, s.get(t, "/status/ready", token).Status)
	require.Equal(t, http.StatusOK, s.purge(t, `{"all":true}`).Status)
	s.revoke(t, token)
	assert.Equal(t, http.StatusUnauthorized, s.get(t, "/", token).Status)
}

package examples_test

import (
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

func TestWebSocket(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's, which has Debian's packages
	if output, err := exec.Command(python, "-c", "import websockets").CombinedOutput(); err != nil {
		testgateway.Missing(t, "needs websockets: apt-get install python3-websockets\n"+string(output))
	}
	server := testgateway.Run(t, exec.Command(python, "websocket/server.py", "0"))
	_, backend, _ := strings.Cut(server.Await(t, "listening on "), "listening on ")
	port := testgateway.Port(t)
	site := "http://localhost:" + port
	g := testgateway.New(t)
	g.Start(t, caddyfile(t, "websocket",
		"http://localhost:8080", site,
		"127.0.0.1:8081", backend,
		"./tokens.db", g.Dir+"/tokens.db",
	))
	g.GuardClient("dashboard", "dashboard-secret")
	form := url.Values{"grant_type": {"client_credentials"}}
	token := testgateway.Send(t, testgateway.Form(t, site+"/oauth2/token", "dashboard", "dashboard-secret", form)).AccessToken(t)

	upgrade := func(headers ...string) int {
		headers = append(headers, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
		return raw(t, "localhost:"+port, http.MethodGet, "/feed", headers, "").Status
	}
	for _, test := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"no token", nil, http.StatusUnauthorized},
		{"a page of this site", []string{"Origin: " + site, "Cookie: access_token=" + token}, http.StatusSwitchingProtocols},
		{"a page of another site", []string{"Origin: https://evil.example.com", "Cookie: access_token=" + token}, http.StatusForbidden},
		{"a page that does not say of which site", []string{"Origin: null", "Cookie: access_token=" + token}, http.StatusForbidden},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.status, upgrade(test.headers...))
		})
	}

	command := exec.Command(python, "websocket/client.py", "ws://localhost:"+port+"/feed")
	command.Stdin = strings.NewReader(token + "\n")
	client := testgateway.Run(t, command)
	client.Await(t, "dashboard says hello")
	revoked := testgateway.Send(t, testgateway.Form(t, site+"/oauth2/revoke", "dashboard", "dashboard-secret", url.Values{"token": {token}}))
	assert.Equal(t, http.StatusOK, revoked.Status)
	client.Await(t, "closed")
	assert.Equal(t, http.StatusUnauthorized, upgrade("Authorization: Bearer "+token))
}

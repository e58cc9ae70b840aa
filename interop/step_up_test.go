package interop_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testbrowser"
)

// stepUpFile is openIDFile with routes that demand how the user has signed in.
var stepUpFile = strings.Replace(openIDFile, "\tintrospect /orders", `	introspect /bank scope orders:read {
		acr urn:portcullis:acr:password
		max_age 15s
	}
	introspect /vault scope orders:read {
		acr gold
	}
	introspect /orders`, 1)

// insufficient is what the client is told about a route that wants a better sign-in.
func (s *session) insufficient(t *testing.T, path string) (challenge object) {
	t.Helper()
	server := s.clients.server
	server.backend.Take()
	got := s.try(t, "get", object{"url": server.url + path})
	require.NotNil(t, got.Exception, string(got.Result))
	assert.Equal(t, "insufficient_user_authentication", got.Exception.Error, got.Exception.Text)
	assert.Empty(t, server.backend.Take(), "the backend must not be asked")
	return got.Exception.Challenge
}

// A client that is told how its user has to sign in sends the browser to the embedded server, and comes back with what is demanded.
func TestOpenIDClientStepsUpInABrowser(t *testing.T) {
	t.Parallel()
	program := nodeProgram(t, "openid-client", "client.mjs")
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "<!DOCTYPE html><title>Web</title><p>Welcome back") // the browser hung up
	}))
	t.Cleanup(web.Close)
	browser := testbrowser.Start(t, map[string]string{"web.example.com": web.Listener.Addr().String()})
	server, keys := startOpenID(t, stepUpFile)
	s := server.startClients(t, program).openIDClient(t, keys.clients(t)["client_secret_basic"])
	tab := browser.Tab(t)
	bank := object{"url": server.url + "/bank"}
	signIn := func(t *testing.T) {
		t.Helper()
		require.Contains(t, tab.Text(t), "Password")
		tab.Fill(t, "[name=username]", "alice")
		tab.Fill(t, "[name=password]", alicePassword)
		tab.Enter(t)
	}
	cameBack := func(t *testing.T, made request) (grant object) {
		t.Helper()
		require.Contains(t, tab.Text(t), "Welcome back", tab.URL(t))
		location, err := url.Parse(tab.URL(t))
		require.NoError(t, err)
		server.Guard(location.Query().Get("code"))
		return object{"location": location.String(), "checks": made.Checks}
	}

	made := s.request(t, nil)
	tab.Open(t, made.URL)
	signIn(t)
	tab.Submit(t, "[name=decision][value=allow]")
	first := s.redeem(t, "basic", cameBack(t, made))["claims"].(object)
	require.Equal(t, http.StatusOK, s.send(t, "get", bank).Status, "I06 she has just signed in")
	require.Eventually(t, func() bool { return s.try(t, "get", bank).Exception != nil }, time.Minute, 100*time.Millisecond, "I10")
	demanded := s.insufficient(t, "/bank")
	assert.Equal(t, object{
		"realm": "portcullis", "error": "insufficient_user_authentication", "scope": "orders:read",
		"acr_values": "urn:portcullis:acr:password", "max_age": "15",
	}, demanded, "I06")

	made = s.request(t, nil)
	tab.Open(t, made.URL)
	silent := s.redeem(t, "basic", cameBack(t, made))["claims"].(object)
	assert.Equal(t, first["auth_time"], silent["auth_time"])
	s.insufficient(t, "/bank") // I07 attack: a new token of an old sign-in

	made = s.request(t, object{"acr_values": demanded["acr_values"], "max_age": demanded["max_age"]})
	tab.Open(t, made.URL)
	signIn(t)
	second := s.redeem(t, "basic", cameBack(t, made))["claims"].(object)
	assert.Equal(t, demanded["acr_values"], second["acr"], "AS-P11")
	assert.Greater(t, second["auth_time"], first["auth_time"], "AS-P05")
	require.Equal(t, http.StatusOK, s.send(t, "get", bank).Status, "I06 the second round")
	server.tells(t, openIDUser("basic"))

	gold := s.insufficient(t, "/vault")
	assert.Equal(t, "gold", gold["acr_values"])
	made = s.request(t, object{"acr_values": gold["acr_values"]})
	tab.Open(t, made.URL)
	s.refused(t, "unmet_authentication_requirements", "authorizationCodeGrant", cameBack(t, made)) // AS-P11: nobody is sent round in circles
}

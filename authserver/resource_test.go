package authserver_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/introspect"
)

const (
	apiResource  = "https://api.example.com"
	deepResource = "https://b.example.com/v1?x=1"
	ownResource  = "https://own.example.com/"
)

// resourceConfig is that of a server whose clients may ask for tokens for resources.
func resourceConfig(t *testing.T) authserver.Config {
	t.Helper()
	config := userConfig(t)
	config.Resources = []string{ownResource}
	config.Clients[0].Audiences = []string{apiResource, deepResource, ownResource}
	config.Clients[4].Scopes, config.Clients[4].Audiences = []string{"read", "introspection"}, []string{apiResource, ownResource}
	config.Clients = append(config.Clients,
		authserver.Client{ID: "api", Secret: secret(t, "api-secret"), MayIntrospect: true, Audiences: []string{apiResource}})
	return config
}

func newResourceServer(t *testing.T) *fixture {
	t.Helper()
	f := newUserServer(t)
	f.configure(t, resourceConfig(t))
	return f
}

// resources adds resources to a form.
func resources(form url.Values, named ...string) url.Values {
	form["resource"] = named
	return form
}

// audience is what a protected resource hears of whom a token is for, or nil if it hears that the token is not active.
func (f *fixture) audience(t *testing.T, id, secret, token string) any {
	t.Helper()
	response, members := f.do(t, request{path: "/oauth2/introspect", user: id, password: secret, form: url.Values{"token": {token}}})
	require.Equal(t, 200, response.StatusCode)
	if members["active"] == false {
		assert.Len(t, members, 1, "J02")
		return nil
	}
	if members["aud"] == nil {
		return "none"
	}
	return members["aud"]
}

func (f *fixture) robotToken(t *testing.T, form url.Values) (status int, token string, members map[string]any) {
	t.Helper()
	response, members := f.do(t, request{path: "/oauth2/token", user: "robot", password: "robot-secret", form: form})
	token, _ = members["access_token"].(string)
	return response.StatusCode, token, members
}

func TestN01ResourcesThatAreRefused(t *testing.T) {
	f := newResourceServer(t)
	for name, resource := range map[string]string{
		"relative": "api.example.com", "a path": "/v1", "a fragment": apiResource + "#x", "an empty fragment": apiResource + "#",
		"no host": "https://", "user information": "https://u@api.example.com", "a space": apiResource + " " + ownResource,
		"N02 unknown": "https://c.example.com", "N02 another scheme": "http://api.example.com", "N02 another port": apiResource + ":8443",
		"N02 a longer path": apiResource + "/v1", "N02 the case of a path": "https://b.example.com/V1?x=1", "N02 without the query": "https://b.example.com/v1",
		"N02 a lookalike": "https://api.example.com.evil.example", "N02 a dot segment": apiResource + "/./", "N02 a wildcard": "https://*",
	} {
		t.Run(name, func(t *testing.T) {
			status, _, members := f.robotToken(t, resources(grant(), resource))
			assert.Equal(t, 400, status)
			assert.Equal(t, "invalid_target", members["error"])
			status, _, members = f.robotToken(t, resources(grant(), apiResource, resource))
			assert.Equal(t, 400, status, "beside a good one")
			assert.Equal(t, "invalid_target", members["error"])
			answer := f.browser().open(t, authorization("resource", resource)).response(t)
			assert.Equal(t, "invalid_target", answer.Get("error"))
			assert.Equal(t, "xyz", answer.Get("state"), "A07")
		})
	}
}

func TestN04TheAudienceIsWhatTheOperatorWrote(t *testing.T) {
	f := newResourceServer(t)
	for name, test := range map[string]struct {
		asked []string
		heard any
	}{
		"none":                            {nil, "none"},
		"empty is absent":                 {[]string{""}, "none"},
		"as it was written":               {[]string{apiResource}, []any{apiResource}},
		"with the slash of a URL library": {[]string{apiResource + "/"}, []any{apiResource}},
		"in capitals":                     {[]string{"HTTPS://API.Example.COM"}, []any{apiResource}},
		"several":                         {[]string{ownResource, apiResource}, []any{ownResource, apiResource}},
		"the same twice":                  {[]string{apiResource, apiResource + "/"}, []any{apiResource}},
	} {
		t.Run(name, func(t *testing.T) {
			status, token, members := f.robotToken(t, resources(grant(), test.asked...))
			require.Equal(t, 200, status, members)
			assert.Equal(t, test.heard, f.audience(t, "api", "api-secret", token), "N02")
		})
	}
}

func TestJ03AProtectedResourceHearsOfItsOwnTokens(t *testing.T) {
	f := newResourceServer(t)
	token := func(named ...string) string {
		status, token, members := f.robotToken(t, resources(grant(), named...))
		require.Equal(t, 200, status, members)
		return token
	}
	inProcess := func(token string) bool {
		answer, err := f.Introspect(t.Context(), introspect.NewToken(token))
		require.NoError(t, err)
		return answer.Active
	}
	forAPI, forOwn, forAll, forNone := token(apiResource), token(ownResource), token(apiResource, ownResource), token()

	assert.NotNil(t, f.audience(t, "api", "api-secret", forAPI))
	assert.NotNil(t, f.audience(t, "api", "api-secret", forAll))
	assert.NotNil(t, f.audience(t, "api", "api-secret", forNone))
	assert.Nil(t, f.audience(t, "api", "api-secret", forOwn), "attack: one resource tries the tokens of another")

	assert.NotNil(t, f.audience(t, "rs", "rs-secret", forOwn), "without audiences of its own it asks in the server's name")
	assert.NotNil(t, f.audience(t, "rs", "rs-secret", forNone))
	assert.Nil(t, f.audience(t, "rs", "rs-secret", forAPI))

	assert.True(t, inProcess(forOwn))
	assert.True(t, inProcess(forAll))
	assert.True(t, inProcess(forNone))
	assert.False(t, inProcess(forAPI), "the gateway of this process is not that resource")

	t.Run("bearers of a token ask in the name of its client", func(t *testing.T) {
		ask := func(credential, token string) (int, any) {
			response, members := f.do(t, request{path: "/oauth2/introspect", header: http.Header{"Authorization": {"Bearer " + credential}}, form: url.Values{"token": {token}}})
			return response.StatusCode, members["active"]
		}
		_, credential, members := f.robotToken(t, grant("scope", "introspection"))
		require.NotEmpty(t, credential, members)
		status, active := ask(credential, forAPI)
		assert.Equal(t, 200, status)
		assert.Equal(t, true, active)
		_, stolen, _ := f.robotToken(t, resources(grant("scope", "introspection"), apiResource))
		status, _ = ask(stolen, forAPI)
		assert.Equal(t, 401, status, "attack: a resource uses a token that it was shown to ask about others")
		_, meant, _ := f.robotToken(t, resources(grant("scope", "introspection"), ownResource))
		status, _ = ask(meant, forAPI)
		assert.Equal(t, 200, status)
	})
	t.Run("a remembered answer does not outlive what the server is", func(t *testing.T) {
		remembered, err := f.Introspect(t.Context(), introspect.NewToken(forOwn))
		require.NoError(t, err)
		memory := source{remembered, nil}
		answer, err := f.Confirm(memory).Introspect(t.Context(), introspect.NewToken(forOwn))
		require.NoError(t, err)
		assert.True(t, answer.Active)
		config := resourceConfig(t)
		config.Resources = []string{"https://new.example.com"}
		f.configure(t, config)
		answer, err = f.Confirm(memory).Introspect(t.Context(), introspect.NewToken(forOwn))
		require.NoError(t, err)
		assert.False(t, answer.Active)
	})
}

func TestN03TokensAreForWhatWasGranted(t *testing.T) {
	f := newResourceServer(t)
	web := func(form url.Values) (status int, access, refresh, fault string) {
		status, members := f.asWeb(t, form)
		access, _ = members["access_token"].(string)
		refresh, _ = members["refresh_token"].(string)
		fault, _ = members["error"].(string)
		return status, access, refresh, fault
	}
	heard := func(token string) any {
		if aud := f.audience(t, "api", "api-secret", token); aud != nil {
			return aud
		}
		return f.audience(t, "rs", "rs-secret", token)
	}
	refreshing := func(token string, named ...string) url.Values {
		return resources(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, named...)
	}
	b := f.browser()
	consent := b.open(t, authorization("resource", apiResource)+"&resource="+url.QueryEscape(ownResource))
	consent = b.submit(t, consent, "username", "alice", "password", password)
	assert.Contains(t, consent.body, "<strong>"+apiResource+"</strong>", "R10: the user sees what the access is to")
	assert.Contains(t, consent.body, "<strong>"+ownResource+"</strong>")
	code := b.submit(t, consent, "decision", "allow").response(t).Get("code")
	require.NotEmpty(t, code)

	status, _, _, fault := web(resources(exchange(code), deepResource))
	assert.Equal(t, 400, status)
	assert.Equal(t, "invalid_target", fault, "E06: the client may have it, and the user has not granted it")
	status, access, refresh, _ := web(resources(exchange(code), ownResource))
	require.Equal(t, 200, status, "the refusal has used nothing up")
	assert.Equal(t, []any{ownResource}, heard(access))

	status, _, _, fault = web(refreshing(refresh, deepResource))
	assert.Equal(t, 400, status)
	assert.Equal(t, "invalid_target", fault, "F06")
	status, access, refresh, _ = web(refreshing(refresh, apiResource))
	require.Equal(t, 200, status, "F06: a resource that the first access token was not for")
	assert.Equal(t, []any{apiResource}, heard(access))
	status, access, refresh, _ = web(refreshing(refresh))
	require.Equal(t, 200, status)
	assert.Equal(t, []any{apiResource, ownResource}, heard(access), "all that was granted, whatever the token before was for")

	t.Run("a resource that the client may no longer have", func(t *testing.T) {
		defer f.configure(t, resourceConfig(t))
		config := resourceConfig(t)
		config.Clients[0].Audiences = []string{ownResource}
		f.configure(t, config)
		status, _, _, fault := web(refreshing(refresh, apiResource))
		assert.Equal(t, 400, status)
		assert.Equal(t, "invalid_target", fault)
		status, access, refresh, _ = web(refreshing(refresh))
		require.Equal(t, 200, status)
		assert.Equal(t, []any{ownResource}, heard(access))
		config.Clients[0].Audiences = nil
		f.configure(t, config)
		status, _, _, fault = web(refreshing(refresh))
		assert.Equal(t, 400, status, "attack: a token that loses its audience would be good everywhere")
		assert.Equal(t, "invalid_target", fault)
	})
	t.Run("attack: a grant for no resource in particular becomes one for a resource", func(t *testing.T) {
		code := f.browser().code(t)
		status, _, _, fault := web(resources(exchange(code), apiResource))
		assert.Equal(t, 400, status)
		assert.Equal(t, "invalid_target", fault)
		status, access, _, _ := web(exchange(code))
		require.Equal(t, 200, status)
		assert.Equal(t, "none", heard(access))
	})
	t.Run("signing in on the way loses none of them", func(t *testing.T) {
		b := f.browser()
		address := authorization("prompt", "consent", "resource", apiResource) + "&resource=" + url.QueryEscape(ownResource)
		b.submit(t, b.open(t, address), "username", "alice", "password", "wrong")
		action, form := b.open(t, address).fill(t, "username", "alice", "password", password)
		consent := b.open(t, b.send(t, http.MethodPost, action, form).Header.Get("Location"))
		code := b.submit(t, consent, "decision", "allow").response(t).Get("code")
		status, access, _, _ := web(exchange(code))
		require.Equal(t, 200, status)
		assert.Equal(t, []any{apiResource, ownResource}, heard(access))
	})
}

func TestResourcesThatAreNoneInTheConfiguration(t *testing.T) {
	for name, change := range map[string]func(*authserver.Config){
		"relative":                    func(c *authserver.Config) { c.Resources = []string{"api"} },
		"one in two spellings":        func(c *authserver.Config) { c.Resources = []string{apiResource, apiResource + "/"} },
		"an audience with a fragment": func(c *authserver.Config) { c.Clients[0].Audiences = []string{apiResource + "#x"} },
	} {
		t.Run(name, func(t *testing.T) {
			config := userConfig(t)
			change(&config)
			_, err := authserver.New(config, nil)
			require.Error(t, err)
		})
	}
}

func TestK06MetadataNamesTheResourcesOfTheServer(t *testing.T) {
	f := newUserServer(t)
	_, members := f.do(t, request{method: "GET", path: "/.well-known/oauth-authorization-server"})
	assert.NotContains(t, members, "protected_resources")
	f.configure(t, resourceConfig(t))
	_, members = f.do(t, request{method: "GET", path: "/.well-known/oauth-authorization-server"})
	assert.Equal(t, []any{ownResource}, members["protected_resources"])
}

package authority_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/authority"
	"github.com/portcullis-gateway/portcullis/cache"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// administer sends a request to the admin endpoint, and returns the status, and the error if it is one.
func administer(t *testing.T, method, path, contentType, body string) (*httptest.ResponseRecorder, string) {
	t.Helper()
	routes := new(authority.Admin).Routes()
	require.Len(t, routes, 1)
	assert.Equal(t, "/introspect/", routes[0].Pattern)
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	recorder := httptest.NewRecorder()
	err := routes[0].Handler.ServeHTTP(recorder, request)
	if err == nil {
		return recorder, ""
	}
	apiError, ok := errors.AsType[caddy.APIError](err)
	require.True(t, ok, err)
	recorder.Code = apiError.HTTPStatus
	return recorder, apiError.Err.Error()
}

func TestPurgeRequests(t *testing.T) {
	const token = "tokenThatNobodyMayRepeat"
	const whatElse = `there is a member beside "token", "sub", "client_id", "authority" and "all"`
	const notJSON = "the body must be one JSON object"
	for _, c := range []struct{ name, body, message string }{
		{"nothing", ``, notJSON},
		{"no object", `"` + token + `"`, notJSON},
		{"a list", `[{"all":true}]`, notJSON},
		{"null", `null`, notJSON},
		{"half an object", `{"token":"` + token, notJSON},
		{"two objects", `{"token":"` + token + `"}{"all":true}`, notJSON},
		{"not UTF-8", "{\"token\":\"" + token + "\xff\"}", notJSON},
		{"an empty object", `{}`, `what is to be forgotten? One of "token", "sub", "client_id", "authority" or "all"`},
		{"an unknown member", `{"` + token + `":true}`, whatElse},
		{"an unknown member beside a known one", `{"token":"` + token + `","tokens":1}`, whatElse},
		{"another case", `{"Token":"` + token + `"}`, whatElse},
		{"twice", `{"token":"` + token + `","token":"b"}`, `"token" is there twice`},
		{"an object in the place of a token", `{"token":{"token":"` + token + `"}}`, `"token" must be a string that is not empty`},
		{"a list of tokens", `{"token":["` + token + `"]}`, `"token" must be a string that is not empty`},
		{"an empty token", `{"token":""}`, `"token" must be a string that is not empty`},
		{"no token", `{"token":null}`, `"token" must be a string that is not empty`},
		{"a number", `{"sub":1}`, `"sub" must be a string that is not empty`},
		{"an empty client", `{"client_id":""}`, `"client_id" must be a string that is not empty`},
		{"an empty authority", `{"authority":""}`, `"authority" must be a string that is not empty`},
		{"an empty authority beside a token", `{"token":"` + token + `","authority":""}`, `"authority" must be a string that is not empty`},
		{"not all", `{"all":false}`, `"all" must be true`},
		{"all in quotes", `{"all":"true"}`, `"all" must be true`},
		{"all of one", `{"all":true,"authority":"a"}`, `"all" excludes "authority", which alone selects all of that authority`},
		{"token and sub", `{"sub":"s","token":"` + token + `"}`, `one of token, sub, not several`},
		{"token and all", `{"token":"` + token + `","all":true}`, `one of token, all, not several`},
		{"everything", `{"token":"` + token + `","sub":"s","client_id":"c"}`, `one of token, sub, client_id, not several`},
		{"an unknown authority", `{"authority":"` + token + `"}`, "no such authority: the configuration has none"},
	} {
		t.Run("refused: "+c.name, func(t *testing.T) {
			got, message := administer(t, http.MethodPost, "/introspect/purge", "application/json", c.body)
			assert.Equal(t, http.StatusBadRequest, got.Code)
			assert.Equal(t, c.message, message)
		})
	}
	for name, contentType := range map[string]string{
		"a form": "application/x-www-form-urlencoded", "text": "text/plain", "none": "", "two": "application/json, text/plain",
	} {
		t.Run("refused: content type "+name, func(t *testing.T) {
			got, _ := administer(t, http.MethodPost, "/introspect/purge", contentType, `{"all":true}`)
			assert.Equal(t, http.StatusUnsupportedMediaType, got.Code)
		})
	}
	t.Run("refused: endless", func(t *testing.T) {
		got, message := administer(t, http.MethodPost, "/introspect/purge", "application/json", `{"token":"`+strings.Repeat("a", 3<<20)+`"}`)
		assert.Equal(t, http.StatusRequestEntityTooLarge, got.Code)
		assert.Equal(t, "more than 2097152 bytes", message)
	})
	for _, body := range []string{`{"all":true}`, ` {"token" : "a"} `, `{"sub":"s"}`, `{"client_id":"c"}`} {
		t.Run("accepted: "+body, func(t *testing.T) {
			got, message := administer(t, http.MethodPost, "/introspect/purge", "application/json; charset=utf-8", body)
			assert.Empty(t, message)
			assert.JSONEq(t, `{"authorities":[],"without_memory":[]}`, got.Body.String())
		})
	}
}

func TestAdminPaths(t *testing.T) {
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{http.MethodGet, "/introspect/", http.StatusOK, ""},
		{http.MethodHead, "/introspect/", http.StatusOK, ""},
		{http.MethodPost, "/introspect/", http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodDelete, "/introspect/", http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodGet, "/introspect/purge", http.StatusMethodNotAllowed, "POST"},
		{http.MethodDelete, "/introspect/purge", http.StatusMethodNotAllowed, "POST"},
		{http.MethodGet, "/introspect/default", http.StatusNotFound, ""},
		{http.MethodPost, "/introspect/purge/all", http.StatusNotFound, ""},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			got, _ := administer(t, c.method, c.path, "application/json", "")
			assert.Equal(t, c.status, got.Code)
			assert.Equal(t, c.allow, got.Header().Get("Allow"))
		})
	}
}

func TestPurge(t *testing.T) {
	s := newServer(t)
	app, _, cancel := registryOf(t, `{"one":`+endpointOf(s.URL+"/1")+`,"two":`+endpointOf(s.URL+"/2")+
		`,"three":{"endpoint":"`+s.URL+`/3","client":{"id":"gateway","secret":"s"},"cache":{"off":true}}}`)
	defer cancel()
	one, err := app.Named("one")
	require.NoError(t, err)
	two, err := app.Named("two")
	require.NoError(t, err)
	token := cache.Selector{Token: introspect.DigestOf("t")}
	for _, c := range []struct {
		name      string
		authority string
		selector  cache.Selector
		purged    authority.Purged
		one, two  introspect.Source
	}{
		{"a token", "", token, authority.Purged{Authorities: []string{"one", "two"}, WithoutMemory: []string{"three"}}, introspect.Miss, introspect.Miss},
		{"a token at one", "one", token, authority.Purged{Authorities: []string{"one"}, WithoutMemory: []string{}}, introspect.Miss, introspect.Memory},
		{"all of one", "two", cache.Selector{All: true}, authority.Purged{Authorities: []string{"two"}, WithoutMemory: []string{}}, introspect.Memory, introspect.Miss},
		{"somebody else", "", cache.Selector{Subject: "bob"}, authority.Purged{Authorities: []string{"one", "two"}, WithoutMemory: []string{"three"}}, introspect.Memory, introspect.Memory},
		{"one without a memory", "three", token, authority.Purged{Authorities: []string{}, WithoutMemory: []string{"three"}}, introspect.Memory, introspect.Memory},
	} {
		t.Run(c.name, func(t *testing.T) {
			ask(t, one)
			ask(t, two)
			purged, err := app.Purge(c.authority, c.selector)
			require.NoError(t, err)
			assert.Equal(t, c.purged, purged)
			assert.Equal(t, c.one, ask(t, one))
			assert.Equal(t, c.two, ask(t, two))
		})
	}
	_, err = app.Purge("four", token)
	assert.EqualError(t, err, "no such authority: there are one, three, two")
}

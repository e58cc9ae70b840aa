package authserver_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
)

const appCallback = "https://app.example.net/cb"

func registrationConfig(t *testing.T) authserver.Config {
	t.Helper()
	config := userConfig(t)
	config.Resources = []string{ownResource}
	config.Registration = &authserver.Registration{Scopes: []string{"read", "write"}, MaxClients: 12}
	return config
}

func newRegistry(t *testing.T) *fixture {
	t.Helper()
	f := newUserServer(t)
	f.configure(t, registrationConfig(t))
	return f
}

// document is a registration request, with changes. A nil value takes a member away.
func document(changes ...object) object {
	d := object{"redirect_uris": []string{appCallback}, "client_name": "An <App>", "token_endpoint_auth_method": "none"}
	for _, change := range changes {
		for name, value := range change {
			if d[name] = value; value == nil {
				delete(d, name)
			}
		}
	}
	return d
}

func (f *fixture) register(t *testing.T, d any, header ...string) (*http.Response, object) {
	t.Helper()
	text, ok := d.(string)
	if !ok {
		encoded, err := json.Marshal(d)
		require.NoError(t, err)
		text = string(encoded)
	}
	r := request{path: "/oauth2/register", header: http.Header{"Content-Type": {"application/json"}}, body: text}
	for i := 0; i < len(header); i += 2 {
		r.header.Set(header[i], header[i+1])
	}
	return f.do(t, r)
}

// registered is a client that has registered itself.
func (f *fixture) registered(t *testing.T, changes ...object) object {
	t.Helper()
	response, members := f.register(t, document(changes...))
	require.Equal(t, 201, response.StatusCode, members)
	return members
}

// registeredTokens are those of a whole flow of a client without credentials.
func (f *fixture) registeredTokens(t *testing.T, id, redirectURI string, pairs ...string) (access, refresh string) {
	t.Helper()
	b := f.browser()
	consent := b.consentPage(t, append([]string{"client_id", id, "redirect_uri", redirectURI, "scope", ""}, pairs...)...)
	code := b.submit(t, consent, "decision", "allow").response(t).Get("code")
	form := exchange(code, "client_id", id, "redirect_uri", redirectURI)
	response, members := f.do(t, request{path: "/oauth2/token", form: form})
	require.Equal(t, 200, response.StatusCode, members)
	access, _ = members["access_token"].(string)
	refresh, _ = members["refresh_token"].(string)
	return access, refresh
}

func TestL02AClientRegistersItself(t *testing.T) {
	f := newRegistry(t)
	response, members := f.register(t, document(object{
		"grant_types": []string{"authorization_code", "refresh_token"}, "client_id": "alice", "client_secret": "mine", "trusted": true,
		"introspect": true, "logo_uri": "https://evil.example/logo.svg", "unknown": object{"a": 1}, "application_type": "web",
	}))
	require.Equal(t, 201, response.StatusCode, members)
	assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
	id := members["client_id"].(string)
	assert.Regexp(t, `^dyn_[A-Za-z0-9_-]{43}$`, id, "L07: the server chooses")
	assert.Equal(t, object{
		"client_id": id, "client_id_issued_at": float64(f.now().Unix()), "client_name": "An <App>", "redirect_uris": []any{appCallback},
		"grant_types": []any{"authorization_code", "refresh_token"}, "response_types": []any{"code"}, "token_endpoint_auth_method": "none",
		"scope": "read write", "application_type": "web", "id_token_signed_response_alg": "RS256",
	}, members, "L02: what is kept, and nothing else")

	access, refresh := f.registeredTokens(t, id, appCallback, "resource", ownResource)
	assert.Equal(t, []any{ownResource}, f.audience(t, "rs", "rs-secret", access), "S05: it may ask for the server's own resources")
	response, members = f.do(t, request{path: "/oauth2/token", form: url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "client_id": {id}}})
	assert.Equal(t, 200, response.StatusCode, members)
	f.configure(t, registrationConfig(t))
	assert.True(t, f.active(t, members["access_token"].(string)), "a reload keeps it")

	f.configure(t, userConfig(t))
	assert.Nil(t, f.Endpoint("/oauth2/register"), "off by default")
	_, metadata := f.do(t, request{method: "GET", path: "/.well-known/oauth-authorization-server"})
	assert.NotContains(t, metadata, "registration_endpoint", "K06")
	f.configure(t, registrationConfig(t))
	_, metadata = f.do(t, request{method: "GET", path: "/.well-known/oauth-authorization-server"})
	assert.Equal(t, issuer+"/oauth2/register", metadata["registration_endpoint"])
	assert.Equal(t, []any{"client_secret_basic", "client_secret_post", "private_key_jwt", "none"}, metadata["token_endpoint_auth_methods_supported"])
}

func TestL03SecretsAreShownOnceAndKeptAsDigests(t *testing.T) {
	f := newRegistry(t)
	for method, ways := range map[string]map[string]int{
		"":                    {"basic": 400, "post": 400},
		"client_secret_basic": {"basic": 400, "post": 401},
		"client_secret_post":  {"basic": 401, "post": 400},
	} {
		t.Run("method "+method, func(t *testing.T) {
			change := object{"token_endpoint_auth_method": method}
			if method == "" {
				change["token_endpoint_auth_method"] = nil
			}
			members := f.registered(t, change)
			id, secret := members["client_id"].(string), members["client_secret"].(string)
			assert.Regexp(t, `^pcs_[A-Za-z0-9_-]{43}$`, secret)
			assert.Equal(t, 0.0, members["client_secret_expires_at"])
			if method == "" {
				assert.Equal(t, "client_secret_basic", members["token_endpoint_auth_method"], "L02: the default")
			}
			records, err := f.store.Records(t.Context(), "party", "", "", 100)
			require.NoError(t, err)
			for _, record := range records {
				assert.NotContains(t, string(record.Value), secret, "Q03")
			}
			// 400 is what comes after authentication: the code is none.
			response, _ := f.do(t, request{path: "/oauth2/token", user: id, password: secret, form: exchange("x")})
			assert.Equal(t, ways["basic"], response.StatusCode)
			response, _ = f.do(t, request{path: "/oauth2/token", form: exchange("x", "client_id", id, "client_secret", secret)})
			assert.Equal(t, ways["post"], response.StatusCode)
			response, _ = f.do(t, request{path: "/oauth2/token", user: id, password: secret + "x", form: exchange("x")})
			assert.Equal(t, 401, response.StatusCode)
			response, _ = f.do(t, request{path: "/oauth2/token", form: exchange("x", "client_id", id)})
			assert.Equal(t, 401, response.StatusCode, "D14")
		})
	}
}

func TestL06KeysOfRegisteredClients(t *testing.T) {
	f := newRegistry(t)
	var set object
	require.NoError(t, json.Unmarshal(jwks(t, publicKey(clientKey, "k1")), &set))
	members := f.registered(t, object{"token_endpoint_auth_method": "private_key_jwt", "jwks": set})
	assert.NotContains(t, members, "client_secret")
	assert.Equal(t, set, members["jwks"])
	id := members["client_id"].(string)
	response, answer := f.do(t, request{path: "/oauth2/token", form: exchange("x", "client_assertion_type", assertionType, "client_assertion", f.byKey(t, object{"iss": id, "sub": id}))})
	assert.Equal(t, "invalid_grant", answer["error"], "it has authenticated: %d", response.StatusCode)
	members = f.registered(t, object{"token_endpoint_auth_method": "none", "jwks": set})
	assert.NotContains(t, members, "jwks", "what is of no use is not kept")
}

func TestL04L05L06L08RegistrationsThatAreRefused(t *testing.T) {
	f := newRegistry(t)
	var set, private object
	require.NoError(t, json.Unmarshal(jwks(t, publicKey(clientKey, "k1")), &set))
	require.NoError(t, json.Unmarshal(jwks(t, jose.JSONWebKey{Key: clientKey}), &private))
	signing := object{"token_endpoint_auth_method": "private_key_jwt"}
	many := make([]string, 21)
	for i := range many {
		many[i] = appCallback + strconv.Itoa(i)
	}
	redirect := func(uri string) object { return document(object{"redirect_uris": []string{uri}}) }
	for name, test := range map[string]struct {
		document any
		code     string
	}{
		"L05 no redirect URI":            {document(object{"redirect_uris": nil}), "invalid_redirect_uri"},
		"L05 too many":                   {document(object{"redirect_uris": many}), "invalid_redirect_uri"},
		"B05 a fragment":                 {redirect(appCallback + "#x"), "invalid_redirect_uri"},
		"B06 http":                       {redirect("http://app.example.net/cb"), "invalid_redirect_uri"},
		"B04 a lookalike of loopback":    {redirect("http://127.0.0.1.evil.example/cb"), "invalid_redirect_uri"},
		"B07 a script":                   {redirect("javascript:alert(1)"), "invalid_redirect_uri"},
		"B07 data":                       {redirect("data:text/html,x"), "invalid_redirect_uri"},
		"B07 a scheme without a dot":     {redirect("myapp:/cb"), "invalid_redirect_uri"},
		"B07 user information":           {redirect("https://u:p@app.example.net/cb"), "invalid_redirect_uri"},
		"B07 a backslash":                {redirect(`https://app.example.net\@evil.example/`), "invalid_redirect_uri"},
		"B07 a line break":               {redirect("https://app.example.net/\r\nX: y"), "invalid_redirect_uri"},
		"B01 a wildcard in the scheme":   {redirect("*://app.example.net"), "invalid_redirect_uri"},
		"L09 a web app on loopback":      {document(object{"application_type": "web", "redirect_uris": []string{"http://localhost:1/cb"}}), "invalid_redirect_uri"},
		"L09 a web app with its scheme":  {document(object{"application_type": "web", "redirect_uris": []string{"com.example.app:/cb"}}), "invalid_redirect_uri"},
		"L09 another kind":               {document(object{"application_type": "robot"}), "invalid_client_metadata"},
		"L04 implicit":                   {document(object{"grant_types": []string{"implicit"}}), "invalid_client_metadata"},
		"L04 password":                   {document(object{"grant_types": []string{"authorization_code", "password"}}), "invalid_client_metadata"},
		"L04 client_credentials":         {document(object{"grant_types": []string{"client_credentials"}}), "invalid_client_metadata"},
		"L04 refresh_token alone":        {document(object{"grant_types": []string{"refresh_token"}}), "invalid_client_metadata"},
		"L04 response_type token":        {document(object{"response_types": []string{"token"}}), "invalid_client_metadata"},
		"L04 one of two response_types":  {document(object{"response_types": []string{"code", "id_token"}}), "invalid_client_metadata"},
		"L04 a software statement":       {document(object{"software_statement": "e30.e30."}), "unapproved_software_statement"},
		"an unknown way to authenticate": {document(object{"token_endpoint_auth_method": "magic"}), "invalid_client_metadata"},
		"H08 signing with the secret":    {document(object{"token_endpoint_auth_method": "client_secret_jwt"}), "invalid_client_metadata"},
		"L06 keys by value and by URL":   {document(signing, object{"jwks": set, "jwks_uri": "https://app.example.net/jwks"}), "invalid_client_metadata"},
		"L06 a private key":              {document(signing, object{"jwks": private}), "invalid_client_metadata"},
		"L06 no keys":                    {document(signing), "invalid_client_metadata"},
		"L06 an empty set":               {document(signing, object{"jwks": object{"keys": []any{}}}), "invalid_client_metadata"},
		"H07 keys over http":             {document(signing, object{"jwks_uri": "http://app.example.net/jwks"}), "invalid_client_metadata"},
		"H07 keys over http on loopback": {document(signing, object{"jwks_uri": "http://127.0.0.1/jwks"}), "invalid_client_metadata"},
		"H07 keys in a file":             {document(signing, object{"jwks_uri": "file:///etc/passwd"}), "invalid_client_metadata"},
		"L10 no scope that it may have":  {document(object{"scope": "admin introspection"}), "invalid_client_metadata"},
		"L08 a name that is too long":    {document(object{"client_name": strings.Repeat("é", 101)}), "invalid_client_metadata"},
		"L08 a name that turns round":    {document(object{"client_name": "My Bank\u202e"}), "invalid_client_metadata"},
		"L08 a name with a line break":   {document(object{"client_name": "a\nb"}), "invalid_client_metadata"},
		"a member of another kind":       {document(object{"redirect_uris": appCallback}), "invalid_client_metadata"},
		"a member twice":                 {`{"redirect_uris":["` + appCallback + `"],"redirect_uris":["https://evil.example/"]}`, "invalid_client_metadata"},
		"no object":                      {"[]", "invalid_client_metadata"},
		"null":                           {"null", "invalid_client_metadata"},
		"no JSON":                        {"redirect_uris=x", "invalid_client_metadata"},
		"two values":                     {"{}{}", "invalid_client_metadata"},
		"a document with nothing in it":  {"{}", "invalid_redirect_uri"},
	} {
		t.Run(name, func(t *testing.T) {
			f.nanos.Add(int64(time.Hour)) // or there would be too many
			response, members := f.register(t, test.document)
			assert.Equal(t, 400, response.StatusCode)
			assert.Equal(t, test.code, members["error"], members["error_description"])
			assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
		})
	}
	response, _ := f.register(t, `{"client_name":"`+strings.Repeat("x", 40<<10)+`"}`)
	assert.Equal(t, 413, response.StatusCode, "L10")
	response, _ = f.register(t, document(), "Content-Type", "application/x-www-form-urlencoded")
	assert.Equal(t, 400, response.StatusCode)
	response, _ = f.do(t, request{method: "GET", path: "/oauth2/register"})
	assert.Equal(t, 405, response.StatusCode, "L01")
	records, err := f.store.Records(t.Context(), "party", "", "", 10)
	require.NoError(t, err)
	assert.Empty(t, records)
}

func TestL09L10WhatIsChangedOrLeftOut(t *testing.T) {
	f := newRegistry(t)
	for name, test := range map[string]struct {
		change object
		member string
		kept   any
	}{
		"L10 scopes beyond the ceiling":          {object{"scope": "admin write introspection"}, "scope", "write"},
		"L04 a grant of an extension":            {object{"grant_types": []string{"authorization_code", "urn:ietf:params:oauth:grant-type:device_code"}}, "grant_types", []any{"authorization_code"}},
		"a redirect URI twice":                   {object{"redirect_uris": []string{appCallback, appCallback}}, "redirect_uris", []any{appCallback}},
		"L09 an app on loopback, without a kind": {object{"redirect_uris": []string{"http://localhost:33418/"}}, "redirect_uris", []any{"http://localhost:33418/"}},
		"L09 a native app":                       {object{"application_type": "native", "redirect_uris": []string{"com.example.app:/cb"}}, "application_type", "native"},
		"no name":                                {object{"client_name": nil}, "client_name", nil},
		"L02 no grants":                          {nil, "grant_types", []any{"authorization_code"}},
	} {
		t.Run(name, func(t *testing.T) {
			members := f.registered(t, test.change)
			assert.Equal(t, test.kept, members[test.member])
		})
	}
}

func TestL01TheInitialAccessToken(t *testing.T) {
	f, config := newUserServer(t), registrationConfig(t)
	config.Registration.Token = secret(t, "initial-access-token")
	f.configure(t, config)
	response, _ := f.register(t, document())
	assert.Equal(t, 401, response.StatusCode)
	assert.Equal(t, `Bearer realm="authorization server"`, response.Header.Get("WWW-Authenticate"))
	for _, wrong := range []string{"Bearer ", "Bearer initial-access-toke", "Bearer initial-access-tokens", "Bearer x"} {
		response, members := f.register(t, document(), "Authorization", wrong)
		assert.Equal(t, 401, response.StatusCode, wrong)
		assert.Equal(t, "invalid_token", members["error"])
		assert.Contains(t, response.Header.Get("WWW-Authenticate"), `error="invalid_token"`)
	}
	response, members := f.register(t, document(), "Authorization", "Bearer initial-access-token")
	assert.Equal(t, 201, response.StatusCode, members)
	response, _ = f.register(t, document(), "Authorization", "Basic initial-access-token")
	assert.Equal(t, 401, response.StatusCode)
	for range 16 {
		f.register(t, document(), "Authorization", "Bearer guess")
	}
	response, _ = f.register(t, document(), "Authorization", "Bearer guess")
	assert.Equal(t, 429, response.StatusCode, "attack: guessing it")
	response, _ = f.register(t, document(), "Authorization", "Bearer initial-access-token")
	assert.Equal(t, 201, response.StatusCode, "who has it is not held up")
}

func TestL10RegistrationsAreBounded(t *testing.T) {
	t.Run("attack: somebody registers as many as he can", func(t *testing.T) {
		f, config := newUserServer(t), registrationConfig(t)
		config.Registration.MaxClients = 1000
		var address string
		config.ClientAddress = func(*http.Request) string { return address }
		f.configure(t, config)
		for i := range 20 {
			address = "2001:db8::" + strconv.Itoa(i)
			f.registered(t)
		}
		response, _ := f.register(t, document())
		assert.Equal(t, 429, response.StatusCode)
		assert.Equal(t, "30", response.Header.Get("Retry-After"))
		address = "198.51.100.1"
		f.registered(t)
	})
	t.Run("there are no more than the operator wants", func(t *testing.T) {
		f, config := newUserServer(t), registrationConfig(t)
		config.Registration.MaxClients, config.Registration.ExpireUnused = 2, 48*time.Hour
		f.configure(t, config)
		first := f.registered(t)
		f.registered(t)
		response, members := f.register(t, document())
		assert.Equal(t, 503, response.StatusCode)
		assert.Equal(t, "temporarily_unavailable", members["error"])
		access, refresh := f.registeredTokens(t, first["client_id"].(string), appCallback)
		assert.Empty(t, refresh, "F10")
		require.True(t, f.active(t, access))
		f.nanos.Add(int64(36 * time.Hour))
		f.registeredTokens(t, first["client_id"].(string), appCallback)
		f.nanos.Add(int64(13 * time.Hour))
		f.registered(t) // in the place of the second one, which nobody has used
		f.registeredTokens(t, first["client_id"].(string), appCallback)
		f.nanos.Add(int64(49 * time.Hour))
		assert.Equal(t, 400, f.browser().open(t, authorization("client_id", first["client_id"].(string), "redirect_uri", appCallback)).StatusCode, "and then nobody used the first one either")
	})
	t.Run("race: many at once", func(t *testing.T) {
		f, config := newUserServer(t), registrationConfig(t)
		config.Registration.MaxClients = 3
		f.configure(t, config)
		var race sync.WaitGroup
		var told sync.Map
		start := make(chan struct{})
		for i := range 15 {
			race.Go(func() {
				<-start
				if response, members := f.register(t, document()); response.StatusCode == 201 {
					told.Store(i, members["client_id"])
				}
			})
		}
		close(start)
		race.Wait()
		records, err := f.store.Records(t.Context(), "party", "registered", "", 100)
		require.NoError(t, err)
		assert.LessOrEqual(t, len(records), 3)
		count := 0
		told.Range(func(any, any) bool { count++; return true })
		assert.Equal(t, len(records), count, "who was told of a client has it")
	})
}

func TestAttackARegisteredClientWantsMoreThanItMayHave(t *testing.T) {
	f := newRegistry(t)
	members := f.registered(t, object{"token_endpoint_auth_method": "client_secret_basic", "grant_types": []string{"authorization_code", "refresh_token"}})
	id, secret := members["client_id"].(string), members["client_secret"].(string)
	token := func(form url.Values) any {
		_, members := f.do(t, request{path: "/oauth2/token", user: id, password: secret, form: form})
		return members["error"]
	}
	assert.Equal(t, "unauthorized_client", token(grant()))
	response, _ := f.do(t, request{path: "/oauth2/introspect", user: id, password: secret, form: url.Values{"token": {"x"}}})
	assert.Equal(t, 403, response.StatusCode)

	t.Run("a scope that was taken out of the ceiling since", func(t *testing.T) {
		public := f.registered(t)["client_id"].(string)
		access, _ := f.registeredTokens(t, public, appCallback)
		assert.Equal(t, "read write", f.introspectionAt(t, "rs", access)["scope"])
		config := registrationConfig(t)
		config.Registration.Scopes = []string{"read"}
		f.configure(t, config)
		access, _ = f.registeredTokens(t, public, appCallback)
		assert.Equal(t, "read", f.introspectionAt(t, "rs", access)["scope"])
	})
	t.Run("tokens for the resource of somebody else", func(t *testing.T) {
		public := f.registered(t)["client_id"].(string)
		got := f.browser().open(t, authorization("client_id", public, "redirect_uri", appCallback, "scope", "read", "resource", apiResource))
		assert.Equal(t, 400, got.StatusCode)
		assert.Contains(t, got.body, "invalid_target")
	})
}

func (f *fixture) introspectionAt(t *testing.T, id, token string) object {
	t.Helper()
	_, members := f.do(t, request{path: "/oauth2/introspect", user: id, password: id + "-secret", form: url.Values{"token": {token}}})
	return members
}

func TestL08TheUserSeesThatNobodyVouchesForTheClient(t *testing.T) {
	f := newRegistry(t)
	id := f.registered(t, object{"client_name": "Your Bank <b>"})["client_id"].(string)
	b := f.browser()
	login := b.open(t, authorization("client_id", id, "redirect_uri", appCallback, "scope", "read"))
	assert.Contains(t, login.body, "Your Bank &lt;b&gt; (unverified)")
	consent := b.submit(t, login, "username", "alice", "password", password)
	assert.Contains(t, consent.body, "has registered itself")
	assert.Contains(t, consent.body, "<strong>app.example.net</strong>", "R10: where the user would go")
	b.submit(t, consent, "decision", "allow")
	assert.Contains(t, b.open(t, authorization("client_id", id, "redirect_uri", appCallback, "scope", "read")).body, "Allow", "R11: asked every time")
	assert.NotContains(t, b.consentPage(t).body, "registered itself", "the operator's own clients are not suspected")
}

// Anybody can register a client, send links to this server, and hope that it sends people on to him.
func TestR14AttackTheServerAsAnOpenRedirector(t *testing.T) {
	f := newRegistry(t)
	id := f.registered(t, object{"redirect_uris": []string{"https://evil.example/phish"}})["client_id"].(string)
	link := func(pairs ...string) string {
		return authorization(append([]string{"client_id", id, "redirect_uri", "https://evil.example/phish", "scope", "read"}, pairs...)...)
	}
	signedIn := f.browser()
	signedIn.consentPage(t)
	for name, b := range map[string]*browser{"somebody who is not signed in": f.browser(), "somebody who is": signedIn} {
		for _, pairs := range [][]string{
			{"scope", "root"},
			{"response_type", "token"},
			{"response_type", ""},
			{"prompt", "none"},
			{"code_challenge", ""},
			{"request", "x"},
			{"resource", "https://c.example.com"},
			{"response_mode", "fragment"},
			{"scope", "root", "response_mode", "form_post"},
		} {
			t.Run(name+" "+strings.Join(pairs, " "), func(t *testing.T) {
				got := b.open(t, link(pairs...))
				assert.Equal(t, 400, got.StatusCode)
				assert.Empty(t, got.Header.Get("Location"))
				assert.NotContains(t, got.body, "evil.example")
			})
		}
	}
	answer := signedIn.submit(t, signedIn.open(t, link()), "decision", "deny").response(t)
	assert.Equal(t, "access_denied", answer.Get("error"), "who has read the page and denies may go there")
}

func TestRegistrationOutlivesARestart(t *testing.T) {
	f := newRegistry(t)
	members := f.registered(t, object{"token_endpoint_auth_method": "client_secret_basic"})
	config := registrationConfig(t)
	config.Now = f.now
	again, err := authserver.New(config, f.store)
	require.NoError(t, err)
	g := &fixture{Server: again, store: f.store}
	g.nanos.Store(f.nanos.Load())
	_, answer := g.do(t, request{path: "/oauth2/token", user: members["client_id"].(string), password: members["client_secret"].(string), form: exchange("x")})
	assert.Equal(t, "invalid_grant", answer["error"], "it has authenticated")
}

func TestRegistrationsThatAreNoneInTheConfiguration(t *testing.T) {
	for name, registration := range map[string]authserver.Registration{
		"introspection": {Scopes: []string{"introspection"}}, "a bad scope": {Scopes: []string{"a b"}}, "too many": {MaxClients: 1 << 20},
		"a negative number": {MaxClients: -1}, "too short a life": {ExpireUnused: time.Hour}, "a negative life": {ExpireUnused: -1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := authserver.New(authserver.Config{Issuer: issuer, Registration: &registration}, nil)
			require.ErrorContains(t, err, "registration")
		})
	}
}

func TestAFaultOfTheStoreWhileAClientRegisters(t *testing.T) {
	f := newRegistry(t)
	require.NoError(t, f.store.Close())
	response, members := f.register(t, document())
	assert.Equal(t, 503, response.StatusCode)
	assert.Equal(t, "temporarily_unavailable", members["error"])
}

// The attacker registers a client, signs in to it himself, and puts his own ID token into links for others.
func TestR14AttackSigningOutAsAnOpenRedirector(t *testing.T) {
	f, config := newUserServer(t), registrationConfig(t)
	config.Registration.Scopes = []string{"openid"}
	f.configure(t, config)
	const phish = "https://evil.example/phish"
	id := f.registered(t, object{"redirect_uris": []string{phish}})["client_id"].(string)
	b := f.browser()
	consent := b.consentPage(t, "client_id", id, "redirect_uri", phish, "scope", "openid")
	code := b.submit(t, consent, "decision", "allow").response(t).Get("code")
	_, members := f.do(t, request{path: "/oauth2/token", form: exchange(code, "client_id", id, "redirect_uri", phish)})
	hint := members["id_token"].(string)
	header, err := base64.RawURLEncoding.DecodeString(strings.Split(hint, ".")[0])
	require.NoError(t, err)
	assert.Contains(t, string(header), `"RS256"`, "P02: the default of OpenID Connect Registration")

	got := f.browser().open(t, issuer+"/oauth2/logout?"+url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {phish}}.Encode())
	assert.Equal(t, 200, got.StatusCode)
	assert.Empty(t, got.Header.Get("Location"))
	assert.Contains(t, got.body, "evil.example", "the user sees where a link goes")
	_, metadata := f.do(t, request{method: "GET", path: "/.well-known/oauth-authorization-server"})
	assert.Contains(t, metadata["scopes_supported"], "openid", "S09")
}

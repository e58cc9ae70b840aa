package authserver_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/dpop"
	"github.com/portcullis-gateway/portcullis/internal/testdpop"
	"github.com/portcullis-gateway/portcullis/introspect"
)

const (
	tokenURL      = issuer + "/oauth2/token"
	introspectURL = issuer + "/oauth2/introspect"
)

// possessionConfig is userConfig with clients for each way to be bound.
func possessionConfig(t *testing.T) authserver.Config {
	t.Helper()
	config := userConfig(t)
	code := []string{authserver.GrantAuthorizationCode, authserver.GrantRefreshToken}
	own := []string{authserver.GrantClientCredentials, authserver.GrantJWTBearer}
	config.Clients = append(config.Clients,
		authserver.Client{ID: "spa", Auth: authserver.AuthNone, Grants: code, RedirectURIs: []string{callback}, Scopes: []string{"read", "write", "openid"}},
		authserver.Client{ID: "machine", Secret: secret(t, "machine-secret"), Grants: own, Scopes: []string{"read", "introspection"}, DefaultScopes: []string{"read"}},
		authserver.Client{ID: "strict", Secret: secret(t, "strict-secret"), Grants: append(own, code...), RedirectURIs: []string{callback}, Scopes: []string{"read"}, DPoPBound: true},
	)
	config.AssertionIssuers = []authserver.AssertionIssuer{{Issuer: partner, Keys: keySet(t, publicKey(partnerKey, "p1")), Scopes: []string{"read"}}}
	return config
}

func newPossessionServer(t *testing.T) *fixture {
	t.Helper()
	f := newUserServer(t)
	f.configure(t, possessionConfig(t))
	return f
}

// proof proves possession of a key for a request to the token endpoint.
func (f *fixture) proof(t *testing.T, key *testdpop.Key, edits ...testdpop.Edit) string {
	t.Helper()
	return f.proofFor(t, key, tokenURL, edits...)
}

func (f *fixture) proofFor(t *testing.T, key *testdpop.Key, target string, edits ...testdpop.Edit) string {
	t.Helper()
	return key.Proof(t, http.MethodPost, target, append([]testdpop.Edit{testdpop.Claim("iat", f.now().Unix())}, edits...)...)
}

// exchanging sends a form to the token endpoint as a client, a public one without a secret, with proofs.
func (f *fixture) exchanging(t *testing.T, client string, form url.Values, proofs ...string) (*http.Response, map[string]any) {
	t.Helper()
	r := request{path: "/oauth2/token", user: client, password: client + "-secret", form: form, header: http.Header{"Dpop": proofs}}
	if client == "spa" {
		form.Set("client_id", client)
		r.user = ""
	}
	return f.do(t, r)
}

// granted is exchanging that has to succeed.
func (f *fixture) granted(t *testing.T, client string, form url.Values, proofs ...string) (access, refresh string) {
	t.Helper()
	response, members := f.exchanging(t, client, form, proofs...)
	require.Equal(t, 200, response.StatusCode, members)
	refresh, _ = members["refresh_token"].(string)
	return members["access_token"].(string), refresh
}

// refused is exchanging that has to be refused with a code.
func (f *fixture) refused(t *testing.T, code, client string, form url.Values, proofs ...string) {
	t.Helper()
	response, members := f.exchanging(t, client, form, proofs...)
	assert.Equal(t, 400, response.StatusCode, "O02: 401 is for protected resources")
	assert.Equal(t, code, members["error"], members)
	assert.NotContains(t, members, "access_token")
	assert.Empty(t, response.Header.Get("WWW-Authenticate"), "O02")
}

func refreshing(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

// boundTo is the key that introspection says a token is bound to, or nil.
func (f *fixture) boundTo(t *testing.T, token string) any {
	t.Helper()
	answer := f.introspection(t, token)
	require.Equal(t, true, answer["active"])
	confirmation, bound := answer["cnf"].(map[string]any)
	if !bound {
		assert.NotContains(t, answer, "cnf")
		assert.Equal(t, "Bearer", answer["token_type"])
		return nil
	}
	assert.Equal(t, "DPoP", answer["token_type"], "J05")
	assert.Len(t, confirmation, 1)
	return confirmation["jkt"]
}

func TestO01J05AProofBindsTheToken(t *testing.T) {
	f := newPossessionServer(t)
	b := f.browser()
	assertion := func() url.Values {
		return jwtBearer(sign(t, jose.ES256, partnerKey, object{"kid": "p1"}, f.claims(t, partner)))
	}
	for name, test := range map[string]struct {
		client string
		form   func() url.Values
	}{
		"a code":             {"web", func() url.Values { return exchange(b.code(t)) }},
		"a refresh token":    {"web", func() url.Values { _, refresh := b.tokens(t); return refreshing(refresh) }},
		"client credentials": {"machine", func() url.Values { return grant() }},
		"an assertion":       {"machine", assertion},
	} {
		t.Run(name, func(t *testing.T) {
			key := testdpop.NewKey(t)
			response, members := f.exchanging(t, test.client, test.form(), f.proof(t, key))
			require.Equal(t, 200, response.StatusCode, members)
			assert.Equal(t, "DPoP", members["token_type"])
			assert.Equal(t, key.JKT(), f.boundTo(t, members["access_token"].(string)))

			response, members = f.exchanging(t, test.client, test.form())
			require.Equal(t, 200, response.StatusCode, members)
			assert.Equal(t, "Bearer", members["token_type"], "without a proof")
			assert.Nil(t, f.boundTo(t, members["access_token"].(string)))
		})
	}
	t.Run("the gateway of the same process hears of it", func(t *testing.T) {
		key := testdpop.NewKey(t)
		access, _ := f.granted(t, "machine", grant(), f.proof(t, key))
		answer, err := f.Introspect(t.Context(), introspect.NewToken(access))
		require.NoError(t, err)
		assert.True(t, answer.Bound)
		jkt, _ := answer.Claim("cnf.jkt")
		assert.Equal(t, key.JKT(), jkt)
	})
	t.Run("a proof for any other URL of this one endpoint", func(t *testing.T) {
		f.granted(t, "machine", grant(), f.proofFor(t, testdpop.NewKey(t), "HTTPS://AUTH.example.com:443/oauth2/./token?x=1"))
	})
	t.Run("O07 a nonce that nobody has asked for means nothing", func(t *testing.T) {
		response, members := f.exchanging(t, "machine", grant(), f.proof(t, testdpop.NewKey(t), testdpop.Nonce("anything")))
		assert.Equal(t, 200, response.StatusCode, members)
		assert.Empty(t, response.Header.Get("DPoP-Nonce"))
	})
	t.Run("the metadata say so", func(t *testing.T) {
		_, members := f.do(t, request{method: "GET", path: "/.well-known/oauth-authorization-server"})
		algorithms := members["dpop_signing_alg_values_supported"]
		assert.Contains(t, algorithms, "ES256")
		assert.Len(t, algorithms, len(dpop.Algorithms()))
	})
}

func TestO02AttackAProofThatProvesNothing(t *testing.T) {
	f := newPossessionServer(t)
	key, other := testdpop.NewKey(t), testdpop.NewKey(t)
	good := func() string { return f.proof(t, key) }
	forms := map[string]func() url.Values{
		"spa": func() url.Values { return exchange(f.browser().code(t, "client_id", "spa")) }, "machine": func() url.Values { return grant() },
	}
	for client, form := range forms {
		one := form()
		for name, proofs := range map[string][]string{
			"two headers":                   {good(), good()},
			"an empty header":               {""},
			"two proofs in one header":      {good() + ", " + good()},
			"something else":                {"DPoP"},
			"another method":                {f.proof(t, key, testdpop.Claim("htm", "GET"))},
			"no method":                     {f.proof(t, key, testdpop.Claim("htm", nil))},
			"another endpoint":              {f.proofFor(t, key, introspectURL)},
			"another server":                {f.proofFor(t, key, "https://other.example.com/oauth2/token")},
			"the Host that a client writes": {f.proofFor(t, key, "http://evil.example/oauth2/token")},
			"no URL":                        {f.proof(t, key, testdpop.Claim("htu", nil))},
			"an old one":                    {f.proof(t, key, testdpop.Claim("iat", f.now().Add(-time.Minute).Unix()))},
			"one of the future":             {f.proof(t, key, testdpop.Claim("iat", f.now().Add(time.Minute).Unix()))},
			"no time":                       {f.proof(t, key, testdpop.Claim("iat", nil))},
			"no jti":                        {f.proof(t, key, testdpop.Claim("jti", nil))},
			"a JWT of another type":         {f.proof(t, key, testdpop.Header("typ", "JWT"))},
			"no signature":                  {f.proof(t, key, testdpop.Header("alg", "none"))},
			"a shared secret":               {f.proof(t, key, testdpop.Header("alg", "HS256"))},
			"a private key":                 {f.proof(t, key, testdpop.Header("jwk", key.PrivateJWK()))},
			"somebody else's key":           {f.proof(t, key, testdpop.Header("jwk", other.JWK()))},
			"no key":                        {f.proof(t, key, testdpop.Header("jwk", nil))},
		} {
			t.Run(client+": "+name, func(t *testing.T) { f.refused(t, "invalid_dpop_proof", client, one, proofs...) })
		}
		access, _ := f.granted(t, client, one, good())
		assert.Equal(t, key.JKT(), f.boundTo(t, access), "%s: none of this has used anything up", client)
	}
}

func TestO03AttackTheRefreshTokenOfAPublicClientIsStolen(t *testing.T) {
	f := newPossessionServer(t)
	key, thief := testdpop.NewKey(t), testdpop.NewKey(t)
	access, refresh := f.granted(t, "spa", exchange(f.browser().code(t, "client_id", "spa")), f.proof(t, key))
	stolen := func() {
		t.Helper()
		f.refused(t, "invalid_dpop_proof", "spa", refreshing(refresh))
		f.refused(t, "invalid_grant", "spa", refreshing(refresh), f.proof(t, thief))
		f.refused(t, "invalid_dpop_proof", "spa", refreshing(refresh), f.proof(t, thief, testdpop.Header("jwk", key.JWK())))
		assert.True(t, f.active(t, access), "nobody is punished for what a thief does")
	}
	stolen()
	second, next := f.granted(t, "spa", refreshing(refresh), f.proof(t, key))
	assert.Equal(t, key.JKT(), f.boundTo(t, second))
	stolen()
	assert.True(t, f.active(t, second))
	f.refused(t, "invalid_grant", "spa", refreshing(next), f.proof(t, thief))
	third, _ := f.granted(t, "spa", refreshing(next), f.proof(t, key))

	f.refused(t, "invalid_grant", "spa", refreshing(refresh), f.proof(t, key))
	for _, token := range []string{access, second, third} {
		assert.False(t, f.active(t, token), "E03: whoever has the key and uses a token again is one of two who have it")
	}
}

func TestO03TheRefreshTokenOfAConfidentialClientIsNotBound(t *testing.T) {
	f := newPossessionServer(t)
	first, second := testdpop.NewKey(t), testdpop.NewKey(t)
	access, refresh := f.granted(t, "web", exchange(f.browser().code(t)), f.proof(t, first))
	assert.Equal(t, first.JKT(), f.boundTo(t, access))
	access, refresh = f.granted(t, "web", refreshing(refresh), f.proof(t, second))
	assert.Equal(t, second.JKT(), f.boundTo(t, access))
	access, _ = f.granted(t, "web", refreshing(refresh))
	assert.Nil(t, f.boundTo(t, access))
}

func TestO03ThePublicClientThatBeginsToProve(t *testing.T) {
	f := newPossessionServer(t)
	key := testdpop.NewKey(t)
	_, refresh := f.granted(t, "spa", exchange(f.browser().code(t, "client_id", "spa")))
	_, refresh = f.granted(t, "spa", refreshing(refresh), f.proof(t, key))
	f.refused(t, "invalid_dpop_proof", "spa", refreshing(refresh))
	f.granted(t, "spa", refreshing(refresh), f.proof(t, key))
}

func TestO04AttackATokenThatIsNotBoundOfAClientThatDemandsIt(t *testing.T) {
	f := newPossessionServer(t)
	key := testdpop.NewKey(t)
	code := exchange(f.browser().code(t, "client_id", "strict", "scope", "read"))
	assertion := jwtBearer(sign(t, jose.ES256, partnerKey, object{"kid": "p1"}, f.claims(t, partner)))
	for _, form := range []url.Values{grant(), code, assertion} {
		f.refused(t, "invalid_dpop_proof", "strict", form)
		access, refresh := f.granted(t, "strict", form, f.proof(t, key))
		assert.Equal(t, key.JKT(), f.boundTo(t, access))
		if refresh != "" {
			f.refused(t, "invalid_dpop_proof", "strict", refreshing(refresh))
			f.granted(t, "strict", refreshing(refresh), f.proof(t, testdpop.NewKey(t)))
		}
	}
}

func TestO05AttackACodeThatIsBoundToAKeyIsStolen(t *testing.T) {
	f := newPossessionServer(t)
	key, thief := testdpop.NewKey(t), testdpop.NewKey(t)
	for _, client := range []string{"spa", "web"} {
		code := f.browser().code(t, "client_id", client, "dpop_jkt", key.JKT())
		f.refused(t, "invalid_dpop_proof", client, exchange(code))
		f.refused(t, "invalid_grant", client, exchange(code), f.proof(t, thief))
		access, _ := f.granted(t, client, exchange(code), f.proof(t, key))
		assert.Equal(t, key.JKT(), f.boundTo(t, access), "none of this has used the code up")

		f.refused(t, "invalid_dpop_proof", client, exchange(code))
		f.refused(t, "invalid_grant", client, exchange(code), f.proof(t, thief))
		assert.True(t, f.active(t, access), "a thief without the key does not end the session")
		f.refused(t, "invalid_grant", client, exchange(code), f.proof(t, key))
		assert.False(t, f.active(t, access), "E03")
	}
}

func TestO05AParameterThatIsNoThumbprint(t *testing.T) {
	f := newPossessionServer(t)
	jkt := testdpop.NewKey(t).JKT()
	for name, address := range map[string]string{
		"too short": authorization("dpop_jkt", jkt[1:]),
		"padded":    authorization("dpop_jkt", jkt+"="),
		"base64":    authorization("dpop_jkt", "+/"+jkt[2:]),
		"two":       authorization("dpop_jkt", jkt) + "&dpop_jkt=" + jkt,
	} {
		assert.Equal(t, "invalid_request", f.browser().open(t, address).response(t).Get("error"), name)
	}
}

func TestO08AttackAProofIsUsedAgain(t *testing.T) {
	f := newPossessionServer(t)
	config := possessionConfig(t)
	config.State = authserver.NewState(f.store, authserver.StateConfig{Now: f.now})
	f.configure(t, config)
	used := f.proof(t, testdpop.NewKey(t))
	f.granted(t, "machine", grant(), used)
	f.refused(t, "invalid_dpop_proof", "machine", grant(), used)
	f.refused(t, "invalid_dpop_proof", "strict", grant(), used)
	f.configure(t, config)
	f.refused(t, "invalid_dpop_proof", "machine", grant(), used)
	f.nanos.Add(int64(time.Minute))
	f.refused(t, "invalid_dpop_proof", "machine", grant(), used)
}

func TestO08AttackAProofIsUsedAtTwoServersOfOneStore(t *testing.T) {
	f, second := newPossessionServer(t), new(fixture)
	second.store = f.store
	second.nanos.Store(f.nanos.Load())
	for _, one := range []*fixture{f, second} {
		config := possessionConfig(t)
		config.State = authserver.NewState(f.store, authserver.StateConfig{Shared: true, Now: f.now})
		one.configure(t, config)
	}
	used := f.proof(t, testdpop.NewKey(t))
	f.granted(t, "machine", grant(), used)
	second.refused(t, "invalid_dpop_proof", "machine", grant(), used)
	_, err := f.store.Sweep(t.Context(), f.now().Add(time.Minute+30*time.Second), 1000)
	require.NoError(t, err)
	second.refused(t, "invalid_dpop_proof", "machine", grant(), used)
}

func TestO08ARefusedRequestDoesNotUseTheProofUp(t *testing.T) {
	f := newPossessionServer(t)
	proof := f.proof(t, testdpop.NewKey(t))
	f.refused(t, "invalid_grant", "spa", exchange("pac_unknown"), proof)
	f.refused(t, "invalid_grant", "spa", refreshing("prt_unknown"), proof)
	f.refused(t, "invalid_scope", "machine", grant("scope", "admin"), proof)
	f.refused(t, "unauthorized_client", "spa", grant(), proof)
	f.refused(t, "invalid_grant", "machine", jwtBearer("nonsense"), proof)
	f.granted(t, "machine", grant(), proof)
}

// forgetful is a store that cannot say whether a value was used.
type forgetful struct{ store.Store }

var errForgetful = errors.New("no telling")

func (forgetful) PutOnce(context.Context, string, time.Time) error { return errForgetful }

func TestO08WithoutTellingWhetherAProofWasUsedNobodyGetsAToken(t *testing.T) {
	f := newPossessionServer(t)
	config := possessionConfig(t)
	config.State = authserver.NewState(forgetful{f.store}, authserver.StateConfig{Shared: true, Now: f.now})
	f.configure(t, config)
	code := exchange(f.browser().code(t, "client_id", "spa"))
	proof := f.proof(t, testdpop.NewKey(t))
	for client, form := range map[string]url.Values{"machine": grant(), "spa": code} {
		response, members := f.exchanging(t, client, form, proof)
		assert.Equal(t, 503, response.StatusCode)
		assert.Equal(t, "temporarily_unavailable", members["error"])
		assert.NotEmpty(t, response.Header.Get("Retry-After"))
	}
	f.configure(t, possessionConfig(t))
	f.granted(t, "spa", code, proof)
}

func TestO08AttackFiftyRequestsRaceWithOneProof(t *testing.T) {
	for name, shared := range map[string]bool{"a store of its own": false, "a store that others use": true} {
		t.Run(name, func(t *testing.T) {
			f := newPossessionServer(t)
			config := possessionConfig(t)
			config.State = authserver.NewState(f.store, authserver.StateConfig{Shared: shared, Now: f.now})
			f.configure(t, config)
			for grantName, form := range map[string]url.Values{
				"client credentials": grant(), "code": exchange(f.browser().code(t)),
			} {
				client := map[string]string{"client credentials": "machine", "code": "web"}[grantName]
				proof := f.proof(t, testdpop.NewKey(t))
				statuses := make(chan int, 50)
				var running sync.WaitGroup
				for range cap(statuses) {
					running.Go(func() {
						response, _ := f.exchanging(t, client, form, proof)
						statuses <- response.StatusCode
					})
				}
				running.Wait()
				close(statuses)
				count := make(map[int]int)
				for status := range statuses {
					count[status]++
				}
				assert.Equal(t, map[int]int{200: 1, 400: 49}, count, grantName)
			}
		})
	}
}

func TestAttackABoundTokenAtTheServersOwnEndpoint(t *testing.T) {
	f := newPossessionServer(t)
	key, thief := testdpop.NewKey(t), testdpop.NewKey(t)
	bound, _ := f.granted(t, "machine", grant("scope", "introspection"), f.proof(t, key))
	plain, _ := f.granted(t, "machine", grant("scope", "introspection"))
	lesser, _ := f.granted(t, "machine", grant("scope", "read"), f.proof(t, key))
	ask := func(line string, proofs ...string) (*http.Response, map[string]any) {
		return f.do(t, request{
			path: "/oauth2/introspect", form: url.Values{"token": {lesser}},
			header: http.Header{"Authorization": {line}, "Dpop": proofs},
		})
	}
	proof := func(key *testdpop.Key, edits ...testdpop.Edit) string {
		return f.proofFor(t, key, introspectURL, append([]testdpop.Edit{testdpop.Token(bound)}, edits...)...)
	}
	used := proof(key)
	for _, line := range []string{"DPoP " + bound, "dpop " + bound, "DPOP  " + bound} {
		sent := used
		if line != "DPoP "+bound {
			sent = proof(key)
		}
		response, members := ask(line, sent)
		require.Equal(t, 200, response.StatusCode, members)
		assert.Equal(t, true, members["active"])
	}
	algorithms := `algs="ES256 ES384 ES512 EdDSA PS256 PS384 PS512 RS256 RS384 RS512"`
	for name, test := range map[string]struct {
		line   string
		proofs []string
		scheme string
		code   string
	}{
		"as a bearer token":              {"Bearer " + bound, nil, "Bearer", "invalid_token"},
		"as a bearer token, with proof":  {"Bearer " + bound, []string{proof(key)}, "Bearer", "invalid_token"},
		"without a proof":                {"DPoP " + bound, nil, "DPoP", "invalid_dpop_proof"},
		"with the thief's key":           {"DPoP " + bound, []string{proof(thief)}, "DPoP", "invalid_token"},
		"with a proof that is forged":    {"DPoP " + bound, []string{proof(thief, testdpop.Header("jwk", key.JWK()))}, "DPoP", "invalid_dpop_proof"},
		"with a proof for no token":      {"DPoP " + bound, []string{proof(key, testdpop.Claim("ath", nil))}, "DPoP", "invalid_dpop_proof"},
		"with a proof for another token": {"DPoP " + bound, []string{proof(key, testdpop.Token(lesser))}, "DPoP", "invalid_dpop_proof"},
		"with a proof for another URL":   {"DPoP " + bound, []string{f.proof(t, key, testdpop.Token(bound))}, "DPoP", "invalid_dpop_proof"},
		"with a proof that was used":     {"DPoP " + bound, []string{used}, "DPoP", "invalid_dpop_proof"},
		"with two proofs":                {"DPoP " + bound, []string{proof(key), proof(key)}, "DPoP", "invalid_dpop_proof"},
		"a bearer token as a bound one":  {"DPoP " + plain, []string{proof(key, testdpop.Token(plain))}, "DPoP", "invalid_token"},
		"a token that nobody knows":      {"DPoP pat_unknown", []string{proof(key)}, "DPoP", "invalid_token"},
		"no token":                       {"DPoP", []string{proof(key)}, "DPoP", "invalid_token"},
	} {
		t.Run(name, func(t *testing.T) {
			response, members := ask(test.line, test.proofs...)
			assert.Equal(t, 401, response.StatusCode)
			assert.Equal(t, test.code, members["error"])
			assert.NotContains(t, members, "active")
			challenge := test.scheme + ` realm="authorization server", error="` + test.code + `"`
			if test.scheme == "DPoP" {
				challenge += ", " + algorithms
			}
			assert.Equal(t, challenge, response.Header.Get("WWW-Authenticate"))
		})
	}
	t.Run("another scope", func(t *testing.T) {
		response, _ := ask("DPoP "+lesser, f.proofFor(t, key, introspectURL, testdpop.Token(lesser)))
		assert.Equal(t, 403, response.StatusCode)
		assert.Equal(t, `DPoP realm="authorization server", error="insufficient_scope", scope="introspection", `+algorithms, response.Header.Get("WWW-Authenticate"))
	})
	t.Run("never for itself", func(t *testing.T) {
		response, members := f.do(t, request{
			path: "/oauth2/introspect", form: url.Values{"token": {bound}}, header: http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {proof(key)}},
		})
		assert.Equal(t, 200, response.StatusCode)
		assert.Equal(t, map[string]any{"active": false}, members)
	})
	t.Run("a token that is bound in a way that the server does not know", func(t *testing.T) {
		const token = "pat_bound-in-another-way"
		for _, confirmation := range []map[string]string{{"x5t#S256": "x"}, {"x5t#S256": "x", "jkt": key.JKT()}} {
			digest := introspect.DigestOf(token + confirmation["jkt"])
			require.NoError(t, f.store.Issue(t.Context(), store.Token{
				Digest: digest, Kind: store.Access, Family: "f", ClientID: "machine", Scope: []string{"introspection"},
				Confirmation: confirmation, IssuedAt: f.now(), ExpiresAt: f.now().Add(time.Minute),
			}))
			presented := token + confirmation["jkt"]
			for _, scheme := range []string{"Bearer ", "DPoP "} {
				response, _ := ask(scheme+presented, f.proofFor(t, key, introspectURL, testdpop.Token(presented)))
				assert.Equal(t, 401, response.StatusCode)
			}
		}
	})
}

func TestAttackABoundTokenAtTheUserInfoEndpoint(t *testing.T) {
	f := newPossessionServer(t)
	key, thief := testdpop.NewKey(t), testdpop.NewKey(t)
	bound, _ := f.granted(t, "spa", exchange(f.browser().code(t, "client_id", "spa", "scope", "openid read")), f.proof(t, key))
	lesser, _ := f.granted(t, "spa", exchange(f.browser().code(t, "client_id", "spa", "scope", "read")), f.proof(t, key))
	proof := func(key *testdpop.Key, method, token string) string {
		return key.Proof(t, method, issuer+"/oauth2/userinfo", testdpop.Claim("iat", f.now().Unix()), testdpop.Token(token))
	}
	for _, method := range []string{"GET", "POST"} {
		response, members := f.do(t, request{method: method, path: "/oauth2/userinfo", header: http.Header{
			"Authorization": {"DPoP " + bound}, "Dpop": {proof(key, method, bound)},
		}})
		require.Equal(t, 200, response.StatusCode, members)
		assert.Equal(t, "alice", members["sub"])
	}
	for name, test := range map[string]struct {
		request request
		status  int
		scheme  string
		code    string
	}{
		"as a bearer token":          {request{method: "GET", header: http.Header{"Authorization": {"Bearer " + bound}, "Dpop": {proof(key, "GET", bound)}}}, 401, "Bearer", "invalid_token"},
		"in a form":                  {request{form: url.Values{"access_token": {bound}}, header: http.Header{"Dpop": {proof(key, "POST", bound)}}}, 401, "Bearer", "invalid_token"},
		"without a proof":            {request{method: "GET", header: http.Header{"Authorization": {"DPoP " + bound}}}, 401, "DPoP", "invalid_dpop_proof"},
		"with the thief's key":       {request{method: "GET", header: http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {proof(thief, "GET", bound)}}}, 401, "DPoP", "invalid_token"},
		"with a proof of another":    {request{method: "GET", header: http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {proof(key, "POST", bound)}}}, 401, "DPoP", "invalid_dpop_proof"},
		"without the scope openid":   {request{method: "GET", header: http.Header{"Authorization": {"DPoP " + lesser}, "Dpop": {proof(key, "GET", lesser)}}}, 403, "DPoP", "insufficient_scope"},
		"as a bearer token, unknown": {request{method: "GET", header: http.Header{"Authorization": {"Bearer pat_unknown"}}}, 401, "Bearer", "invalid_token"},
	} {
		t.Run(name, func(t *testing.T) {
			test.request.path = "/oauth2/userinfo"
			response, members := f.do(t, test.request)
			assert.Equal(t, test.status, response.StatusCode)
			assert.Equal(t, test.code, members["error"])
			assert.NotContains(t, members, "sub")
			assert.Contains(t, response.Header.Get("WWW-Authenticate"), test.scheme+` realm="authorization server", error="`+test.code+`"`)
			assert.Equal(t, test.scheme == "DPoP", strings.Contains(response.Header.Get("WWW-Authenticate"), `algs="`))
		})
	}
}

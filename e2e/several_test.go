package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// unsignedJWT makes a JWT with an algorithm in its header, under a signature that is none.
func unsignedJWT(algorithm, claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"`+algorithm+`","typ":"at+jwt"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte("signature"))
}

// The issuers of the authorities of these tests.
const (
	companyIssuer = "https://login.company.example.com"
	partnerIssuer = "https://login.partner.example.com"
)

// Three authorities on one route: two whose tokens are JWTs, and one whose tokens have a prefix.
func TestSeveralAuthorities(t *testing.T) {
	t.Parallel()
	company, partner, legacy := newAuthority(t), newAuthority(t), newAuthority(t)
	all := map[string]*authority{"company": company, "partner": partner, "legacy": legacy}
	app, g := testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(
		company.option("company", "issuer "+companyIssuer, "max_token 2MiB")+
			partner.option("partner", "issuer "+partnerIssuer, "retries 0", "max_token 2MiB")+
			legacy.option("legacy", "token_prefix lgc_ lgc-"), `
		route /some/* {
			introspect company partner
			reverse_proxy `+app.Address+` {
				header_up X-Authority {http.introspect.authority}
			}
		}
		route /form {
			introspect company partner legacy {
				token_from form access_token
			}
			`+app.Proxy()+`
		}
		route {
			introspect company partner legacy scope read
			reverse_proxy `+app.Address+` {
				header_up X-Authority {http.introspect.authority}
			}
		}`))
	token := func(issuer, subject string) string {
		return unsignedJWT("RS256", fmt.Sprintf(`{"iss":%q,"sub":%q}`, issuer, subject))
	}
	ofCompany, ofPartner := token(companyIssuer, "alice"), token(partnerIssuer, "bob")
	const ofLegacy, ofLegacyToo = "lgc_0123456789", "lgc-0123456789"
	company.on(ofCompany, active(claims{"sub": "alice", "scope": "read", "iss": companyIssuer}))
	partner.on(ofPartner, active(claims{"sub": "bob", "scope": "read", "iss": partnerIssuer}))
	for _, token := range []string{ofLegacy, ofLegacyToo} {
		legacy.on(token, active(claims{"sub": "carol", "scope": "read"}))
	}

	// Only those who are named were asked about a token.
	shownTo := func(t *testing.T, token string, names ...string) {
		t.Helper()
		for name, as := range all {
			want := 0
			for _, named := range names {
				if named == name {
					want = once
				}
			}
			assert.Len(t, as.asked(token), want, name)
		}
	}
	for _, c := range []struct{ name, token, authority, user string }{
		{"a JWT of the first", ofCompany, "company", "alice"},
		{"a JWT of the second", ofPartner, "partner", "bob"},
		{"a token with a prefix", ofLegacy, "legacy", "carol"},
		{"a token with another prefix", ofLegacyToo, "legacy", "carol"},
	} {
		t.Run("C14 "+c.name, func(t *testing.T) {
			for range 2 {
				app.Take()
				before := g.metrics(t)
				require.Equal(t, http.StatusOK, g.get(t, "/1", c.token).Status)
				seen := app.One(t, "/1").Header
				assert.Equal(t, []string{c.user}, seen["Remote-User"])
				assert.Equal(t, []string{c.authority}, seen["X-Authority"])
				counted := fmt.Sprintf(`requests_total{authority=%q,outcome="allowed"}`, c.authority)
				assert.InDelta(t, before[counted]+1, g.metrics(t)[counted], 0)
			}
			shownTo(t, c.token, c.authority)
		})
	}

	deep := unsignedJWT("RS256", `{"iss":"`+companyIssuer+`","x":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)+`}`)
	const nobody = "company,partner,legacy"
	for _, c := range []struct {
		name, path, token string
		shown             []string
		label             string // under which the refusal is counted
	}{
		{"attack: a forged token in the name of the first", "/x", token(companyIssuer, "mallory"), []string{"company"}, "company"},
		{"attack: a token without a signature algorithm", "/x", unsignedJWT("none", `{"iss":"`+companyIssuer+`","sub":"root"}`), []string{"company"}, "company"},
		{"attack: a token of a stranger", "/x", token("https://evil.example.com", "mallory"), nil, nobody},
		{"attack: an issuer that is almost that of the first", "/x", token(companyIssuer+"/", "mallory"), nil, nobody},
		{"attack: two issuers", "/x", unsignedJWT("RS256", `{"iss":"`+partnerIssuer+`","iss":"`+companyIssuer+`"}`), nil, nobody},
		{"attack: two issuers, one of them escaped", "/x", unsignedJWT("RS256", `{"iss":"`+partnerIssuer+`","\u0069ss":"`+companyIssuer+`"}`), nil, nobody},
		{"attack: no issuer", "/x", unsignedJWT("RS256", `{"sub":"mallory"}`), nil, nobody},
		{"attack: claims that nest deep", "/x", deep, nil, nobody},
		{"attack: a prefix of the third before a token of the first", "/x", "lgc_" + ofCompany, []string{"legacy"}, "legacy"},
		{"attack: a prefix of the third in capitals", "/x", "LGC_0123456789", nil, nobody},
		{"opaque, and the first two have no prefix", "/x", "opaque-0123456789", nil, nobody},
		{"of an authority that this route does not name", "/some/x", "lgc_on-another-route", nil, "company,partner"},
	} {
		t.Run("C14 "+c.name, func(t *testing.T) {
			before := g.metrics(t)
			got := g.get(t, c.path, c.token)
			assert.Equal(t, http.StatusUnauthorized, got.Status)
			assert.Equal(t, challengeInvalidToken, got.Challenge(t))
			assert.Empty(t, app.At(c.path), "K09")
			shownTo(t, c.token, c.shown...)
			counted := fmt.Sprintf(`requests_total{authority=%q,outcome="invalid_token"}`, c.label)
			assert.InDelta(t, before[counted]+1, g.metrics(t)[counted], 0)
		})
	}
	t.Run("A21 attack: a token of a megabyte", func(t *testing.T) {
		huge := token(companyIssuer, strings.Repeat("a", 740_000))
		require.Greater(t, len(huge), 980_000)
		form := url.Values{"access_token": {huge}}
		assert.Equal(t, http.StatusUnauthorized, testgateway.Send(t, testgateway.Form(t, "http://"+g.address+"/form", "", "", form)).Status)
		shownTo(t, huge, "company") // whose tokens may be as long
		long := "lgc_" + strings.Repeat("a", 900_000)
		assert.Equal(t, http.StatusUnauthorized, testgateway.Send(t, testgateway.Form(t, "http://"+g.address+"/form", "", "", url.Values{"access_token": {long}})).Status)
		shownTo(t, long)
	})
	t.Run("D10 an authority that speaks for another one is not believed", func(t *testing.T) {
		lying := token(companyIssuer, "lying")
		company.on(lying, active(claims{"scope": "read", "iss": partnerIssuer}))
		assert.Equal(t, http.StatusUnauthorized, g.get(t, "/1", lying).Status)
		shownTo(t, lying, "company")
	})
	t.Run("B15 an outage of the one sends its tokens to nobody else, and is none of the others", func(t *testing.T) {
		down := token(partnerIssuer, "down")
		partner.on(down, sends(500, "", ""))
		got := g.get(t, "/1", down)
		assert.Equal(t, http.StatusServiceUnavailable, got.Status)
		assert.Equal(t, challengeNone, got.Challenge(t))
		shownTo(t, down, "partner")
		assert.Equal(t, http.StatusOK, g.get(t, "/1", ofCompany).Status)
	})
	t.Run("what counts for nobody is counted under all names, and has no other numbers", func(t *testing.T) {
		before := g.metrics(t)[`requests_total{authority="`+nobody+`",outcome="no_token"}`]
		require.Equal(t, http.StatusUnauthorized, g.get(t, "/1", "").Status)
		for name, value := range g.metrics(t) {
			if strings.Contains(name, nobody) {
				require.Contains(t, name, "requests_total{")
			}
			if name == `requests_total{authority="`+nobody+`",outcome="no_token"}` {
				assert.InDelta(t, before+1, value, 0)
			}
		}
	})
}

// The embedded server's tokens are known by their beginning, without a word in the Caddyfile.
func TestSeveralAuthoritiesAndTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	s, app, other := newIssuer(t), testgateway.StartBackend(t), newAuthority(t)
	s.Start(t, s.caddyfile(s.option()+"introspect ours {\n\tembedded\n}\n"+other.option("other"), "authorization_server\nintrospect ours other\n"+app.Proxy()))
	ours := s.token(t, "orders:read")
	other.on("opaque-token-of-the-other", active(claims{"sub": "bob"}))
	assert.Equal(t, http.StatusOK, s.get(t, "/", ours).Status)
	assert.Empty(t, other.asked(ours), "C14")
	assert.Equal(t, http.StatusOK, s.get(t, "/", "opaque-token-of-the-other").Status)

	s.revoke(t, ours)
	assert.Equal(t, http.StatusUnauthorized, s.get(t, "/", ours).Status)
	assert.Empty(t, other.asked(ours), "C14 a token that is not good any more is nobody else's")
	const guessed = "pat_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	assert.Equal(t, http.StatusUnauthorized, s.get(t, "/", guessed).Status)
	assert.Empty(t, other.asked(guessed))
}

// try_each shows every token to each authority, as its operator wants it.
func TestTryEach(t *testing.T) {
	t.Parallel()
	first, second := newAuthority(t), newAuthority(t)
	app, g := testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(first.option("first", "retries 0", "breaker off")+second.option("second", "retries 0", "timeout 1s"), `
		route /again {
			introspect first second {
				try_each
			}
			introspect second scope write
			`+app.Proxy()+`
		}
		route {
			introspect first second scope read {
				try_each
			}
			reverse_proxy `+app.Address+` {
				header_up X-Authority {http.introspect.authority}
			}
		}`))
	good := active(claims{"scope": "read write", "sub": "alice"})
	inactive := says(claims{"active": false})
	for i, c := range []struct {
		name          string
		first, second answer
		status        int
		authority     string // who answered, or is at fault
		outcome       string
		asked         int // how often the second was asked
	}{
		{"the first knows it", good, inactive, 200, "first", "allowed", 0},
		{"the second knows it", inactive, good, 200, "second", "allowed", 1},
		{"nobody knows it", inactive, inactive, 401, "second", "invalid_token", 1},
		{"the first is down, and the second knows it", sends(500, "", ""), good, 200, "second", "allowed", 1},
		{"B15 the first is down, and the second does not know it", sends(500, "", ""), inactive, 503, "first", "unavailable", 1},
		{"the second is too slow", inactive, second.hangs(), 503, "second", "unavailable", 1},
		{"the first refuses the gateway", sends(401, "", ""), inactive, 503, "first", "unavailable", 1},
		{"the second talks nonsense", inactive, saysJSON(`[]`), 503, "second", "unavailable", 1},
		{"the first knows it, and it is not enough", active(claims{"scope": "write"}), good, 403, "first", "insufficient_scope", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := fmt.Sprint("token-tried-at-each-", i)
			first.on(token, c.first)
			second.on(token, c.second)
			app.Take()
			counted := fmt.Sprintf(`requests_total{authority=%q,outcome=%q}`, c.authority, c.outcome)
			before := g.metrics(t)[counted]
			assert.Equal(t, c.status, g.get(t, "/x", token).Status)
			assert.InDelta(t, before+1, g.metrics(t)[counted], 0)
			assert.Len(t, first.asked(token), once)
			assert.Len(t, second.asked(token), c.asked)
			if c.status == http.StatusOK {
				assert.Equal(t, []string{c.authority}, app.One(t, "/x").Header["X-Authority"])
			}
		})
	}
	t.Run("a second directive reuses the answer of its authority", func(t *testing.T) {
		const token = "token-for-two-directives"
		second.on(token, func(w http.ResponseWriter, r *http.Request) {
			active(claims{"scope": "write"})(w, r)
		})
		assert.Equal(t, http.StatusOK, g.get(t, "/again", token).Status)
		assert.Len(t, second.asked(token), once)
	})
}

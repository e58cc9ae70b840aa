package authority_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authority"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// jwt makes a JWT that nobody has signed.
func jwt(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(claims)) + "."
}

// route makes a route of authorities, each with further members of its configuration.
func route(t *testing.T, tryEach bool, members ...string) (*authority.Route, error) {
	t.Helper()
	var names, configs []string
	for i, further := range members {
		names = append(names, string(rune('a'+i)))
		configs = append(configs, fmt.Sprintf(`%q:{"client":{"id":"gw","secret":"s"},"endpoint":"https://%s.example.com/i"%s}`, names[i], names[i], further))
	}
	app, end, err := load(t, "{"+strings.Join(configs, ",")+"}")
	require.NoError(t, err)
	t.Cleanup(end)
	return app.Several(names, tryEach)
}

// saying is what an authority says of a token: the zero value, that it is inactive.
type saying struct {
	active bool
	err    error
}

var isActive = saying{active: true}

func fails(err error) saying { return saying{err: err} }

// sayings are those of a route's authorities, by their names.
type sayings map[string]saying

// ask asks the authorities of a route about a token, and returns the names of those that were asked, who answered, and what.
func (s sayings) ask(route *authority.Route, token string) (asked, by string, active bool, err error) {
	who, answer, err := route.Ask(context.Background(), token, func(a *authority.Authority) (*introspect.Answer, error) {
		asked += a.Label
		said := s[a.Label]
		if said.err != nil {
			return nil, said.err
		}
		return &introspect.Answer{Active: said.active}, nil
	})
	if who != nil {
		by = who.Label
	}
	return asked, by, answer != nil && answer.Active, err
}

// Whom a token is shown to (C14).
func TestATokenIsShownToItsAuthorityOnly(t *testing.T) {
	const issuerA, issuerB = `,"issuer":"https://a.example.com"`, `,"issuer":"https://b.example.com"`
	prefix := func(prefixes ...string) string { return `,"token_prefix":["` + strings.Join(prefixes, `","`) + `"]` }
	ofA, ofB, ofC := jwt(`{"iss":"https://a.example.com"}`), jwt(`{"iss":"https://b.example.com"}`), jwt(`{"iss":"https://c.example.com"}`)
	for _, c := range []struct {
		name    string
		members []string
		token   string
		asked   string // nobody where it is empty
	}{
		{"a JWT of the first", []string{issuerA, issuerB}, ofA, "a"},
		{"a JWT of the second", []string{issuerA, issuerB}, ofB, "b"},
		{"a JWT of a stranger", []string{issuerA, issuerB}, ofC, ""},
		{"a JWT of a stranger, and one authority has no issuer", []string{issuerA, ``}, ofC, ""},
		{"a JWT of a stranger that begins like tokens of the second", []string{issuerA, prefix("eyJ")}, ofC, ""},
		{"a JWT of the first that begins like tokens of the second", []string{issuerA, prefix("eyJ")}, ofA, "a"},
		{"a JWT without issuer, and one authority has none", []string{issuerA, ``}, jwt(`{}`), ""},
		{"a JWT with two issuers", []string{issuerA, issuerB}, jwt(`{"iss":"https://b.example.com","iss":"https://a.example.com"}`), ""},
		{"an issuer with a slash more", []string{issuerA, issuerB}, jwt(`{"iss":"https://a.example.com/"}`), ""},
		{"an issuer in another case", []string{issuerA, issuerB}, jwt(`{"iss":"https://A.example.com"}`), ""},
		{"by prefix", []string{prefix("a_"), prefix("b_")}, "b_1", "b"},
		{"by one of several prefixes", []string{prefix("a_"), prefix("b_", "bb_")}, "bb_1", "b"},
		{"the first whose prefix fits", []string{prefix("x"), prefix("xy")}, "xyz", "a"},
		{"a prefix is case-sensitive", []string{prefix("a_"), prefix("b_")}, "B_1", ""},
		{"a prefix in the middle is none", []string{prefix("a_"), prefix("b_")}, "1b_1", ""},
		{"no prefix fits", []string{prefix("a_"), prefix("b_")}, "c_1", ""},
		{"no prefix fits, and one authority has none", []string{prefix("a_"), ``}, "c_1", "b"},
		{"no prefix fits, and two authorities have none", []string{prefix("a_"), ``, issuerA}, "c_1", ""},
		{"an opaque token, and only issuers", []string{issuerA, issuerB}, "opaque", ""},
		{"an opaque token, and an issuer with a prefix", []string{issuerA + prefix("a_"), issuerB}, "a_1", "a"},
		{"an opaque token, and one issuer without a prefix", []string{issuerA + prefix("a_"), issuerB}, "opaque", "b"},
		{"an encrypted JWT is opaque", []string{issuerA, prefix("b_")}, ofB + "x.y", "a"},
		{"a prefix before a JWT makes it opaque", []string{issuerA, prefix("b_")}, "b_" + ofA, "b"},
		{"too long for its own", []string{`,"max_token":5` + prefix("a_"), prefix("b_")}, "a_1234", ""},
		{"too long for another one", []string{`,"max_token":5` + prefix("a_"), prefix("b_")}, "b_1234", "b"},
	} {
		t.Run("C14 "+c.name, func(t *testing.T) {
			r, err := route(t, false, c.members...)
			require.NoError(t, err)
			for _, said := range []saying{{}, isActive, fails(introspect.ErrUnavailable)} {
				asked, by, _, err := sayings{"a": said, "b": said, "c": said}.ask(r, c.token)
				assert.Equal(t, c.asked, asked, "an answer of one sends the token to no other one")
				assert.Equal(t, c.asked, by)
				if c.asked == "" {
					assert.ErrorIs(t, err, authority.ErrNobodys)
				} else {
					assert.ErrorIs(t, err, said.err)
				}
			}
		})
	}
}

// A JWT of a stranger is shown to nobody, unless it may be of one whose issuer is not known.
func TestC14_WhomAJWTIsShownToInTurn(t *testing.T) {
	const issuerA, issuerB = `,"issuer":"https://a.example.com"`, `,"issuer":"https://b.example.com"`
	for _, c := range []struct {
		name    string
		members []string
		token   string
		asked   string
	}{
		{"of one of them", []string{issuerA, issuerB}, jwt(`{"iss":"https://b.example.com"}`), "ab"},
		{"of a stranger", []string{issuerA, issuerB}, jwt(`{"iss":"https://c.example.com"}`), ""},
		{"of nobody", []string{issuerA, issuerB}, jwt(`{}`), ""},
		{"of a stranger, and one has no issuer", []string{issuerA, ``}, jwt(`{"iss":"https://c.example.com"}`), "ab"},
		{"an encrypted one", []string{issuerA, issuerB}, jwt(`{"iss":"https://c.example.com"}`) + "x.y", "ab"},
		{"no JWT", []string{issuerA, issuerB}, "opaque", "ab"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := route(t, true, c.members...)
			require.NoError(t, err)
			asked, _, _, err := sayings{}.ask(r, c.token)
			assert.Equal(t, c.asked, asked)
			assert.Equal(t, c.asked == "", errors.Is(err, authority.ErrNobodys))
		})
	}
}

func TestAskingInTurn(t *testing.T) {
	limited := &introspect.LimitedError{Wait: 1}
	for _, c := range []struct {
		name    string
		sayings sayings
		asked   string
		by      string
		active  bool
		err     error
	}{
		{"the first knows it", sayings{"a": isActive}, "a", "a", true, nil},
		{"the last knows it", sayings{"c": isActive}, "abc", "c", true, nil},
		{"nobody knows it", sayings{}, "abc", "c", false, nil},
		{"one cannot be asked, and another one knows it", sayings{"a": fails(introspect.ErrUnavailable), "b": isActive}, "ab", "b", true, nil},
		{"one cannot be asked, and nobody else knows it", sayings{"b": fails(introspect.ErrUnavailable)}, "abc", "b", false, introspect.ErrUnavailable},
		{"one is too slow", sayings{"a": fails(introspect.ErrTimeout)}, "abc", "a", false, introspect.ErrUnavailable},
		{"one refuses the gateway", sayings{"c": fails(introspect.ErrCredentials)}, "abc", "c", false, introspect.ErrUnavailable},
		{"one answers nonsense", sayings{"c": fails(introspect.ErrMalformed)}, "abc", "c", false, introspect.ErrUnavailable},
		{"one has been asked too often", sayings{"a": fails(limited), "b": isActive}, "ab", "b", true, nil},
		{"one has been asked too often, and nobody else knows it", sayings{"a": fails(limited)}, "abc", "a", false, limited},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := route(t, true, ``, ``, ``)
			require.NoError(t, err)
			asked, by, active, err := c.sayings.ask(r, "token")
			assert.Equal(t, c.asked, asked)
			assert.Equal(t, c.by, by)
			assert.Equal(t, c.active, active)
			require.ErrorIs(t, err, c.err)
			for _, cause := range []error{introspect.ErrTimeout, introspect.ErrCredentials, introspect.ErrMalformed} {
				assert.NotErrorIs(t, err, cause, "it is 503, whatever the cause")
			}
		})
	}
	t.Run("a client that hangs up ends it", func(t *testing.T) {
		r, err := route(t, true, ``, ``)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		_, _, err = r.Ask(ctx, "token", func(*authority.Authority) (*introspect.Answer, error) {
			calls++
			cancel()
			return nil, ctx.Err()
		})
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, 1, calls)
	})
	t.Run("one that takes no token of this length is not asked", func(t *testing.T) {
		r, err := route(t, true, `,"max_token":3`, ``)
		require.NoError(t, err)
		asked, _, _, _ := sayings{}.ask(r, "token")
		assert.Equal(t, "b", asked)
		assert.Equal(t, 8<<10, r.MaxToken())
	})
}

// What the configuration hides in placeholders is compared when it is loaded.
func TestIssuersAreComparedResolved(t *testing.T) {
	t.Setenv("PORTCULLIS_TEST_ISSUER", "https://as.example.com")
	_, err := route(t, false, `,"issuer":"https://as.example.com"`, `,"issuer":"{env.PORTCULLIS_TEST_ISSUER}"`)
	require.ErrorContains(t, err, "the same issuer")
	r, err := route(t, false, `,"issuer":"https://b.example.com"`, `,"issuer":"{env.PORTCULLIS_TEST_ISSUER}"`)
	require.NoError(t, err)
	asked, _, _, _ := sayings{}.ask(r, jwt(`{"iss":"https://as.example.com"}`))
	assert.Equal(t, "b", asked)
}

// What is counted of requests for which none of a route's authorities is asked has a label of its own, as long as the route is
// there.
func TestMetricsOfARoute(t *testing.T) {
	config := `{"a":` + endpointOf("https://a.example.com") + `,"b":` + endpointOf("https://b.example.com") + `}`
	app, registry, end := registryOf(t, config)
	first, err := app.Several([]string{"a", "b"}, true)
	require.NoError(t, err)
	first.Outcome("no_token").Add()
	next, _, endNext := registryOf(t, config)
	second, err := next.Several([]string{"a", "b"}, true)
	require.NoError(t, err)
	end()
	second.Outcome("no_token").Add()

	got := values(t, registry)
	assert.InDelta(t, 2, got["requests_total a,b no_token"], 0)
	for name := range got {
		if strings.Contains(name, "a,b") {
			assert.Equal(t, "requests_total a,b no_token", name)
		}
	}
	endNext()
	assert.NotContains(t, values(t, registry), "requests_total a,b no_token")
}

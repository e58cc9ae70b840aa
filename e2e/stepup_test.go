package e2e

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

func TestStepUp(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option(""), `introspect /bank {
	acr gold silver
	max_age 60s
	scope pay
}
introspect /strong {
	acr gold
}
introspect /recent {
	max_age 1h
}
introspect /watched {
	acr gold
	observe
}
`+app.Proxy()))
	ago := func(age time.Duration) int64 { return time.Now().Add(-age).Unix() }
	const demands = `, acr_values="gold silver", max_age="60"`
	const refused = `Bearer realm="portcullis", error="insufficient_user_authentication"`

	t.Run("I09 attack: somebody without a token asks how to sign in", func(t *testing.T) {
		assert.Equal(t, `Bearer realm="portcullis", scope="pay"`, g.get(t, "/bank", "").Challenge(t))
		assert.Equal(t, challengeInvalidToken, g.get(t, "/bank", "token-that-nobody-knows").Challenge(t))
	})
	for name, c := range map[string]struct {
		path      string
		answer    claims
		status    int
		challenge string
	}{
		"I06 strong and recent":              {"/bank", claims{"acr": "silver", "auth_time": ago(0), "scope": "pay"}, 200, ""},
		"I06 too weak":                       {"/bank", claims{"acr": "bronze", "auth_time": ago(0), "scope": "pay"}, 401, refused + `, scope="pay"` + demands},
		"I07 too long ago":                   {"/bank", claims{"acr": "gold", "auth_time": ago(time.Hour), "scope": "pay"}, 401, refused + `, scope="pay"` + demands},
		"I08 too long ago, and no scope":     {"/bank", claims{"acr": "gold", "auth_time": ago(time.Hour)}, 401, refused + `, scope="pay"` + demands},
		"I08 no scope":                       {"/bank", claims{"acr": "gold", "auth_time": ago(0)}, 403, `Bearer realm="portcullis", error="insufficient_scope", scope="pay"`},
		"I08 inactive, and too weak":         {"/bank", claims{"active": false, "acr": "bronze"}, 401, challengeInvalidToken},
		"I08 bound, and too weak":            {"/strong", claims{"acr": "bronze", "cnf": claims{"x5t#S256": "x"}}, 401, challengeInvalidToken},
		"I06 no acr":                         {"/strong", nil, 401, refused + `, acr_values="gold"`},
		"I07 no auth_time":                   {"/recent", nil, 401, refused + `, max_age="3600"`},
		"I07 attack: a token that is new":    {"/recent", claims{"iat": ago(0), "auth_time": ago(2 * time.Hour)}, 401, refused + `, max_age="3600"`},
		"I07 attack: signed in in a century": {"/recent", claims{"auth_time": ago(-100 * 365 * 24 * time.Hour)}, 401, refused + `, max_age="3600"`},
		"observed":                           {"/watched", nil, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			app.Take()
			token := "token-" + regexp.MustCompile(`[^a-z0-9]`).ReplaceAllString(name, "-") + "-Q1"
			as.on(token, active(c.answer))
			got := g.get(t, c.path, token)
			assert.Equal(t, c.status, got.Status)
			assert.Equal(t, c.challenge, got.Challenge(t))
			if c.status != http.StatusOK {
				assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
				assert.Empty(t, app.Take())
			}
		})
	}
	t.Run("I10 attack: a token goes on where its answer is remembered", func(t *testing.T) {
		const token = "token-that-is-remembered-9"
		as.on(token, active(claims{"acr": "gold", "auth_time": ago(56 * time.Second), "scope": "pay"}))
		require.Equal(t, http.StatusOK, g.get(t, "/bank", token).Status)
		require.Eventually(t, func() bool { return g.get(t, "/bank", token).Status == http.StatusUnauthorized }, patience, tick)
		assert.Equal(t, refused+`, scope="pay"`+demands, g.get(t, "/bank", token).Challenge(t))
		assert.Equal(t, http.StatusOK, g.get(t, "/recent", token).Status, "another route is content")
		assert.Len(t, as.asked(token), 1)
	})
	t.Run("all that is counted", func(t *testing.T) {
		assert.Positive(t, g.metric(t, `caddy_introspect_requests_total{authority="default",outcome="step_up"}`))
		assert.Positive(t, g.metric(t, `caddy_introspect_requests_total{authority="default",outcome="would_be_step_up"}`))
	})
}

// A client that is told to have the user sign in again does so at the embedded server, and comes back with what is demanded.
func TestStepUpAtTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Guard(alicePassword)
	s.Start(t, s.caddyfile(s.withUsers(s.hashOf(t, alicePassword, "argon2id")), `authorization_server
introspect scope orders:read
introspect /bank {
	max_age 5s
	acr urn:portcullis:acr:password
}
`+app.Proxy()))
	alice := s.person(t)
	sign := func(pairs ...string) (access, refresh string) {
		return s.tokens(t, s.asWeb(t, codeForm(alice.code(t, pairs...))))
	}
	access, refresh := sign()
	require.Equal(t, http.StatusOK, s.get(t, "/bank", access).Status, "I06 she has just signed in")
	var challenge string
	require.Eventually(t, func() bool {
		got := s.get(t, "/bank", access)
		challenge = got.Challenge(t)
		return got.Status == http.StatusUnauthorized
	}, patience, tick, "I10")
	assert.Equal(t, `Bearer realm="portcullis", error="insufficient_user_authentication", acr_values="urn:portcullis:acr:password", max_age="5"`, challenge)
	assert.Equal(t, http.StatusOK, s.get(t, "/orders", access).Status, "elsewhere the token goes on")

	refreshed, _ := s.tokens(t, s.asWeb(t, refreshForm(refresh)))
	assert.Equal(t, http.StatusUnauthorized, s.get(t, "/bank", refreshed).Status, "I07 attack: the token is refreshed")
	silent, _ := sign()
	assert.Equal(t, http.StatusUnauthorized, s.get(t, "/bank", silent).Status, "I07 attack: a code of the session that is there")

	match := regexp.MustCompile(`acr_values="([^"]*)", max_age="([^"]*)"`).FindStringSubmatch(challenge)
	require.NotNil(t, match)
	again, _ := sign("acr_values", match[1], "max_age", match[2])
	assert.Equal(t, http.StatusOK, s.get(t, "/bank", again).Status, "I06 the second round")
}

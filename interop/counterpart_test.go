package interop_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// counterpart is a real authorization server, and what the gateway's operator has to write for it.
type counterpart struct {
	// authority are the lines that describe it, without the client.
	authority []string
	// client and strange are two of its clients that may introspect; the secret of the second is strangeSecret.
	client, strange credentials
	// signIn, if set, is written in place of `client`, for servers that want something else.
	signIn []string
	// mistaken, if set, is written in place of `client` where the secret is wrong. That is {env.WRONG_SECRET}.
	mistaken []string
	// secrets are the environment variables that signIn names.
	secrets map[string]string
	// refused is the status with which it answers wrong credentials, which the gateway logs.
	refused string
	// told is what the backend learns of an active token.
	told map[string]string

	// active, expired, revoked and refresh each get a token of that kind from it, by real requests where it allows.
	active, expired, revoked, refresh func(*testing.T) string
	// refreshPasses says that its answer about a refresh token is as good as about an access token.
	refreshPasses bool
	// accessOnly, if set, is a rule that lets access tokens pass and no refresh tokens.
	accessOnly string
	// revoke revokes an active token.
	revoke func(t *testing.T, token string)
	// others, if set, are further active tokens that only differ in what the backend learns of them.
	others map[string]other
	// bad, if set, are further tokens that are no good.
	bad map[string]func(*testing.T) string
}

// other is an active token, and what the backend learns of it.
type other struct {
	token func(*testing.T) string
	told  map[string]string
}

type credentials struct{ id, secret string }

const counterpartFile = `{
	introspect asked {
		{authority}
		{sign-in}
		cache off
	}
	introspect strange {
		{authority}
		client {strange} {env.STRANGE_SECRET}
		cache off
	}
	introspect mistaken {
		{authority}
		{mistaken}
		cache off
	}
	introspect stranger {
		{authority}
		client nobody-here {env.WRONG_SECRET}
		cache off
	}
}

http://localhost:{$PORT} {
	introspect /asked asked
	introspect /strange strange
	introspect /mistaken mistaken
	introspect /stranger stranger
	introspect /scope asked scope orders:write
	introspect /access asked {
		{access-only}
	}
	reverse_proxy {$BACKEND}
}
`

// prove holds the gateway against a counterpart: every kind of token, and wrong credentials.
func prove(t *testing.T, c counterpart) {
	t.Helper()
	backend, port := testgateway.StartBackend(t), testgateway.Port(t)
	signIn, mistaken := c.signIn, c.mistaken
	if signIn == nil {
		signIn = []string{"client " + c.client.id + " {env.SECRET}"}
	}
	if mistaken == nil {
		mistaken = []string{"client " + c.client.id + " {env.WRONG_SECRET}"}
	}
	file := strings.NewReplacer(
		"{authority}", strings.Join(c.authority, "\n\t\t"),
		"{sign-in}", strings.Join(signIn, "\n\t\t"),
		"{mistaken}", strings.Join(mistaken, "\n\t\t"),
		"{access-only}", c.accessOnly,
		"{client}", c.client.id,
		"{strange}", c.strange.id,
	).Replace(counterpartFile)
	env := []string{
		"BACKEND=" + backend.Address,
		"PORT=" + port,
		"SECRET=" + c.client.secret,
		"STRANGE_SECRET=" + c.strange.secret,
		"WRONG_SECRET=" + wrongSecret,
	}
	for name, secret := range c.secrets {
		env = append(env, name+"="+secret)
	}
	process := testgateway.Start(t, file, env...)
	for _, secret := range c.secrets {
		process.Guard(secret)
	}
	process.GuardClient(c.client.id, c.client.secret)
	process.GuardClient(c.strange.id, c.strange.secret)
	process.GuardClient(c.client.id, wrongSecret)
	process.GuardClient("nobody-here", wrongSecret)
	g := &gateway{Gateway: process, url: "http://localhost:" + port, backend: backend}

	refused := func(t *testing.T, path, token string) {
		t.Helper()
		answer := g.get(t, path, token)
		assert.Equal(t, http.StatusUnauthorized, answer.Status)
		assert.Equal(t, invalidToken, answer.Challenge(t))
		assert.Empty(t, backend.Take(), "the backend must not be asked")
	}
	passes := func(t *testing.T, path, token string, expected map[string]string) {
		t.Helper()
		answer := g.get(t, path, token)
		require.Equal(t, http.StatusOK, answer.Status)
		seen := backend.Take()
		require.Len(t, seen, 1)
		assert.Equal(t, expected, told(t, seen[0]))
		assert.NotContains(t, seen[0].Header, "Authorization", "J13")
	}
	t.Run("A01 active", func(t *testing.T) { passes(t, "/asked", c.active(t), c.told) })
	for name, other := range c.others {
		t.Run("A01 active: "+name, func(t *testing.T) { passes(t, "/asked", other.token(t), other.told) })
	}
	t.Run("C04 active, asked with a strange secret", func(t *testing.T) { passes(t, "/strange", c.active(t), c.told) })
	t.Run("B05 active, and a scope is missing", func(t *testing.T) {
		answer := g.get(t, "/scope", c.active(t))
		assert.Equal(t, http.StatusForbidden, answer.Status)
		assert.Equal(t, insufficientScope, answer.Challenge(t))
		assert.Empty(t, backend.Take())
	})
	t.Run("D04 expired", func(t *testing.T) { refused(t, "/asked", c.expired(t)) })
	t.Run("D02 revoked", func(t *testing.T) { refused(t, "/asked", c.revoked(t)) })
	t.Run("D20 revoked after it was used", func(t *testing.T) {
		token := c.active(t)
		passes(t, "/asked", token, c.told)
		c.revoke(t, token)
		refused(t, "/asked", token)
	})
	for name, garbage := range map[string]string{
		"a word":            "garbage",
		"signs":             "a+b/c-._~==",
		"like a JWT":        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJqYW5lIn0.",
		"as long as it may": strings.Repeat("x", 8<<10),
	} {
		t.Run("D02 garbage: "+name, func(t *testing.T) { refused(t, "/asked", garbage) })
	}
	for name, token := range c.bad {
		t.Run("D02 "+name, func(t *testing.T) { refused(t, "/asked", token(t)) })
	}
	t.Run("D13 a refresh token", func(t *testing.T) {
		if c.refreshPasses {
			assert.Equal(t, http.StatusOK, g.get(t, "/asked", c.refresh(t)).Status, "the server tells refresh tokens apart by now: say so in its test")
			backend.Take()
			return
		}
		refused(t, "/asked", c.refresh(t))
	})
	if c.accessOnly != "" {
		t.Run("D13 a refresh token, and a rule for access tokens", func(t *testing.T) {
			passes(t, "/access", c.active(t), c.told)
			assert.Equal(t, http.StatusForbidden, g.get(t, "/access", c.refresh(t)).Status)
			assert.Empty(t, backend.Take())
		})
	}
	for path, who := range map[string]string{"/mistaken": c.client.id, "/stranger": "nobody-here"} {
		t.Run("B16 wrong credentials at "+path, func(t *testing.T) {
			answer := g.get(t, path, c.active(t))
			assert.Equal(t, http.StatusBadGateway, answer.Status)
			assert.NotContains(t, answer.Header, "Www-Authenticate", "the challenge is for the gateway")
			assert.Empty(t, answer.Body, "nothing is relayed")
			assert.Empty(t, backend.Take())
			line := g.Await(t, "authority "+path[1:])
			assert.Contains(t, line, `"level":"error"`)
			assert.Contains(t, line, "client "+who)
			assert.Contains(t, line, "status "+c.refused)
		})
	}
}

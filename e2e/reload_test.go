package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

func TestReload(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.GuardClient(gatewayID, gatewaySecret)
	g.GuardClient(gatewayID, "rotated-secret-4gHb")
	config := func(rules string, options ...string) string {
		return g.caddyfile(as.option("", options...), "introspect "+rules+"\n"+app.Proxy())
	}
	first := config("")
	g.Start(t, first)
	const token = "token-before-the-reload"
	as.on(token, active(claims{"scope": "read"}))
	require.Equal(t, http.StatusOK, g.get(t, "/", token).Status)

	t.Run("a request in flight survives", func(t *testing.T) {
		release := app.Hold("/slow")
		pending := g.send(t, t.Context(), "/slow", token)
		require.Eventually(t, func() bool { return len(app.At("/slow")) == 1 }, patience, tick)
		g.reload(t, config("", "max_token 1KiB"))
		release()
		assert.Equal(t, http.StatusOK, receive(t, pending).Status)
	})
	t.Run("a question in flight survives, and its answer is remembered", func(t *testing.T) {
		const token = "token-during-the-reload"
		gate := make(chan struct{})
		as.on(token, as.after(gate, active(nil)))
		before := g.send(t, t.Context(), "/", token)
		require.Eventually(t, func() bool { return len(as.asked(token)) == once }, patience, tick)
		g.reload(t, first)
		after := g.send(t, t.Context(), "/", token)
		close(gate)
		assert.Equal(t, http.StatusOK, receive(t, before).Status)
		assert.Equal(t, http.StatusOK, receive(t, after).Status)
		assert.Len(t, as.asked(token), once)
	})
	for name, caddyfile := range map[string]string{
		"nothing changed":     first,
		"the secret rotated":  strings.ReplaceAll(first, gatewaySecret, "rotated-secret-4gHb"),
		"times to live":       config("", "cache {\nttl 30m\nnegative_ttl 3s\n}"),
		"timeout and retries": config("", "timeout 3s", "retries 0"),
		"rules":               config("scope read"),
	} {
		t.Run("what is remembered stays warm: "+name, func(t *testing.T) {
			g.reload(t, caddyfile)
			assert.Equal(t, http.StatusOK, g.get(t, "/", token).Status)
			assert.Len(t, as.asked(token), once)
		})
	}
	t.Run("D25 new rules count at once for what is remembered", func(t *testing.T) {
		g.reload(t, config("scope admin"))
		assert.Equal(t, http.StatusForbidden, g.get(t, "/", token).Status)
		g.reload(t, config("scope read {\naudience https://api.example.com\n}"))
		assert.Equal(t, http.StatusUnauthorized, g.get(t, "/", token).Status)
		g.reload(t, first)
		assert.Equal(t, http.StatusOK, g.get(t, "/", token).Status)
		assert.Len(t, as.asked(token), once)
	})
	t.Run("D25 a rotated secret is used", func(t *testing.T) {
		g.reload(t, strings.ReplaceAll(first, gatewaySecret, "rotated-secret-4gHb"))
		require.Equal(t, http.StatusUnauthorized, g.get(t, "/", "token-after-the-rotation").Status)
		asked := as.asked("token-after-the-rotation")
		require.Len(t, asked, once)
		assert.Equal(t, "Basic "+testgateway.Basic(gatewayID, "rotated-secret-4gHb"), asked[0].header.Get("Authorization"))
		g.reload(t, first)
	})
	for name, bad := range map[string]string{
		"a typing error":       config("", "tiemout 3s"),
		"a secret that is not": strings.ReplaceAll(first, gatewaySecret, "{env.NOT_SET_ANYWHERE}"),
		"an unknown authority": config("nosuch"),
		"an address in use":    first + "http://:" + testgateway.PortOf(t, app.Address) + " {\n\trespond hello\n}\n",
	} {
		t.Run("a failed reload changes nothing: "+name, func(t *testing.T) {
			refused := g.Load(t, bad)
			require.Equal(t, http.StatusBadRequest, refused.Status)
			assert.NotContains(t, refused.Body, gatewaySecret)
			assert.Equal(t, http.StatusOK, g.get(t, "/", token).Status)
			assert.Len(t, as.asked(token), once)
			assert.Equal(t, http.StatusUnauthorized, g.get(t, "/", "").Status)
		})
	}
	t.Run("and a good one after it works", func(t *testing.T) {
		g.reload(t, config("scope read"))
		assert.Equal(t, http.StatusOK, g.get(t, "/", token).Status)
		assert.Len(t, as.asked(token), once)
	})
	t.Run("D25 another authority has an empty memory", func(t *testing.T) {
		g.reload(t, strings.ReplaceAll(first, as.URL, as.URL+"/moved"))
		assert.Equal(t, http.StatusOK, g.get(t, "/", token).Status)
		assert.Len(t, as.asked(token), 2)
	})
}

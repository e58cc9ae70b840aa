package authserver_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

const day = 24 * time.Hour

func kidOf(t *testing.T, token string) string {
	t.Helper()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
	require.NoError(t, err)
	return parsed.Headers[0].KeyID
}

// beside is another server over the same store, as another process or the next configuration has it.
func (f *fixture) beside(t *testing.T) *fixture {
	t.Helper()
	other := &fixture{store: f.store}
	other.nanos.Store(f.nanos.Load())
	other.configure(t, openIDConfig(t))
	return other
}

func TestK07K10_PublishedKeys(t *testing.T) {
	f := newOpenIDServer(t)
	page := f.browser().open(t, authorization("client_id", "rsa", "redirect_uri", "https://rsa.example.com/cb", "scope", "openid"))
	require.Contains(t, page.body, "Password")
	b := f.browser()
	b.submit(t, b.open(t, own()), "username", "alice", "password", password)
	code := b.open(t, authorization("client_id", "rsa", "redirect_uri", "https://rsa.example.com/cb", "scope", "openid")).response(t).Get("code")
	response, members := f.do(t, request{path: "/oauth2/token", user: "rsa", password: "rsa-secret", form: exchange(code, "redirect_uri", "https://rsa.example.com/cb")})
	require.Equal(t, 200, response.StatusCode, members)

	other := f.beside(t)
	response, document := other.do(t, request{method: http.MethodGet, path: "/oauth2/jwks"})
	require.Equal(t, 200, response.StatusCode)
	assert.Equal(t, "*", response.Header.Get("Access-Control-Allow-Origin"), "K10")
	assert.Equal(t, "public, max-age=3600", response.Header.Get("Cache-Control"), "K10")
	assert.Empty(t, response.Header.Get("Set-Cookie"), "K10")
	keys := document["keys"].([]any)
	require.Len(t, keys, 2)
	var kids []string
	for _, key := range keys {
		member := key.(map[string]any)
		kids = append(kids, member["kid"].(string))
		assert.Equal(t, "sig", member["use"])
		assert.Contains(t, []any{"ES256", "RS256"}, member["alg"])
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			assert.NotContains(t, member, private, "attack: whoever reads the keys can sign")
		}
		if member["alg"] == "RS256" {
			assert.Len(t, member["n"], 342, "2048 bits")
			assert.Equal(t, kidOf(t, members["id_token"].(string)), member["kid"])
		}
	}
	assert.Len(t, slices.Compact(slices.Sorted(slices.Values(kids))), 2)

	response, _ = f.do(t, request{method: http.MethodPost, path: "/oauth2/jwks"})
	assert.Equal(t, 405, response.StatusCode)
	response, _ = f.do(t, request{method: http.MethodOptions, path: "/oauth2/jwks", header: http.Header{"Access-Control-Request-Method": {"GET"}}})
	assert.Equal(t, 204, response.StatusCode)
}

func TestK08_ANewKeyIsPublishedBeforeItIsUsedAndTheOldOneAfter(t *testing.T) {
	f := newOpenIDServer(t)
	b := f.browser()
	old := b.openID(t)["id_token"].(string)
	first := kidOf(t, old)
	other := f.beside(t)
	assert.Equal(t, []string{first}, kidsOf(other.keys(t)))
	// later moves the clocks of both, beyond how long they may remember the keys.
	later := func(d time.Duration) {
		f.nanos.Add(int64(d))
		other.nanos.Add(int64(d))
	}

	later(89*day - time.Second)
	assert.Equal(t, first, kidOf(t, b.openID(t)["id_token"].(string)))
	assert.Equal(t, []string{first}, kidsOf(f.keys(t)))

	later(2 * time.Minute)
	var kids []string
	require.Eventually(t, func() bool {
		kids = kidsOf(f.keys(t))
		return len(kids) == 2
	}, 20*time.Second, time.Millisecond, "nobody waits for the new key")
	assert.Equal(t, first, kids[0])
	assert.Equal(t, first, kidOf(t, b.openID(t)["id_token"].(string)), "published, and not used yet")
	assert.Equal(t, kids, kidsOf(other.keys(t)), "the other process has the same")

	later(day)
	recent := b.openID(t)["id_token"].(string)
	assert.Equal(t, kids[1], kidOf(t, recent))
	f.verified(t, old)
	other.verified(t, old)
	other.verified(t, recent)

	later(30 * day)
	assert.Equal(t, kids[1:], kidsOf(f.keys(t)), "nobody needs the old one any more")
	assert.Equal(t, "invalid_request", b.open(t, authorization("scope", "openid", "prompt", "none", "id_token_hint", old)).response(t).Get("error"))

	t.Run("a server that nobody asked for years", func(t *testing.T) {
		later(1000 * day)
		late := b.openID(t)["id_token"].(string)
		assert.Equal(t, kids[1], kidOf(t, late), "the old one until the new one has been published long enough")
		require.Eventually(t, func() bool { return len(f.keys(t).Keys) == 2 }, 20*time.Second, time.Millisecond)
		later(day + time.Minute)
		assert.NotEqual(t, kids[1], kidOf(t, b.openID(t)["id_token"].(string)))
		other.verified(t, late)
		record, err := f.store.Record(t.Context(), "key", "ES256")
		require.NoError(t, err)
		var ring struct{ Keys []any }
		require.NoError(t, json.Unmarshal(record.Value, &ring))
		assert.Len(t, ring.Keys, 2, "the first one is gone")
	})
}

func TestK09_OneKeyForAllProcesses(t *testing.T) {
	f := newOpenIDServer(t)
	servers := make([]*fixture, 16)
	for i := range servers {
		servers[i] = f.beside(t)
	}
	kids := make([][]string, len(servers))
	var group sync.WaitGroup
	for i, server := range servers {
		group.Go(func() { kids[i] = kidsOf(server.keys(t)) })
	}
	group.Wait()
	require.Len(t, kids[0], 1)
	for _, one := range kids {
		assert.Equal(t, kids[0], one)
	}
	assert.Equal(t, kids[0][0], kidOf(t, f.browser().openID(t)["id_token"].(string)), "the next configuration has it, too")
}

func TestK09_NoKeyIsMadeBeforeOneIsNeeded(t *testing.T) {
	f := newOpenIDServer(t)
	f.browser().tokens(t, "scope", "read")
	records, err := f.store.Records(t.Context(), "key", "", "", 10)
	require.NoError(t, err)
	assert.Empty(t, records)
	f.keys(t)
	records, err = f.store.Records(t.Context(), "key", "", "", 10)
	require.NoError(t, err)
	require.Len(t, records, 1, "RSA is for who asks for it")
	assert.Equal(t, "ES256", records[0].Name)
}

func TestK09_KeysThatCannotBeRead(t *testing.T) {
	t.Run("a store that fails later", func(t *testing.T) {
		f := newOpenIDServer(t)
		known := kidsOf(f.keys(t))
		fresh := f.beside(t)
		require.NoError(t, f.store.Close())
		f.nanos.Add(int64(time.Hour))
		assert.Equal(t, known, kidsOf(f.keys(t)), "what is known stays in use")
		response, members := fresh.do(t, request{method: http.MethodGet, path: "/oauth2/jwks"})
		assert.Equal(t, 503, response.StatusCode)
		assert.Equal(t, "temporarily_unavailable", members["error"])
		assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
	})
	for name, value := range map[string]string{
		"no JSON":              `{`,
		"no private key":       `{"keys":[{"jwk":{"kty":"EC","kid":"x","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}}]}`,
		"a key without an id":  `{"keys":[{"jwk":{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}}]}`,
		"attack: a secret key": `{"keys":[{"jwk":{"kty":"oct","kid":"x","k":"AAAA"}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newOpenIDServer(t)
			require.NoError(t, f.store.PutRecord(t.Context(), store.Record{Kind: "key", Name: "ES256", Value: []byte(value)}))
			b := f.browser()
			code := b.code(t, "scope", "openid")
			status, members := b.asWeb(t, exchange(code))
			assert.Equal(t, 503, status)
			assert.Equal(t, "try again later", members["error_description"])

			require.NoError(t, f.store.DeleteRecord(t.Context(), "key", "ES256"))
			status, members = b.asWeb(t, exchange(code))
			assert.Equal(t, 200, status, "nothing was used up")
			assert.Contains(t, members, "id_token")
		})
	}
}

func TestK08_AKeyThatWasDeletedIsReplaced(t *testing.T) {
	f := newOpenIDServer(t)
	b := f.browser()
	stolen := b.openID(t)["id_token"].(string)
	require.NoError(t, f.store.DeleteRecord(t.Context(), "key", "ES256"))
	f.nanos.Add(int64(time.Minute))
	assert.NotContains(t, kidsOf(f.keys(t)), kidOf(t, stolen))
	assert.NotEqual(t, kidOf(t, stolen), kidOf(t, b.openID(t)["id_token"].(string)))
}

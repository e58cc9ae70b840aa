package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testdpop"
	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// holder is a client with a key, and a token that is bound to it.
type holder struct {
	*testdpop.Key
	gateway *gateway
	token   string
}

// newHolder has an authority know a token that is bound to a new key.
func newHolder(t *testing.T, g *gateway, as *authority, token string) *holder {
	t.Helper()
	h := &holder{testdpop.NewKey(t), g, token}
	as.on(token, active(claims{"sub": "alice", "scope": "read", "token_type": "DPoP", "cnf": claims{"jkt": h.JKT()}}))
	return h
}

func (h *holder) url(path string) string { return "http://" + h.gateway.address + path }

// proof is one for a GET of a path.
func (h *holder) proof(t *testing.T, path string, edits ...testdpop.Edit) string {
	t.Helper()
	return h.Proof(t, http.MethodGet, h.url(path), append([]testdpop.Edit{testdpop.Token(h.token)}, edits...)...)
}

// get asks for a path under the scheme DPoP.
func (h *holder) get(t *testing.T, path string, proofs ...string) *testgateway.Reply {
	t.Helper()
	return testgateway.Send(t, h.request(t, path, proofs...))
}

func (h *holder) request(t *testing.T, path string, proofs ...string) *http.Request {
	t.Helper()
	request := testgateway.Request(t, http.MethodGet, h.url(path), "")
	request.Header.Set("Authorization", "DPoP "+h.token)
	request.Header["DPoP"] = proofs
	return request
}

// What a thief of a token tries who has not stolen the key.
func TestStolenDPoPTokens(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option(""), "introspect\n"+app.Proxy()))
	victim, thief := newHolder(t, g, as, "token-of-the-victim"), testdpop.NewKey(t)
	const plain = "token-that-is-bound-to-nothing"
	as.on(plain, active(claims{"sub": "alice"}))

	seen := victim.proof(t, "/seen")
	require.Equal(t, http.StatusOK, victim.get(t, "/seen", seen).Status)
	sight := app.Take()
	require.Len(t, sight, 1)
	assert.Empty(t, sight[0].Header["Dpop"], "G20")
	assert.Empty(t, sight[0].Header["Authorization"])
	assert.Equal(t, "alice", sight[0].Header.Get("Remote-User"))

	by := func(key *testdpop.Key, edits ...testdpop.Edit) []string {
		return []string{key.Proof(t, http.MethodGet, victim.url("/"), append([]testdpop.Edit{testdpop.Token(victim.token)}, edits...)...)}
	}
	for _, c := range []struct {
		name, authorization string
		proofs              []string
		status              int
		challenges          []string
	}{
		{"G10 as a bearer token", "Bearer " + victim.token, nil, 401, []string{challengeInvalidToken, offerDPoP}},
		{"G10 as a bearer token, with a good proof", "Bearer " + victim.token, by(victim.Key), 401, []string{challengeInvalidToken, offerDPoP}},
		{"G22 a second time, without a proof", "DPoP " + victim.token, nil, 401, []string{challengeInvalidProof}},
		{"G13 the proof that was seen", "DPoP " + victim.token, []string{seen}, 401, []string{challengeInvalidProof}},
		{"G09 a proof with another key", "DPoP " + victim.token, by(thief), 401, []string{challengeInvalidTokenDPoP}},
		{"G04 a proof with another key that says it is the victim's", "DPoP " + victim.token, by(thief, testdpop.Header("jwk", victim.JWK())), 401, []string{challengeInvalidProof}},
		{"G06 a proof for another path", "DPoP " + victim.token, []string{victim.proof(t, "/other")}, 401, []string{challengeInvalidProof}},
		{"G06 a proof for another host", "DPoP " + victim.token, by(victim.Key, testdpop.Claim("htu", "http://evil.example/")), 401, []string{challengeInvalidProof}},
		{"G05 a proof for another method", "DPoP " + victim.token, by(victim.Key, testdpop.Claim("htm", "POST")), 401, []string{challengeInvalidProof}},
		{"G08 a proof for another token", "DPoP " + victim.token, by(victim.Key, testdpop.Token(plain)), 401, []string{challengeInvalidProof}},
		{"G08 a proof for no token", "DPoP " + victim.token, by(victim.Key, testdpop.Claim("ath", nil)), 401, []string{challengeInvalidProof}},
		{"G12 a proof that was made in store", "DPoP " + victim.token, by(victim.Key, testdpop.Claim("iat", time.Now().Add(10*time.Minute).Unix())), 401, []string{challengeInvalidProof}},
		{"G12 an old proof", "DPoP " + victim.token, by(victim.Key, testdpop.Claim("iat", time.Now().Add(-10*time.Minute).Unix())), 401, []string{challengeInvalidProof}},
		{"G01 two proofs", "DPoP " + victim.token, []string{by(victim.Key)[0], by(victim.Key)[0]}, 401, []string{challengeInvalidProof}},
		{"G01 two proofs in one line", "DPoP " + victim.token, []string{by(victim.Key)[0] + ", " + by(victim.Key)[0]}, 401, []string{challengeInvalidProof}},
		{"G04 a proof that shows its private key", "DPoP " + victim.token, by(victim.Key, testdpop.Header("jwk", victim.PrivateJWK())), 401, []string{challengeInvalidProof}},
		{"G03 alg none", "DPoP " + victim.token, by(victim.Key, testdpop.Header("alg", "none")), 401, []string{challengeInvalidProof}},
		{"G03 alg HS256", "DPoP " + victim.token, by(victim.Key, testdpop.Header("alg", "HS256")), 401, []string{challengeInvalidProof}},
		{"G11 a token that is bound to nothing, with a good proof", "DPoP " + plain, by(victim.Key, testdpop.Token(plain)), 401, []string{challengeInvalidTokenDPoP}},
		{"G18 no token", "", nil, 401, []string{challengeNoToken, offerDPoP}},
		{"G18 no token, and a proof", "", by(victim.Key), 401, []string{challengeNoToken, offerDPoP}},
		{"G18 a bad bearer token", "Bearer nobody-knows-it", nil, 401, []string{challengeInvalidToken, offerDPoP}},
		{"G18 a bad DPoP token", "DPoP nobody-knows-it", by(victim.Key), 401, []string{challengeInvalidTokenDPoP}},
		{"A21 a proof of 10 KB", "DPoP " + victim.token, by(victim.Key, testdpop.Claim("x", strings.Repeat("x", 10<<10))), 401, []string{challengeInvalidProof}},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := testgateway.Request(t, http.MethodGet, victim.url("/"), "")
			if c.authorization != "" {
				request.Header.Set("Authorization", c.authorization)
			}
			request.Header["DPoP"] = c.proofs
			got := testgateway.Send(t, request)
			assert.Equal(t, c.status, got.Status)
			assert.Equal(t, c.challenges, got.Header["Www-Authenticate"])
			assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
			assert.Empty(t, got.Header["Dpop-Nonce"])
		})
	}
	t.Run("A06 G18 Bearer and DPoP", func(t *testing.T) {
		got := g.raw(t, "GET /", []string{"Authorization: Bearer " + plain, "Authorization: DPoP " + victim.token}, "")
		assert.Equal(t, http.StatusBadRequest, got.Status)
		assert.Equal(t, []string{challengeInvalidRequest, challengeInvalidRequestDPoP}, got.Header["Www-Authenticate"])
	})
	assert.Empty(t, app.All())
	t.Run("G14 one of fifty that send the same proof", func(t *testing.T) {
		proof := victim.proof(t, "/race")
		requests := make([]*http.Request, 50)
		for i := range requests {
			requests[i] = victim.request(t, "/race", proof)
		}
		var passed atomic.Int32
		var all sync.WaitGroup
		for _, request := range requests {
			all.Go(func() {
				if got, err := testgateway.Try(request); err == nil && got.Status == http.StatusOK {
					passed.Add(1)
				}
			})
		}
		all.Wait()
		assert.EqualValues(t, 1, passed.Load())
		app.One(t, "/race")
	})
	t.Run("G14 a proof that was refused for its signature is still the victim's", func(t *testing.T) {
		proof := victim.proof(t, "/")
		require.Equal(t, http.StatusUnauthorized, victim.get(t, "/", proof[:len(proof)-8]+"AAAAAAAA").Status)
		assert.Equal(t, http.StatusOK, victim.get(t, "/", proof).Status)
	})
	assert.Len(t, as.asked(victim.token), once, "G22 the answer is remembered")
	for _, asked := range as.asked(victim.token) {
		assert.Empty(t, asked.header["Dpop"], "C12")
	}
}

// A proof is for the URL that the client has written, whatever becomes of it on the way to the backend.
func TestDPoPBehindRewrites(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option("authority"), `
		handle_path /api/* {
			introspect {
				dpop required
			}
			`+app.Proxy()+`
		}
		handle /old/* {
			rewrite * /new{uri}
			introspect {
				dpop required
			}
			`+app.Proxy()+`
		}
		handle /head {
			method POST
			introspect
			`+app.Proxy()+`
		}
		handle {
			uri query -secret
			introspect
			`+app.Proxy()+`
		}`))
	client := newHolder(t, g, as, "token-behind-rewrites")
	for _, c := range []struct {
		name, path, htu, backend string
		status                   int
	}{
		{"G06 handle_path", "/api/orders?x=1", "/api/orders", "/orders?x=1", 200},
		{"G06 the path that handle_path makes", "/api/orders", "/orders", "", 401},
		{"G06 rewrite", "/old/orders", "/old/orders", "/new/old/orders", 200},
		{"G06 the path that a rewrite makes", "/old/orders", "/new/old/orders", "", 401},
		{"G05 a method that is changed", "/head", "/head", "/head", 200},
		{"G06 query", "/a?secret=1&x=2", "/a", "/a?x=2", 200},
		{"G07 another spelling", "/%7Ea/../b%c3%a9", "/b%C3%A9", "/%7Ea/../b%c3%a9", 200},
		{"G07 an escaped slash", "/a%2Fb", "/a/b", "", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			proof := client.proof(t, c.htu)
			got := g.raw(t, "GET "+c.path, []string{"Authorization: DPoP " + client.token, "DPoP: " + proof}, "")
			assert.Equal(t, c.status, got.Status)
			seen := app.Take()
			if c.status != http.StatusOK {
				assert.Empty(t, seen)
				return
			}
			require.Len(t, seen, 1)
			assert.Equal(t, c.backend, seen[0].URI)
		})
	}
	t.Run("G06 the absolute form", func(t *testing.T) {
		got := g.raw(t, "GET http://API.example.com/x", []string{
			"Authorization: DPoP " + client.token,
			"DPoP: " + client.Proof(t, http.MethodGet, "http://api.example.com:80/x", testdpop.Token(client.token)),
		}, "")
		assert.Equal(t, http.StatusOK, got.Status)
	})
}

// Whoever says for which URL a request is must be somebody whom the operator trusts.
func TestDPoPBehindAProxy(t *testing.T) {
	t.Parallel()
	as, app := newAuthority(t), testgateway.StartBackend(t)
	for _, c := range []struct {
		name, servers string
		scheme        string // of the proof that passes
	}{
		{"G06 a stranger says https", "", "http"},
		{"G06 a trusted proxy says https", "servers {\ntrusted_proxies static 127.0.0.1/32\n}\n", "https"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGateway(t)
			g.Start(t, g.caddyfile(c.servers+as.option(""), "introspect\n"+app.Proxy()))
			client := newHolder(t, g, as, "token-behind-a-proxy-"+c.scheme)
			for _, scheme := range []string{"http", "https"} {
				request := client.request(t, "/", client.Proof(t, http.MethodGet, scheme+"://api.example.com/", testdpop.Token(client.token)))
				request.Host = "api.example.com"
				request.Header.Set("X-Forwarded-Proto", "https")
				want := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[scheme == c.scheme]
				assert.Equal(t, want, testgateway.Send(t, request).Status, scheme)
			}
			t.Run("K07 nobody says which host", func(t *testing.T) {
				request := client.request(t, "/", client.Proof(t, http.MethodGet, c.scheme+"://evil.example/", testdpop.Token(client.token)))
				request.Header.Set("X-Forwarded-Proto", "https")
				request.Header.Set("X-Forwarded-Host", "evil.example")
				assert.Equal(t, http.StatusUnauthorized, testgateway.Send(t, request).Status)
			})
		})
	}
}

func TestDPoPRequired(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option("authority"), `
		handle /optional {
			introspect {
				dpop required
				optional
			}
			`+app.Proxy()+`
		}
		handle {
			introspect scope read {
				dpop required
			}
			`+app.Proxy()+`
		}`))
	client := newHolder(t, g, as, "token-where-it-is-required")
	const plain = "token-that-is-bound-to-nothing"
	as.on(plain, active(claims{"scope": "read"}))
	as.on("poor-but-bound", active(claims{"scope": "", "cnf": claims{"jkt": client.JKT()}}))

	got := client.get(t, "/", client.proof(t, "/"))
	assert.Equal(t, http.StatusOK, got.Status)
	assert.Empty(t, got.Header["Dpop-Nonce"])

	got = g.get(t, "/", "")
	assert.Equal(t, http.StatusUnauthorized, got.Status)
	assert.Equal(t, []string{`DPoP realm="portcullis", scope="read", ` + proofAlgorithms}, got.Header["Www-Authenticate"], "G17")

	got = g.get(t, "/", plain)
	assert.Equal(t, http.StatusUnauthorized, got.Status, "G21")
	assert.Equal(t, []string{challengeInvalidTokenDPoP}, got.Header["Www-Authenticate"], "G21")

	assert.Equal(t, http.StatusOK, g.get(t, "/optional", "").Status)
	assert.Equal(t, http.StatusUnauthorized, g.get(t, "/optional", plain).Status)

	poor := &holder{client.Key, g, "poor-but-bound"}
	got = poor.get(t, "/", poor.proof(t, "/"))
	assert.Equal(t, http.StatusForbidden, got.Status)
	assert.Equal(t, []string{`DPoP realm="portcullis", error="insufficient_scope", scope="read", ` + proofAlgorithms}, got.Header["Www-Authenticate"])
	got = poor.get(t, "/")
	assert.Equal(t, []string{challengeInvalidProof}, got.Header["Www-Authenticate"], "the binding comes before the scope")
}

// A client without a nonce gets one, and comes back with it.
func TestDPoPNonces(t *testing.T) {
	t.Parallel()
	as, app, g, other := newAuthority(t), testgateway.StartBackend(t), newGateway(t), newGateway(t)
	site := func(g *gateway) string {
		return g.caddyfile(as.option(""), "introspect {\ndpop nonce\n}\n"+app.Proxy())
	}
	g.Start(t, site(g))
	other.Start(t, site(other))
	client := newHolder(t, g, as, "token-with-nonces")

	refused := func(t *testing.T, challenge string, proofs ...string) (nonce string) {
		t.Helper()
		got := client.get(t, "/", proofs...)
		assert.Equal(t, http.StatusUnauthorized, got.Status)
		assert.Equal(t, []string{challenge}, got.Header["Www-Authenticate"])
		require.Len(t, got.Header["Dpop-Nonce"], 1)
		return got.Header["Dpop-Nonce"][0]
	}
	nonce := refused(t, challengeUseNonce, client.proof(t, "/"))
	for range 2 {
		got := client.get(t, "/", client.proof(t, "/", testdpop.Nonce(nonce)))
		assert.Equal(t, http.StatusOK, got.Status, "G15 G16 a nonce is good for more than one request")
	}
	refused(t, challengeUseNonce, client.proof(t, "/", testdpop.Nonce("made-up")))
	refused(t, challengeInvalidProof)

	elsewhere := other.get(t, "/", "")
	require.Equal(t, http.StatusUnauthorized, elsewhere.Status)
	require.NotEmpty(t, elsewhere.Header.Get("DPoP-Nonce"))
	refused(t, challengeUseNonce, client.proof(t, "/", testdpop.Nonce(elsewhere.Header.Get("DPoP-Nonce"))))

	t.Run("G16 a nonce outlives a reload", func(t *testing.T) {
		g.reload(t, g.caddyfile(as.option("", "max_token 1KiB"), "introspect {\ndpop nonce\nrealm other\n}\n"+app.Proxy()))
		got := client.get(t, "/", client.proof(t, "/", testdpop.Nonce(nonce)))
		assert.Equal(t, http.StatusOK, got.Status)
	})
}

// One proof is enough for a request, and so is one check of it.
func TestDPoPAndTwoDirectives(t *testing.T) {
	t.Parallel()
	first, second := newAuthority(t), newAuthority(t)
	app, g := testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(first.option("first")+second.option("second"), `
		route /two {
			introspect first
			introspect second {
				dpop required
			}
			`+app.Proxy()+`
		}
		route /nonce {
			introspect first
			introspect second {
				dpop nonce
			}
			`+app.Proxy()+`
		}
		route /observed {
			introspect first {
				observe
			}
			introspect second
			`+app.Proxy()+`
		}
		route /stricter {
			introspect first {
				observe
				dpop nonce
			}
			introspect second
			`+app.Proxy()+`
		}`))
	client := newHolder(t, g, first, "token-of-two-directives")
	second.on(client.token, active(claims{"cnf": claims{"jkt": client.JKT()}}))

	assert.Equal(t, http.StatusOK, client.get(t, "/two", client.proof(t, "/two")).Status)
	assert.Equal(t, http.StatusOK, client.get(t, "/observed", client.proof(t, "/observed")).Status)

	got := client.get(t, "/nonce", client.proof(t, "/nonce"))
	assert.Equal(t, []string{challengeUseNonce}, got.Header["Www-Authenticate"])
	got = client.get(t, "/nonce", client.proof(t, "/nonce", testdpop.Nonce(got.Header.Get("DPoP-Nonce"))))
	assert.Equal(t, http.StatusOK, got.Status)

	t.Run("one that only observes refuses nothing", func(t *testing.T) {
		proof := client.proof(t, "/stricter")
		assert.Equal(t, http.StatusOK, client.get(t, "/stricter", proof).Status)
		assert.Equal(t, http.StatusUnauthorized, client.get(t, "/stricter", proof).Status, "a replay")

		second.on("token-of-another-key", active(claims{"cnf": claims{"jkt": client.JKT()}}))
		first.on("token-of-another-key", active(claims{"cnf": claims{"jkt": testdpop.NewKey(t).JKT()}}))
		other := &holder{client.Key, g, "token-of-another-key"}
		assert.Equal(t, http.StatusOK, other.get(t, "/observed", other.proof(t, "/observed")).Status)
	})
	t.Run("another key at the other authority", func(t *testing.T) {
		second.on("token-of-two-keys", active(claims{"cnf": claims{"jkt": testdpop.NewKey(t).JKT()}}))
		client := newHolder(t, g, first, "token-of-two-keys")
		got := client.get(t, "/two", client.proof(t, "/two"))
		assert.Equal(t, []string{challengeInvalidTokenDPoP}, got.Header["Www-Authenticate"])
	})
}

// A reload, one that fails included, makes no proof new.
func TestG13_AReloadForgetsNoProof(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	site := func(rules string) string { return g.caddyfile(as.option(""), "introspect "+rules+"\n"+app.Proxy()) }
	g.Start(t, site(""))
	client := newHolder(t, g, as, "token-across-reloads")
	proof := client.proof(t, "/")
	require.Equal(t, http.StatusOK, client.get(t, "/", proof).Status)
	for _, rules := range []string{"scope read", "", "{\ndpop required\n}"} {
		g.reload(t, site(rules))
		assert.Equal(t, []string{challengeInvalidProof}, client.get(t, "/", proof).Header["Www-Authenticate"], rules)
	}
	loaded := g.Load(t, site("{\nendpoint "+as.URL+"\nclient gateway {env.NOT_SET_ANYWHERE}\n}"))
	require.NotEqual(t, http.StatusOK, loaded.Status)
	assert.Equal(t, http.StatusUnauthorized, client.get(t, "/", proof).Status)
	assert.Equal(t, http.StatusOK, client.get(t, "/", client.proof(t, "/")).Status)
}

// Many clients at once, each with a key and proofs of its own.
func TestDPoPInACrowd(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option(""), "introspect {\ndpop required\n}\n"+app.Proxy()))
	const clients, requests = 8, 10
	var prepared []*http.Request
	for i := range clients {
		client := newHolder(t, g, as, fmt.Sprintf("token-in-the-crowd-%d", i))
		for range requests {
			prepared = append(prepared, client.request(t, "/", client.proof(t, "/")))
		}
	}
	var failed atomic.Int32
	var all sync.WaitGroup
	for _, request := range prepared {
		all.Go(func() {
			if got, err := testgateway.Try(request); err != nil || got.Status != http.StatusOK {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	assert.Zero(t, failed.Load())
	assert.Len(t, app.All(), clients*requests)
}

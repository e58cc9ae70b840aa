package authserver_test

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

const keysURL = "https://client.example.com/jwks.json?key=canary"

// publisher publishes a key set, as a transport sees it.
type publisher struct {
	mu      sync.Mutex
	answer  func() (*http.Response, error)
	fetched int
}

func (p *publisher) RoundTrip(request *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.fetched++
	answer := p.answer
	p.mu.Unlock()
	if request.URL.String() != keysURL {
		return nil, errors.New("nobody asked for " + request.URL.String())
	}
	if answer == nil {
		<-request.Context().Done()
		return nil, request.Context().Err()
	}
	return answer()
}

func (p *publisher) says(status int, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = func() (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Header: http.Header{"Location": {keysURL + "&elsewhere"}}, Body: io.NopCloser(strings.NewReader(string(body))),
		}, nil
	}
}

func (p *publisher) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetched
}

// memory is as much of a store as client authentication needs, without a disk.
type memory struct {
	store.Store
	once sync.Map
}

func (m *memory) PutOnce(_ context.Context, value string, _ time.Time) error {
	if _, used := m.once.LoadOrStore(value, true); used {
		return store.ErrConsumed
	}
	return nil
}

func (m *memory) Issue(context.Context, ...store.Token) error { return nil }

func (m *memory) Token(context.Context, introspect.Digest) (store.Token, error) {
	return store.Token{}, store.ErrNotFound
}

func (m *memory) PutCode(context.Context, store.Code) error { return nil }

func (m *memory) Code(context.Context, introspect.Digest) (store.Code, error) {
	return store.Code{}, store.ErrNotFound
}

func (m *memory) Record(context.Context, string, string) (store.Record, error) {
	return store.Record{}, store.ErrNotFound
}

func (m *memory) Subscribe(func(store.Revocation)) (cancel func()) { return func() {} }

// newRemote is a server whose client holder publishes its keys.
func newRemote(t testing.TB, p *publisher, logger *slog.Logger) *fixture {
	t.Helper()
	keys, err := authserver.NewRemoteKeySet(authserver.RemoteKeySet{URL: keysURL, Transport: p, Logger: logger})
	require.NoError(t, err)
	f := new(fixture)
	f.Server, err = authserver.New(authserver.Config{
		Issuer:           issuer,
		Clients:          []authserver.Client{{ID: "holder", Keys: keys, Grants: []string{authserver.GrantClientCredentials, authserver.GrantJWTBearer}}},
		AssertionIssuers: []authserver.AssertionIssuer{{Issuer: partner, Keys: keys}},
		Logger:           logger,
	}, new(memory))
	require.NoError(t, err)
	return f
}

func TestH07PublishedKeys(t *testing.T) {
	old, next := publicKey(clientKey, "k1"), publicKey(partnerKey, "k2")
	bubble := func(name string, test func(t *testing.T, p *publisher, ask func(key *ecdsa.PrivateKey, kid string) int)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := new(publisher)
				f := newRemote(t, p, slog.New(slog.DiscardHandler))
				test(t, p, func(key *ecdsa.PrivateKey, kid string) int {
					f.nanos.Store(time.Now().UnixNano())
					header := object{"kid": kid}
					if kid == "" {
						header = nil
					}
					assertion := sign(t, jose.ES256, key, header, f.claims(t, "holder"))
					response, _ := f.do(t, request{path: "/oauth2/token", form: assertionForm(assertion)})
					return response.StatusCode
				})
			})
		})
	}
	bubble("are fetched when they are needed, and once", func(t *testing.T, p *publisher, ask func(*ecdsa.PrivateKey, string) int) {
		p.says(200, jwks(t, old))
		assert.Zero(t, p.count())
		for range 3 {
			assert.Equal(t, 200, ask(clientKey, "k1"))
		}
		assert.Equal(t, 1, p.count())
		time.Sleep(15 * time.Minute)
		assert.Equal(t, 200, ask(clientKey, "k1"))
		assert.Equal(t, 2, p.count())
	})
	bubble("a new key counts within a minute, an old one that is gone no longer", func(t *testing.T, p *publisher, ask func(*ecdsa.PrivateKey, string) int) {
		p.says(200, jwks(t, old))
		require.Equal(t, 200, ask(clientKey, "k1"))
		time.Sleep(time.Minute)
		p.says(200, jwks(t, next))
		assert.Equal(t, 200, ask(partnerKey, "k2"))
		assert.Equal(t, 401, ask(clientKey, "k1"))
	})
	bubble("a new key without a kid counts, too", func(t *testing.T, p *publisher, ask func(*ecdsa.PrivateKey, string) int) {
		p.says(200, jwks(t, publicKey(clientKey, "")))
		require.Equal(t, 200, ask(clientKey, ""))
		time.Sleep(time.Minute)
		p.says(200, jwks(t, publicKey(partnerKey, "")))
		assert.Equal(t, 200, ask(partnerKey, ""))
	})
	bubble("a flood of signatures that fit no key is one fetch a minute", func(t *testing.T, p *publisher, ask func(*ecdsa.PrivateKey, string) int) {
		p.says(200, jwks(t, old))
		for range 180 {
			require.Equal(t, 401, ask(partnerKey, "k9"))
			time.Sleep(time.Second)
		}
		assert.LessOrEqual(t, p.count(), 3)
		assert.Equal(t, 200, ask(clientKey, "k1"))
	})
	bubble("known keys stay in use while they cannot be fetched", func(t *testing.T, p *publisher, ask func(*ecdsa.PrivateKey, string) int) {
		p.says(200, jwks(t, old))
		require.Equal(t, 200, ask(clientKey, "k1"))
		for _, broken := range []func(){
			func() { p.says(503, nil) },
			func() { p.says(302, jwks(t, next)) },
			func() { p.says(200, []byte("garbage")) },
			func() { p.says(200, append(jwks(t, next), make([]byte, 256<<10)...)) },
			func() { p.answer = func() (*http.Response, error) { return nil, errors.New("connection refused") } },
			func() { p.answer = nil },
		} {
			broken()
			time.Sleep(15 * time.Minute)
			began := time.Now()
			assert.Equal(t, 200, ask(clientKey, "k1"))
			assert.Equal(t, 401, ask(partnerKey, "k2"))
			assert.LessOrEqual(t, time.Since(began), 10*time.Second)
		}
	})
	bubble("a client whose keys cannot be fetched is refused like any other, and tried again soon", func(t *testing.T, p *publisher, ask func(*ecdsa.PrivateKey, string) int) {
		p.says(503, nil)
		for range 10 {
			assert.Equal(t, 401, ask(clientKey, "k1"))
		}
		assert.Equal(t, 1, p.count())
		p.says(200, jwks(t, old))
		time.Sleep(10 * time.Second)
		assert.Equal(t, 200, ask(clientKey, "k1"))
	})
	bubble("many who wait for the keys are one fetch", func(t *testing.T, p *publisher, ask func(*ecdsa.PrivateKey, string) int) {
		gate := make(chan struct{})
		body := jwks(t, old)
		p.answer = func() (*http.Response, error) {
			<-gate
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(string(body)))}, nil
		}
		var waiting sync.WaitGroup
		for range 20 {
			waiting.Go(func() { assert.Equal(t, 200, ask(clientKey, "k1")) })
		}
		synctest.Wait()
		close(gate)
		waiting.Wait()
		assert.Equal(t, 1, p.count())
	})
	t.Run("nobody can tell who is granted what, and the log says why", func(t *testing.T) {
		var log strings.Builder
		p := new(publisher)
		p.says(500, nil)
		f := newRemote(t, p, slog.New(slog.NewTextHandler(&log, nil)))
		f.nanos.Store(time.Now().UnixNano())
		response, members := f.do(t, request{path: "/oauth2/token", form: assertionForm(f.byKey(t))})
		assert.Equal(t, 401, response.StatusCode)
		assert.Equal(t, "client authentication failed", members["error_description"])
		assert.Contains(t, log.String(), "status 500")
		assert.Contains(t, log.String(), "client_id=holder")
		assert.NotContains(t, log.String(), "canary")
	})
}

func TestG05AnIssuerWhoseKeysCannotBeFetchedIsNobodysFault(t *testing.T) {
	p := new(publisher)
	p.says(200, jwks(t, publicKey(clientKey, "k1"), publicKey(partnerKey, "p1")))
	f := newRemote(t, p, slog.New(slog.DiscardHandler))
	f.nanos.Store(time.Now().UnixNano())
	both := func() (form map[string][]string) {
		form = assertionForm(f.byKey(t))
		form["grant_type"], form["assertion"] = []string{authserver.GrantJWTBearer}, []string{f.byPartner(t)}
		return form
	}
	response, members := f.do(t, request{path: "/oauth2/token", form: both()})
	require.Equal(t, 200, response.StatusCode, members)

	dead, err := authserver.NewRemoteKeySet(authserver.RemoteKeySet{URL: keysURL, Transport: new(publisher), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	f.Server, err = authserver.New(authserver.Config{
		Issuer:           issuer,
		Clients:          []authserver.Client{{ID: "holder", Keys: keySet(t, publicKey(clientKey, "k1")), Grants: []string{authserver.GrantJWTBearer}}},
		AssertionIssuers: []authserver.AssertionIssuer{{Issuer: partner, Keys: dead}},
		Logger:           slog.New(slog.DiscardHandler),
	}, new(memory))
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		f.nanos.Store(time.Now().UnixNano())
		response, members = f.do(t, request{path: "/oauth2/token", form: both()})
		assert.Equal(t, 503, response.StatusCode)
		assert.Equal(t, "temporarily_unavailable", members["error"])
	})
}

func TestK07KeySets(t *testing.T) {
	marshal := func(key any) string {
		text, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: "canary-kid"})
		require.NoError(t, err)
		return string(text)
	}
	public := marshal(clientKey.Public())
	for name, test := range map[string]struct{ text, says string }{
		"a set":                        {`{"keys":[` + public + `]}`, ""},
		"one key":                      {public, ""},
		"others that nobody knows":     {`{"keys":[{"kty":"moon"},7,` + public + `]}`, ""},
		"no JSON":                      {"-----BEGIN PUBLIC KEY-----", "no JWK set"},
		"another object":               {`{}`, "no JWK set"},
		"keys twice":                   {`{"keys":[],"keys":[` + public + `]}`, "no JWK set"},
		"empty":                        {`{"keys":[]}`, "no public key"},
		"only what nobody knows":       {`{"keys":[{"kty":"moon"}]}`, "no public key"},
		"for encryption":               {strings.Replace(public, `{`, `{"use":"enc",`, 1), "no public key"},
		"a short RSA key":              {marshal(newRSA(1024).Public()), "no public key"},
		"a private EC key":             {`{"keys":[` + public + `,` + marshal(clientKey) + `]}`, "private"},
		"a private RSA key":            {marshal(rsaKey), "private"},
		"a private Ed25519 key":        {marshal(edKey), "private"},
		"a secret that somebody shows": {marshal([]byte(jwtSecret)), "private"},
	} {
		_, err := authserver.ParseKeySet([]byte(test.text))
		if test.says == "" {
			assert.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, test.says, name)
		assert.NotContains(t, err.Error(), "canary", name)
	}
	for text, good := range map[string]bool{
		"https://client.example.com/jwks": true, "http://localhost:1/jwks": true, "http://[::1]/jwks": true,
		"http://client.example.com/jwks": false, "ftp://client.example.com/jwks": false, "https:///jwks": false,
		"https://u:p@client.example.com/": false, "https://client.example.com/#x": false, "https://%zz": false,
	} {
		_, err := authserver.NewRemoteKeySet(authserver.RemoteKeySet{URL: text})
		assert.Equal(t, good, err == nil, text)
	}
	onlyFor := jose.JSONWebKey{Key: rsaKey.Public(), Algorithm: "PS256", Use: "sig"}
	f := newAuthServer(t)
	var err error
	f.Server, err = authserver.New(authserver.Config{Issuer: issuer, Now: f.now, Clients: []authserver.Client{
		{ID: "holder", Keys: keySet(t, onlyFor), Grants: []string{authserver.GrantClientCredentials}},
	}}, f.store)
	require.NoError(t, err)
	for algorithm, status := range map[jose.SignatureAlgorithm]int{jose.PS256: 200, jose.RS256: 401, jose.PS384: 401} {
		assertion := sign(t, algorithm, rsaKey, nil, f.claims(t, "holder"))
		response, _ := f.do(t, request{path: "/oauth2/token", form: assertionForm(assertion)})
		assert.Equal(t, status, response.StatusCode, "a key is for its own alg: %s", algorithm)
	}
}

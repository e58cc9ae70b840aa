package examples_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// witness is an authorization server that publishes its metadata, knows some tokens, and notes which ones it is shown.
type witness struct {
	*httptest.Server

	mu    sync.Mutex
	known map[string]string // the scope of each token
	shown []string
}

func startWitness(t *testing.T) *witness {
	t.Helper()
	w := &witness{known: make(map[string]string)}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

func (w *witness) ServeHTTP(response http.ResponseWriter, r *http.Request) {
	response.Header().Set("Content-Type", "application/json")
	members := map[string]any{"issuer": w.URL, "introspection_endpoint": w.URL + "/oauth/introspect"}
	if r.Method == http.MethodPost {
		token := r.PostFormValue("token")
		w.mu.Lock()
		defer w.mu.Unlock()
		w.shown = append(w.shown, token)
		scope, known := w.known[token]
		members = map[string]any{"active": known, "scope": scope, "username": "jane"}
	}
	_ = json.NewEncoder(response).Encode(members) // the gateway hung up
}

func (w *witness) knows(token, scope string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known[token] = scope
}

// take lists the tokens that it was shown, and forgets them.
func (w *witness) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	shown := w.shown
	w.shown = nil
	return shown
}

func TestSeveralAuthorities(t *testing.T) {
	company, partner := startWitness(t), startWitness(t)
	writers, readers := testgateway.StartBackend(t), testgateway.StartBackend(t)
	port := testgateway.Port(t)
	site := "http://localhost:" + port
	gateway := testgateway.Start(t, caddyfile(t, "several-authorities",
		"https://login.example.com", company.URL,
		"https://auth.partner.example.com", partner.URL,
		"http://localhost:8080", site,
		"localhost:3000", writers.Address,
		"localhost:3001", readers.Address,
	), "COMPANY_SECRET=company-s3cret", "PARTNER_SECRET=partner-s3cret")
	gateway.GuardClient("gateway", "company-s3cret")
	gateway.GuardClient("gateway", "partner-s3cret")
	jwt := func(issuer, subject string) string {
		encode := base64.RawURLEncoding.EncodeToString
		return encode([]byte(`{"alg":"RS256"}`)) + "." + encode(fmt.Appendf(nil, `{"iss":%q,"sub":%q}`, issuer, subject)) + ".c2lnbmVk"
	}
	ofCompany, ofPartner := jwt(company.URL, "jane"), "ptn_0123456789abcdef"
	company.knows(ofCompany, "orders:read orders:write")
	partner.knows(ofPartner, "orders:read orders:write")
	ofDevice := issue(t, site, "sensor")
	forged, strange, opaque := jwt(company.URL, "root"), jwt("https://evil.example.com", "root"), "nonsense-0123456789"
	gateway.Guard(ofCompany, ofPartner, ofDevice, forged, strange, opaque)

	const bad = `Bearer realm="portcullis", error="invalid_token"`
	for _, test := range []struct {
		name, method, token     string
		status                  int
		challenge, authority    string
		atCompany, atPartner    []string
		reachesWriters, reaches bool
	}{
		{"C14 a token of the company's", "POST", ofCompany, 200, "", "company", []string{ofCompany}, nil, true, true},
		{"a known one", "GET", ofCompany, 200, "", "company", nil, nil, false, true},
		{"C14 a token of the partner's", "PATCH", ofPartner, 200, "", "partner", nil, []string{ofPartner}, true, true},
		{"C14 a token of a device", "GET", ofDevice, 200, "", "devices", nil, nil, false, true},
		{"a device that writes", "POST", ofDevice, 403, "", "", nil, nil, false, false},
		{"C14 attack: a forged token", "GET", forged, 401, bad, "", []string{forged}, nil, false, false},
		{"C14 attack: a token of a stranger", "GET", strange, 401, bad, "", nil, nil, false, false},
		{"C14 an opaque token without a prefix", "GET", opaque, 401, bad, "", []string{opaque}, nil, false, false},
		{"B03 no token", "GET", "", 401, `Bearer realm="portcullis", scope="orders:read"`, "", nil, nil, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			request := testgateway.Request(t, test.method, site+"/orders", test.token)
			request.Header.Set("X-Authority", "forged")
			answer := testgateway.Send(t, request)
			assert.Equal(t, test.status, answer.Status)
			assert.Equal(t, test.challenge, answer.Challenge(t))
			assert.Equal(t, test.atCompany, company.take(), "what the company is shown")
			assert.Equal(t, test.atPartner, partner.take(), "what the partner is shown")
			reached, other := readers, writers
			if test.reachesWriters {
				reached, other = writers, readers
			}
			assert.Empty(t, other.Take())
			seen := reached.Take()
			if !test.reaches {
				assert.Empty(t, seen)
				return
			}
			require.Len(t, seen, 1)
			assert.Equal(t, []string{test.authority}, seen[0].Header["X-Authority"])
			assert.NotContains(t, seen[0].Header, "Authorization", "J13")
		})
	}
	t.Run("K15 attack: guessing", func(t *testing.T) {
		for i := range 25 {
			guess := fmt.Sprint("ptn_guess-", strings.Repeat("x", 8), i)
			gateway.Guard(guess)
			answer := testgateway.Send(t, testgateway.Request(t, http.MethodGet, site+"/orders", guess))
			assert.Equal(t, map[bool]int{true: 401, false: 429}[i < 20], answer.Status, i)
		}
		assert.Len(t, partner.take(), 20)
		assert.Equal(t, http.StatusOK, testgateway.Send(t, testgateway.Request(t, http.MethodGet, site+"/orders", ofPartner)).Status, "a known one goes on")
	})
}

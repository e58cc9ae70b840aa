package examples_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// partnersSecret is the gateway's own at Authlib.
const partnersSecret = "gateway-secret_0.1~authlib"

// partners is the authority of the partners: a server of Authlib's, behind a proxy that notes which tokens the gateway
// asks about.
type partners struct {
	*testgateway.Process

	url   string // of the server
	proxy string // of the proxy

	mu    sync.Mutex
	asked []string
}

func startPartners(t *testing.T) *partners {
	t.Helper()
	const python, program = "/usr/bin/python3", "../interop/authlib/server.py"
	if exec.Command(python, "-c", "import authlib, flask").Run() != nil {
		testgateway.Missing(t, "needs Authlib: apt-get install python3-authlib python3-flask")
	}
	require.FileExists(t, program) // and so a cached result is not used when it changes
	p := &partners{Process: testgateway.Run(t, exec.Command(python, program))}
	p.url = p.Await(t, "http://127.0.0.1:")
	target, err := url.Parse(p.url)
	require.NoError(t, err)
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.ErrorLog = log.New(io.Discard, "", 0) // the server ends before the test
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		p.mu.Lock()
		p.asked = append(p.asked, form.Get("token"))
		p.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	p.proxy = proxy.URL
	return p
}

// issue asks Authlib for a token of a partner's.
func (p *partners) issue(t *testing.T) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"orders:read orders:write"}}
	return testgateway.Send(t, testgateway.Form(t, p.url+"/oauth/token", "orders-app", "orders-app-secret", form)).AccessToken(t)
}

// take lists the tokens that Authlib was asked about, and forgets them.
func (p *partners) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = nil
	return asked
}

func TestTwoAuthorities(t *testing.T) {
	authlib, port, other, backend := startPartners(t), testgateway.Port(t), testgateway.Port(t), testgateway.Port(t)
	forStaff, forPartners := "http://localhost:"+port, "http://localhost:"+other
	gateway := testgateway.Start(t, caddyfile(t, "two-authorities",
		"http://localhost:8080", forStaff,
		"http://localhost:8090", forPartners,
		"https://auth.partners.example.com", authlib.proxy,
		"127.0.0.1:8081", "127.0.0.1:"+backend,
		"http://:8081", "http://:"+backend,
	), "PARTNERS_SECRET="+partnersSecret)
	ours, stray, theirs := issue(t, forStaff, "clerk"), issue(t, forStaff, "clerk"), authlib.issue(t)
	gateway.GuardClient("clerk", "clerk-secret")
	gateway.GuardClient("gateway", partnersSecret)
	gateway.Guard(ours, stray, theirs)
	const bad = `Bearer realm="portcullis", error="invalid_token"`

	// In turn: what one authority has just said counts for nothing at the other.
	for _, test := range []struct {
		name        string
		site, token string
		status      int
		challenge   string
		authority   string
		client      string
		asked       []string // what partners' authority is asked about
	}{
		{"C14 a partner's token at staff's site", forStaff, theirs, 401, bad, "", "", nil},
		{"C14 our token at our site", forStaff, ours, 200, "", "staff", "clerk", nil},
		{"a partner's token at partners' site", forPartners, theirs, 200, "", "partners", "orders-app", []string{theirs}},
		{"C14 a partner's token at staff's site, now that it is known", forStaff, theirs, 401, bad, "", "", nil},
		{"our token at partners' site", forPartners, stray, 401, bad, "", "", []string{stray}},
		{"C14 our token at our site, now that partners called it bad", forStaff, stray, 200, "", "staff", "clerk", nil},
		{"our token at partners' site, now that it is known here", forPartners, stray, 401, bad, "", "", nil},
		{"C14 a known token at our site", forStaff, ours, 200, "", "staff", "clerk", nil},
		{"B03 no token at staff's site", forStaff, "", 401, `Bearer realm="portcullis", scope="orders:write"`, "", "", nil},
		{"B03 no token at partners' site", forPartners, "", 401, `Bearer realm="portcullis", scope="orders:read"`, "", "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			request := testgateway.Request(t, http.MethodGet, test.site+"/orders", test.token)
			for _, header := range []string{"X-Authority", "Remote-User", "Remote-Client"} {
				request.Header.Set(header, "forged")
			}
			answer := testgateway.Send(t, request)
			assert.Equal(t, test.status, answer.Status)
			assert.Equal(t, test.challenge, answer.Challenge(t))
			assert.Equal(t, test.asked, authlib.take(), "what partners' authority sees")
			if test.status != http.StatusOK {
				assert.Empty(t, answer.Body)
				return
			}
			told := fmt.Sprintf("GET /orders\nX-Authority:   %s\nRemote-User:   \nRemote-Client: %s\nRemote-Scope:  orders:read orders:write\nAuthorization: \n",
				test.authority, test.client)
			assert.Equal(t, told, answer.Body, "J01 J13")
		})
	}
	t.Run("an outage of the one is none of the other", func(t *testing.T) {
		authlib.Stop(t)
		unknown := issue(t, forStaff, "clerk")
		gateway.Guard(unknown)
		assert.Equal(t, http.StatusOK, testgateway.Send(t, testgateway.Request(t, http.MethodGet, forStaff+"/orders", unknown)).Status)
		answer := testgateway.Send(t, testgateway.Request(t, http.MethodGet, forPartners+"/orders", unknown))
		assert.Equal(t, http.StatusServiceUnavailable, answer.Status, "B15")
		assert.Empty(t, answer.Challenge(t))
	})
}

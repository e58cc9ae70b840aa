package e2e

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority is an authorization server that answers as the test wants, by the token it is asked about or by the path
// at which it is asked, and remembers what it was asked. It knows nothing of other tokens.
type authority struct {
	*httptest.Server

	stop chan struct{} // closed when the test ends

	mu      sync.Mutex
	answers map[string]answer
	calls   []call
}

// answer is what the authority does when it is asked.
type answer = http.HandlerFunc

// call is one question.
type call struct {
	path   string
	token  string
	form   url.Values
	header http.Header
	query  string
	// certificates name whom the client certificate is for.
	certificates []string
}

// claims are the members of an answer.
type claims map[string]any

// The client as which gateways ask.
const (
	gatewayID     = "gateway"
	gatewaySecret = "gateway-secret-5cR7"
)

func newAuthority(t *testing.T) *authority {
	t.Helper()
	return authorityAt(t, nil)
}

// authorityAt starts an authority on a listener, or on one of its own.
func authorityAt(t *testing.T, listener net.Listener) *authority {
	t.Helper()
	a := unstartedAuthority(t)
	if listener != nil {
		require.NoError(t, a.Listener.Close())
		a.Listener = listener
	}
	a.Start()
	return a
}

// tlsAuthority starts an authority that speaks TLS.
func tlsAuthority(t *testing.T, config *tls.Config) *authority {
	t.Helper()
	a := unstartedAuthority(t)
	a.TLS = config
	a.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail
	a.StartTLS()
	return a
}

func unstartedAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{answers: make(map[string]answer), stop: make(chan struct{})}
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	t.Cleanup(func() {
		close(a.stop)
		a.Close()
	})
	return a
}

func (a *authority) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	asked := call{path: r.URL.Path, token: form.Get("token"), form: form, header: r.Header, query: r.URL.RawQuery}
	if r.TLS != nil {
		for _, certificate := range r.TLS.PeerCertificates {
			asked.certificates = append(asked.certificates, certificate.Subject.CommonName)
		}
	}
	a.mu.Lock()
	a.calls = append(a.calls, asked)
	give := a.answers[asked.token]
	if give == nil {
		give = a.answers[asked.path]
	}
	a.mu.Unlock()
	if give == nil {
		give = says(claims{"active": false})
	}
	give(w, r)
}

// on sets the answer to a token, or at a path.
func (a *authority) on(tokenOrPath string, give answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers[tokenOrPath] = give
}

// asked lists the questions about a token, or at a path.
func (a *authority) asked(tokenOrPath string) []call {
	a.mu.Lock()
	defer a.mu.Unlock()
	var calls []call
	for _, asked := range a.calls {
		if asked.token == tokenOrPath || asked.path == tokenOrPath {
			calls = append(calls, asked)
		}
	}
	return calls
}

// option is the global option that names this authority, with further lines.
func (a *authority) option(name string, lines ...string) string {
	return authorityOption(name, a.URL, lines...)
}

func authorityOption(name, endpoint string, lines ...string) string {
	lines = append([]string{"endpoint " + endpoint, "client " + gatewayID + " " + gatewaySecret}, lines...)
	return "introspect " + name + " {\n\t" + strings.Join(lines, "\n\t") + "\n}\n"
}

// says answers with members in JSON.
func says(members claims) answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(members)
	}
}

// active answers that a token is active, with further members.
func active(members claims) answer {
	all := claims{"active": true}
	maps.Copy(all, members)
	return says(all)
}

// activeFor answers that a token is active, for so long from each question on, rounded up to a second.
func activeFor(life time.Duration) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		active(claims{"exp": time.Now().Add(life).Unix() + 1})(w, r)
	}
}

// sends answers with a status, a content type and a body.
func sends(status int, contentType, body string) answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// saysJSON answers 200 with a text that calls itself JSON.
func saysJSON(body string) answer { return sends(http.StatusOK, "application/json", body) }

// hangs does not answer.
func (a *authority) hangs() answer {
	return func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-a.stop:
		}
	}
}

// after answers when the channel is closed.
func (a *authority) after(gate <-chan struct{}, give answer) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gate:
			give(w, r)
		case <-a.stop:
		}
	}
}

// hangsUp closes the connection without an answer.
func hangsUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

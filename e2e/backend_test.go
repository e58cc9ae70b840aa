package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// backend is an application behind the gateway. It remembers what it sees of every request, and answers with it.
type backend struct {
	*httptest.Server

	stop chan struct{} // closed when the test ends

	mu    sync.Mutex
	seen  map[string][]sight
	gates map[string]chan struct{}
}

// sight is what the backend sees of a request.
type sight struct {
	Method  string
	URI     string
	Header  http.Header
	Trailer http.Header
	Body    string
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	b := &backend{seen: make(map[string][]sight), gates: make(map[string]chan struct{}), stop: make(chan struct{})}
	b.Server = httptest.NewServer(http.HandlerFunc(b.serve))
	t.Cleanup(func() {
		close(b.stop)
		b.Close()
	})
	return b
}

func (b *backend) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // the trailers follow the body
	s := sight{r.Method, r.RequestURI, r.Header, r.Trailer, string(body)}
	b.mu.Lock()
	b.seen[r.URL.Path] = append(b.seen[r.URL.Path], s)
	gate := b.gates[r.URL.Path]
	b.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-b.stop:
		}
	}
	if r.Header.Get("Upgrade") != "" {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
		w.WriteHeader(http.StatusSwitchingProtocols)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s)
}

// at lists the requests that came for a path.
func (b *backend) at(path string) []sight {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen[path]
}

// one returns the only request that came for a path.
func (b *backend) one(t *testing.T, path string) sight {
	t.Helper()
	seen := b.at(path)
	require.Len(t, seen, 1, "requests for %s that reached the backend", path)
	return seen[0]
}

// hold lets the requests for a path wait until release is called.
func (b *backend) hold(path string) (release func()) {
	gate := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gates[path] = gate
	return func() { close(gate) }
}

// arrived waits until so many requests for a path are at the backend.
func (b *backend) arrived(t *testing.T, path string, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(b.at(path)) >= n }, patience, tick)
}

// proxy is the directive that passes requests on to this backend.
func (b *backend) proxy() string { return "reverse_proxy " + b.Listener.Addr().String() + "\n" }

// all lists all requests that came.
func (b *backend) all() []sight {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []sight
	for _, seen := range b.seen {
		all = append(all, seen...)
	}
	return all
}

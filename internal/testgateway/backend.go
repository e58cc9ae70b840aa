package testgateway

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Backend is an application behind a gateway. It remembers what it sees of every request, and answers with it.
type Backend struct {
	// Address is where it listens: host and port.
	Address string

	stop chan struct{} // closed when the test ends

	mu    sync.Mutex
	seen  []Sight
	gates map[string]chan struct{}
}

// Sight is what a backend sees of a request.
type Sight struct {
	Method  string
	URI     string
	Header  http.Header
	Trailer http.Header
	Body    string

	path string
}

// StartBackend starts a backend that ends with the test.
func StartBackend(t testing.TB) *Backend {
	t.Helper()
	b := &Backend{gates: make(map[string]chan struct{}), stop: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(b.serve))
	t.Cleanup(func() {
		close(b.stop)
		server.Close()
	})
	b.Address = server.Listener.Addr().String()
	return b
}

func (b *Backend) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // the trailers follow the body
	seen := Sight{r.Method, r.RequestURI, r.Header, r.Trailer, string(body), r.URL.Path}
	b.mu.Lock()
	b.seen = append(b.seen, seen)
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
	_ = json.NewEncoder(w).Encode(seen) // the client hung up
}

// All lists the requests that came.
func (b *Backend) All() []Sight {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seen)
}

// At lists the requests that came for a path.
func (b *Backend) At(path string) []Sight {
	return slices.DeleteFunc(b.All(), func(seen Sight) bool { return seen.path != path })
}

// One returns the only request that came for a path.
func (b *Backend) One(t testing.TB, path string) Sight {
	t.Helper()
	seen := b.At(path)
	require.Len(t, seen, 1, "requests for %s that reached the backend", path)
	return seen[0]
}

// Take lists the requests that came, and forgets them.
func (b *Backend) Take() []Sight {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := b.seen
	b.seen = nil
	return seen
}

// Hold lets the requests for a path wait until release is called.
func (b *Backend) Hold(path string) (release func()) {
	gate := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gates[path] = gate
	return func() { close(gate) }
}

// Proxy is the directive that passes requests on to this backend.
func (b *Backend) Proxy() string { return "reverse_proxy " + b.Address + "\n" }

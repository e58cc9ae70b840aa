package testgateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Backend is what stands behind a gateway. It answers everything with 200 and remembers what reached it.
type Backend struct {
	// Address is where it listens: host and port.
	Address string

	mu   sync.Mutex
	seen []*http.Request
}

// StartBackend starts a backend that ends with the test.
func StartBackend(t testing.TB) *Backend {
	t.Helper()
	b := new(Backend)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.seen = append(b.seen, r)
		_, _ = io.WriteString(w, "the backend") // the client hung up
	}))
	t.Cleanup(server.Close)
	b.Address = server.Listener.Addr().String()
	return b
}

// Take returns the requests that have reached the backend since it was last asked. Their bodies are gone.
func (b *Backend) Take() []*http.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := b.seen
	b.seen = nil
	return seen
}

// client asks the way a simple program does: it follows no redirect, and knows of no proxy.
var client = &http.Client{
	Timeout:       30 * time.Second,
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Response is an answer with its body.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Request makes a request with a bearer token, or without one if that is empty.
func Request(t testing.TB, method, url, token string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return request
}

// Form makes a POST request with a form for a body, signed by HTTP Basic.
func Form(t testing.TB, url, client, secret, form string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(form))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(client, secret)
	return request
}

// Send sends a request and returns the answer.
func Send(t testing.TB, request *http.Request) Response {
	t.Helper()
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return Response{Status: response.StatusCode, Header: response.Header, Body: string(body)}
}

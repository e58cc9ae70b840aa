package portcullis_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis"
)

// revocable is a handler in front of an authority that revokes all tokens at once, which the handler finds within a second.
type revocable struct {
	*portcullis.Handler
	revoked  atomic.Bool
	answered atomic.Int32
}

func newRevocable(t testing.TB, options string) *revocable {
	t.Helper()
	g := new(revocable)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		g.answered.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"active":%v,"sub":"alice"}`, !g.revoked.Load())
	}))
	t.Cleanup(server.Close)
	var err error
	g.Handler, err = provision(t, ``, fmt.Sprintf(
		`{"authority":{"endpoint":%q,"client":{"id":"gw","secret":"s"},"cache":{"revalidate":100000000}}%s}`, server.URL, options))
	require.NoError(t, err)
	return g
}

// serve has the handler serve HTTP as Caddy's server does, in front of next.
func (g *revocable) serve(t testing.TB, next caddyhttp.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.ServeHTTP(w, prepare(r, w), next); err != nil {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	server.Config.ConnContext = portcullis.WithConn
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// patience is how long anything may take that should happen at once, on a busy machine.
const patience = 20 * time.Second

// get asks a server for a path with a token. The response does not go on for ever.
func get(t testing.TB, server *httptest.Server, path string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer t")
	response, err := server.Client().Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func TestK10WhichResponsesEndWithTheirToken(t *testing.T) {
	for name, test := range map[string]struct {
		options, contentType string
		status               int
		ends                 bool
	}{
		"an event stream":                       {``, "text/event-stream", 200, true},
		"an event stream with a parameter":      {``, "Text/Event-Stream ; charset=utf-8", 200, true},
		"an event stream that begins otherwise": {``, "text/event-stream", 206, true},
		"JSON":                                  {``, "application/json", 200, false},
		"another type of the same beginning":    {``, "text/event-stream-index", 200, false},
		"no type":                               {``, "", 200, false},
		"ordinary, all":                         {`,"end_at_expiry":"all"`, "application/json", 200, true},
		"ordinary, streams":                     {`,"end_at_expiry":"streams"`, "application/json", 200, false},
		"an event stream, off":                  {`,"end_at_expiry":"off"`, "text/event-stream", 200, false},
		"an event stream, observed":             {`,"observe":true`, "text/event-stream", 200, false},
	} {
		t.Run(name, func(t *testing.T) {
			g, release := newRevocable(t, test.options), make(chan struct{})
			server := g.serve(t, func(w http.ResponseWriter, r *http.Request) error {
				if test.contentType != "" {
					w.Header().Set("Content-Type", test.contentType)
				}
				w.WriteHeader(test.status)
				w.(http.Flusher).Flush()
				<-release // it looks neither at its context nor at its connection
				_, _ = io.WriteString(w, "the rest")
				return nil
			})
			response := get(t, server, "/")
			g.revoked.Store(true)
			if test.ends {
				_, err := io.ReadAll(response.Body)
				assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
				close(release)
				return
			}
			for seen := false; !seen; {
				// A request that is refused has heard that the token is not active any more.
				seen = test.options == `,"observe":true` && g.answered.Load() > 1
				request := httptest.NewRequest(http.MethodGet, "/", nil)
				request.Header.Set("Authorization", "Bearer t")
				w := httptest.NewRecorder()
				released := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
				seen = g.ServeHTTP(w, prepare(request, w), released) != nil || seen
			}
			close(release)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Equal(t, "the rest", string(body))
		})
	}
}

// With all, a request ends with its token while it waits for the backend too.
func TestAllEndsARequestThatWaits(t *testing.T) {
	g := newRevocable(t, `,"end_at_expiry":"all"`)
	began := make(chan struct{})
	server := g.serve(t, func(_ http.ResponseWriter, r *http.Request) error {
		close(began)
		<-r.Context().Done()
		return r.Context().Err()
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer t")
	go func() {
		<-began
		g.revoked.Store(true)
	}()
	_, err = server.Client().Do(request)
	assert.ErrorIs(t, err, io.EOF)
}

// A handler may take over the connection, for longer than the request lasts, and write to a client that reads nothing.
func TestK10AConnectionThatWasTakenOverEndsWithItsToken(t *testing.T) {
	for name, write := range map[string]bool{"idle": false, "stuck": true} {
		t.Run(name, func(t *testing.T) {
			g, ended := newRevocable(t, ``), make(chan error, 1)
			server := g.serve(t, func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Connection", "Upgrade")
				w.Header().Set("Upgrade", "test")
				w.WriteHeader(http.StatusSwitchingProtocols)
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return err
				}
				_, fast := conn.(io.ReaderFrom)
				assert.True(t, fast, "a TCP connection copies without a buffer")
				go func() {
					for err == nil && write {
						_, err = conn.Write(make([]byte, 1<<20))
					}
					if err == nil {
						_, err = conn.Read(make([]byte, 1))
					}
					ended <- err
				}()
				return nil
			})
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: test\r\nAuthorization: Bearer t\r\n\r\n")
			require.NoError(t, err)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
			g.revoked.Store(true)
			select {
			case err := <-ended:
				assert.ErrorIs(t, err, net.ErrClosed)
			case <-time.After(patience):
				assert.Fail(t, "it is still open")
			}
		})
	}
}

// plainWriter is a response that has no connection, as one in HTTP/3.
type plainWriter struct {
	*httptest.ResponseRecorder
	deadlines atomic.Int32
}

func (w *plainWriter) SetReadDeadline(time.Time) error  { w.deadlines.Add(1); return nil }
func (w *plainWriter) SetWriteDeadline(time.Time) error { w.deadlines.Add(1); return nil }

func TestK10AnEventStreamOverHTTP3EndsWithItsToken(t *testing.T) {
	for name, connect := range map[string]bool{"event stream": false, "extended CONNECT": true} {
		t.Run(name, func(t *testing.T) {
			g, w := newRevocable(t, ``), &plainWriter{ResponseRecorder: httptest.NewRecorder()}
			request := httptest.NewRequest(http.MethodGet, "/", nil)
			request.ProtoMajor = 3
			request.Header.Set("Authorization", "Bearer t")
			if connect {
				request.Method, request.Proto = http.MethodConnect, "websocket"
			} else {
				w.Header().Set("Content-Type", "text/event-stream")
			}
			request = prepare(request, w)
			quiet := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
				w.WriteHeader(http.StatusOK)
				g.revoked.Store(true)
				<-r.Context().Done()
				return nil
			})
			assert.PanicsWithValue(t, http.ErrAbortHandler, func() { _ = g.ServeHTTP(w, request, quiet) }, "it does not look whole")
			assert.EqualValues(t, 2, w.deadlines.Load())
		})
	}
}

// A handler that looks at nothing writes on over HTTP/3, where Caddy's server sets a new deadline before each write.
func TestK10AStreamThatIsWrittenOnOverHTTP3EndsWithItsToken(t *testing.T) {
	for name, write := range map[string]func(w http.ResponseWriter, until time.Time) error{
		"piece by piece": func(w http.ResponseWriter, until time.Time) (err error) {
			for err == nil && time.Now().Before(until) {
				_, err = io.WriteString(w, "data: more\n\n")
			}
			return err
		},
		"flushed": func(w http.ResponseWriter, until time.Time) (err error) {
			for err == nil && time.Now().Before(until) {
				err = http.NewResponseController(w).Flush()
			}
			return err
		},
		"copied": func(w http.ResponseWriter, until time.Time) error {
			_, err := w.(io.ReaderFrom).ReadFrom(endless(until))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, w := newRevocable(t, ``), &plainWriter{ResponseRecorder: httptest.NewRecorder()}
			w.Body = nil
			w.Header().Set("Content-Type", "text/event-stream")
			request := httptest.NewRequest(http.MethodGet, "/", nil)
			request.ProtoMajor = 3
			request.Header.Set("Authorization", "Bearer t")
			var written error
			careless := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
				w.WriteHeader(http.StatusOK)
				g.revoked.Store(true)
				written = write(w, time.Now().Add(10*time.Second))
				return nil
			})
			assert.PanicsWithValue(t, http.ErrAbortHandler, func() { _ = g.ServeHTTP(w, prepare(request, w), careless) })
			assert.ErrorContains(t, written, "ended with its token")
		})
	}
}

// endless has something to read until a time.
type endless time.Time

func (e endless) Read(p []byte) (int, error) {
	if time.Now().After(time.Time(e)) {
		return 0, io.EOF
	}
	return min(len(p), 64), nil
}

// Where two directives apply, the response ends with the first token of those that are to end it.
func TestTwoDirectivesEndAResponse(t *testing.T) {
	for name, test := range map[string]struct{ first, second string }{
		"first":             {``, `,"end_at_expiry":"off"`},
		"second":            {`,"end_at_expiry":"off"`, ``},
		"both":              {``, ``},
		"all in the first":  {`,"end_at_expiry":"all"`, ``},
		"all in the second": {``, `,"end_at_expiry":"all"`},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := newRevocable(t, test.first), newRevocable(t, test.second)
			events := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
				w.Header().Set("Content-Type", "text/event-stream")
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				return nil
			})
			server := first.serve(t, func(w http.ResponseWriter, r *http.Request) error {
				r.Header.Set("Authorization", "Bearer t")
				return second.ServeHTTP(w, r, events)
			})
			response := get(t, server, "/")
			if test.second == `,"end_at_expiry":"off"` {
				first.revoked.Store(true)
			} else {
				second.revoked.Store(true)
			}
			_, err := io.ReadAll(response.Body)
			assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		})
	}
}

// shortWriter is a response whose handler is done with it at once.
type shortWriter struct {
	*httptest.ResponseRecorder
	readFrom bool
}

func (w *shortWriter) ReadFrom(r io.Reader) (int64, error) {
	w.readFrom = true
	return io.Copy(w.ResponseRecorder, r)
}

func (w *shortWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	ours, theirs := net.Pipe()
	_ = theirs.Close()
	return ours, bufio.NewReadWriter(bufio.NewReader(ours), bufio.NewWriter(ours)), nil
}

// What is over leaves nothing behind: no goroutine, and nobody who asks about its token.
func TestShortRequestsLeaveNothingBehind(t *testing.T) {
	request, watched := shortRequests(t)
	for i := range 100 {
		request(i)
	}
	before := runtime.NumGoroutine()
	for i := range 20_000 {
		request(i)
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+5 }, 10*time.Second, 10*time.Millisecond)
	assert.Zero(t, watched())
}

// BenchmarkShortRequests says what is left of each request when it is over.
func BenchmarkShortRequests(b *testing.B) {
	request, watched := shortRequests(b)
	request(0)
	heap := func() float64 {
		runtime.GC()
		runtime.GC() // and what stopped timers hold
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return float64(stats.HeapAlloc)
	}
	before, goroutines, i := heap(), runtime.NumGoroutine(), 0
	for b.Loop() {
		request(i)
		i++
	}
	b.ReportMetric((heap()-before)/float64(b.N), "B-left/op")
	b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "goroutines-left")
	b.ReportMetric(float64(watched()), "watched")
}

// shortRequests makes requests that are over at once, of all kinds in turn, and tells for how many tokens something is open.
func shortRequests(t testing.TB) (request func(int), watched func() int) {
	g := newRevocable(t, `,"end_at_expiry":"all"`)
	streams := newRevocable(t, ``)
	handlers := []caddyhttp.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) error {
			_, err := io.WriteString(w, "ordinary")
			return err
		},
		func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", "text/event-stream")
			_, err := io.WriteString(w, "data: one\n\n")
			return err
		},
		func(w http.ResponseWriter, _ *http.Request) error {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				err = conn.Close()
			}
			return err
		},
		func(http.ResponseWriter, *http.Request) error { return errors.New("refused by the backend") },
		func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) },
	}
	return func(i int) {
		defer func() { _ = recover() }() // as the server does
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.ProtoMajor = 1 + i/len(handlers)%3
		r.Header.Set("Authorization", "Bearer t")
		w := &shortWriter{ResponseRecorder: httptest.NewRecorder()}
		handler := g
		if i%2 == 0 {
			handler = streams
		}
		_ = handler.ServeHTTP(w, prepare(r, w), handlers[i%len(handlers)]) // some fail
	}, func() int { return g.Watched() + streams.Watched() }
}

// The response is as capable as the one that the server gave.
func TestTheResponseIsWhatItWas(t *testing.T) {
	g := newRevocable(t, ``)
	t.Run("ReaderFrom", func(t *testing.T) {
		w := &shortWriter{ResponseRecorder: httptest.NewRecorder()}
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, []byte("content"), 0o600))
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer t")
		require.NoError(t, g.ServeHTTP(w, prepare(r, w), caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			http.ServeFile(w, r, path)
			return nil
		})))
		assert.True(t, w.readFrom, "sendfile is lost")
		assert.Equal(t, "content", w.Body.String())
	})
	t.Run("Flusher", func(t *testing.T) {
		server := g.serve(t, func(w http.ResponseWriter, r *http.Request) error {
			_, _ = io.WriteString(w, "a")
			assert.NoError(t, http.NewResponseController(w).Flush())
			_, _ = io.WriteString(w, "b")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return nil
		})
		got := make([]byte, 2)
		response := get(t, server, "/")
		_, err := io.ReadFull(response.Body, got)
		require.NoError(t, err)
		assert.Equal(t, "ab", string(got))
		_ = response.Body.Close()
	})
	t.Run("Hijacker", func(t *testing.T) {
		server := g.serve(t, func(w http.ResponseWriter, _ *http.Request) error {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return err
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nown words")
			half, ok := conn.(interface{ CloseWrite() error })
			if assert.True(t, ok) {
				assert.NoError(t, half.CloseWrite())
			}
			return conn.Close()
		})
		body, err := io.ReadAll(get(t, server, "/").Body)
		require.NoError(t, err)
		assert.Equal(t, "own words", string(body))
	})
	t.Run("deadlines and full duplex", func(t *testing.T) {
		server := g.serve(t, func(w http.ResponseWriter, _ *http.Request) error {
			controller := http.NewResponseController(w)
			assert.NoError(t, controller.EnableFullDuplex())
			assert.NoError(t, controller.SetReadDeadline(time.Now().Add(time.Minute)))
			assert.NoError(t, controller.SetWriteDeadline(time.Now().Add(time.Minute)))
			_, err := io.Copy(w, strings.NewReader("fine"))
			return err
		})
		body, err := io.ReadAll(get(t, server, "/").Body)
		require.NoError(t, err)
		assert.Equal(t, "fine", string(body))
	})
}

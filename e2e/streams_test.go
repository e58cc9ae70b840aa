package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// promptly is how long a stream may outlive its token: a second, and what a busy machine adds.
const promptly = 3 * time.Second

// python is Debian's, which has Debian's packages. The first in the path may be another one.
const python = "/usr/bin/python3"

// streamer is a backend whose responses go on: below /events event streams that say one thing and nothing more until
// they are released, below /download half of a file, and the other half when it is released.
type streamer struct {
	*httptest.Server
	mu    sync.Mutex
	gates map[string]chan struct{}
	gone  map[string]chan struct{} // closed when the gateway has hung up
}

func newStreamer(t *testing.T) *streamer {
	t.Helper()
	s := &streamer{gates: make(map[string]chan struct{}), gone: make(map[string]chan struct{})}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.CloseClientConnections)
	t.Cleanup(s.Close)
	return s
}

func (s *streamer) at(of map[string]chan struct{}, path string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of[path] == nil {
		of[path] = make(chan struct{})
	}
	return of[path]
}

func (s *streamer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer close(s.at(s.gone, r.URL.Path))
	first, last := "data: first\n", "data: last\n"
	if strings.HasPrefix(r.URL.Path, "/events") {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	}
	_, _ = io.WriteString(w, first)
	w.(http.Flusher).Flush()
	select {
	case <-s.at(s.gates, r.URL.Path):
		_, _ = io.WriteString(w, last)
	case <-r.Context().Done():
	}
}

// release has a response go on.
func (s *streamer) release(path string) { close(s.at(s.gates, path)) }

// proxy is the directive that passes requests on to it.
func (s *streamer) proxy() string { return "reverse_proxy " + s.Listener.Addr().String() + "\n" }

// startWebSockets starts a WebSocket server, and returns its address.
func startWebSockets(t *testing.T) string {
	t.Helper()
	if output, err := exec.Command(python, "-c", "import websockets").CombinedOutput(); err != nil {
		testgateway.Missing(t, "needs websockets: apt-get install python3-websockets\n"+string(output))
	}
	server := testgateway.Run(t, exec.Command(python, "../examples/websocket/server.py", "0"))
	_, address, _ := strings.Cut(server.Await(t, "listening on "), "listening on ")
	return address
}

// open is something that a client has opened. When it ends, ended is closed.
type open struct {
	ended chan struct{}
	// rest is what came after the first line, and err how it ended.
	rest string
	err  error
}

// ends waits for the end, and returns when that was.
func (o *open) ends(t *testing.T) time.Time {
	t.Helper()
	select {
	case <-o.ended:
		return time.Now()
	case <-time.After(patience):
		require.Fail(t, "it is still open")
		return time.Time{}
	}
}

// openers are the ways in which a client opens what goes on.
func openers(g *gateway) map[string]func(t *testing.T, name, token string) *open {
	plain := &http.Transport{DisableKeepAlives: true}
	read := func(transport http.RoundTripper) func(t *testing.T, name, token string) *open {
		return func(t *testing.T, name, token string) *open {
			t.Helper()
			return g.reading(t, transport, "/events/"+name, token)
		}
	}
	return map[string]func(t *testing.T, name, token string) *open{
		"WebSocket":                g.webSocket,
		"event stream":             read(plain),
		"event stream over HTTP/2": read(unencryptedHTTP2()),
	}
}

func unencryptedHTTP2() *http.Transport {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	return transport
}

// webSocket opens a WebSocket, on which nothing more is said once both sides have heard each other.
func (g *gateway) webSocket(t *testing.T, name, token string) *open {
	t.Helper()
	return g.webSocketAt(t, "ws://"+g.address+"/ws/"+name, token)
}

// webSocketAt opens a WebSocket at a URL, with a client that has further environment variables.
func (g *gateway) webSocketAt(t *testing.T, url, token string, environment ...string) *open {
	t.Helper()
	g.Guard(token)
	command := exec.Command(python, "../examples/websocket/client.py", url)
	command.Env = append(os.Environ(), environment...)
	command.Stdin = strings.NewReader(token + "\n")
	client := testgateway.Run(t, command)
	client.Await(t, " says hello")
	o := &open{ended: make(chan struct{})}
	go func() {
		defer close(o.ended)
		client.Await(t, "closed")
	}()
	return o
}

// reading opens a response that goes on, and reads it to its end.
func (g *gateway) reading(t *testing.T, transport http.RoundTripper, path, token string) *open {
	t.Helper()
	g.Guard(token)
	return reading(t, transport, g.request(t, t.Context(), path, token))
}

func reading(t *testing.T, transport http.RoundTripper, request *http.Request) *open {
	t.Helper()
	response, err := transport.RoundTrip(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(t, http.StatusOK, response.StatusCode)
	body := bufio.NewReader(response.Body)
	first, err := body.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "data: first\n", first)
	o := &open{ended: make(chan struct{})}
	go func() {
		defer close(o.ended)
		rest, err := io.ReadAll(body)
		o.rest, o.err = string(rest), err
	}()
	return o
}

// Streams on which nobody says anything end with their tokens, in every way in which a token ends.
func TestK10StreamsEndWithTheirTokens(t *testing.T) {
	t.Parallel()
	as, app, g, sockets := newAuthority(t), newStreamer(t), newGateway(t), startWebSockets(t)
	config := func(secret string) string {
		return strings.ReplaceAll(g.caddyfile("servers {\nprotocols h1 h2c\n}\n"+
			authorityOption("asked", as.URL, "cache {\nrevalidate 500ms\n}")+
			authorityOption("left", as.URL+"/left", "cache {\nrevalidate off\n}"), `
		@asked path /ws/asked/* /events/asked/*
		introspect @asked asked
		@left path /ws/left/* /events/left/*
		introspect @left left
		introspect /fresh left {
			fresh 0s
		}
		handle /ws/* {
			reverse_proxy `+sockets+` {
				stream_close_delay 1h
			}
		}
		handle {
			`+app.proxy()+`
		}
		`), gatewaySecret, secret)
	}
	g.GuardClient(gatewayID, gatewaySecret)
	g.Start(t, config(gatewaySecret))

	t.Run("streams", func(t *testing.T) { endAllStreams(t, as, app, g, config) })
	for _, why := range []string{"expired", "forgotten", "inactive"} {
		require.Eventually(t, func() bool {
			return strings.Contains(g.Output.String(), `"introspect_ended":"`+why+`"`)
		}, patience, tick, "the access log does not say why: %s", why)
	}
}

func endAllStreams(t *testing.T, as *authority, app *streamer, g *gateway, config func(secret string) string) {
	t.Helper()
	n := 0
	for kind, begin := range openers(g) {
		for name, test := range map[string]struct {
			life  int64  // in seconds, or 0
			token claims // beside active
			// asked says that the authority is asked about the token while the stream is open.
			asked bool
			// end ends the token, and returns since when it is known here that it has ended.
			end func(t *testing.T, token string) time.Time
		}{
			"expired": {4, nil, false, func(*testing.T, string) time.Time { return time.Time{} }},
			"purged": {0, nil, false, func(t *testing.T, token string) time.Time {
				t.Helper()
				require.Equal(t, http.StatusOK, g.purge(t, fmt.Sprintf(`{"token":%q}`, token)).Status)
				return time.Now()
			}},
			"the subject purged": {0, claims{"sub": "subject-of-" + kind}, false, func(t *testing.T, _ string) time.Time {
				t.Helper()
				require.Equal(t, http.StatusOK, g.purge(t, fmt.Sprintf(`{"sub":%q}`, "subject-of-"+kind)).Status)
				return time.Now()
			}},
			"revoked": {0, nil, true, func(t *testing.T, token string) time.Time {
				t.Helper()
				as.on(token, says(claims{"active": false}))
				asked := len(as.asked(token))
				require.Eventually(t, func() bool { return len(as.asked(token)) > asked }, patience, tick, "nobody asks about an open stream")
				return time.Now()
			}},
			"revoked, and heard by another request": {0, nil, false, func(t *testing.T, token string) time.Time {
				t.Helper()
				as.on(token, says(claims{"active": false}))
				require.Equal(t, http.StatusUnauthorized, g.get(t, "/fresh", token).Status)
				return time.Now()
			}},
		} {
			n++
			token, place := fmt.Sprintf("token-of-stream-%d", n), fmt.Sprintf("left/%d", n)
			if test.asked {
				place = fmt.Sprintf("asked/%d", n)
			}
			t.Run(kind+", "+name, func(t *testing.T) {
				t.Parallel()
				members, exp := maps.Clone(test.token), time.Now().Unix()+test.life
				if test.life > 0 {
					members = claims{"exp": exp}
				}
				as.on(token, active(members))
				stream := begin(t, place, token)
				since := test.end(t, token)
				if test.life > 0 {
					since = time.Unix(exp, 0)
				}
				ended := stream.ends(t)
				assert.Less(t, ended.Sub(since), promptly)
				assert.Empty(t, stream.rest)
				if name == "expired" {
					assert.False(t, ended.Before(since), "it ended before its token")
				}
				if kind != "WebSocket" {
					select {
					case <-app.at(app.gone, "/events/"+place):
					case <-time.After(patience):
						assert.Fail(t, "the backend does not hear of it")
					}
				}
			})
		}
		n++
		t.Run(kind+", after a reload", func(t *testing.T) {
			token := fmt.Sprintf("token-of-reload-%d", n)
			as.on(token, active(nil))
			stream := begin(t, fmt.Sprintf("asked/%d", n), token)
			secret := fmt.Sprintf("rotated-secret-%d", n)
			g.GuardClient(gatewayID, secret)
			g.reload(t, config(secret))
			rotated := "Basic " + testgateway.Basic(gatewayID, secret)
			require.Eventually(t, func() bool {
				asked := as.asked(token)
				return asked[len(asked)-1].header.Get("Authorization") == rotated
			}, patience, tick, "it is asked for with the new secret")
			as.on(token, says(claims{"active": false}))
			stream.ends(t)
		})
	}
}

func TestEndAtExpiry(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), newStreamer(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option(""), `
		introspect /events/by-default
		introspect /download/by-default
		introspect /download/all {
			end_at_expiry all
		}
		introspect /events/off {
			end_at_expiry off
		}
		`+app.proxy()))
	const token = "token-of-a-few-seconds"
	exp := time.Now().Unix() + 8
	as.on(token, active(claims{"exp": exp}))
	opened := make(map[string]*open)
	for _, path := range []string{"/events/by-default", "/download/by-default", "/download/all", "/events/off"} {
		opened[path] = g.reading(t, &http.Transport{DisableKeepAlives: true}, path, token)
	}
	for _, path := range []string{"/events/by-default", "/download/all"} {
		ended := opened[path].ends(t)
		assert.False(t, ended.Before(time.Unix(exp, 0)), path)
		assert.Less(t, ended.Sub(time.Unix(exp, 0)), promptly, path)
		assert.Error(t, opened[path].err, "what is cut off does not look whole")
		assert.Empty(t, opened[path].rest)
	}
	for _, path := range []string{"/download/by-default", "/events/off"} {
		app.release(path)
		opened[path].ends(t)
		assert.NoError(t, opened[path].err, path)
		assert.Equal(t, "data: last\n", opened[path].rest, path)
	}
}

// Where the embedded server says that a token is revoked, nobody has to ask.
func TestStreamsEndWhenTheEmbeddedServerRevokes(t *testing.T) {
	t.Parallel()
	s, app := newIssuer(t), newStreamer(t)
	for name, options := range map[string]string{"remembered": "", "not remembered": "\ncache off\n"} {
		t.Run(name, func(t *testing.T) {
			config := func(lines ...string) string {
				return s.caddyfile(s.option(lines...), "authorization_server\nintrospect {\nembedded"+options+"\n}\n"+app.proxy())
			}
			s.Start(t, config())
			defer s.Stop(t)
			path := "/events/" + strings.ReplaceAll(name, " ", "-")
			token, other := s.token(t, ""), s.token(t, "")
			revoked := s.reading(t, &http.Transport{DisableKeepAlives: true}, path, token)
			kept := s.reading(t, &http.Transport{DisableKeepAlives: true}, path+"/kept", other)
			s.reload(t, config("access_token_ttl 20m"))
			s.revoke(t, token)
			since := time.Now()
			assert.Less(t, revoked.ends(t).Sub(since), promptly)
			app.release(path + "/kept")
			kept.ends(t)
			assert.Equal(t, "data: last\n", kept.rest)
		})
	}
}

// Attack: a revoked token goes on being used in a stream, since another authority of the same endpoint and client, whose
// tokens nobody asks about again, is there too.
func TestK10AStreamEndsBesideALaxAuthority(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), newStreamer(t), newGateway(t)
	g.Start(t, g.caddyfile(
		as.option("first", "cache {\nrevalidate off\n}")+as.option("strict", "cache {\nrevalidate 500ms\n}")+as.option("third", "cache {\nrevalidate 1h\n}"),
		"introspect /events/first first\nintrospect /events/strict strict\nintrospect /events/third third\n"+app.proxy()))
	const token = "token-of-a-strict-authority"
	as.on(token, active(nil))
	var streams []*open
	for _, path := range []string{"/events/first", "/events/strict", "/events/third"} {
		streams = append(streams, g.reading(t, &http.Transport{DisableKeepAlives: true}, path, token))
	}
	as.on(token, says(claims{"active": false}))
	since := time.Now()
	for _, stream := range streams {
		assert.Less(t, stream.ends(t).Sub(since), time.Second+promptly)
		assert.Error(t, stream.err)
	}
}

// A WebSocket over HTTP/2 (RFC 8441) ends like any other. Go's server offers it only if it is told to.
func TestK10ExtendedConnectEndsWithItsToken(t *testing.T) {
	t.Parallel()
	as, g, sockets := newAuthority(t), newGateway(t), startWebSockets(t)
	g.Start(t, g.caddyfile("servers {\nprotocols h1 h2c\n}\n"+as.option(""), "introspect\nreverse_proxy "+sockets+"\n"),
		"GODEBUG=http2xconnect=1")
	for name, end := range map[string]func(t *testing.T, token string){
		"expired": func(*testing.T, string) {},
		"purged": func(t *testing.T, token string) {
			t.Helper()
			require.Equal(t, http.StatusOK, g.purge(t, fmt.Sprintf(`{"token":%q}`, token)).Status)
		},
	} {
		t.Run(name, func(t *testing.T) {
			token := "token-of-extended-connect-" + name
			g.Guard(token)
			members := claims{}
			if name == "expired" {
				members["exp"] = time.Now().Unix() + 4
			}
			as.on(token, active(members))
			frames := extendedConnect(t, g.address, token)
			require.NoError(t, frames.WriteData(1, false, []byte("\x81\x85\x00\x00\x00\x00hello"))) // a text, masked by nothing
			heard := ""
			for heard != "\x81\x11nobody says hello" {
				frame, err := frames.ReadFrame()
				require.NoError(t, err)
				switch frame := frame.(type) {
				case *http2.MetaHeadersFrame:
					require.Equal(t, "200", frame.PseudoValue("status"))
				case *http2.DataFrame:
					heard += string(frame.Data())
				}
			}

			since := time.Now()
			if name == "expired" {
				since = time.Unix(members["exp"].(int64), 0)
			}
			end(t, token)
			for {
				frame, err := frames.ReadFrame()
				require.NoError(t, err)
				_, isReset := frame.(*http2.RSTStreamFrame)
				if isReset || frame.Header().Flags.Has(http2.FlagDataEndStream) && frame.Header().Type == http2.FrameData {
					break
				}
			}
			assert.Less(t, time.Since(since), promptly)
		})
	}
}

// extendedConnect asks for a WebSocket over HTTP/2, on the first stream of a connection, which Go's client does not do.
func extendedConnect(t *testing.T, address, token string) *http2.Framer {
	t.Helper()
	conn := testgateway.Dial(t, address)
	_, err := io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	frames := http2.NewFramer(conn, conn)
	frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	require.NoError(t, frames.WriteSettings())
	settings, err := frames.ReadFrame()
	require.NoError(t, err)
	offered, _ := settings.(*http2.SettingsFrame).Value(http2.SettingEnableConnectProtocol)
	require.EqualValues(t, 1, offered, "extended CONNECT is not offered")
	require.NoError(t, frames.WriteSettingsAck())
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{
		{":method", "CONNECT"},
		{":protocol", "websocket"},
		{":scheme", "http"},
		{":path", "/"},
		{":authority", address},
		{"sec-websocket-version", "13"},
		{"authorization", "Bearer " + token},
	} {
		require.NoError(t, encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
	}
	require.NoError(t, frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}))
	return frames
}

// curl, which nobody here wrote, sees an event stream end.
func TestCurlSeesAnEventStreamEnd(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		testgateway.Missing(t, "needs curl: apt-get install curl")
	}
	as, app, g := newAuthority(t), newStreamer(t), newGateway(t)
	g.Start(t, g.caddyfile("servers {\nprotocols h1 h2c\n}\n"+as.option(""), "introspect\n"+app.proxy()))
	for version, says := range map[string]string{"--http1.1": "curl: (18)", "--http2-prior-knowledge": "curl: (92)"} {
		token := "token-of-curl" + version
		g.Guard(token)
		as.on(token, active(claims{"exp": time.Now().Unix() + 3}))
		command := exec.CommandContext(t.Context(), curl, version, "--silent", "--show-error", "--no-buffer", "--max-time", "30",
			"--header", "@-", "http://"+g.address+"/events/"+version)
		command.Stdin = strings.NewReader("Authorization: Bearer " + token)
		output, err := command.CombinedOutput()
		require.Error(t, err)
		assert.Contains(t, string(output), "data: first\n")
		assert.Contains(t, string(output), says, "a stream that was cut off")
	}
}

package portcullis

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/cache"
	"github.com/portcullis-gateway/portcullis/introspect"
	"github.com/portcullis-gateway/portcullis/policy"
)

// EndAtExpiry says which responses end with their token, which is when it expires, or is found revoked.
type EndAtExpiry string

const (
	// EndStreams ends what is open for as long as its two sides like: upgraded connections, tunnels and event streams.
	EndStreams EndAtExpiry = "streams"
	// EndAll ends ordinary responses too.
	EndAll EndAtExpiry = "all"
	// EndNone ends nothing.
	EndNone EndAtExpiry = "off"
)

// Check says what is wrong with a value. The empty one is EndStreams.
func (e EndAtExpiry) Check() error {
	switch e {
	case "", EndStreams, EndAll, EndNone:
		return nil
	}
	return fmt.Errorf("end_at_expiry %q: must be streams, all or off", string(e))
}

// passOn passes a request on that may pass, with its response under whatever has to be done with it.
func (h *Handler) passOn(w http.ResponseWriter, r *http.Request, v *visit, next caddyhttp.Handler) error {
	private := v.credential.Hidden
	renew := v.possession.proof.Renew && h.DPoP == policy.DPoPNonce
	ends := v.outcome == outcomeAllowed && h.EndAtExpiry != EndNone
	if !private && !renew && !ends {
		return next.ServeHTTP(w, r)
	}
	late, isNew := v.late(w, r)
	if isNew {
		defer late.close()
		w = late
	}
	late.private = late.private || private
	if renew {
		late.nonce = h.app.Proofs().Nonce()
	}
	if ends {
		if r.ProtoMajor > 2 && late.cancel == nil {
			// Below, the end of the stream is the end of its context.
			var ctx context.Context
			ctx, late.cancel = context.WithCancel(r.Context())
			r = r.WithContext(ctx)
		}
		answer := &v.answers[len(v.answers)-1]
		if answer.ends = cmp.Or(h.EndAtExpiry, EndStreams); answer.ends == EndAll {
			v.follow(late, *answer)
		}
	}
	err := next.ServeHTTP(w, r)
	if late.cancel != nil && v.stream.ended() != "" {
		// A handler that does not care about errors would have the server end the stream as if the response were whole.
		panic(http.ErrAbortHandler)
	}
	return err
}

// stream is a response that ends with the tokens of its request.
type stream struct {
	w    http.ResponseWriter
	conn net.Conn // the connection that is the response's alone, or nil
	// cancel cancels the context of the request, where nothing else does.
	cancel context.CancelFunc

	mu sync.Mutex
	// over says that w is not to be touched any more.
	over  bool
	opens []*cache.Open
	why   cache.End
}

// end ends the response, whatever its handler waits for.
func (s *stream) end(why cache.End) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.over, s.why = true, why
	if s.cancel != nil {
		s.cancel()
	}
	if s.conn != nil {
		_ = s.conn.Close() // it may be closed already
		return
	}
	// In HTTP/2 this resets the stream. The writers of handlers on the way are for their goroutine alone.
	controller, past := http.NewResponseController(innermost(s.w)), time.Unix(1, 0)
	_ = controller.SetReadDeadline(past) // a writer that cannot do this has no client
	_ = controller.SetWriteDeadline(past)
}

// errEnded is what a handler gets that writes on. Where nothing else ends the connection or the stream, it has to: before each
// write Caddy's server sets a deadline of its own in the place of the one that has passed.
var errEnded = errors.New("the response has ended with its token")

// untilEnded is what a response is copied from, until its token ends.
type untilEnded struct {
	io.Reader
	stream *stream
}

func (u untilEnded) Read(p []byte) (int, error) {
	if u.stream.ended() != "" {
		return 0, errEnded
	}
	return u.Reader.Read(p)
}

// innermost is the writer of the server itself.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// connKey is where a connection lies among the values of its contexts.
type connKey struct{}

// knowConnections has the server tell handlers of their connections, and look at the targets of what comes over them.
func knowConnections(ctx context.Context) {
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && server != nil {
		server.RegisterConnContext(withConn)
	}
}

func withConn(ctx context.Context, conn net.Conn) context.Context {
	if ctx.Value(connKey{}) != nil {
		return ctx
	}
	guardTargets(ctx)
	return context.WithValue(ctx, connKey{}, conn)
}

// close says that the response is over.
func (s *stream) close() {
	s.mu.Lock()
	s.over = true
	opens := s.opens
	s.opens = nil
	s.mu.Unlock()
	for _, open := range opens {
		open.Close()
	}
}

// ended is why the response was ended, or empty.
func (s *stream) ended() cache.End {
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// follow has the response end with the token by which a directive has let the request pass.
func (v *visit) follow(w *lateWriter, given given) {
	if v.stream == nil {
		v.stream = &stream{w: w.ResponseWriter, cancel: w.cancel}
		if r := v.possession.request; r.ProtoMajor == 1 {
			v.stream.conn, _ = r.Context().Value(connKey{}).(net.Conn)
		}
	}
	s := v.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.opens = append(s.opens, given.by.Open(introspect.NewToken(v.credential.Token), given.answer, s.end))
	}
}

// isStream tells whether a response may go on for as long as its two sides like.
func isStream(status int, header http.Header, connect bool) bool {
	if status == http.StatusSwitchingProtocols || connect && status >= 200 && status < 300 {
		return true
	}
	for _, line := range header["Content-Type"] {
		mediaType, _, _ := strings.Cut(line, ";")
		if strings.EqualFold(strings.TrimSpace(mediaType), "text/event-stream") {
			return true
		}
	}
	return false
}

// Hijack hands the connection over, which ends with its tokens too.
func (w *lateWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.finish(http.StatusSwitchingProtocols)
	s := w.visit.stream
	if s == nil {
		return conn, buffered, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn = conn; s.why != "" {
		_ = conn.Close() // the token has ended before
	}
	w.hijacked = true
	if fast, ok := conn.(fastConn); ok {
		return &fastHijacked{fast, s}, buffered, nil
	}
	return &hijacked{conn, s}, buffered, nil
}

// hijacked is a connection that its handler has taken over, and may keep for longer than the request lasts.
type hijacked struct {
	net.Conn
	stream *stream
}

// Close closes the connection.
func (h *hijacked) Close() error {
	h.stream.close()
	return h.Conn.Close()
}

// CloseWrite closes the connection in one direction.
func (h *hijacked) CloseWrite() error {
	if half, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// fastConn is a connection that copies without a buffer, as one over TCP does.
type fastConn interface {
	net.Conn
	io.ReaderFrom
	io.WriterTo
	CloseWrite() error
}

// fastHijacked is such a connection that its handler has taken over.
type fastHijacked struct {
	fastConn
	stream *stream
}

// Close closes the connection.
func (h *fastHijacked) Close() error {
	h.stream.close()
	return h.fastConn.Close()
}

var _ http.Hijacker = (*lateWriter)(nil)

package portcullis

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// lateWriter has the last word on the header of a response, whoever writes it, and sees which of them are streams.
type lateWriter struct {
	caddyhttp.ResponseWriterWrapper
	visit *visit
	// private keeps the response to a token that shared caches do not know for one out of them (RFC 6750 section 2.3, RFC 9111
	// section 3.5).
	private bool
	// nonce is handed out with the response, which is not for caches then (RFC 9449 section 8.2). Empty: none.
	nonce string
	// connect says that the request asks for a tunnel.
	connect bool
	// cancel cancels the context of the request, or is nil.
	cancel context.CancelFunc
	// done says that the header is final, and hijacked that the connection has been handed over.
	done, hijacked bool
}

// late returns the lateWriter through which the response to a request passes, and whether it is new, and has to be closed.
func (v *visit) late(w http.ResponseWriter, r *http.Request) (late *lateWriter, isNew bool) {
	for inner := w; v.writer.visit != nil; {
		if late, ok := inner.(*lateWriter); ok && late.visit == v {
			return late, false
		}
		wrapper, ok := inner.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		inner = wrapper.Unwrap()
	}
	if late = &v.writer; late.visit != nil {
		late = new(lateWriter) // an error page, whose response does not pass through the first one
	}
	late.visit, late.ResponseWriter, late.connect = v, w, r.Method == http.MethodConnect
	return late, true
}

// close ends the watch over the response. A connection that was handed over is watched until it is closed.
func (w *lateWriter) close() {
	if w.cancel != nil {
		w.cancel()
	}
	s := w.visit.stream
	if s == nil || w.hijacked {
		return
	}
	if s.close(); s.ended() == "" {
		w.visit.stream = nil // an error page may follow
	}
}

// WriteHeader is where the header is final. Informational responses come before.
func (w *lateWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.finish(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write writes the header first, if nobody has.
func (w *lateWriter) Write(p []byte) (int, error) {
	w.finish(http.StatusOK)
	if w.visit.stream.ended() != "" {
		return 0, errEnded
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom writes the header first, if nobody has.
func (w *lateWriter) ReadFrom(r io.Reader) (int64, error) {
	w.finish(http.StatusOK)
	if s := w.visit.stream; s != nil && s.cancel != nil {
		r = untilEnded{r, s}
	}
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError writes the header first, if nobody has.
func (w *lateWriter) FlushError() error {
	w.finish(http.StatusOK)
	if w.visit.stream.ended() != "" {
		return errEnded
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush is FlushError for those who cannot be told.
func (w *lateWriter) Flush() { _ = w.FlushError() }

func (w *lateWriter) finish(status int) {
	if w.done {
		return
	}
	w.done = true
	header := w.Header()
	if w.private {
		makePrivate(header)
	}
	if w.nonce != "" {
		header.Set("DPoP-Nonce", w.nonce)
		header.Set("Cache-Control", "no-store")
	}
	if !isStream(status, header, w.connect) {
		return
	}
	for _, given := range w.visit.answers {
		if given.ends == EndStreams {
			w.visit.follow(w, given)
		}
	}
}

// makePrivate makes a response private, unless the backend says that already, or more.
func makePrivate(header http.Header) {
	var kept []string
	for _, line := range header["Cache-Control"] {
		for directive := range strings.SplitSeq(line, ",") {
			directive = strings.TrimSpace(directive)
			switch name, _, _ := strings.Cut(strings.ToLower(directive), "="); {
			case strings.EqualFold(directive, "private"), name == "no-store":
				return
			case name != "" && name != "public" && name != "s-maxage":
				kept = append(kept, directive)
			}
		}
	}
	header.Set("Cache-Control", strings.Join(append(kept, "private"), ", "))
}

// Interface guards
var (
	_ http.ResponseWriter = (*lateWriter)(nil)
	_ http.Flusher        = (*lateWriter)(nil)
	_ io.ReaderFrom       = (*lateWriter)(nil)
)

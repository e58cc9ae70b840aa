package portcullis

import (
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// lateWriter has the last word on the header of a response, whoever writes it.
type lateWriter struct {
	*caddyhttp.ResponseWriterWrapper
	change func(http.Header)
	done   bool
}

func newLateWriter(w http.ResponseWriter, change func(http.Header)) http.ResponseWriter {
	return &lateWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, change: change}
}

// newPrivateWriter keeps the response to a token from a query or cookie out of shared caches, which know nothing of either
// (RFC 6750 section 2.3).
func newPrivateWriter(w http.ResponseWriter) http.ResponseWriter {
	return newLateWriter(w, makePrivate)
}

// newNonceWriter hands out a nonce with the response, which is not for caches then (RFC 9449 section 8.2).
func newNonceWriter(w http.ResponseWriter, nonce string) http.ResponseWriter {
	return newLateWriter(w, func(header http.Header) {
		header.Set("DPoP-Nonce", nonce)
		header.Set("Cache-Control", "no-store")
	})
}

// WriteHeader is where the header is final. Informational responses come before.
func (w *lateWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.finish()
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write writes the header first, if nobody has.
func (w *lateWriter) Write(p []byte) (int, error) {
	w.finish()
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom writes the header first, if nobody has.
func (w *lateWriter) ReadFrom(r io.Reader) (int64, error) {
	w.finish()
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError writes the header first, if nobody has.
func (w *lateWriter) FlushError() error {
	w.finish()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *lateWriter) finish() {
	if !w.done {
		w.done = true
		w.change(w.Header())
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
	_ io.ReaderFrom       = (*lateWriter)(nil)
)

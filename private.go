package portcullis

import (
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// privateWriter keeps the response to a token from a query or cookie out of shared caches, which know nothing of either
// (RFC 6750 section 2.3): it is private, unless the backend says that already, or more.
type privateWriter struct {
	*caddyhttp.ResponseWriterWrapper
	done bool
}

func newPrivateWriter(w http.ResponseWriter) http.ResponseWriter {
	return &privateWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
}

// WriteHeader is where the header is final. Informational responses come before.
func (w *privateWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.finish()
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write writes the header first, if nobody has.
func (w *privateWriter) Write(p []byte) (int, error) {
	w.finish()
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom writes the header first, if nobody has.
func (w *privateWriter) ReadFrom(r io.Reader) (int64, error) {
	w.finish()
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError writes the header first, if nobody has.
func (w *privateWriter) FlushError() error {
	w.finish()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *privateWriter) finish() {
	if w.done {
		return
	}
	w.done = true
	header := w.Header()
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
	_ http.ResponseWriter = (*privateWriter)(nil)
	_ io.ReaderFrom       = (*privateWriter)(nil)
)

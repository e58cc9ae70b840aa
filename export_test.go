package portcullis

import "net/http"

// What tests from outside see of the inside.
var (
	ParseBinary = parseBinary
	TargetOf    = targetOf
	WithConn    = withConn
)

// NewNonceWriter hands out a nonce with a response.
func NewNonceWriter(w http.ResponseWriter, nonce string) http.ResponseWriter {
	late := &lateWriter{visit: new(visit), nonce: nonce}
	late.ResponseWriter = w
	return late
}

// Watched is for how many tokens something is open.
func (h *Handler) Watched() int { return h.parties[0].Watched() }

package shim

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

// late is a response that is sent when it is flushed or the handler has returned, as one over HTTP/3 is.
type late struct {
	header http.Header
	sent   http.Header
}

func (l *late) Header() http.Header { return l.header }

func (l *late) WriteHeader(int) {}

func (l *late) Write(p []byte) (int, error) { return len(p), nil }

func (l *late) send() {
	if l.sent == nil {
		l.sent = l.header.Clone()
	}
}

// lateFlusher is one that can be flushed.
type lateFlusher struct{ late }

func (l *lateFlusher) Flush() { l.send() }

func TestTheClientSeesARedirectAndTheLogDoesNot(t *testing.T) {
	header := func() http.Header { return http.Header{"Location": {"https://client.example/cb?code=x"}} }

	w := &lateFlusher{late{header: header()}}
	hideLocation(w)
	w.send()
	assert.Equal(t, header(), w.sent)
	assert.Empty(t, w.header)

	stubborn := &late{header: header()}
	hideLocation(stubborn)
	stubborn.send()
	assert.Equal(t, header(), stubborn.sent, "what cannot be flushed stays whole")
}

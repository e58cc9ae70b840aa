// Package introspect speaks OAuth 2.0 Token Introspection (RFC 7662): it asks an authorization server about a token
// and reads the answer, leniently in form and strictly in what it takes as proof.
//
// Everything between the gateway and an authorization server is a decorator of Introspector, the way
// http.RoundTripper is decorated.
package introspect

import (
	"context"
	"errors"
	"fmt"
)

// Introspector tells what an authorization server knows about a token.
//
// The answer is shared: nobody may change it. An inactive token is an answer, not an error. An error says that there
// is no answer, and wraps one of ErrUnavailable, ErrTimeout, ErrCredentials and ErrMalformed, or is the context's own
// when the caller did not wait. No error text holds the token, a secret, or what the authority sent.
// Implementations are safe for concurrent use.
type Introspector interface {
	Introspect(ctx context.Context, token Token) (*Answer, error)
}

var (
	// ErrUnavailable means that the authority could not be asked: unreachable, overloaded, or too many are waiting
	// already. The token may be good.
	ErrUnavailable = errors.New("authorization server unavailable")
	// ErrTimeout means that the authority was asked and did not answer in time. The token may be good.
	ErrTimeout = errors.New("authorization server too slow")
	// ErrCredentials means that the authority refused the gateway's own credentials (RFC 7662 section 2.3).
	ErrCredentials = errors.New("authorization server refuses the gateway's own credentials")
	// ErrMalformed means that what the authority sent is not an answer of RFC 7662.
	ErrMalformed = errors.New("authorization server sent no introspection answer")
)

// errBusy means that the authority could not be asked, for reasons that say nothing of its health: it or the gateway has
// enough to do.
var errBusy = fmt.Errorf("%w, for now", ErrUnavailable)

// ErrSaturated means that the authority was not asked, because too many calls to it are under way or waiting already. It is
// an ErrUnavailable.
var ErrSaturated = fmt.Errorf("%w: too many calls", errBusy)

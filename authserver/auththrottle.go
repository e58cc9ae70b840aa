package authserver

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
)

// throttled authenticates the client that a request names, unless too many who named it have failed, or too many
// at the same address. Only what has failed counts: a client may do any number of things at once.
func (s *Server) throttled(r *http.Request, id string, authenticate func(context.Context) (*Client, error)) (*Client, error) {
	tried := s.state.authentications.attempt(s.clientAddress(r), id)
	if wait := tried.delay(); wait > 0 {
		return nil, &oauthError{
			status: http.StatusTooManyRequests, code: "temporarily_unavailable",
			description: "too many failed authentications: wait, and check the client's credentials", retryAfter: wait,
		}
	}
	client, err := authenticate(r.Context())
	var refusal *oauthError
	switch {
	case client == nil && (err == nil || errors.As(err, &refusal)):
		tried.failed()
		s.logger.WarnContext(r.Context(), "client authentication failed", slog.String("address", s.clientAddress(r)))
	case client != nil && !client.authenticatesBy(AuthNone):
		tried.familiar()
	}
	return client, err
}

// asUnknown makes a client or user that exists take as long to be refused as one that does not, for which the store had to
// be asked.
func (s *Server) asUnknown(ctx context.Context, name string) error {
	_, err := s.party(ctx, name, s.state.directory.ask)
	return err
}

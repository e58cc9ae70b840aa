package authserver

import (
	"errors"
	"net/http"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// serveRevocation is the revocation endpoint (RFC 7009 section 2). When it has answered 200, the token is inactive
// everywhere in this process.
func (s *Server) serveRevocation(w http.ResponseWriter, r *http.Request) {
	if err := s.revoke(w, r); err != nil {
		s.writeError(w, r, err)
		return
	}
	noStore(w.Header())
	w.WriteHeader(http.StatusOK)
}

func (s *Server) revoke(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	client, err := s.authenticate(r, form, revocationPath)
	if err != nil {
		return err
	}
	value := form["token"]
	if value == "" {
		return refuse(http.StatusBadRequest, "invalid_request", "token is missing")
	}
	digest := introspect.DigestOf(value)
	token, err := s.store.Token(r.Context(), digest)
	switch {
	case errors.Is(err, store.ErrNotFound):
		// RFC 7009 section 2.2: whoever revokes a token that is none has reached what was wanted.
		return nil
	case err != nil:
		return err
	case token.ClientID != client.ID:
		return refuse(http.StatusBadRequest, "unauthorized_client", "the token was not issued to this client")
	case token.Kind == store.Refresh:
		return s.store.RevokeFamily(r.Context(), token.Family)
	}
	if err := s.store.Revoke(r.Context(), digest); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

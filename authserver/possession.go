package authserver

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/bearer"
	"github.com/portcullis-gateway/portcullis/dpop"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// keyMethod is how a token names the key that it is bound to: by its thumbprint (RFC 9449 section 6.1).
const keyMethod = "jkt"

// keyThumbprint is the thumbprint of a key, by SHA-256 and in base64url (RFC 9449 section 10).
var keyThumbprint = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// storedProofs remembers in the store which proofs were used, for all processes that use it.
type storedProofs struct{ store store.Store }

// UseOnce is that of dpop.Memory. The clock of whoever sweeps the store may be ahead of that of whoever checks proofs.
func (p storedProofs) UseOnce(ctx context.Context, proof dpop.Digest, until time.Time) error {
	err := p.store.PutOnce(ctx, "dpop+jwt\x00"+string(proof[:]), until.Add(assertionLeeway))
	if errors.Is(err, store.ErrConsumed) {
		return dpop.ErrReplayed
	}
	return err
}

// prove finds out which key the client proves possession of, if any (RFC 9449 section 5). What it presents may demand one
// key, and the client itself some key. It is the last check before something is used up, so that only whoever would get
// tokens makes the server remember a proof.
func (s *Server) prove(ctx context.Context, request *tokenRequest, key string) error {
	if len(request.proofs) == 0 && key == "" && !request.client.DPoPBound {
		return nil
	}
	proof, err := s.proofs.Check(ctx, dpop.Request{
		Header: request.proofs, Method: http.MethodPost, URL: s.url(tokenPath), Key: key,
	})
	switch {
	case errors.Is(err, dpop.ErrOtherKey):
		return refuse(http.StatusBadRequest, "invalid_grant", "the code or refresh token is bound to another key than that of the DPoP proof")
	case err != nil:
		return refuseProof(err)
	}
	request.key = proof.JKT
	return nil
}

// bindRequest binds the code of an authorization request that is pushed to an endpoint to the key of the proof that comes
// with it, if one does, as the parameter dpop_jkt would. If both are there they have to agree (RFC 9449 section 10.1).
func (s *Server) bindRequest(r *http.Request, form map[string]string, path string) error {
	lines := r.Header["Dpop"]
	if len(lines) == 0 {
		return nil
	}
	proof, err := s.proofs.Check(r.Context(), dpop.Request{
		Header: lines, Method: r.Method, URL: s.url(path), Key: form["dpop_jkt"],
	})
	if err != nil {
		return refuseProof(err)
	}
	form["dpop_jkt"] = proof.JKT
	return nil
}

// refuseProof refuses a request for what its proof lacks (RFC 9449 section 5).
func refuseProof(err error) error {
	if errors.Is(err, dpop.ErrUnavailable) {
		return err
	}
	return refuse(http.StatusBadRequest, bearer.CodeInvalidDPoPProof, err.Error())
}

// confirmationOf is what a token is bound to that a request gets which has proved possession of a key.
func confirmationOf(key string) map[string]string {
	if key == "" {
		return nil
	}
	return map[string]string{keyMethod: key}
}

// keyOf is the key that a token is bound to, if it is. One that is bound in another way is not known.
func keyOf(token *store.Token) (key string, known bool) {
	key = token.Confirmation[keyMethod]
	return key, len(token.Confirmation) == 0 || len(token.Confirmation) == 1 && key != ""
}

// schemeOf is how an access token has to be presented, which is its type (RFC 9449 section 5).
func schemeOf(token *store.Token) string {
	if len(token.Confirmation) > 0 {
		return bearer.SchemeDPoP
	}
	return bearer.SchemeBearer
}

// admitToken judges an access token that a request presents to one of the server's own endpoints, and returns its record,
// and its user or nil. One that is bound to a key needs the scheme DPoP and a proof (RFC 9449 section 7.1), any other one the scheme
// Bearer. Scope and audience are the caller's to judge.
func (s *Server) admitToken(r *http.Request, path string, presented bearer.Credential) (*store.Token, *User, error) {
	record, user, err := s.activeToken(r.Context(), introspect.NewToken(presented.Token))
	if err != nil {
		return nil, nil, err
	}
	key, known := "", false
	if record != nil {
		key, known = keyOf(record)
	}
	if !known || schemeOf(record) != presented.Scheme {
		return nil, nil, refusePresented(http.StatusUnauthorized, challengeOf(presented.Scheme, bearer.CodeInvalidToken),
			"the access token is not active, or not for this scheme")
	}
	if key == "" {
		return record, user, nil
	}
	_, err = s.proofs.Check(r.Context(), dpop.Request{
		Header: r.Header["Dpop"], Method: r.Method, URL: s.url(path), AccessToken: presented.Token, Key: key,
	})
	switch {
	case errors.Is(err, dpop.ErrUnavailable):
		return nil, nil, err
	case errors.Is(err, dpop.ErrOtherKey):
		return nil, nil, refusePresented(http.StatusUnauthorized, challengeOf(presented.Scheme, bearer.CodeInvalidToken), err.Error())
	case err != nil:
		return nil, nil, refusePresented(http.StatusUnauthorized, challengeOf(presented.Scheme, bearer.CodeInvalidDPoPProof), err.Error())
	}
	return record, user, nil
}

// challengeOf is the challenge of a refusal to whoever has presented a token under a scheme.
func challengeOf(scheme, code string) bearer.Challenge {
	challenge := bearer.Challenge{Scheme: scheme, Realm: "authorization server", Error: code}
	if scheme == bearer.SchemeDPoP {
		challenge.Algorithms = dpop.Algorithms()
	}
	return challenge
}

// refusePresented refuses a request with an access token.
func refusePresented(status int, challenge bearer.Challenge, description string) error {
	return &oauthError{status: status, code: challenge.Error, description: description, challenge: challenge.String()}
}

// refuseScope refuses a request with an access token that lacks a scope.
func refuseScope(scheme, scope string) error {
	challenge := challengeOf(scheme, bearer.CodeInsufficientScope)
	challenge.Scope = []string{scope}
	return refusePresented(http.StatusForbidden, challenge, "the access token has not the scope "+scope)
}

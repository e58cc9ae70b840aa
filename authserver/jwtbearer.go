package authserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/portcullis-gateway/portcullis/bearer"
)

// AssertionIssuer is somebody whose assertions are taken for a grant (RFC 7523 section 2.1).
type AssertionIssuer struct {
	// Issuer is the `iss` of its assertions.
	Issuer string
	// Keys are its public keys.
	Keys *KeySet
	// Subjects are those for whom it may speak. Default: the issuer itself.
	Subjects []string
	// Scopes are the most that a token has which it is the cause of.
	Scopes []string
}

// grantAssertion is the media type of an assertion for a grant, where it has one of its own. An assertion by which a client
// authenticates is none.
const grantAssertion = "authorization-grant+jwt"

func (s *Server) addAssertionIssuers(issuers []AssertionIssuer) error {
	s.assertionIssuers = make(map[string]*AssertionIssuer, len(issuers))
	for _, issuer := range issuers {
		if err := issuer.check(); err != nil {
			return fmt.Errorf("assertion_issuer %q: %w", issuer.Issuer, err)
		}
		if s.assertionIssuers[issuer.Issuer] != nil {
			return fmt.Errorf("assertion_issuer %q is specified twice", issuer.Issuer)
		}
		s.assertionIssuers[issuer.Issuer] = &issuer
	}
	for _, client := range s.clients {
		if len(issuers) == 0 && client.may(GrantJWTBearer) {
			return fmt.Errorf("client %q: the grant %s needs an 'assertion_issuer'", client.ID, GrantJWTBearer)
		}
	}
	return nil
}

func (i *AssertionIssuer) check() error {
	switch {
	case i.Issuer == "" || !isVisible(i.Issuer):
		return errors.New("the issuer must be printable ASCII")
	case i.Keys == nil:
		return errors.New("needs 'jwks'")
	case slices.Contains(i.Subjects, ""):
		return errors.New("a subject must not be empty")
	}
	for _, scope := range i.Scopes {
		if err := bearer.CheckScope(scope); err != nil {
			return fmt.Errorf("scope %q: %w", scope, err)
		}
	}
	if len(i.Subjects) == 0 {
		i.Subjects = []string{i.Issuer}
	}
	return nil
}

// exchangeAssertion issues a token of the subject of an assertion to the client that presents it (RFC 7523 section 3.1).
// Nothing is used up unless a token is issued.
func (s *Server) exchangeAssertion(ctx context.Context, request *tokenRequest, scope []string) (map[string]any, error) {
	form := request.form
	if form["assertion"] == "" {
		return nil, refuse(http.StatusBadRequest, "invalid_request", "assertion is missing")
	}
	refusal := func(reason string) error { return refuse(http.StatusBadRequest, "invalid_grant", reason) }
	a, err := parseAssertion(form["assertion"], publicKeyAlgorithms, grantAssertion)
	if err != nil {
		return nil, refusal("the assertion cannot be read, or is of another type")
	}
	issuer := s.assertionIssuers[a.claims.Issuer]
	if issuer == nil {
		return nil, refusal("the assertion is not of an issuer that is trusted")
	}
	switch signed, err := issuer.Keys.verify(ctx, a); {
	case err != nil:
		return nil, err
	case !signed:
		return nil, refusal("the assertion is not signed by its issuer")
	}
	if err := a.check(s.now(), []string{s.issuer, s.url(tokenPath)}); err != nil {
		return nil, refusal(err.Error())
	}
	subject := issuer.Issuer
	if a.claims.Subject != nil {
		subject = *a.claims.Subject
	}
	if !slices.Contains(issuer.Subjects, subject) {
		return nil, refusal("the issuer of the assertion may not speak for its subject")
	}
	switch named, err := s.UserByName(ctx, subject); {
	case errors.Is(err, ErrUnknown): // it is nobody who could be disabled
	case err != nil:
		return nil, err
	case named.Disabled:
		return nil, refusal("the subject of the assertion is disabled")
	}
	if scope, err = issuer.limit(scope, form["scope"] != ""); err != nil {
		return nil, refuse(http.StatusBadRequest, "invalid_scope", err.Error())
	}
	if err := s.prove(ctx, request, ""); err != nil {
		return nil, err
	}
	switch fresh, err := s.useOnce(ctx, grantAssertion, issuer.Issuer, a); {
	case err != nil:
		return nil, err
	case !fresh:
		return nil, refusal("the assertion was used before")
	}
	// RFC 7521 section 4.1: without a refresh token.
	g := &grant{subject: subject, family: rand.Text(), scope: scope}
	return s.issue(ctx, request, g, s.issueAccess(request, g, scope))
}

// limit takes out of a client's scopes those that the issuer may not cause. If the client asked for them it is an error,
// and also if nothing is left.
func (i *AssertionIssuer) limit(scopes []string, asked bool) ([]string, error) {
	var common []string
	for _, scope := range scopes {
		if slices.Contains(i.Scopes, scope) {
			common = append(common, scope)
		}
	}
	if len(common) < len(scopes) && (asked || len(common) == 0) {
		return nil, errors.New("a requested scope is not one that the issuer of the assertion may grant")
	}
	return common, nil
}

// grants are the grant types that can succeed at the token endpoint.
func (s *Server) grants() []string {
	able := []string{GrantAuthorizationCode, GrantRefreshToken, GrantClientCredentials}
	if len(s.assertionIssuers) > 0 {
		able = append(able, GrantJWTBearer)
	}
	if s.legacyPassword {
		able = append(able, GrantPassword)
	}
	return able
}

// Package policy decides whether what an authorization server says of a token is enough for a route.
package policy

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// Outcome is a decision.
type Outcome string

// The outcomes, as metrics and logs name them.
const (
	// Allowed: the token is good, and enough.
	Allowed Outcome = "allowed"
	// InvalidToken: the token is not good (anywhere, or here). RFC 6750 section 3.1 answers 401.
	InvalidToken Outcome = "invalid_token"
	// InsufficientScope: the token is good and has not the scopes. RFC 6750 section 3.1 answers 403.
	InsufficientScope Outcome = "insufficient_scope"
	// Forbidden: the token is good, and what it says does not meet a rule that is none of scopes. RFC 9110
	// section 15.5.4 answers 403.
	Forbidden Outcome = "forbidden"
)

// Verdict is a decision and its reason, which is for the operator's log and holds nothing of the token.
type Verdict struct {
	Outcome Outcome
	Reason  string
}

// Rules are what a route demands of a token. They are judged on every request, on remembered answers as on fresh ones.
// The zero value demands an active access token that is valid now. Rules must not be changed while they are in use.
type Rules struct {
	// Scope: all of them are demanded.
	Scope []string
	// AnyScope: at least one of them is demanded, if there are any.
	AnyScope []string
	// ScopeMatch says when a granted scope covers a demanded one. Default: Exact.
	ScopeMatch ScopeMatch
	// Claims are demands on members of the answer, all of which have to be met.
	Claims []Claim
	// Requirements have to be met, all of them.
	Requirements []*Requirement
	// Issuer is the one that iss has to name, if it is not empty. An answer without iss is as good.
	Issuer string
	// Audience: aud has to contain one of them, if there are any. An answer without aud is refused.
	Audience []string
	// Resource: aud has to contain it as well, if it is not empty.
	Resource string
	// Authentication is what is demanded of how the user has signed in.
	Authentication Authentication
	// DPoP is what is demanded of proofs of possession of a key.
	DPoP DPoP
	// MTLS is what is demanded of client certificates.
	MTLS MTLS
	// Leeway is how far the clocks may differ when nbf and iat are judged. It never stretches exp.
	Leeway time.Duration
}

// DefaultLeeway is the Leeway where nobody says otherwise.
const DefaultLeeway = 10 * time.Second

// Check says what is wrong with the rules themselves.
func (r *Rules) Check() error {
	for _, claim := range r.Claims {
		if claim.Path == "" {
			return errors.New("claim: the path is empty")
		}
	}
	if slices.Contains(r.Audience, "") {
		return errors.New("audience: must not be empty")
	}
	if err := r.Authentication.Check(); err != nil {
		return err
	}
	if err := r.DPoP.Check(); err != nil {
		return err
	}
	if err := r.MTLS.Check(); err != nil {
		return err
	}
	return r.ScopeMatch.Check()
}

// Demanded lists the scopes that a route asks for, for the challenge.
func (r *Rules) Demanded() []string {
	demanded := make([]string, 0, len(r.Scope)+len(r.AnyScope))
	return append(append(demanded, r.Scope...), r.AnyScope...)
}

// Presented is how a client presented the token.
type Presented struct {
	// Request is the client's request, as matchers see it. It is only read, and only by Requirements.
	Request *http.Request
	// Possession says that the token was presented in a way that claims a proof of possession (RFC 9449), which a token that
	// is not bound must not pass with.
	Possession bool
	// Holder proves that the client holds what the token is bound to. Without it no token that is bound passes. It is asked
	// for a proof at most once, and only about a token that is good in all else.
	Holder Holder
}

// Judge decides about an answer at the given instant. Where several rules are broken the verdict names the first in
// this order: the token, its binding, how its user has signed in, its scopes, its claims.
func (r *Rules) Judge(answer *introspect.Answer, now time.Time, presented Presented) Verdict {
	if reason := r.flaw(answer, now); reason != "" {
		return Verdict{InvalidToken, reason}
	}
	if verdict := r.judgeBinding(answer, presented); verdict.Outcome != "" {
		return verdict
	}
	if reason := r.Authentication.lacks(answer, now, r.Leeway); reason != "" {
		return Verdict{StepUp, reason}
	}
	if verdict := r.Demand(answer); verdict.Outcome != Allowed {
		return verdict
	}
	for _, requirement := range r.Requirements {
		if err := requirement.met(answer, now, presented.Request); err != nil {
			return Verdict{Forbidden, "require " + requirement.text + ": " + err.Error()}
		}
	}
	return Verdict{Outcome: Allowed}
}

// flaw says why a token is not a valid access token here, or nothing.
func (r *Rules) flaw(answer *introspect.Answer, now time.Time) string {
	switch {
	case !answer.Active:
		return "the token is not active"
	case !answer.ExpiresAt().IsZero() && !now.Before(answer.ExpiresAt()):
		return "the token has expired"
	case answer.NotBefore().After(now.Add(r.Leeway)):
		return "the token is not valid yet (nbf)"
	case answer.IssuedAt().After(now.Add(r.Leeway)):
		return "the token is from the future (iat)"
	case !r.isIssuer(answer):
		return "the token is of another issuer"
	case !isAccessToken(answer):
		return "the token is not an access token"
	case len(r.Audience) > 0 && !slices.ContainsFunc(r.Audience, answer.HasAudience):
		return "the token is for another audience"
	case r.Resource != "" && !answer.HasAudience(r.Resource):
		return "the token is for another resource"
	}
	return ""
}

// isIssuer compares iss, where the answer has one, to the letter.
func (r *Rules) isIssuer(answer *introspect.Answer) bool {
	if r.Issuer == "" {
		return true
	}
	if !answer.Has("iss") {
		return true
	}
	issuer, _ := answer.Claim("iss")
	return issuer == r.Issuer
}

// isAccessToken refuses what the answer says is a refresh or an ID token. Most servers say nothing.
func isAccessToken(answer *introspect.Answer) bool {
	if kind := answer.TokenType(); !strings.EqualFold(kind, "Bearer") && !strings.EqualFold(kind, "DPoP") {
		if value, _ := answer.Claim("token_type"); value != nil && value != "" {
			return false
		}
	}
	if answer.Has("token_use") {
		if use, _ := answer.Claim("token_use"); use != "access" && use != "access_token" {
			return false
		}
	}
	if !answer.Has("typ") {
		return true
	}
	kind, _ := answer.Claim("typ")
	name, _ := kind.(string)
	return !otherKinds[strings.TrimPrefix(strings.ToLower(name), "application/")]
}

// otherKinds are the values of typ that name something other than an access token. Unlike token_use, typ is also used
// for things that tell no kind, such as JWT.
var otherKinds = map[string]bool{
	"refresh":                   true,
	"refresh_token":             true,
	"offline":                   true, // a refresh token in Keycloak
	"id":                        true,
	"id_token":                  true,
	"logout":                    true,
	"logout+jwt":                true,
	"secevent+jwt":              true,
	"token-introspection+jwt":   true,
	"dpop+jwt":                  true,
	"client-authentication+jwt": true,
}

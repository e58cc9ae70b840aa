package portcullis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/bearer"
	"github.com/portcullis-gateway/portcullis/dpop"
	"github.com/portcullis-gateway/portcullis/introspect"
	"github.com/portcullis-gateway/portcullis/policy"
)

// outcome is how a visit ended, as the access log shows it.
type outcome string

const (
	outcomeAllowed           outcome = "allowed"
	outcomeAnonymous         outcome = "anonymous"
	outcomePreflight         outcome = "preflight"
	outcomeNoToken           outcome = "no_token"
	outcomeInvalidRequest    outcome = "invalid_request"
	outcomeInvalidToken      outcome = "invalid_token"
	outcomeStepUp            outcome = "step_up"
	outcomeInsufficientScope outcome = "insufficient_scope"
	outcomeForbidden         outcome = "forbidden"
	outcomeLimited           outcome = "limited"
	outcomeUnavailable       outcome = "unavailable"
	outcomeMisconfigured     outcome = "misconfigured"
	outcomeCanceled          outcome = "canceled"
)

// countedOutcomes are those that the metrics know: all but that of a client who hangs up, which says nothing of tokens.
var countedOutcomes = []outcome{
	outcomeAllowed, outcomeAnonymous, outcomePreflight, outcomeNoToken, outcomeInvalidRequest, outcomeInvalidToken,
	outcomeStepUp, outcomeInsufficientScope, outcomeForbidden, outcomeLimited, outcomeUnavailable, outcomeMisconfigured,
}

// wouldBe is the prefix of an outcome that is only observed.
const wouldBe = "would_be_"

// refusal is why a request is not passed on. The zero value is never one.
type refusal struct {
	status  int
	outcome outcome
	// challenge says that the answer has a challenge, and code is its error code, if any (RFC 6750 section 3).
	challenge bool
	code      string
	// scope says that the challenge names the scopes that the route demands.
	scope bool
	// retry is after how many seconds the same request may succeed, if it may.
	retry string
	// reason is for the operator, and holds nothing of the token.
	reason string
}

// end ends the visit with the refusal.
func (r refusal) end() (outcome, *refusal) { return r.outcome, &r }

// statusClientClosedRequest is what Caddy uses where the client did not wait for an answer.
const statusClientClosedRequest = 499

// retryAfter is how many seconds a client should wait before it tries again.
const retryAfter = "5"

// tokenRefusal maps the ways in which a request can fail to present a token (RFC 6750 section 3.1).
func tokenRefusal(err error) refusal {
	refused := refusal{challenge: true, reason: err.Error()}
	if errors.Is(err, bearer.ErrTooLarge) {
		return refusal{status: http.StatusRequestEntityTooLarge, outcome: outcomeInvalidRequest, reason: err.Error()}
	}
	// What another handler says of the body, such as that it is longer than request_body allows.
	if handlerError, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		return refusal{status: handlerError.StatusCode, outcome: outcomeInvalidRequest, reason: "the body cannot be read"}
	}
	switch {
	case errors.Is(err, bearer.ErrNoToken):
		refused.status, refused.outcome, refused.scope = http.StatusUnauthorized, outcomeNoToken, true
	case errors.Is(err, bearer.ErrInvalidToken):
		refused.status, refused.outcome, refused.code = http.StatusUnauthorized, outcomeInvalidToken, bearer.CodeInvalidToken
	default:
		refused.status, refused.outcome, refused.code = http.StatusBadRequest, outcomeInvalidRequest, bearer.CodeInvalidRequest
	}
	return refused
}

// verdictRefusal maps the ways in which a token can fall short of a route's rules.
func verdictRefusal(verdict policy.Verdict) refusal {
	switch verdict.Outcome {
	case policy.InsufficientScope:
		return refusal{
			status: http.StatusForbidden, outcome: outcomeInsufficientScope, reason: verdict.Reason,
			challenge: true, code: bearer.CodeInsufficientScope, scope: true,
		}
	case policy.StepUp:
		// With the scopes, so that whoever lacks both has to come back once (RFC 9470 section 3).
		return refusal{
			status: http.StatusUnauthorized, outcome: outcomeStepUp, reason: verdict.Reason,
			challenge: true, code: bearer.CodeInsufficientUserAuthentication, scope: true,
		}
	case policy.Forbidden:
		return refusal{status: http.StatusForbidden, outcome: outcomeForbidden, reason: verdict.Reason}
	case policy.Undecided:
		return refusal{status: http.StatusServiceUnavailable, outcome: outcomeUnavailable, retry: retryAfter, reason: verdict.Reason}
	case policy.InvalidProof, policy.NonceDemanded:
		return refusal{
			status: http.StatusUnauthorized, outcome: outcomeInvalidToken, reason: verdict.Reason,
			challenge: true, code: proofCodes[verdict.Outcome],
		}
	}
	return refusal{
		status: http.StatusUnauthorized, outcome: outcomeInvalidToken, reason: verdict.Reason,
		challenge: true, code: bearer.CodeInvalidToken,
	}
}

// proofCodes are the error codes of a proof of possession.
var proofCodes = map[policy.Outcome]string{
	policy.InvalidProof:  bearer.CodeInvalidDPoPProof,
	policy.NonceDemanded: bearer.CodeUseDPoPNonce,
}

// authorityRefusal maps the ways in which an authority can fail to answer. None of them says anything about the token,
// so none of them is answered with a challenge, which would make the client throw its token away.
func authorityRefusal(ctx context.Context, asked *party, err error) refusal {
	if ctx.Err() != nil {
		return refusal{status: statusClientClosedRequest, outcome: outcomeCanceled, reason: "the client did not wait"}
	}
	refused := refusal{reason: fmt.Sprintf("authority %s: %v", asked.Label, err)}
	if asked.Client != "" {
		refused.reason = fmt.Sprintf("authority %s, client %s: %v", asked.Label, asked.Client, err)
	}
	if limited, ok := errors.AsType[*introspect.LimitedError](err); ok {
		refused.status, refused.outcome = http.StatusTooManyRequests, outcomeLimited
		refused.retry = strconv.Itoa(int(math.Ceil(limited.Wait.Seconds())))
		return refused
	}
	switch {
	case errors.Is(err, introspect.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		refused.status, refused.outcome = http.StatusGatewayTimeout, outcomeUnavailable
	case errors.Is(err, introspect.ErrCredentials), errors.Is(err, introspect.ErrMalformed):
		refused.status, refused.outcome = http.StatusBadGateway, outcomeMisconfigured
	default:
		refused.status, refused.outcome, refused.retry = http.StatusServiceUnavailable, outcomeUnavailable, retryAfter
	}
	return refused
}

// refuse answers a request that is not passed on. The error goes through Caddy's error handling, and so do the headers
// that are set here.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, v *visit, refused refusal) error {
	v.outcome = refused.outcome
	v.explain(refused)
	v.takeBack(r.Header)
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	if r.ProtoMajor == 1 && len(r.Header["Expect"]) > 0 {
		// The server would wait for the body before it answers, and the client for the answer before it sends the body
		// (RFC 9110 section 10.1.1).
		header.Set("Connection", "close")
	}
	if refused.retry != "" {
		header.Set("Retry-After", refused.retry)
	}
	if refused.challenge {
		h.challenge(header, v, refused)
	}
	return caddyhttp.Error(refused.status, errors.New(refused.reason))
}

// challenge says how to come back: one challenge for each scheme that would do, and the error in that of the scheme which was
// used (RFC 9449 section 7.2).
func (h *Handler) challenge(header http.Header, v *visit, refused refusal) {
	used := h.used(v)
	offered := h.offered(used, refused)
	for _, scheme := range offered {
		challenge := bearer.Challenge{Scheme: scheme, Realm: h.Realm}
		if len(offered) == 1 || slices.Contains(used, scheme) {
			challenge.Error = refused.code
		}
		if refused.scope {
			challenge.Scope = h.rules.Demanded()
		}
		if challenge.Error == bearer.CodeInsufficientUserAuthentication {
			challenge.ACRValues, challenge.MaxAge = h.ACR, h.maxAge()
		}
		if refused.status == http.StatusUnauthorized || refused.status == http.StatusForbidden {
			challenge.ResourceMetadata = h.metadataURL
		}
		if scheme == bearer.SchemeDPoP {
			challenge.Algorithms = proofAlgorithms
			if h.DPoP == policy.DPoPNonce && refused.status == http.StatusUnauthorized {
				header.Set("DPoP-Nonce", h.app.Proofs().Nonce())
			}
		}
		header.Add("WWW-Authenticate", challenge.String())
	}
}

// offered lists the schemes that a refusal names. Whoever has presented a token under DPoP has one that is worth nothing
// under another scheme, and one that lacks a scope would lack it under any.
func (h *Handler) offered(used []string, refused refusal) []string {
	switch {
	case h.DPoP != "":
		return []string{bearer.SchemeDPoP}
	case h.MTLS != "" && !slices.Contains(used, bearer.SchemeDPoP):
		return []string{bearer.SchemeBearer}
	case refused.status == http.StatusForbidden, len(used) == 1 && used[0] == bearer.SchemeDPoP:
		return used
	}
	return h.places.Schemes()
}

// proofAlgorithms are those that challenges name.
var proofAlgorithms = dpop.Algorithms()

// used lists the schemes under which the request presents something: those of the route if it is malformed, else the one
// under which the token came.
func (h *Handler) used(v *visit) []string {
	schemes := h.places.Schemes()
	if len(v.malformed) == 0 && v.credential.Scheme != "" {
		return []string{v.credential.Scheme}
	}
	used := slices.DeleteFunc(slices.Clone(schemes), func(scheme string) bool { return !slices.Contains(v.malformed, scheme) })
	if len(used) == 0 {
		return schemes[:1]
	}
	return used
}

// Package portcullis makes Caddy a gateway that enforces OAuth 2.0 token introspection (RFC 7662).
package portcullis

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/authority"
	_ "github.com/portcullis-gateway/portcullis/authserver/shim" // the embedded authorization server
	"github.com/portcullis-gateway/portcullis/bearer"
	"github.com/portcullis-gateway/portcullis/identity"
	"github.com/portcullis-gateway/portcullis/policy"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler demands a good access token: it takes the bearer token of the request (RFC 6750), asks an authorization
// server what it knows of it (RFC 7662), judges whether that is enough here, and tells the backend in identity headers
// who came. Forged identity headers are removed first, on every path, whether the request is refused or not.
//
// Refusals are 401, 403 and 400 with the challenge of RFC 6750; 429 if a client has tried too many unknown tokens; 503 and
// 504 if the authorization server cannot be asked or is too slow; and 502 if it refuses the gateway's own credentials or
// sends no RFC 7662 answer. All of them pass through Caddy's error handling.
//
// The following placeholders are available afterwards; what the token does not have is empty:
//
// Placeholder | Description
// ------------|------------
// `{http.auth.user.id}` | The user, as in `Remote-User`
// `{http.introspect.active}` | `true` if the token is active, `false` if it is not
// `{http.introspect.scope}` | The granted scopes, separated by spaces
// `{http.introspect.client_id}` | The client that the token was issued to
// `{http.introspect.sub}` | The subject of the token
// `{http.introspect.iss}` | The issuer of the token
// `{http.introspect.exp}` | When the token expires, in seconds since the epoch
// `{http.introspect.authority}` | The authority that answered
// `{http.introspect.cache}` | Where the answer came from: `memory`, `miss`, `coalesced` or `stale`
// `{http.introspect.claims.<path>}` | Any member of the answer
// `{http.introspect.error}` | The error code of a refusal
// `{http.introspect.error_description}` | Why, for an error page or a log
type Handler struct {
	// The names of the authorities to ask, of the app `introspect`. Of several, a JWT goes to the one whose `issuer` is its
	// `iss`, any other token to the first whose `token_prefix` fits, else to the only one without. A token that is of none
	// of them is refused, and nobody is asked. Default: the authority called `default`, else the only one there is, else the
	// embedded authorization server.
	Authorities []string `json:"authorities,omitempty"`
	// Ask the authorities in turn until one calls the token active. This shows the token to each of them.
	TryEach bool `json:"try_each,omitempty"`
	// An authority of this route's own, in place of a name.
	Authority *authority.Config `json:"authority,omitempty"`

	// The scopes that a token must have, all of them.
	Scope []string `json:"scope,omitempty"`
	// The scopes of which a token must have at least one.
	AnyScope []string `json:"any_scope,omitempty"`
	// When a granted scope covers a demanded one: `exact`, `hierarchic` (`a` covers `a:b`, `a.b`, `a/b`) or `wildcard`
	// (`a:*` covers `a:b`). Default: `exact`.
	ScopeMatch policy.ScopeMatch `json:"scope_match,omitempty"`
	// Demands on members of the answer, all of which have to be met; otherwise the request is refused with 403.
	Claim []policy.Claim `json:"claim,omitempty"`
	// Expressions in the Common Expression Language that have to be true, all of them; otherwise the request is refused with
	// 403. They know `claims`, `scopes`, `request.method`, `request.path`, `request.host` and `now`. One that cannot be
	// evaluated, since a claim is absent or of another type, is not met.
	Require []string `json:"require,omitempty"`
	// The audiences of which the `aud` of a token must contain one. A token without audience is refused then.
	Audience []string `json:"audience,omitempty"`
	// The ways to sign in of which the `acr` of a token has to name one (RFC 9470). Otherwise the request is refused with 401,
	// and the client is told to have the user sign in so.
	ACR []string `json:"acr,omitempty"`
	// How long ago the user may have signed in, by the `auth_time` of a token (RFC 9470), in whole seconds. Otherwise the
	// request is refused with 401, and the client is told to have the user sign in again.
	MaxAge caddy.Duration `json:"max_age,omitempty"`
	// The identifier of the protected resource that the route is a part of (RFC 9728): https, or http on loopback. The `aud`
	// of a token must contain it, to the letter; its metadata are published at its well-known URL; and challenges name that
	// URL.
	Resource string `json:"resource,omitempty"`
	// Further members of the metadata of the resource. A member with several values is an array.
	ResourceMetadata map[string][]string `json:"resource_metadata,omitempty"`
	// The oldest answer that is good enough: an older one that is remembered is asked for again, and none is used that
	// could not be confirmed in time. 0 asks on every request.
	Fresh *caddy.Duration `json:"fresh,omitempty"`
	// Let only tokens pass that are bound to a key (RFC 9449): `required`, or `nonce` if the proof has to hold a nonce that
	// the gateway has handed out in `DPoP-Nonce`. A token that is bound to a key needs a proof anyway.
	DPoP policy.DPoP `json:"dpop,omitempty"`
	// Let only tokens pass that are bound to a client certificate (RFC 8705): `required`. A token that is bound to one needs
	// it anyway: that of the connection, or the one that a proxy in `trusted_proxies` names in `Client-Cert` (RFC 9440).
	MTLS policy.MTLS `json:"mtls,omitempty"`
	// Pass requests without a token on, without identity. A bad token is still refused.
	Optional bool `json:"optional,omitempty"`
	// Pass true CORS preflights on without a token: OPTIONS with `Origin` and `Access-Control-Request-Method`, and
	// without a body. A browser sends them without credentials.
	Preflight bool `json:"preflight,omitempty"`
	// Decide and log, but never refuse: to see what would happen before it does. Forged identity headers are removed,
	// the token stays on the request, identity is told only where the decision would allow the request, and a request
	// waits for an authority for at most one second.
	Observe bool `json:"observe,omitempty"`

	// Where the token is. Default: in the `Authorization` header, under the scheme `Bearer` or `DPoP`.
	TokenFrom bearer.Places `json:"token_from,omitempty"`

	// The headers in which the backend learns who came: `remote` (Remote-User, -Name, -Email, -Groups, -Client,
	// -Scope), `x_forwarded` (X-Forwarded-User, -Preferred-Username, -Email, -Groups), `x_auth_request` (the same
	// behind X-Auth-Request) or `none`. Default: `remote`.
	Identity identity.Preset `json:"identity,omitempty"`
	// Further claims that are copied into headers, `X-Claim-<Claim>` unless they are named. The names are removed from
	// the requests of all routes.
	CopyClaims []identity.Copy `json:"copy_claims,omitempty"`
	// How values are written into headers: `percent`, `base64url` or `utf8`. Default: `percent`.
	ClaimEncoding identity.Encoding `json:"claim_encoding,omitempty"`
	// A token without a user is the user who is named by its client id.
	ClientAsUser bool `json:"client_as_user,omitempty"`
	// Leave the token on the forwarded request. Default: it is removed.
	PassToken bool `json:"pass_token,omitempty"`
	// Hand the signed answer of the authority on to the backend.
	PhantomToken *PhantomToken `json:"phantom_token,omitempty"`

	// The realm of the challenges. Default: `portcullis`.
	Realm string `json:"realm,omitempty"`

	// Which responses end with their token, which is when it expires and within a second when it is found revoked:
	// `streams` (upgraded connections, tunnels and event streams), `all` (every response), or `off`. Default: `streams`.
	EndAtExpiry EndAtExpiry `json:"end_at_expiry,omitempty"`

	app      *authority.App
	route    *authority.Route // nil where there is one authority
	parties  []*party
	nobody   *party // of the requests for which no authority is asked
	maxToken int
	places   bearer.Places
	rules    policy.Rules // without what depends on the authority
	teller   *identity.Teller
	// phantom is the header that gets the signed answer, or empty.
	phantom string
	// metadataURL is where the metadata of the resource are, if there is one.
	metadataURL string
}

const defaultRealm = "portcullis"

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.introspect", New: func() caddy.Module { return new(Handler) }}
}

// Provision finds the authority and checks the rules. It opens no connection.
func (h *Handler) Provision(ctx caddy.Context) error {
	app, err := ctx.App("introspect")
	if err != nil {
		return fmt.Errorf("loading the authorities: %w", err)
	}
	h.app = app.(*authority.App)
	authorities, err := h.findAuthorities()
	if err != nil {
		return err
	}
	h.rules = policy.Rules{
		Scope:      h.Scope,
		AnyScope:   h.AnyScope,
		ScopeMatch: h.ScopeMatch,
		Claims:     h.Claim,
		Audience:   h.Audience,
		Resource:   h.Resource,
		DPoP:       h.DPoP,
		MTLS:       h.MTLS,

		Authentication: policy.Authentication{ACR: h.ACR, MaxAge: time.Duration(h.MaxAge)},
	}
	for _, expression := range h.Require {
		requirement, err := policy.NewRequirement(expression)
		if err != nil {
			return fmt.Errorf("require: %w", err)
		}
		h.rules.Requirements = append(h.rules.Requirements, requirement)
	}
	if err := h.rules.Check(); err != nil {
		return err
	}
	if h.Fresh != nil && *h.Fresh < 0 {
		return errors.New("fresh: must not be negative")
	}
	if err := h.checkLiterals(); err != nil {
		return err
	}
	for _, scope := range h.rules.Demanded() {
		if err := bearer.CheckScope(scope); err != nil {
			return fmt.Errorf("scope %q: %w", scope, err)
		}
	}
	for _, acr := range h.ACR {
		if err := bearer.CheckScope(acr); err != nil {
			return fmt.Errorf("acr %q: %w", acr, err)
		}
	}
	if h.places = h.TokenFrom; len(h.places) == 0 {
		h.places = bearer.DefaultPlaces()
	}
	if err := h.places.Check(); err != nil {
		return fmt.Errorf("token_from: %w", err)
	}
	if err := h.checkScheme(); err != nil {
		return err
	}
	if err := h.publishResource(authorities); err != nil {
		return err
	}
	if h.Realm == "" {
		h.Realm = defaultRealm
	}
	if err := bearer.CheckRealm(h.Realm); err != nil {
		return fmt.Errorf("realm %q: %w", h.Realm, err)
	}
	if err := h.EndAtExpiry.Check(); err != nil {
		return err
	}
	knowConnections(ctx)
	if err := h.provisionPhantomToken(authorities); err != nil {
		return err
	}
	if h.teller, err = identity.NewTeller(h.telling()); err != nil {
		return err
	}
	if err := h.app.Protect(h.teller.Targets(), h.places.Headers()); err != nil {
		return err
	}
	h.admit(authorities)
	return nil
}

// openCounters finds the counters once, so that a request looks for none.
func (h *Handler) openCounters(of func(name string) *authority.Counter) map[outcome]*authority.Counter {
	counters := make(map[outcome]*authority.Counter, len(countedOutcomes))
	for _, outcome := range countedOutcomes {
		name := string(outcome)
		if h.Observe {
			name = wouldBe + name
		}
		counters[outcome] = of(name)
	}
	return counters
}

// telling is what the backend learns.
func (h *Handler) telling() identity.Config {
	return identity.Config{
		Preset:       h.Identity,
		Copies:       h.CopyClaims,
		Encoding:     h.ClaimEncoding,
		ClientAsUser: h.ClientAsUser,
		Phantom:      h.phantomHeader(),
	}
}

func (h *Handler) findAuthority() (*authority.Authority, error) {
	switch {
	case h.Authority != nil && len(h.Authorities) > 0:
		return nil, errors.New("a route asks an authority by name or one of its own, not both")
	case h.Authority != nil:
		return h.app.Own(h.Authority)
	case len(h.Authorities) == 1:
		return h.app.Named(h.Authorities[0])
	}
	return h.app.Default()
}

// ServeHTTP is the walk of a request: stripped, its token taken, an authority asked, the answer judged, the backend
// told who came.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if serveMetadata(w, r, h.app.Resources()) {
		return nil
	}
	visit := visitOf(r)
	h.app.Protected().Strip(r, visit.told)

	visit.asked = h.nobody
	outcome, refused := h.decide(r, visit)
	if counter, ok := visit.asked.counters[outcome]; ok {
		counter.Add()
	}
	if h.Observe {
		visit.observe(outcome, refused)
		return next.ServeHTTP(w, r)
	}
	if refused != nil {
		return h.refuse(w, r, visit, *refused)
	}
	visit.outcome = outcome
	return h.passOn(w, r, visit, next)
}

// decide tells how the visit ends, and why if the request is refused.
func (h *Handler) decide(r *http.Request, visit *visit) (outcome, *refusal) {
	credential, err := visit.takeToken(r, h.places, h.maxToken, h.PassToken || h.Observe)
	if h.phantom == authorization {
		visit.clearAuthorization(r.Header)
	}
	switch {
	case err == nil:
	case errors.Is(err, bearer.ErrNoToken) && h.Preflight && isPreflight(r):
		dropBody(r)
		return outcomePreflight, nil
	case errors.Is(err, bearer.ErrNoToken) && h.Optional:
		return outcomeAnonymous, nil
	default:
		return tokenRefusal(err).end()
	}

	ctx := r.Context()
	if h.Observe {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, observedFor)
		defer cancel()
	}
	var since time.Time
	if h.Fresh != nil {
		since = visit.arrived.Add(-time.Duration(*h.Fresh))
	}
	asked, answer, err := h.ask(ctx, visit, credential, since)
	if asked != nil && err == nil {
		answer, err = h.signed(ctx, visit, asked.Authority, credential, answer)
	}
	switch {
	case asked == nil:
		return tokenRefusal(err).end()
	case err != nil:
		return authorityRefusal(r.Context(), asked, err).end()
	}

	visit.possession.checker, visit.possession.token = h.app.Proofs(), credential.Token
	verdict := asked.rules.Judge(answer, time.Now(), policy.Presented{
		Request:    r,
		Possession: credential.Scheme == bearer.SchemeDPoP,
		Holder:     &visit.possession,
	})
	if verdict.Outcome != policy.Allowed {
		return verdictRefusal(verdict).end()
	}

	if err := visit.tell(r.Header, h.teller, answer); err != nil {
		return refusal{status: http.StatusForbidden, outcome: outcomeForbidden, reason: err.Error()}.end()
	}
	return outcomeAllowed, nil
}

// observedFor is the longest that a request waits for an authority whose answer decides nothing.
const observedFor = time.Second

// isPreflight tells a CORS preflight from any other OPTIONS request.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && mayLackBody(r) && len(r.Header["Upgrade"]) == 0 &&
		len(r.Header["Origin"]) == 1 && len(r.Header["Access-Control-Request-Method"]) == 1
}

// mayLackBody tells whether a request has no body, or, over HTTP/3, where nothing in front of a body says that there is one,
// may have none.
func mayLackBody(r *http.Request) bool {
	return r.ContentLength == 0 || r.ContentLength < 0 && r.ProtoMajor == 3
}

// dropBody takes the body of a request away, which has none as far as anybody has looked.
func dropBody(r *http.Request) {
	if r.ContentLength < 0 {
		r.Body, r.ContentLength = http.NoBody, 0
	}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)

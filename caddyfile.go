package portcullis

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/authority"
	"github.com/portcullis-gateway/portcullis/bearer"
	"github.com/portcullis-gateway/portcullis/identity"
	"github.com/portcullis-gateway/portcullis/internal/operator"
	"github.com/portcullis-gateway/portcullis/policy"
	"github.com/portcullis-gateway/portcullis/resource"
)

func init() {
	registerDirective("introspect", parseIntrospect)
	httpcaddyfile.RegisterDirectiveOrder("introspect", httpcaddyfile.After, "basic_auth")
	httpcaddyfile.RegisterGlobalOption("introspect", parseAuthorityOption)
}

// registerDirective registers a handler directive whose route always has a matcher, if only one that matches everything.
// Caddy merges neighbouring routes with the same matchers, and where that leaves a named route with a single one without
// matchers, it keeps only the first handler of it: a directive that demands a token must not be among those that are lost.
// It is a path, so that Caddy, which sorts the routes of a directive by their paths, puts it behind all others.
func registerDirective(name string, parse httpcaddyfile.UnmarshalHandlerFunc) {
	httpcaddyfile.RegisterDirective(name, func(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
		if !h.Next() {
			return nil, h.ArgErr()
		}
		matchers, err := h.ExtractMatcherSet()
		if err != nil {
			return nil, err
		}
		everything := h.JSON(caddyhttp.MatchPath{"*"})
		switch {
		case matchers == nil:
			matchers = caddy.ModuleMap{"path": everything}
		case bytes.Equal(matchers["path"], h.JSON(caddyhttp.MatchPath{"/*"})):
			// CONNECT has no path, and would not be selected. Other directives may have the same matchers.
			matchers = maps.Clone(matchers)
			matchers["path"] = everything
		}
		handler, err := parse(h)
		if err != nil {
			return nil, err
		}
		routes := h.NewRoute(matchers, handler)
		if protected, ok := handler.(*Handler); ok && protected.Resource != "" {
			// The matchers of the route need not select the documents of its resource.
			routes = append(h.NewRoute(caddy.ModuleMap{"path": everything}, new(MetadataHandler)), routes...)
		}
		return routes, nil
	})
}

// notInThisBuild are the subdirectives of `introspect` that a later build has, in a site block or a global option.
var notInThisBuild = map[string]bool{
	"events": true,
	"redis":  true,
}

// unrecognized is the error for a subdirective that a block does not have.
func unrecognized(d *caddyfile.Dispenser, later map[string]bool) error {
	if later[d.Val()] {
		return d.Errf("'%s' is not in this build of Portcullis", d.Val())
	}
	return d.Errf("unrecognized subdirective '%s'", d.Val())
}

// parseIntrospect parses the directive. Syntax:
//
//	introspect [<matcher>] [<authority>... | <issuer_url> [<client_id> <client_secret>]] [scope <scope>...] {
//		scope       <scope>...
//		any_scope   <scope>...
//		scope_match exact|hierarchic|wildcard
//		audience    <aud>...
//		claim       <path> [<value>...]
//		require     <CEL expression>
//		acr         <value>...
//		max_age     <duration>
//		resource    <url>
//		resource_metadata {
//			<member> <value>...
//		}
//		fresh       <duration>
//		dpop        required|nonce
//		mtls        required
//		optional
//		preflight
//		observe
//		token_from  header [<name> [<scheme>]] | cookie <name> | query <name> | form <name>
//		identity    remote|x_forwarded|x_auth_request|none
//		copy_claims <claim>[><Header>]...
//		claim_encoding percent|base64url|utf8
//		client_as_user
//		pass_token
//		phantom_token [<Header>]
//		realm       <text>
//		try_each
//		end_at_expiry streams|all|off
//		<options of an authority>
//	}
func parseIntrospect(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	warnOfLiteralSecret(h.Dispenser, handler.Authority)
	if err := handler.resolve(h); err != nil {
		return nil, err
	}
	return handler, wrap(h.Dispenser, handler.checkServers(namedAuthorities(h)))
}

// UnmarshalCaddyfile parses the directive without regard to what the rest of the Caddyfile has.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := h.parseFirstLine(d); err != nil {
		return err
	}
	seen := make(once)
	if h.Authority != nil {
		seen["issuer"] = true
		seen["client"] = h.Authority.Client != nil
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.check(d, slices.Concat(repeatableAuthorityOptions, []string{"scope", "any_scope", "audience", "claim", "require", "acr", "copy_claims", "token_from"})...); err != nil {
			return err
		}
		if err := h.parseOption(d); err != nil {
			return err
		}
	}
	teller, err := identity.NewTeller(h.telling())
	if err != nil {
		return d.WrapErr(err)
	}
	if err := authority.CheckTokenHeaders(identity.NewProtected(teller.Targets()), h.TokenFrom.Headers()); err != nil {
		return d.WrapErr(err)
	}
	for _, check := range []func() error{h.checkLiterals, h.checkScheme, h.checkResource} {
		if err := check(); err != nil {
			return d.WrapErr(err)
		}
	}
	if err := h.PhantomToken.check(h.PassToken); err != nil {
		return d.WrapErr(err)
	}
	if h.Authority != nil && len(h.Authorities) > 0 {
		return d.Errf("authority '%s' is named, and the block has options of another one: a route has one or the other", h.Authorities[0])
	}
	return nil
}

// parseFirstLine parses the authority and the scopes that stand behind the directive's name.
func (h *Handler) parseFirstLine(d *caddyfile.Dispenser) error {
	for d.NextArg() {
		if h.Authority != nil && d.Val() != "scope" {
			if err := parseFirstLineClient(d, h.Authority); err != nil {
				return err
			}
			continue
		}
		switch argument := d.Val(); {
		case argument == "scope":
			return parseList(d, &h.Scope, bearer.CheckScope)
		case strings.HasPrefix(argument, "{"):
			return d.Errf("'%s' cannot stand here: write 'issuer %s' in the block", argument, argument)
		case strings.Contains(argument, "://"):
			if len(h.Authorities) > 0 {
				return d.Errf("'%s' stands behind the name of an authority: a route has one or the other", argument)
			}
			h.Authority = &authority.Config{Issuer: argument}
		default:
			if err := authority.CheckName(argument); err != nil {
				if len(h.Authorities) > 0 {
					// It may be a secret behind an issuer without its scheme.
					return d.Errf("'%s' is the name of an authority, and something behind it is none: an issuer URL begins with https://", h.Authorities[0])
				}
				return d.WrapErr(err)
			}
			h.Authorities = append(h.Authorities, argument)
		}
	}
	return nil
}

// parseFirstLineClient parses the client that stands behind an issuer URL.
func parseFirstLineClient(d *caddyfile.Dispenser, config *authority.Config) error {
	client := &authority.Client{ID: d.Val()}
	if config.Client != nil || !d.NextArg() || d.Val() == "scope" || d.Val() == "" || client.ID == "" {
		return d.Err("behind an issuer URL stand a client id and its secret, or neither: <issuer_url> [<client_id> <client_secret>]")
	}
	client.Secret = d.Val()
	config.Client = client
	return nil
}

func (h *Handler) parseOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "scope":
		return parseList(d, &h.Scope, bearer.CheckScope)
	case "any_scope":
		return parseList(d, &h.AnyScope, bearer.CheckScope)
	case "audience":
		return parseList(d, &h.Audience, checkNotEmpty)
	case "scope_match":
		var match string
		if err := parseText(d, &match); err != nil {
			return err
		}
		h.ScopeMatch = policy.ScopeMatch(match)
		return wrap(d, h.ScopeMatch.Check())
	case "claim":
		arguments := d.RemainingArgs()
		if len(arguments) == 0 || arguments[0] == "" {
			return d.ArgErr()
		}
		h.Claim = append(h.Claim, policy.Claim{Path: arguments[0], Values: arguments[1:]})
		return nil
	case "require":
		return h.parseRequire(d)
	case "acr":
		return parseList(d, &h.ACR, bearer.CheckScope)
	case "max_age":
		if err := parsePositive(d, &h.MaxAge); err != nil {
			return err
		}
		return wrap(d, policy.Authentication{MaxAge: time.Duration(h.MaxAge)}.Check())
	case "resource":
		if err := parseText(d, &h.Resource); err != nil {
			return err
		}
		return wrap(d, h.checkResource())
	case "resource_metadata":
		return h.parseResourceMetadata(d)
	case "fresh":
		h.Fresh = new(caddy.Duration)
		return parseDuration(d, h.Fresh)
	case "dpop":
		var demand string
		if err := parseText(d, &demand); err != nil {
			return err
		}
		h.DPoP = policy.DPoP(demand)
		return wrap(d, h.DPoP.Check())
	case "mtls":
		var demand string
		if err := parseText(d, &demand); err != nil {
			return err
		}
		h.MTLS = policy.MTLS(demand)
		return wrap(d, h.MTLS.Check())
	case "optional":
		return parseFlag(d, &h.Optional)
	case "preflight":
		return parseFlag(d, &h.Preflight)
	case "observe":
		return parseFlag(d, &h.Observe)
	case "token_from":
		return h.parseTokenFrom(d)
	case "identity":
		var preset string
		if err := parseText(d, &preset); err != nil {
			return err
		}
		h.Identity = identity.Preset(preset)
		return wrap(d, h.Identity.Check())
	case "claim_encoding":
		var encoding string
		if err := parseText(d, &encoding); err != nil {
			return err
		}
		h.ClaimEncoding = identity.Encoding(encoding)
		return wrap(d, h.ClaimEncoding.Check())
	case "client_as_user":
		return parseFlag(d, &h.ClientAsUser)
	case "pass_token":
		return parseFlag(d, &h.PassToken)
	case "phantom_token":
		arguments := d.RemainingArgs()
		if len(arguments) > 1 || slices.Contains(arguments, "") {
			return d.ArgErr()
		}
		h.PhantomToken = &PhantomToken{Header: strings.Join(arguments, "")}
		return nil
	case "copy_claims":
		return h.parseCopyClaims(d)
	case "try_each":
		return parseFlag(d, &h.TryEach)
	case "realm":
		if err := parseText(d, &h.Realm); err != nil {
			return err
		}
		if err := bearer.CheckRealm(h.Realm); err != nil {
			return d.Errf("bad realm value '%s': %v", h.Realm, err)
		}
		return nil
	case "end_at_expiry":
		var which string
		if err := parseText(d, &which); err != nil {
			return err
		}
		h.EndAtExpiry = EndAtExpiry(which)
		return wrap(d, h.EndAtExpiry.Check())
	}
	if !isAuthorityOption(d.Val()) {
		return unrecognized(d, notInThisBuild)
	}
	if h.Authority == nil {
		h.Authority = new(authority.Config)
	}
	return parseAuthorityLine(d, h.Authority)
}

func (h *Handler) parseRequire(d *caddyfile.Dispenser) error {
	var expression string
	if !d.AllArgs(&expression) || expression == "" {
		return d.Err("'require' takes one expression: put it between backticks, require `claims.level >= 3`")
	}
	if _, err := policy.NewRequirement(expression); err != nil {
		return d.Errf("bad require value: %v", err)
	}
	h.Require = append(h.Require, expression)
	return nil
}

func (h *Handler) parseTokenFrom(d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	if len(arguments) == 0 || len(arguments) > 3 {
		return d.ArgErr()
	}
	place := bearer.Place{In: bearer.Kind(arguments[0])}
	if len(arguments) > 1 {
		place.Name = arguments[1]
	}
	if len(arguments) > 2 {
		place.Scheme = arguments[2]
	}
	h.TokenFrom = append(h.TokenFrom, place)
	if err := h.TokenFrom.Check(); err != nil {
		return d.Errf("token_from: %v", err)
	}
	if place.Shows() {
		warnOfShownToken(d, place)
	}
	return nil
}

func (h *Handler) parseResourceMetadata(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	h.ResourceMetadata = make(map[string][]string)
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.check(d); err != nil {
			return err
		}
		member, values := d.Val(), d.RemainingArgs()
		if err := resource.CheckMember(member, values); err != nil {
			return d.Errf("resource_metadata: %v", err)
		}
		h.ResourceMetadata[member] = values
	}
	if len(seen) == 0 {
		return d.Err("'resource_metadata' needs a block of members and their values")
	}
	return nil
}

// warnOfShownToken tells the operator how to keep a token out of the logs, which hide Authorization and Cookie by themselves
// and nothing else.
func warnOfShownToken(d *caddyfile.Dispenser, place bearer.Place) {
	filter := "request>headers>" + http.CanonicalHeaderKey(place.Name) + " delete"
	if place.In == bearer.InQuery {
		filter = "request>uri query {\n\tdelete " + place.Name + "\n}"
	}
	caddy.Log().Named("caddyfile").Warn("the logs would show tokens: add to the global options, for the error log too, "+
		"and to every log of the site that has an output of its own\n"+
		"log {\n\tformat filter {\n\t\t"+strings.ReplaceAll(filter, "\n", "\n\t\t")+"\n\t}\n}",
		zap.String("file", d.File()), zap.Int("line", d.Line()))
}

func (h *Handler) parseCopyClaims(d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	if len(arguments) == 0 {
		return d.ArgErr()
	}
	for _, argument := range arguments {
		claim, header, named := strings.Cut(argument, ">")
		if claim == "" || named && header == "" {
			return d.Errf("bad copy_claims value '%s': must be <claim> or <claim>><Header>", argument)
		}
		h.CopyClaims = append(h.CopyClaims, identity.Copy{Claim: claim, Header: header})
	}
	_, err := identity.NewTeller(identity.Config{Preset: identity.None, Copies: h.CopyClaims})
	return wrap(d, err)
}

// resolve checks the authority of the route against those that the Caddyfile has, so that a mistake is found with its
// line, and writes down which one a route without a name asks.
func (h *Handler) resolve(helper httpcaddyfile.Helper) error {
	configs := namedAuthorities(helper)
	names := slices.Sorted(maps.Keys(configs))
	embedded := helper.Option("authorization_server") != nil
	switch {
	case h.Authority != nil:
		if err := h.Authority.Check(); err != nil {
			return helper.Errf("the authority of this block: %v", err)
		}
		if h.Authority.Embedded && !embedded {
			return helper.Errf("'embedded' needs the global option 'authorization_server'")
		}
		if err := authority.CheckRoute(nil, nil, h.TryEach); err != nil {
			return helper.WrapErr(err)
		}
		return wrap(helper.Dispenser, h.checkSigned("of this block", h.Authority))
	case len(h.Authorities) > 0:
		for _, name := range h.Authorities {
			if err := authority.CheckKnown(name, names); err != nil {
				return helper.WrapErr(err)
			}
			if err := h.checkSigned(name, configs[name]); err != nil {
				return helper.WrapErr(err)
			}
		}
		return wrap(helper.Dispenser, authority.CheckRoute(h.Authorities, configs, h.TryEach))
	case h.TryEach:
		return helper.WrapErr(authority.CheckRoute(nil, nil, true))
	}
	name, err := authority.Default(names, embedded)
	if err != nil {
		return helper.WrapErr(err)
	}
	if name == "" {
		h.Authority = &authority.Config{Embedded: true}
		return wrap(helper.Dispenser, h.checkSigned("embedded", h.Authority))
	}
	h.Authorities = []string{name}
	return wrap(helper.Dispenser, h.checkSigned(name, configs[name]))
}

// checkSigned demands that an authority signs its answers if the route hands them on.
func (h *Handler) checkSigned(name string, config *authority.Config) error {
	if h.PhantomToken == nil || config.JWTResponse != nil {
		return nil
	}
	return errNotSigned(name)
}

// namedAuthorities are the authorities of the global option.
func namedAuthorities(h httpcaddyfile.Helper) map[string]*authority.Config {
	option, ok := h.Option("introspect").(httpcaddyfile.App)
	if !ok {
		return nil
	}
	var app authority.App
	if err := json.Unmarshal(option.Value, &app); err != nil {
		return nil // parseAuthorityOption wrote it
	}
	return app.Authorities
}

// warnOfLiteralSecret tells the operator of a secret that Caddy would show in its configuration.
func warnOfLiteralSecret(d *caddyfile.Dispenser, config *authority.Config) {
	if config == nil {
		return
	}
	secrets := []string{config.Bearer}
	for _, pair := range config.EndpointParam {
		secrets = append(secrets, pair.Value)
	}
	if config.Client != nil {
		secrets = append(secrets, config.Client.Secret)
	}
	if !slices.ContainsFunc(secrets, func(text string) bool { return text != "" && !operator.IsPlaceholder(text) }) {
		return
	}
	operator.WarnOfLiteral(d)
}

var _ caddyfile.Unmarshaler = (*Handler)(nil)

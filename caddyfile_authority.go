package portcullis

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/portcullis-gateway/portcullis/authority"
	"github.com/portcullis-gateway/portcullis/bearer"
	"github.com/portcullis-gateway/portcullis/cache"
)

// parseAuthorityOption parses one block of the global option, which adds one authority. Syntax:
//
//	introspect [<name>] {
//		issuer         <url>
//		endpoint       <url>
//		embedded
//		client         <id> [<secret>]
//		client_auth    client_secret_basic|client_secret_post|client_secret_jwt|private_key_jwt|tls_client_auth|none
//		basic_encoding auto|form|raw
//		client_key     <file> [<kid>]
//		assertion_audience <url>
//		bearer         <token>
//		bearer_from    <token_endpoint> [<scope>...]
//		token_type_hint <hint>|off
//		param          <name> <value>
//		endpoint_param <name> <value>
//		request_header <name> <value>
//		token_prefix   <prefix>...
//		max_token      <size>
//		leeway         <duration>
//		insecure_http
//		timeout        <duration>
//		retries        <n>
//		max_concurrent <n>
//		breaker        <failures> <duration> | off
//		max_response   <size>
//		jwt_response [{
//			jwks     <url>
//			audience <aud>
//		}]
//		unknown_tokens <n> <duration>
//		answer {
//			active    <path> [<value>]
//			scope     <path>
//			sub       <path>
//			username  <path>
//			client_id <path>
//			exp       <path>
//		}
//		transport http { ... }
//		cache off
//		cache {
//			memory       <size>
//			ttl          <duration>
//			default_ttl  <duration>
//			negative_ttl <duration>
//			revalidate   <duration>|off
//			stale        <duration>|off
//		}
//	}
func parseAuthorityOption(d *caddyfile.Dispenser, existing any) (any, error) {
	app := new(authority.App)
	if before, ok := existing.(httpcaddyfile.App); ok {
		if err := json.Unmarshal(before.Value, app); err != nil {
			return nil, d.WrapErr(err)
		}
	}
	d.Next()
	name := "default"
	if d.NextArg() {
		name = d.Val()
	}
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	if err := authority.CheckName(name); err != nil {
		return nil, d.WrapErr(err)
	}
	if app.Authorities[name] != nil {
		return nil, d.Errf("authority '%s' is already specified", name)
	}
	config := new(authority.Config)
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.check(d, repeatableAuthorityOptions...); err != nil {
			return nil, err
		}
		if !isAuthorityOption(d.Val()) {
			return nil, unrecognized(d, notInThisBuild)
		}
		if err := parseAuthorityLine(d, config); err != nil {
			return nil, err
		}
	}
	if err := config.Check(); err != nil {
		return nil, d.Errf("authority '%s': %v", name, err)
	}
	if app.Authorities == nil {
		app.Authorities = make(map[string]*authority.Config)
	}
	app.Authorities[name] = config
	value, err := json.Marshal(app)
	if err != nil {
		return nil, d.WrapErr(err)
	}
	return httpcaddyfile.App{Name: "introspect", Value: value}, nil
}

// authorityOptions are the subdirectives that describe an authority, in the global option or in a route's own block.
var authorityOptions = map[string]func(*caddyfile.Dispenser, *authority.Config) error{
	"issuer":   func(d *caddyfile.Dispenser, c *authority.Config) error { return parseText(d, &c.Issuer) },
	"endpoint": func(d *caddyfile.Dispenser, c *authority.Config) error { return parseText(d, &c.Endpoint) },
	"embedded": func(d *caddyfile.Dispenser, c *authority.Config) error { return parseFlag(d, &c.Embedded) },
	"client": func(d *caddyfile.Dispenser, c *authority.Config) error {
		arguments := d.RemainingArgs()
		if len(arguments) == 0 || len(arguments) > 2 || slices.Contains(arguments, "") {
			return d.Err("'client' takes an id and a secret: client <id> [<secret>]")
		}
		c.Client = &authority.Client{ID: arguments[0]}
		if len(arguments) == 2 {
			c.Client.Secret = arguments[1]
		}
		return nil
	},
	"client_auth": func(d *caddyfile.Dispenser, c *authority.Config) error {
		return parseChoice(d, &c.ClientAuth, authority.ClientAuthMethods...)
	},
	"basic_encoding": func(d *caddyfile.Dispenser, c *authority.Config) error {
		return parseChoice(d, &c.BasicEncoding, "auto", "form", "raw")
	},
	"client_key": func(d *caddyfile.Dispenser, c *authority.Config) error {
		arguments := d.RemainingArgs()
		if len(arguments) == 0 || len(arguments) > 2 || slices.Contains(arguments, "") {
			return d.Err("'client_key' takes a file and perhaps a key id: client_key <file> [<kid>]")
		}
		c.ClientKey = &authority.ClientKey{File: arguments[0]}
		if len(arguments) == 2 {
			c.ClientKey.KeyID = arguments[1]
		}
		return nil
	},
	"assertion_audience": func(d *caddyfile.Dispenser, c *authority.Config) error {
		return parseText(d, &c.AssertionAudience)
	},
	"bearer_from": func(d *caddyfile.Dispenser, c *authority.Config) error {
		arguments := d.RemainingArgs()
		if len(arguments) == 0 || arguments[0] == "" {
			return d.Err("'bearer_from' takes a token endpoint and perhaps scopes: bearer_from <token_endpoint> [<scope>...]")
		}
		for _, scope := range arguments[1:] {
			if err := bearer.CheckScope(scope); err != nil {
				return d.Errf("bad bearer_from scope '%s': %v", scope, err)
			}
		}
		c.BearerFrom = &authority.BearerFrom{TokenEndpoint: arguments[0], Scope: arguments[1:]}
		return nil
	},
	"bearer": func(d *caddyfile.Dispenser, c *authority.Config) error {
		if !d.AllArgs(&c.Bearer) || c.Bearer == "" {
			return d.Err("'bearer' takes one token")
		}
		return nil
	},
	"token_type_hint": func(d *caddyfile.Dispenser, c *authority.Config) error { return parseText(d, &c.TokenTypeHint) },
	"param":           func(d *caddyfile.Dispenser, c *authority.Config) error { return parsePair(d, &c.Param) },
	"endpoint_param":  func(d *caddyfile.Dispenser, c *authority.Config) error { return parsePair(d, &c.EndpointParam) },
	"request_header":  func(d *caddyfile.Dispenser, c *authority.Config) error { return parsePair(d, &c.RequestHeader) },
	"token_prefix":    func(d *caddyfile.Dispenser, c *authority.Config) error { return parseList(d, &c.TokenPrefix, nil) },
	"max_token":       func(d *caddyfile.Dispenser, c *authority.Config) error { return parseSize(d, &c.MaxToken) },
	"leeway": func(d *caddyfile.Dispenser, c *authority.Config) error {
		c.Leeway = new(caddy.Duration)
		return parseDuration(d, c.Leeway)
	},
	"insecure_http": func(d *caddyfile.Dispenser, c *authority.Config) error { return parseFlag(d, &c.InsecureHTTP) },
	"timeout":       func(d *caddyfile.Dispenser, c *authority.Config) error { return parsePositive(d, &c.Timeout) },
	"retries": func(d *caddyfile.Dispenser, c *authority.Config) error {
		c.Retries = new(int)
		return parseNumber(d, c.Retries, 0, authority.MaxRetries)
	},
	"max_concurrent": func(d *caddyfile.Dispenser, c *authority.Config) error {
		return parseNumber(d, &c.MaxConcurrent, 1, 100_000)
	},
	"max_response":   func(d *caddyfile.Dispenser, c *authority.Config) error { return parseSize(d, &c.MaxResponse) },
	"breaker":        parseBreaker,
	"jwt_response":   parseJWTResponse,
	"unknown_tokens": parseUnknownTokens,
	"answer":         parseAnswer,
	"transport":      parseTransport,
	"cache":          parseCache,
}

// repeatableAuthorityOptions are those of which each line adds one.
var repeatableAuthorityOptions = []string{"param", "endpoint_param", "request_header", "token_prefix"}

func isAuthorityOption(name string) bool { return authorityOptions[name] != nil }

func parseAuthorityLine(d *caddyfile.Dispenser, config *authority.Config) error {
	return authorityOptions[d.Val()](d, config)
}

func parseBreaker(d *caddyfile.Dispenser, config *authority.Config) error {
	arguments := d.RemainingArgs()
	switch {
	case slices.Equal(arguments, []string{"off"}):
		config.Breaker = &authority.Breaker{Off: true}
		return nil
	case len(arguments) != 2:
		return d.Err("'breaker' takes a number of failures and a duration, or 'off': breaker <failures> <duration>")
	}
	failures, err := strconv.Atoi(arguments[0])
	if err != nil || failures < 1 || failures > maxFailures {
		return d.Errf("bad breaker value '%s': must be a whole number from 1 to %d", arguments[0], maxFailures)
	}
	duration, err := caddy.ParseDuration(arguments[1])
	if err != nil || duration <= 0 {
		return d.Errf("bad breaker value '%s': must be a duration such as 10s", arguments[1])
	}
	config.Breaker = &authority.Breaker{Failures: failures, Duration: caddy.Duration(duration)}
	return nil
}

func parseJWTResponse(d *caddyfile.Dispenser, config *authority.Config) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	config.JWTResponse = new(authority.JWTResponse)
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.check(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "jwks":
			err = parseText(d, &config.JWTResponse.JWKS)
		case "audience":
			err = parseText(d, &config.JWTResponse.Audience)
		default:
			err = unrecognized(d, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxFailures bounds the failures of a breaker.
const maxFailures = 100_000

func parseUnknownTokens(d *caddyfile.Dispenser, config *authority.Config) error {
	arguments := d.RemainingArgs()
	if len(arguments) != 2 {
		return d.Err("'unknown_tokens' takes a number and a duration: unknown_tokens <n> <duration>")
	}
	tokens, err := strconv.Atoi(arguments[0])
	if err != nil || tokens < 1 || tokens > maxUnknownTokens {
		return d.Errf("bad unknown_tokens value '%s': must be a whole number from 1 to %d", arguments[0], maxUnknownTokens)
	}
	duration, err := caddy.ParseDuration(arguments[1])
	if err != nil || duration <= 0 {
		return d.Errf("bad unknown_tokens value '%s': must be a duration such as 1m", arguments[1])
	}
	config.UnknownTokens = &authority.UnknownTokens{Tokens: tokens, Duration: caddy.Duration(duration)}
	return nil
}

// maxUnknownTokens bounds the number of unknown_tokens.
const maxUnknownTokens = 1_000_000

func parseAnswer(d *caddyfile.Dispenser, config *authority.Config) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	config.Answer = new(authority.Answer)
	paths := map[string]*string{
		"scope": &config.Answer.Scope, "sub": &config.Answer.Sub, "username": &config.Answer.Username,
		"client_id": &config.Answer.ClientID, "exp": &config.Answer.Exp,
	}
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.check(d); err != nil {
			return err
		}
		option := d.Val()
		if path := paths[option]; path != nil {
			if err := parseText(d, path); err != nil {
				return err
			}
			continue
		}
		if option != "active" {
			return unrecognized(d, nil)
		}
		arguments := d.RemainingArgs()
		if len(arguments) == 0 || len(arguments) > 2 || slices.Contains(arguments, "") {
			return d.Err("'active' takes a path and perhaps a value: active <path> [<value>]")
		}
		config.Answer.Active = &authority.Active{Path: arguments[0]}
		if len(arguments) == 2 {
			config.Answer.Active.Value = arguments[1]
		}
	}
	if len(seen) == 0 {
		return d.Err("'answer' needs a block that says where the parts of an answer are")
	}
	return nil
}

// parseTransport parses the transport of Caddy's reverse proxy.
func parseTransport(d *caddyfile.Dispenser, config *authority.Config) error {
	if !d.NextArg() || d.Val() != transportProtocol {
		return d.Errf("'transport' must be '%s', with the options of reverse_proxy", transportProtocol)
	}
	module, err := caddyfile.UnmarshalModule(d, "http.reverse_proxy.transport."+transportProtocol)
	if err != nil {
		return err
	}
	config.Transport = caddyconfig.JSONModuleObject(module, "protocol", transportProtocol, nil)
	return nil
}

// transportProtocol is the only transport that reaches an authorization server.
const transportProtocol = "http"

func parseCache(d *caddyfile.Dispenser, config *authority.Config) error {
	config.Cache = new(authority.Cache)
	if d.NextArg() {
		if d.Val() != "off" || d.NextArg() {
			return d.ArgErr()
		}
		config.Cache.Off = true
		if d.NextBlock(d.Nesting()) {
			return d.Err("'cache off' has no block")
		}
		return nil
	}
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.check(d); err != nil {
			return err
		}
		if err := parseCacheLine(d, config.Cache); err != nil {
			return err
		}
	}
	if len(seen) == 0 {
		return d.Err("'cache' needs a block of options, or 'off'")
	}
	return nil
}

func parseCacheLine(d *caddyfile.Dispenser, config *authority.Cache) error {
	switch d.Val() {
	case "memory":
		if err := parseSize(d, &config.Memory); err != nil {
			return err
		}
		if config.Memory < cache.MinMemory {
			return d.Errf("bad memory value: must be at least %s", humanize.IBytes(cache.MinMemory))
		}
		return nil
	case "ttl":
		return parsePositive(d, &config.TTL)
	case "default_ttl":
		return parsePositive(d, &config.DefaultTTL)
	case "negative_ttl":
		config.NegativeTTL = new(caddy.Duration)
		return parseDuration(d, config.NegativeTTL)
	case "revalidate":
		config.Revalidate = new(caddy.Duration)
		return parseDurationOrOff(d, config.Revalidate)
	case "stale":
		config.Stale = new(caddy.Duration)
		return parseDurationOrOff(d, config.Stale)
	}
	return unrecognized(d, notInThisBuild)
}

// parseChoice parses a subdirective with one of several words.
func parseChoice(d *caddyfile.Dispenser, into *string, choices ...string) error {
	option := d.Val()
	if err := parseText(d, into); err != nil {
		return err
	}
	if !slices.Contains(choices, *into) {
		return d.Errf("bad %s value '%s': must be one of %s", option, *into, strings.Join(choices, ", "))
	}
	return nil
}

// parsePair parses a subdirective with a name and a value.
func parsePair(d *caddyfile.Dispenser, into *[]authority.Pair) error {
	var pair authority.Pair
	option := d.Val()
	if !d.AllArgs(&pair.Name, &pair.Value) {
		return d.Errf("'%s' takes a name and a value", option) // which may be a secret
	}
	*into = append(*into, pair)
	return nil
}

// parseDurationOrOff parses a subdirective with a duration that must not be zero, or off, which is zero.
func parseDurationOrOff(d *caddyfile.Dispenser, into *caddy.Duration) error {
	option := d.Val()
	var text string
	if err := parseText(d, &text); err != nil || text == "off" {
		return err
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil || duration <= 0 {
		return d.Errf("bad %s value '%s': must be a duration such as 1m, or off", option, text)
	}
	*into = caddy.Duration(duration)
	return nil
}

// parsePositive parses a subdirective with a duration that must not be zero.
func parsePositive(d *caddyfile.Dispenser, into *caddy.Duration) error {
	option := d.Val()
	if err := parseDuration(d, into); err != nil {
		return err
	}
	if *into == 0 {
		return d.Errf("bad %s value '0': must be positive", option)
	}
	return nil
}

// maxSize bounds the sizes of tokens and answers, so that no configuration lets a stranger fill the memory.
const maxSize = 1 << 40

// parseSize parses a subdirective with a size, such as 8KiB.
func parseSize(d *caddyfile.Dispenser, into *int64) error {
	option := d.Val()
	var text string
	if err := parseText(d, &text); err != nil {
		return err
	}
	size, err := humanize.ParseBytes(text)
	if err != nil || size == 0 || size > maxSize {
		return d.Errf("bad %s value '%s': must be a size such as 8KiB, at most %s", option, text, humanize.IBytes(maxSize))
	}
	*into = int64(size)
	return nil
}

// parseNumber parses a subdirective with a whole number.
func parseNumber(d *caddyfile.Dispenser, into *int, least, most int) error {
	option := d.Val()
	var text string
	if err := parseText(d, &text); err != nil {
		return err
	}
	number, err := strconv.Atoi(text)
	if err != nil || number < least || number > most {
		return d.Errf("bad %s value '%s': must be a whole number from %d to %d", option, text, least, most)
	}
	*into = number
	return nil
}

package portcullis

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/portcullis-gateway/portcullis/authority"
	"github.com/portcullis-gateway/portcullis/cache"
)

// parseAuthorityOption parses one block of the global option, which adds one authority. Syntax:
//
//	introspect [<name>] {
//		endpoint       <url>
//		embedded
//		client         <id> [<secret>]
//		client_auth    client_secret_basic|client_secret_post|none
//		basic_encoding auto|form|raw
//		bearer         <token>
//		token_type_hint <hint>|off
//		param          <name> <value>
//		endpoint_param <name> <value>
//		request_header <name> <value>
//		max_token      <size>
//		leeway         <duration>
//		insecure_http
//		timeout        <duration>
//		retries        <n>
//		max_concurrent <n>
//		max_response   <size>
//		cache off
//		cache {
//			memory       <size>
//			ttl          <duration>
//			default_ttl  <duration>
//			negative_ttl <duration>
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
		if err := parseChoice(d, &c.ClientAuth, "client_secret_basic", "client_secret_post", "none"); err != nil {
			if slices.Contains(laterClientAuth, c.ClientAuth) {
				return d.Errf("'client_auth %s' is not in this build of Portcullis", c.ClientAuth)
			}
			return err
		}
		return nil
	},
	"basic_encoding": func(d *caddyfile.Dispenser, c *authority.Config) error {
		return parseChoice(d, &c.BasicEncoding, "auto", "form", "raw")
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
	"max_token":       func(d *caddyfile.Dispenser, c *authority.Config) error { return parseSize(d, &c.MaxToken) },
	"leeway": func(d *caddyfile.Dispenser, c *authority.Config) error {
		c.Leeway = new(caddy.Duration)
		return parseDuration(d, c.Leeway)
	},
	"insecure_http": func(d *caddyfile.Dispenser, c *authority.Config) error { return parseFlag(d, &c.InsecureHTTP) },
	"timeout":       func(d *caddyfile.Dispenser, c *authority.Config) error { return parsePositive(d, &c.Timeout) },
	"retries": func(d *caddyfile.Dispenser, c *authority.Config) error {
		c.Retries = new(int)
		return parseNumber(d, c.Retries, 0, 10)
	},
	"max_concurrent": func(d *caddyfile.Dispenser, c *authority.Config) error {
		return parseNumber(d, &c.MaxConcurrent, 1, 100_000)
	},
	"max_response": func(d *caddyfile.Dispenser, c *authority.Config) error { return parseSize(d, &c.MaxResponse) },
	"cache":        parseCache,
}

// repeatableAuthorityOptions are those of which each line adds one.
var repeatableAuthorityOptions = []string{"param", "endpoint_param", "request_header"}

// laterClientAuth are the ways to sign in that a later build has.
var laterClientAuth = []string{"client_secret_jwt", "private_key_jwt", "tls_client_auth"}

func isAuthorityOption(name string) bool { return authorityOptions[name] != nil }

func parseAuthorityLine(d *caddyfile.Dispenser, config *authority.Config) error {
	return authorityOptions[d.Val()](d, config)
}

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

package portcullis

import (
	"errors"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// once tells which subdirectives of a block were there already.
type once map[string]bool

// check refuses the second appearance of a subdirective that is not repeatable.
func (o once) check(d *caddyfile.Dispenser, repeatable ...string) error {
	if o[d.Val()] && !slices.Contains(repeatable, d.Val()) {
		return d.Errf("'%s' is already specified", d.Val())
	}
	o[d.Val()] = true
	return nil
}

func wrap(d *caddyfile.Dispenser, err error) error {
	if err == nil {
		return nil
	}
	return d.WrapErr(err)
}

// parseFlag parses a subdirective without arguments.
func parseFlag(d *caddyfile.Dispenser, into *bool) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	*into = true
	return nil
}

// parseText parses a subdirective with one argument.
func parseText(d *caddyfile.Dispenser, into *string) error {
	if !d.AllArgs(into) || *into == "" {
		return d.ArgErr()
	}
	return nil
}

// parseList parses a subdirective with one argument or more, which add up over its lines.
func parseList(d *caddyfile.Dispenser, into *[]string, check func(string) error) error {
	option := d.Val()
	arguments := d.RemainingArgs()
	if len(arguments) == 0 {
		return d.ArgErr()
	}
	for _, argument := range arguments {
		if check == nil {
			continue
		}
		if err := check(argument); err != nil {
			return d.Errf("bad %s value '%s': %v", option, argument, err)
		}
	}
	*into = append(*into, arguments...)
	return nil
}

// checkNotEmpty refuses what an unset variable of the Caddyfile leaves between quotes.
func checkNotEmpty(text string) error {
	if text == "" {
		return errors.New("must not be empty")
	}
	return nil
}

// parseDuration parses a subdirective with a duration, such as 30s or 1d.
func parseDuration(d *caddyfile.Dispenser, into *caddy.Duration) error {
	option := d.Val()
	var text string
	if err := parseText(d, &text); err != nil {
		return err
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil {
		return d.Errf("bad %s value '%s': %v", option, text, err)
	}
	if duration < 0 {
		return d.Errf("bad %s value '%s': must not be negative", option, text)
	}
	*into = caddy.Duration(duration)
	return nil
}

package portcullis

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/authserver/shim"
	"github.com/portcullis-gateway/portcullis/bearer"
	"github.com/portcullis-gateway/portcullis/internal/operator"
)

// parseRegistration parses who may register clients, and how far. Syntax:
//
//	registration {
//		open | token <initial access token>
//		scopes        <scope>...
//		max_clients   <n>
//		expire_unused <duration>
//	}
func parseRegistration(d *caddyfile.Dispenser, app *shim.App) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	var registration shim.Registration
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.check(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "open":
			err = parseFlag(d, &registration.Open)
		case "token":
			if err = parseText(d, &registration.Token); err == nil && !operator.IsPlaceholder(registration.Token) {
				operator.WarnOfLiteral(d)
			}
		case "scopes":
			err = parseList(d, &registration.Scopes, bearer.CheckScope)
		case "max_clients":
			err = parseNumber(d, &registration.MaxClients, 1, authserver.MostMaxClients)
		case "expire_unused":
			err = parsePositive(d, &registration.ExpireUnused)
		default:
			err = unrecognized(d, nil)
		}
		if err != nil {
			return err
		}
	}
	app.Registration = &registration
	return nil
}

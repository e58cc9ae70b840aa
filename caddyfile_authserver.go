package portcullis

import (
	"encoding/json"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/authserver"
	_ "github.com/portcullis-gateway/portcullis/authserver/command" // the command line
	"github.com/portcullis-gateway/portcullis/authserver/shim"
	"github.com/portcullis-gateway/portcullis/bearer"
)

func init() {
	registerDirective("authorization_server", parseAuthorizationServer)
	httpcaddyfile.RegisterDirectiveOrder("authorization_server", httpcaddyfile.Before, "redir")
	httpcaddyfile.RegisterGlobalOption("authorization_server", parseAuthorizationServerOption)
}

// parseAuthorizationServer parses the directive, which has neither arguments nor a block. Syntax:
//
//	authorization_server [<matcher>]
func parseAuthorizationServer(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	if h.NextBlock(h.Nesting()) {
		return nil, h.Err("authorization_server has no block here: its options are those of the global option")
	}
	if h.Option("authorization_server") == nil {
		return nil, h.Err("authorization_server needs the global option 'authorization_server { issuer <url> … }'")
	}
	return new(shim.Handler), nil
}

var (
	legacyGrants = []string{authserver.GrantPassword, authserver.GrantImplicit}
	serverGrants = []string{
		authserver.GrantAuthorizationCode, authserver.GrantRefreshToken, authserver.GrantClientCredentials, authserver.GrantJWTBearer,
	}
)

// parseAuthorizationServerOption parses the global option. Syntax:
//
//	authorization_server {
//		issuer <url>
//		resource <url>...
//		store  file <path> | postgres <dsn>
//		client <client_id> [<secret or hash>] {
//			grants         authorization_code|refresh_token|client_credentials|urn:ietf:params:oauth:grant-type:jwt-bearer|password|implicit...
//			redirect_uris  <uri>...
//			trusted
//			scopes         <scope>...
//			default_scopes <scope>...
//			audiences      <url>...
//			auth           client_secret_basic|client_secret_post|client_secret_jwt|private_key_jwt|none
//			jwks           <file>|<url>
//			introspect
//			name           <text>
//		}
//		assertion_issuer <iss> {
//			jwks     <file>|<url>
//			subjects <sub>...
//			scopes   <scope>...
//		}
//		user <name> <password hash> {
//			claim  <name> <value>...
//			scopes <scope>...
//		}
//		scope <name> <description>
//		access_token_ttl  <duration>
//		refresh_token_ttl <duration>
//		code_ttl          <duration>
//		session_ttl       <duration>
//		legacy            password|implicit...
//		registration {
//			open | token <initial access token>
//			scopes        <scope>...
//			max_clients   <n>
//			expire_unused <duration>
//		}
//		branding <name> [<logo file>]
//	}
func parseAuthorizationServerOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next()
	if existing != nil {
		return nil, d.Err("authorization_server is already specified: a process has one")
	}
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	app := new(shim.App)
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.check(d, "client", "assertion_issuer", "user", "scope"); err != nil {
			return nil, err
		}
		if err := parseServerOption(d, app); err != nil {
			return nil, err
		}
	}
	if app.Issuer == "" {
		return nil, d.Err("authorization_server needs 'issuer <url>'")
	}
	if err := app.Check(); err != nil {
		return nil, d.WrapErr(err)
	}
	value, err := json.Marshal(app)
	if err != nil {
		return nil, d.WrapErr(err)
	}
	return httpcaddyfile.App{Name: "authorization_server", Value: value}, nil
}

func parseServerOption(d *caddyfile.Dispenser, app *shim.App) error {
	switch d.Val() {
	case "issuer":
		return parseText(d, &app.Issuer)
	case "resource":
		return parseList(d, &app.Resource, authserver.CheckResource)
	case "store":
		return parseStore(d, app)
	case "client":
		return parseClient(d, app)
	case "assertion_issuer":
		return parseAssertionIssuer(d, app)
	case "user":
		return parseUser(d, app)
	case "scope":
		return parseScope(d, app)
	case "access_token_ttl":
		return parsePositive(d, &app.AccessTokenTTL)
	case "refresh_token_ttl":
		return parsePositive(d, &app.RefreshTokenTTL)
	case "code_ttl":
		return parsePositive(d, &app.CodeTTL)
	case "session_ttl":
		return parsePositive(d, &app.SessionTTL)
	case "legacy":
		return parseLegacy(d, app)
	case "registration":
		return parseRegistration(d, app)
	case "branding":
		return parseBranding(d, app)
	}
	return unrecognized(d, nil)
}

func parseLegacy(d *caddyfile.Dispenser, app *shim.App) error {
	if err := parseList(d, &app.Legacy, nil); err != nil {
		return err
	}
	for i, grant := range app.Legacy {
		switch {
		case !slices.Contains(legacyGrants, grant):
			return d.Errf("bad legacy value '%s': must be %s", grant, strings.Join(legacyGrants, " or "))
		case slices.Contains(app.Legacy[:i], grant):
			return d.Errf("legacy '%s' is already specified", grant)
		}
		caddy.Log().Named("caddyfile").Warn(shim.LegacyWarning,
			zap.String("grant", grant), zap.String("file", d.File()), zap.Int("line", d.Line()))
	}
	return nil
}

func parseStore(d *caddyfile.Dispenser, app *shim.App) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	switch kind := d.Val(); kind {
	case "file":
		var path string
		if !d.AllArgs(&path) {
			return d.ArgErr()
		}
		app.StoreRaw = caddyconfig.JSONModuleObject(shim.FileStore{Path: path}, "module", kind, nil)
		return nil
	case "postgres":
		const module = "authorization_server.stores.postgres"
		if _, err := caddy.GetModule(module); err != nil {
			return d.Err("'store postgres' is not in this build: add its package to it, with " +
				"'xcaddy build --with github.com/portcullis-gateway/portcullis " +
				"--with github.com/portcullis-gateway/portcullis/authserver/postgres'")
		}
		store, err := caddyfile.UnmarshalModule(d, module)
		if err != nil {
			return err
		}
		app.StoreRaw = caddyconfig.JSONModuleObject(store, "module", kind, nil)
		return nil
	default:
		return d.Errf("bad store value '%s': must be file or postgres", kind)
	}
}

func parseBranding(d *caddyfile.Dispenser, app *shim.App) error {
	arguments := d.RemainingArgs()
	if len(arguments) == 0 || len(arguments) > 2 || slices.Contains(arguments, "") {
		return d.Err("'branding' takes a name and perhaps an image file: branding <name> [<logo file>]")
	}
	app.Branding = &shim.Branding{Name: arguments[0]}
	if len(arguments) == 2 {
		app.Branding.Logo = arguments[1]
	}
	return nil
}

func parseClient(d *caddyfile.Dispenser, app *shim.App) error {
	var client shim.Client
	arguments := d.RemainingArgs()
	if len(arguments) == 0 || len(arguments) > 2 || slices.Contains(arguments, "") {
		return d.Err("'client' takes an id and a secret or its hash: client <client_id> [<secret or hash>]")
	}
	client.ID = arguments[0]
	if len(arguments) == 2 {
		client.Secret = arguments[1]
	}
	if slices.ContainsFunc(app.Client, func(other shim.Client) bool { return other.ID == client.ID }) {
		return d.Errf("client '%s' is already specified", client.ID)
	}
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.check(d); err != nil {
			return err
		}
		if err := parseClientOption(d, &client); err != nil {
			return err
		}
	}
	app.Client = append(app.Client, client)
	return nil
}

func parseClientOption(d *caddyfile.Dispenser, client *shim.Client) error {
	switch d.Val() {
	case "grants":
		if err := parseList(d, &client.Grants, nil); err != nil {
			return err
		}
		for _, grant := range client.Grants {
			if !slices.Contains(serverGrants, grant) && !slices.Contains(legacyGrants, grant) {
				return d.Errf("bad grants value '%s': must be %s", grant, strings.Join(serverGrants, ", "))
			}
		}
		return nil
	case "redirect_uris":
		return parseList(d, &client.RedirectURIs, authserver.CheckRedirectURI)
	case "trusted":
		return parseFlag(d, &client.Trusted)
	case "scopes":
		return parseList(d, &client.Scopes, bearer.CheckScope)
	case "default_scopes":
		return parseList(d, &client.DefaultScopes, bearer.CheckScope)
	case "audiences":
		return parseList(d, &client.Audiences, authserver.CheckResource)
	case "auth":
		return parseChoice(d, &client.Auth, authserver.ClientAuthMethods...)
	case "jwks":
		return parseText(d, &client.JWKS)
	case "introspect":
		return parseFlag(d, &client.Introspect)
	case "name":
		return parseText(d, &client.Name)
	}
	return unrecognized(d, nil)
}

func parseAssertionIssuer(d *caddyfile.Dispenser, app *shim.App) error {
	var issuer shim.AssertionIssuer
	if err := parseText(d, &issuer.Issuer); err != nil {
		return err
	}
	if slices.ContainsFunc(app.AssertionIssuer, func(other shim.AssertionIssuer) bool { return other.Issuer == issuer.Issuer }) {
		return d.Errf("assertion_issuer '%s' is already specified", issuer.Issuer)
	}
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.check(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "jwks":
			err = parseText(d, &issuer.JWKS)
		case "subjects":
			err = parseList(d, &issuer.Subjects, nil)
		case "scopes":
			err = parseList(d, &issuer.Scopes, bearer.CheckScope)
		default:
			err = unrecognized(d, nil)
		}
		if err != nil {
			return err
		}
	}
	if issuer.JWKS == "" {
		return d.Errf("assertion_issuer '%s' needs 'jwks <file>|<url>'", issuer.Issuer)
	}
	app.AssertionIssuer = append(app.AssertionIssuer, issuer)
	return nil
}

func parseUser(d *caddyfile.Dispenser, app *shim.App) error {
	var user shim.User
	if !d.AllArgs(&user.Name, &user.Password) || user.Name == "" || user.Password == "" {
		return d.Err("'user' takes a name and the hash of a password, as 'hash-password' writes it: user <name> <password hash>")
	}
	if slices.ContainsFunc(app.User, func(other shim.User) bool { return other.Name == user.Name }) {
		return d.Errf("user '%s' is already specified", user.Name)
	}
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.check(d, "claim"); err != nil {
			return err
		}
		switch d.Val() {
		case "claim":
			if err := parseUserClaim(d, &user); err != nil {
				return err
			}
		case "scopes":
			if err := parseList(d, &user.Scopes, bearer.CheckScope); err != nil {
				return err
			}
		default:
			return unrecognized(d, nil)
		}
	}
	app.User = append(app.User, user)
	return nil
}

func parseUserClaim(d *caddyfile.Dispenser, user *shim.User) error {
	arguments := d.RemainingArgs()
	if len(arguments) < 2 || arguments[0] == "" {
		return d.ArgErr()
	}
	name := arguments[0]
	if _, ok := user.Claim[name]; ok {
		return d.Errf("claim '%s' is already specified", name)
	}
	if user.Claim == nil {
		user.Claim = make(map[string][]string)
	}
	user.Claim[name] = arguments[1:]
	return nil
}

func parseScope(d *caddyfile.Dispenser, app *shim.App) error {
	var scope shim.Scope
	if !d.AllArgs(&scope.Name, &scope.Description) || scope.Description == "" {
		return d.Err("'scope' takes a name and a description: scope <name> <description>")
	}
	if err := bearer.CheckScope(scope.Name); err != nil {
		return d.Errf("bad scope value '%s': %v", scope.Name, err)
	}
	if slices.ContainsFunc(app.Scope, func(other shim.Scope) bool { return other.Name == scope.Name }) {
		return d.Errf("scope '%s' is already specified", scope.Name)
	}
	app.Scope = append(app.Scope, scope)
	return nil
}

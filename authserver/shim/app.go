// Package shim makes the authorization server a part of Caddy: the app that holds its configuration, the handler that
// serves its endpoints, and the stores in which it keeps its state.
package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/internal/operator"
	"github.com/portcullis-gateway/portcullis/introspect"
)

func init() {
	caddy.RegisterModule(new(App))
}

// StoreModule is a module in the namespace `authorization_server.stores`: a place where the server keeps its state.
type StoreModule interface {
	// Store returns the store. It is shared by all configurations that name the same place, opens it when it is first
	// used, and is closed by the module's Cleanup if no other configuration uses it.
	Store() store.Store
	// Place names where the state lies, without secrets. Two modules with the same place have the same state.
	Place() string
	// Shared says whether other processes may use the same place.
	Shared() bool
}

// App is an OAuth 2.0 authorization server inside Caddy: users sign in and say what a client may do, registered clients
// get opaque tokens, and it answers for them to the `introspect` handler of the same process without HTTP, and to everybody else by RFC 7662.
// A site serves its endpoints with the `authorization_server` handler. Its state survives reloads and restarts.
type App struct {
	// The issuer identifier (RFC 8414): an https URL, or http on loopback. All endpoints lie below it.
	Issuer string `json:"issuer,omitempty"`
	// What the server is as a protected resource (RFC 8707). An `embedded` authority, and clients that may introspect and have
	// no `audiences`, see tokens for these, and tokens without an audience.
	Resource []string `json:"resource,omitempty"`
	// Where the server keeps its state. Default: a file in Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=authorization_server.stores inline_key=module"`
	// The registered clients, beside those that the admin API adds.
	Client []Client `json:"client,omitempty"`
	// Whose assertions are taken for tokens, by the grant `urn:ietf:params:oauth:grant-type:jwt-bearer` (RFC 7523).
	AssertionIssuer []AssertionIssuer `json:"assertion_issuer,omitempty"`
	// The people who can sign in, beside those that the admin API adds.
	User []User `json:"user,omitempty"`
	// What the consent page says about scopes.
	Scope []Scope `json:"scope,omitempty"`
	// How long an access token is good for. Default: `15m`.
	AccessTokenTTL caddy.Duration `json:"access_token_ttl,omitempty"`
	// How long after a user's consent a client can get new access tokens. Default: `30d`.
	RefreshTokenTTL caddy.Duration `json:"refresh_token_ttl,omitempty"`
	// How long an authorization code is good for, at most `10m`. Default: `60s`.
	CodeTTL caddy.Duration `json:"code_ttl,omitempty"`
	// How long a user stays signed in. Default: `8h`.
	SessionTTL caddy.Duration `json:"session_ttl,omitempty"`
	// Which of the grants `password` and `implicit` clients may have. RFC 9700 gives them up: with the first an application sees
	// the user's password, with the second the access token is in the browser's address.
	Legacy []string `json:"legacy,omitempty"`
	// Lets clients register themselves. Default: they cannot.
	Registration *Registration `json:"registration,omitempty"`
	// The name and the logo on the pages that people see. Default: none.
	Branding *Branding `json:"branding,omitempty"`

	server *authserver.Server
	state  store.Store
	place  string
	shared bool
	logger *slog.Logger
	used   atomic.Bool
	stop   context.CancelFunc
	// release gives back what outlives the configuration.
	release []func() error
}

// Client is a client that is registered at the authorization server.
type Client struct {
	// The client id.
	ID string `json:"id,omitempty"`
	// The client secret or its argon2id or bcrypt hash, as `portcullis hash-password` writes it. The placeholders
	// `{env.NAME}` and `{file./absolute/path}` are resolved. For `client_secret_jwt` it must be the secret itself, of 32 bytes
	// or more.
	Secret string `json:"secret,omitempty"`
	// How the client has to authenticate: `client_secret_basic`, `client_secret_post`, `client_secret_jwt`,
	// `private_key_jwt`, or `none` for a public client. Default: either of the first two with a secret,
	// `private_key_jwt` with `jwks`.
	Auth string `json:"auth,omitempty"`
	// The client's public keys for `private_key_jwt`: a file with a JWK set, which is read when the configuration is
	// loaded, or the URL of one (https, or http on loopback), which is fetched when it is needed. The placeholders of
	// `secret` are resolved.
	JWKS string `json:"jwks,omitempty"`
	// A name for people.
	Name string `json:"name,omitempty"`
	// The grant types that the client may use: `authorization_code`, `refresh_token`, `client_credentials`,
	// `urn:ietf:params:oauth:grant-type:jwt-bearer`, and those of `legacy`.
	Grants []string `json:"grants,omitempty"`
	// Where users are sent back to, to the byte. On http://127.0.0.1, http://[::1] and http://localhost the port may differ.
	RedirectURIs []string `json:"redirect_uris,omitempty"`
	// Users are not asked whether they consent.
	Trusted bool `json:"trusted,omitempty"`
	// The scopes that the client may have. With a token of the scope `introspection` it may call the introspection
	// endpoint.
	Scopes []string `json:"scopes,omitempty"`
	// The scopes that the client gets if it asks for none. Default: all of `scopes`.
	DefaultScopes []string `json:"default_scopes,omitempty"`
	// The resources that the client may ask tokens for (RFC 8707), by their identifiers. Default: none.
	Audiences []string `json:"audiences,omitempty"`
	// The client may call the introspection endpoint: about tokens for its `audiences`, or without them for the server's
	// `resource`, and about tokens without an audience.
	Introspect bool `json:"introspect,omitempty"`
}

// AssertionIssuer is somebody whose assertions are taken for tokens.
type AssertionIssuer struct {
	// The `iss` of its assertions.
	Issuer string `json:"issuer,omitempty"`
	// Its public keys, as those of a client.
	JWKS string `json:"jwks,omitempty"`
	// The subjects for whom it may speak. Default: the issuer itself, which an assertion without `sub` means, too.
	Subjects []string `json:"subjects,omitempty"`
	// The most that a token may have which it is the cause of. The client has to have the scopes, too.
	Scopes []string `json:"scopes,omitempty"`
}

// User is a person who can sign in.
type User struct {
	// What the user types, and the subject of the tokens.
	Name string `json:"name,omitempty"`
	// The argon2id or bcrypt hash of the password, as `portcullis hash-password` writes it. The placeholders
	// `{env.NAME}` and `{file./absolute/path}` are resolved.
	Password string `json:"password,omitempty"`
	// What introspection and userinfo say about the user. One value is a string, several are an array. `email_verified` and
	// `phone_number_verified` are `true` or `false`, `updated_at` is a number, and `address` a JSON object or a text.
	Claim map[string][]string `json:"claim,omitempty"`
	// The scopes that the user can grant. Default: all that a client may have.
	Scopes []string `json:"scopes,omitempty"`
}

// Scope says in words what a scope allows.
type Scope struct {
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
}

// LegacyWarning is what an operator hears who allows a grant that RFC 9700 gives up.
const LegacyWarning = "a legacy grant is on, which is not safe: give clients authorization_code in its place (RFC 9700 section 2)"

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "authorization_server", New: func() caddy.Module { return new(App) }}
}

// Provision checks the configuration. It does not open the store.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = ctx.Slogger()
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"module":"file"}`)
	}
	module, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("loading the store: %w", err)
	}
	provider, ok := module.(StoreModule)
	if !ok {
		return fmt.Errorf("%T is not a store", module)
	}
	a.state, a.place, a.shared = provider.Store(), provider.Place(), provider.Shared()
	config, err := a.config(operator.Secret, operator.Secret, a.lastingKeySet)
	if err != nil {
		return err
	}
	if config.Branding.Logo, err = a.Branding.logo(); err != nil {
		return err
	}
	for _, grant := range a.Legacy {
		a.logger.Warn(LegacyWarning, slog.String("grant", grant))
	}
	if config.State, err = a.lastingState(); err != nil {
		return err
	}
	config.KeySet = a.remoteKeySet
	config.Logger = a.logger
	config.ClientAddress = clientAddress
	a.server, err = authserver.New(config, a.state)
	return err
}

// Check says what is wrong with the configuration, as far as that can be told without its secrets and without opening
// a file.
func (a *App) Check() error {
	later := func(stand string) func(string) (string, error) {
		return func(text string) (string, error) {
			if operator.IsPlaceholder(text) {
				return stand, nil
			}
			return operator.Secret(text)
		}
	}
	config, err := a.config(later("a secret that is known later, of enough bytes"), later(hashKnownLater),
		func(text string) (*authserver.KeySet, error) {
			if operator.IsPlaceholder(text) || !isURL(text) {
				return new(authserver.KeySet), nil
			}
			return a.keySet(text)
		})
	if err != nil {
		return err
	}
	_, err = authserver.New(config, nil)
	return err
}

// hashKnownLater is some hash.
const hashKnownLater = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// clientAddress is who sent a request, as Caddy's trusted_proxies has it.
func clientAddress(r *http.Request) string {
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return address
}

// config is the configuration of the server, with the secrets of clients, the hashes of users' passwords and the keys that
// the functions return for what the operator wrote.
func (a *App) config(
	secret, hash func(string) (string, error), keySet func(string) (*authserver.KeySet, error),
) (authserver.Config, error) {
	config := authserver.Config{
		Issuer:          a.Issuer,
		Resources:       a.Resource,
		Scopes:          make(map[string]string),
		AccessTokenTTL:  time.Duration(a.AccessTokenTTL),
		RefreshTokenTTL: time.Duration(a.RefreshTokenTTL),
		CodeTTL:         time.Duration(a.CodeTTL),
		SessionTTL:      time.Duration(a.SessionTTL),
		LegacyPassword:  slices.Contains(a.Legacy, authserver.GrantPassword),
		LegacyImplicit:  slices.Contains(a.Legacy, authserver.GrantImplicit),
	}
	for _, grant := range a.Legacy {
		if grant != authserver.GrantPassword && grant != authserver.GrantImplicit {
			return config, fmt.Errorf("legacy %q: must be password or implicit", grant)
		}
	}
	var err error
	if config.Registration, err = a.Registration.config(secret); err != nil {
		return config, err
	}
	if a.Branding != nil {
		config.Branding.Name = a.Branding.Name
	}
	for _, scope := range a.Scope {
		config.Scopes[scope.Name] = scope.Description
	}
	for _, user := range a.User {
		text, err := hash(user.Password)
		if err != nil {
			return config, fmt.Errorf("user %q: password: %w", user.Name, err)
		}
		password, err := authserver.NewSecret(text)
		if err != nil {
			return config, fmt.Errorf("user %q: password: %w", user.Name, err)
		}
		config.Users = append(config.Users, authserver.User{
			Name: user.Name, Password: password, Claims: user.Claim, Scopes: user.Scopes,
		})
	}
	for _, client := range a.Client {
		registered, err := client.config(secret, keySet)
		if err != nil {
			return config, fmt.Errorf("client %q: %w", client.ID, err)
		}
		config.Clients = append(config.Clients, registered)
	}
	for _, issuer := range a.AssertionIssuer {
		trusted := authserver.AssertionIssuer{Issuer: issuer.Issuer, Subjects: issuer.Subjects, Scopes: issuer.Scopes}
		if issuer.JWKS != "" {
			var err error
			if trusted.Keys, err = keySet(issuer.JWKS); err != nil {
				return config, fmt.Errorf("assertion_issuer %q: jwks: %w", issuer.Issuer, err)
			}
		}
		config.AssertionIssuers = append(config.AssertionIssuers, trusted)
	}
	return config, nil
}

func (c *Client) config(
	resolve func(string) (string, error), keySet func(string) (*authserver.KeySet, error),
) (authserver.Client, error) {
	client := authserver.Client{
		ID:            c.ID,
		Auth:          c.Auth,
		Name:          c.Name,
		Grants:        c.Grants,
		RedirectURIs:  c.RedirectURIs,
		Trusted:       c.Trusted,
		Scopes:        c.Scopes,
		DefaultScopes: c.DefaultScopes,
		Audiences:     c.Audiences,
		MayIntrospect: c.Introspect,
	}
	if c.Secret != "" {
		text, err := resolve(c.Secret)
		if err != nil {
			return client, fmt.Errorf("secret: %w", err)
		}
		newSecret := authserver.NewSecret
		if c.Auth == authserver.AuthSecretJWT {
			newSecret = authserver.NewSigningSecret
		}
		if client.Secret, err = newSecret(text); err != nil {
			return client, err
		}
	}
	if c.JWKS != "" {
		var err error
		if client.Keys, err = keySet(c.JWKS); err != nil {
			return client, fmt.Errorf("jwks: %w", err)
		}
	}
	return client, nil
}

const (
	sweepInterval = time.Minute
	sweepBatch    = 1000
)

// Start begins to sweep what has expired out of the store.
func (a *App) Start() error {
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	lastLogger.Store(a.logger)
	go a.sweep(ctx)
	return nil
}

func (a *App) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !a.used.Load() {
			// Nobody has needed the store yet, so it is not opened.
			continue
		}
		for {
			removed, err := a.state.Sweep(ctx, time.Now(), sweepBatch)
			if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrUnavailable) {
				a.logger.Error("sweeping expired tokens failed", slog.String("error", err.Error()))
			}
			if err != nil || removed < sweepBatch {
				break
			}
		}
	}
}

// Stop ends the sweeping.
func (a *App) Stop() error {
	if a.stop != nil {
		a.stop()
	}
	return nil
}

// Cleanup gives back what outlives the configuration.
func (a *App) Cleanup() error {
	var failures []error
	for _, release := range a.release {
		failures = append(failures, release())
	}
	a.release = nil
	return errors.Join(failures...)
}

// Endpoint returns the handler of one of the server's own paths, or nil.
func (a *App) Endpoint(path string) http.Handler {
	endpoint := a.server.Endpoint(path)
	if endpoint != nil {
		a.used.Store(true)
	}
	return endpoint
}

// Introspect answers for a token in the same process.
func (a *App) Introspect(ctx context.Context, token introspect.Token) (*introspect.Answer, error) {
	a.used.Store(true)
	return a.server.Introspect(ctx, token)
}

// Confirm judges remembered answers by the clients that are registered now.
func (a *App) Confirm(next introspect.Introspector) introspect.Introspector {
	return a.server.Confirm(next)
}

// Identity names the issuer and the place of its state.
func (a *App) Identity() string { return a.server.Issuer() + " " + a.place }

// IssuerIdentifier is the issuer.
func (a *App) IssuerIdentifier() string { return a.server.Issuer() }

// Shared says whether other processes use the same state.
func (a *App) Shared() bool { return a.shared }

// TokenPrefix begins every access token.
func (*App) TokenPrefix() string { return authserver.TokenPrefix }

// OnRevocation calls notify for every token that stops being active.
func (a *App) OnRevocation(notify func(introspect.Digest)) (cancel func()) {
	return a.state.Subscribe(func(revocation store.Revocation) {
		for _, digest := range revocation.Digests {
			notify(digest)
		}
	})
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)

package postgres

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/portcullis-gateway/portcullis/authserver/shim"
	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/internal/operator"
	"github.com/portcullis-gateway/portcullis/introspect"
)

func init() {
	caddy.RegisterModule(new(Module))
}

// Module keeps the state of the authorization server in a PostgreSQL database, which several processes may share. The
// first request that needs the database connects to it, and creates the tables where they are missing.
type Module struct {
	// The connection string: `postgres://user:password@host:5432/database?sslmode=verify-full`, or a list of key=value
	// pairs. The placeholders `{env.NAME}` and `{file./absolute/path}` are resolved, in the whole or in a part of it.
	DSN string `json:"dsn,omitempty"`

	key    introspect.Digest
	shared *sharedStore
	held   bool
}

// CaddyModule returns the Caddy module information.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "authorization_server.stores.postgres",
		New: func() caddy.Module { return new(Module) },
	}
}

// UnmarshalCaddyfile parses the store of the option `authorization_server`. Syntax:
//
//	store postgres <dsn>
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&m.DSN) || m.DSN == "" {
		return d.Err("'store postgres' takes a connection string: store postgres <dsn>")
	}
	if d.NextBlock(d.Nesting()) {
		return d.Err("'store postgres' has no block")
	}
	if !operator.IsPlaceholder(m.DSN) {
		if err := checkForm(m.DSN); err != nil {
			return d.WrapErr(err)
		}
	}
	if hasLiteralPassword(m.DSN) {
		operator.WarnOfLiteral(d)
	}
	return nil
}

// stores holds the one store of each connection string, so that the configurations before and after a reload share
// their connections, and a revocation by either is told to the subscribers of both.
var stores = caddy.NewUsagePool()

type sharedStore struct{ *Store }

func (s *sharedStore) Destruct() error { return s.Close() }

// Provision resolves the connection string and finds its store. It does not connect.
func (m *Module) Provision(ctx caddy.Context) error {
	dsn, err := operator.Secret(m.DSN)
	if err != nil {
		return fmt.Errorf("store postgres: %w", err)
	}
	key := introspect.DigestOf(dsn)
	shared, _, err := stores.LoadOrNew(key, func() (caddy.Destructor, error) {
		opened, err := New(dsn)
		if err != nil {
			return nil, fmt.Errorf("store postgres: %w", err)
		}
		return &sharedStore{opened}, nil
	})
	if err != nil {
		return err
	}
	m.key, m.shared, m.held = key, shared.(*sharedStore), true
	for _, one := range servers(m.shared.config.ConnConfig) {
		if !one.safe {
			ctx.Slogger().Warn("whoever is on the way to the database may read along, or be taken for it: "+
				"add sslmode=verify-full to the connection string", "host", one.host)
			break
		}
	}
	return nil
}

// Cleanup gives the store back.
func (m *Module) Cleanup() error {
	if !m.held {
		return nil
	}
	m.held = false
	_, err := stores.Delete(m.key)
	return err
}

// Store returns the store.
func (m *Module) Store() store.Store { return m.shared }

// Place names the database.
func (m *Module) Place() string { return m.shared.Place() }

// Shared is true: any process may use the database.
func (*Module) Shared() bool { return true }

// passwordPair finds a password in a list of key=value pairs.
var passwordPair = regexp.MustCompile(`(?:^|\s)(?:ssl)?password\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S*))`)

// hasLiteralPassword tells whether a connection string shows a password, rather than the placeholder of one.
func hasLiteralPassword(dsn string) bool {
	const stand = "placeholder"
	replaced := operator.Replaced(dsn, stand)
	literal := func(password string) bool { return password != "" && !strings.Contains(password, stand) }
	if !isURL(replaced) {
		for _, pair := range passwordPair.FindAllStringSubmatch(replaced, -1) {
			if literal(pair[1]) || literal(pair[2]) {
				return true
			}
		}
		return false
	}
	_, rest, _ := strings.Cut(replaced, "://")
	rest, query, _ := strings.Cut(rest, "?")
	rest, _, _ = strings.Cut(rest, "/")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		if _, password, _ := strings.Cut(rest[:at], ":"); literal(password) {
			return true
		}
	}
	parameters, err := url.ParseQuery(query)
	return err != nil || literal(parameters.Get("password")) || literal(parameters.Get("sslpassword"))
}

func isURL(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Module)(nil)
	_ caddy.CleanerUpper    = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
	_ shim.StoreModule      = (*Module)(nil)
)

// Package authority is the Caddy app `introspect`: the authorities that routes ask, named or not, and what they
// remember across reloads.
package authority

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/dpop"
	"github.com/portcullis-gateway/portcullis/identity"
	"github.com/portcullis-gateway/portcullis/resource"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App keeps the authorities, which are asked what they know of a token, and their memory. What is remembered survives
// reloads of the configuration, failed ones included, as long as an authority keeps its endpoint and client id.
type App struct {
	// The authorities by name. A name consists of letters, digits, `_`, `.` and `-`, and is not `scope`. A route that
	// names none uses `default`, else the only one there is, else the embedded authorization server.
	Authorities map[string]*Config `json:"authorities,omitempty"`

	ctx    caddy.Context
	logger *slog.Logger
	named  map[string]*Authority
	proofs *dpop.Checker

	// What follows is written while the configuration is being provisioned.
	mu        sync.Mutex
	own       map[string]*Authority // by their configuration
	release   []func()
	targets   []string
	tokens    []string // the headers that tokens are in
	resources atomic.Pointer[resource.Directory]
	protected atomic.Pointer[identity.Protected]
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "introspect", New: func() caddy.Module { return new(App) }}
}

// Provision makes the named authorities. It opens no connection.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.logger = ctx.Slogger()
	// The registry is the configuration's, what is counted is the process's.
	var registered prometheus.AlreadyRegisteredError
	if err := ctx.GetMetricsRegistry().Register(books); err != nil && !errors.As(err, &registered) {
		return fmt.Errorf("registering the metrics: %w", err)
	}
	if err := a.openProofs(); err != nil {
		return fmt.Errorf("opening the memory of proofs: %w", err)
	}
	a.protected.Store(identity.NewProtected(nil))
	a.own = make(map[string]*Authority)
	a.named = make(map[string]*Authority, len(a.Authorities))
	for name, config := range a.Authorities {
		if err := CheckName(name); err != nil {
			return err
		}
		authority, err := a.build(name, config)
		if err != nil {
			return fmt.Errorf("authority %q: %w", name, err)
		}
		a.named[name] = authority
	}
	return nil
}

// Start does nothing: the first request that needs an authority connects to it.
func (*App) Start() error { return nil }

// Stop does nothing: requests go on past it.
func (*App) Stop() error { return nil }

// Cleanup gives back what the app shares with the configurations before and after it.
func (a *App) Cleanup() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, release := range a.release {
		release()
	}
	a.release = nil
	return nil
}

// Named returns the authority of a name.
func (a *App) Named(name string) (*Authority, error) {
	authority, ok := a.named[name]
	if !ok {
		return nil, unknown(name, slices.Sorted(maps.Keys(a.named)))
	}
	return authority, nil
}

// Own returns the authority of a route that brings its own. Routes with equal ones have the same.
func (a *App) Own(config *Config) (*Authority, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	if authority, ok := a.own[string(text)]; ok {
		return authority, nil
	}
	authority, err := a.build("", config)
	if err != nil {
		return nil, err
	}
	a.own[string(text)] = authority
	return authority, nil
}

// Default returns the authority of a route that names none.
func (a *App) Default() (*Authority, error) {
	_, err := a.ctx.AppIfConfigured("authorization_server")
	name, err := Default(slices.Sorted(maps.Keys(a.named)), err == nil)
	switch {
	case err != nil:
		return nil, err
	case name == "":
		return a.Own(&Config{Embedded: true})
	}
	return a.Named(name)
}

// Protect adds header names to those that only the gateway may set, on every route of the configuration. It refuses a
// configuration in which the tokens of a route are in one of them, where nobody would find them.
func (a *App) Protect(targets, tokens []string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.targets = append(a.targets, targets...)
	a.tokens = append(a.tokens, tokens...)
	protected := identity.NewProtected(a.targets)
	if err := CheckTokenHeaders(protected, a.tokens); err != nil {
		return err
	}
	a.protected.Store(protected)
	return nil
}

// CheckTokenHeaders refuses headers that are removed from every request before a token is looked for in them.
func CheckTokenHeaders(protected *identity.Protected, names []string) error {
	if i := slices.IndexFunc(names, protected.Has); i >= 0 {
		return fmt.Errorf("token_from: header %q is one in which the gateway tells the backend who came, on this or another "+
			"route, and is removed from all requests first: name another one", names[i])
	}
	return nil
}

// Protected returns the header names that only the gateway may set.
func (a *App) Protected() *identity.Protected { return a.protected.Load() }

// Default chooses the authority of a route that names none: the one called default, else the only one, else the
// embedded authorization server, for which it returns no name.
func Default(names []string, embedded bool) (string, error) {
	switch {
	case slices.Contains(names, "default"):
		return "default", nil
	case len(names) == 1:
		return names[0], nil
	case len(names) > 1:
		return "", fmt.Errorf("which authority? name one of %s, or call one of them default", strings.Join(names, ", "))
	case embedded:
		return "", nil
	}
	return "", errors.New("no authority is configured: add the global option 'introspect' or 'authorization_server', " +
		"or 'endpoint <url>' and 'client <id> <secret>' in the block")
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// CheckName says why a text cannot be the name of an authority.
func CheckName(name string) error {
	if !namePattern.MatchString(name) || name == "scope" {
		return fmt.Errorf("authority name %q: must consist of letters, digits, '_', '.' and '-', and not be 'scope'", name)
	}
	return nil
}

// CheckKnown says that a name is none of an authority's.
func CheckKnown(name string, names []string) error {
	if slices.Contains(names, name) {
		return nil
	}
	return unknown(name, names)
}

func unknown(name string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("no authority %q: none is configured in the global option 'introspect'", name)
	}
	return fmt.Errorf("no authority %q: the global option 'introspect' has %s", name, strings.Join(names, ", "))
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)

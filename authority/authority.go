package authority

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/cache"
	"github.com/portcullis-gateway/portcullis/introspect"
	"github.com/portcullis-gateway/portcullis/policy"
)

// Authority is an authority that is ready to be asked: a source of answers behind its memory. It is immutable, safe
// for concurrent use, and goes on working for requests that outlive its configuration.
type Authority struct {
	// Introspector asks it.
	introspect.Introspector
	// Label names it in logs and placeholders.
	Label string
	// Client is the client id as which it is asked; empty for the embedded server.
	Client string
	// MaxToken is the longest token that it is asked about, in bytes.
	MaxToken int
	// Leeway is how far its clock may differ from ours.
	Leeway time.Duration
	// Issuer is what iss has to name in its answers, if it is not empty.
	Issuer string
	// Prefixes are what its tokens begin with, if that is known.
	Prefixes []string
	// LimitsUnknown says that it wants to know from where unknown tokens come (introspect.Token.From).
	LimitsUnknown bool

	endpoint string             // empty where it is discovered, or embedded
	upstream *upstream          // next to the source
	signing  *introspect.Client // nil where its answers are not signed
	guard    *introspect.Guard  // nil where it is embedded
	breaks   bool               // whether the guard has a breaker
	state    *cache.State       // nil where nothing is remembered
	watch    *cache.Watch       // its tokens for which something is open
	page     *page              // what is counted under its label
}

// Outcome is the counter of the requests to it that end in one way. It goes on across reloads.
func (a *Authority) Outcome(name string) *Counter { return a.page.outcome(name) }

// EmbeddedServer is what the app `authorization_server` offers to an authority that is `embedded`.
type EmbeddedServer interface {
	introspect.Introspector
	// TokenPrefix begins all of its tokens.
	TokenPrefix() string
	// Identity names the issuer and the store: what is remembered of one is worth nothing for another.
	Identity() string
	// Confirm judges answers, remembered ones included, by what the configuration says now.
	Confirm(next introspect.Introspector) introspect.Introspector
	// Shared says whether other processes use the same state. Of what they revoke this one may hear late.
	Shared() bool
	// OnRevocation calls notify for every token that stops being active, before whoever revoked it is told so.
	OnRevocation(notify func(introspect.Digest)) (cancel func())
	// IssuerIdentifier is the issuer that clients find its metadata by.
	IssuerIdentifier() string
}

// These outlive a reload. Requests of an old configuration go on using them after it has let go; none has anything to
// close.
var (
	ways       = caddy.NewUsagePool()
	discovered = caddy.NewUsagePool()
	heldTokens = caddy.NewUsagePool()
	breakers   = caddy.NewUsagePool()
	failures   = caddy.NewUsagePool()
	keys       = caddy.NewUsagePool()
	tries      = caddy.NewUsagePool()
	memories   = caddy.NewUsagePool()
	states     = caddy.NewUsagePool()
	watches    = caddy.NewUsagePool()
)

// pooled is a value in a pool that needs no destruction.
type pooled[T any] struct{ value T }

func (pooled[T]) Destruct() error { return nil }

// acquire gets a value from a pool, making it if it is not there, and returns what gives it back.
func acquire[T any](pool *caddy.UsagePool, key string, construct func() (T, error)) (T, func(), error) {
	value, _, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) {
		value, err := construct()
		return pooled[T]{value}, err
	})
	if err != nil {
		var none T
		return none, nil, err
	}
	release := func() { _, _ = pool.Delete(key) } // it has nothing to destroy that could fail
	return value.(pooled[T]).value, release, nil
}

// build makes an authority of a configuration.
func (a *App) build(name string, config *Config) (*Authority, error) {
	config, err := config.resolved()
	if err != nil {
		return nil, err
	}
	if err := config.Check(); err != nil {
		return nil, err
	}
	authority := &Authority{Label: name, MaxToken: defaultMaxToken, Leeway: policy.DefaultLeeway, Issuer: config.Issuer, Prefixes: config.TokenPrefix}
	if config.MaxToken > 0 {
		authority.MaxToken = int(config.MaxToken)
	}
	if config.Leeway != nil {
		authority.Leeway = time.Duration(*config.Leeway)
	}

	var source introspect.Introspector
	var identity string
	var embedded EmbeddedServer
	if config.Embedded {
		if embedded, err = a.embeddedServer(); err != nil {
			return nil, err
		}
		authority.upstream = &upstream{next: embedded}
		source, identity = authority.upstream, digest(embeddedLabel, embedded.Identity())
		authority.Prefixes = append(slices.Clone(config.TokenPrefix), embedded.TokenPrefix())
	} else {
		if source, identity, err = a.source(config, authority); err != nil {
			return nil, err
		}
		if config.Client != nil {
			authority.Client = config.Client.ID
		}
	}
	if authority.Label == "" {
		authority.Label = config.label(digest(identity, authority.Client))
	}
	if config.InsecureHTTP {
		a.logger.Warn("tokens and secrets may travel in the clear: insecure_http is set", "authority", authority.Label)
	}
	remembers := config.Cache == nil || !config.Cache.Off
	if authority.watch, err = a.watch(identity, authority.Client); err != nil {
		return nil, err
	}
	if remembers {
		if authority.state, err = a.state(config.Cache, identity, authority); err != nil {
			return nil, err
		}
	}
	if authority.LimitsUnknown = config.UnknownTokens != nil; authority.LimitsUnknown {
		if source, err = a.limitUnknown(config.UnknownTokens, source, digest(identity, authority.Client)); err != nil {
			return nil, err
		}
	}
	if err := a.count(authority, identity); err != nil {
		return nil, err
	}
	authority.Introspector = source
	if remembers {
		authority.Introspector = &counted{cache.New(source, authority.state, config.life(embedded != nil && !embedded.Shared()), time.Now), authority.page}
	}
	if embedded != nil {
		a.release = append(a.release, embedded.OnRevocation(func(token introspect.Digest) {
			authority.forget(cache.Selector{Token: token})
		}))
		authority.Introspector = embedded.Confirm(authority.Introspector)
	}
	a.join(authority, config.Cache)
	return authority, nil
}

// count opens the books for an authority, of which everything else is known.
func (a *App) count(authority *Authority, identity string) (err error) {
	authority.upstream.failure, err = outliving[failure](a, failures, digest(identity, authority.Client))
	if err != nil {
		return err
	}
	page, release := books.open(authority)
	a.release = append(a.release, release)
	authority.page, authority.upstream.page = page, page
	return nil
}

// state returns what was remembered of an authority before this configuration, or an empty memory.
func (a *App) state(config *Cache, identity string, authority *Authority) (*cache.State, error) {
	client := authority.Client
	size, owner := int64(cache.DefaultMemory), "shared"
	if config != nil && config.Memory > 0 {
		size, owner = config.Memory, digest(identity, client)
	}
	name := owner + " " + strconv.FormatInt(size, 10)
	memory, release, err := acquire(memories, name, func() (*cache.Memory, error) { return cache.NewMemory(size) })
	if err != nil {
		return nil, err
	}
	a.release = append(a.release, release)
	key := name + " " + digest(identity, client)
	state, release, err := acquire(states, key, func() (*cache.State, error) {
		state := cache.NewState(memory, identity, client)
		state.Tell(authority.watch)
		return state, nil
	})
	if err != nil {
		return nil, err
	}
	a.release = append(a.release, release)
	return state, nil
}

// limitUnknown bounds the unknown tokens of each client. What it has counted outlives a reload.
func (a *App) limitUnknown(config *UnknownTokens, next introspect.Introspector, identity string) (introspect.Introspector, error) {
	counted, err := outliving[introspect.Tries](a, tries, identity)
	if err != nil {
		return nil, err
	}
	return introspect.LimitUnknown(next, introspect.UnknownConfig{
		Tokens: config.Tokens, Per: time.Duration(config.Duration), Tries: counted,
	}), nil
}

// outliving returns what a pool has under a name, or else the zero value, which it keeps as long as any configuration uses
// it.
func outliving[T any](a *App, pool *caddy.UsagePool, name string) (*T, error) {
	value, release, err := acquire(pool, name, func() (*T, error) { return new(T), nil })
	if err == nil {
		a.release = append(a.release, release)
	}
	return value, err
}

func (a *App) embeddedServer() (EmbeddedServer, error) {
	app, err := a.ctx.AppIfConfigured("authorization_server")
	if err != nil {
		return nil, fmt.Errorf("'embedded' needs the global option 'authorization_server': %w", err)
	}
	server, ok := app.(EmbeddedServer)
	if !ok {
		return nil, fmt.Errorf("the app authorization_server is %T, which cannot introspect", app)
	}
	return server, nil
}

package shim

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/internal/operator"
)

// These outlive a reload. Requests of an old configuration go on using them after it has let go.
var (
	lastingStates  = caddy.NewUsagePool()
	lastingKeySets = caddy.NewUsagePool()
)

type lastingState struct{ *authserver.State }

func (s lastingState) Destruct() error {
	s.Close()
	return nil
}

type lastingKeySet struct{ *authserver.KeySet }

func (lastingKeySet) Destruct() error { return nil }

// acquire gets a value from a pool, making it if it is not there, until the configuration is cleaned up.
func acquire[T caddy.Destructor](a *App, pool *caddy.UsagePool, key string, construct func() (T, error)) (T, error) {
	value, _, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) { return construct() })
	if err != nil {
		var none T
		return none, err
	}
	a.release = append(a.release, func() error {
		_, err := pool.Delete(key)
		return err
	})
	return value.(T), nil
}

// lastingState is what was learnt of this issuer's store before this configuration.
func (a *App) lastingState() (*authserver.State, error) {
	state, err := acquire(a, lastingStates, a.Issuer+" "+a.place, func() (lastingState, error) {
		return lastingState{authserver.NewState(a.state, authserver.StateConfig{Shared: a.shared})}, nil
	})
	return state.State, err
}

// lastingKeySet is the key set of an operator's text: one that is published somewhere is fetched no more often for a reload.
func (a *App) lastingKeySet(text string) (*authserver.KeySet, error) {
	place, err := operator.Secret(text)
	if err != nil || !isURL(place) {
		return a.keySet(text)
	}
	keys, err := acquire(a, lastingKeySets, place, func() (lastingKeySet, error) {
		keys, err := a.remoteKeySet(place)
		return lastingKeySet{keys}, err
	})
	return keys.KeySet, err
}

// lastLogger is that of the configuration that was started last, for what outlives the others.
var lastLogger atomic.Pointer[slog.Logger]

type lastingHandler struct{}

func handler() slog.Handler {
	if logger := lastLogger.Load(); logger != nil {
		return logger.Handler()
	}
	return slog.Default().Handler()
}

func (lastingHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return handler().Enabled(ctx, level)
}

func (lastingHandler) Handle(ctx context.Context, record slog.Record) error {
	return handler().Handle(ctx, record)
}

func (lastingHandler) WithAttrs(attrs []slog.Attr) slog.Handler { return handler().WithAttrs(attrs) }

func (lastingHandler) WithGroup(name string) slog.Handler { return handler().WithGroup(name) }

package storetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

var subscribeCases = []testCase{
	{"a subscriber is told of what stopped being active, and of nothing else", func(t *testing.T, s store.Store) {
		told := listen(t, s)
		a, b, r := access("a", "family"), access("b", "family"), refresh("r", "family")
		next := refresh("next", "family")

		issue(t, s, a, b, r)
		require.NoError(t, s.PutOnce(t.Context(), "jti", epoch))
		putCode(t, s, code("code", "family"))
		require.NoError(t, s.Redeem(t.Context(), introspect.DigestOf("code")))
		require.Empty(t, told.take(), "issuing revokes nothing")

		require.NoError(t, s.Revoke(t.Context(), a.Digest))
		require.Equal(t, []introspect.Digest{a.Digest}, told.take(), "revoked")
		require.NoError(t, s.Rotate(t.Context(), r.Digest, next))
		require.Equal(t, []introspect.Digest{r.Digest}, told.take(), "rotated")

		require.ErrorIs(t, s.Rotate(t.Context(), r.Digest), store.ErrConsumed)
		require.ErrorIs(t, s.Revoke(t.Context(), introspect.DigestOf("unknown")), store.ErrNotFound)
		require.NoError(t, s.RevokeFamily(t.Context(), "unknown"))
		require.Empty(t, told.take(), "nothing changed")

		require.NoError(t, s.RevokeFamily(t.Context(), "family"))
		require.Subset(t, told.take(), []introspect.Digest{b.Digest, next.Digest}, "revoked with the family")
	}},
	{"whoever was told of a success knows that every subscriber was", func(t *testing.T, s store.Store) {
		var seen sync.Map
		for range 3 {
			t.Cleanup(s.Subscribe(func(revocation store.Revocation) {
				for _, digest := range revocation.Digests {
					times, _ := seen.LoadOrStore(digest, new(atomic.Int32))
					times.(*atomic.Int32).Add(1)
				}
			}))
		}
		for _, err := range race(racers, func(racer int) error {
			for i := range rounds / racers {
				one := access(named("%d.%d", racer, i), "family")
				if err := s.Issue(t.Context(), one); err != nil {
					return err
				}
				if err := s.Revoke(t.Context(), one.Digest); err != nil {
					return err
				}
				if times, ok := seen.Load(one.Digest); !ok || times.(*atomic.Int32).Load() < 3 {
					return context.DeadlineExceeded
				}
			}
			return nil
		}) {
			require.NoError(t, err)
		}
	}},
	{"a subscriber that cancelled is told no more, and the others are", func(t *testing.T, s store.Store) {
		a, b := access("a", "family"), access("b", "family")
		issue(t, s, a, b)
		leaving, staying := new(ear), listen(t, s)
		cancel := s.Subscribe(leaving.hear)
		require.NoError(t, s.Revoke(t.Context(), a.Digest))
		require.Len(t, leaving.take(), 1)
		cancel()
		cancel()
		require.NoError(t, s.Revoke(t.Context(), b.Digest))
		require.Empty(t, leaving.take())
		require.Len(t, staying.take(), 2)
	}},
	{"a subscriber may cancel while it is told", func(t *testing.T, s store.Store) {
		a, b := access("a", "family"), access("b", "family")
		issue(t, s, a, b)
		calls := 0
		var cancel func()
		cancel = s.Subscribe(func(store.Revocation) {
			calls++
			cancel()
		})
		require.NoError(t, s.Revoke(t.Context(), a.Digest))
		require.NoError(t, s.Revoke(t.Context(), b.Digest))
		require.Equal(t, 1, calls)
	}},
	{"what one subscriber does to the digests changes nothing for another", func(t *testing.T, s store.Store) {
		one := access("a", "family")
		issue(t, s, one)
		t.Cleanup(s.Subscribe(func(revocation store.Revocation) { clear(revocation.Digests) }))
		told := listen(t, s)
		require.NoError(t, s.Revoke(t.Context(), one.Digest))
		require.Equal(t, []introspect.Digest{one.Digest}, told.take())
	}},
}

var lifecycleCases = []testCase{
	{"a context that has ended is honoured, and nothing is done", func(t *testing.T, s store.Store) {
		one := refresh("a", "family")
		issue(t, s, one)
		putCode(t, s, code("code", "family"))
		for name, call := range everyCall(cancelled(t), s) {
			err := call()
			require.ErrorIs(t, err, store.ErrUnavailable, name)
			require.ErrorIs(t, err, context.Canceled, name)
		}
		require.True(t, active(t, s, one.Digest))
		requireUnknown(t, s, access("new", "family"))
		require.NoError(t, s.PutOnce(t.Context(), "jti", epoch))
		require.NoError(t, s.Redeem(t.Context(), introspect.DigestOf("code")))
		require.NoError(t, s.PutCode(t.Context(), code("new code", "family")))
	}},
	{"a caller who gives up leaves all or nothing behind", func(t *testing.T, s store.Store) {
		for round := range rounds {
			a, r := access(named("a %d", round), "family"), refresh(named("r %d", round), "family")
			ctx, cancel := context.WithCancel(t.Context())
			errs := race(2, func(racer int) error {
				if racer == 0 {
					cancel()
					return nil
				}
				return s.Issue(ctx, a, r)
			})
			cancel()
			// Whichever of the two calls came first has to have kept both tokens, and the other one neither.
			err := s.Issue(t.Context(), a, r)
			if errs[1] == nil {
				require.ErrorIs(t, err, store.ErrConsumed)
			} else if err != nil {
				require.ErrorIs(t, errs[1], store.ErrUnavailable)
				require.ErrorIs(t, err, store.ErrConsumed)
			}
			require.True(t, active(t, s, a.Digest))
			require.True(t, active(t, s, r.Digest))
		}
	}},
	{"a closed store is unavailable", func(t *testing.T, s store.Store) {
		issue(t, s, refresh("a", "family"))
		cancel := s.Subscribe(func(store.Revocation) {})
		require.NoError(t, s.Close())
		for name, call := range everyCall(t.Context(), s) {
			require.ErrorIs(t, call(), store.ErrUnavailable, name)
		}
		cancel()
		s.Subscribe(func(store.Revocation) {})()
		require.NoError(t, s.Close(), "closed again")
	}},
	{"a store can be closed before it was used", func(t *testing.T, s store.Store) {
		require.NoError(t, s.Close())
		require.ErrorIs(t, s.Issue(t.Context(), access("a", "family")), store.ErrUnavailable)
	}},
	{"race: a call succeeds before the store is closed, or is told that it is", func(t *testing.T, s store.Store) {
		issue(t, s, access("known", "family"))
		var issued atomic.Int32
		enough := make(chan struct{})
		for _, err := range race(racers+1, func(racer int) error {
			if racer == racers {
				<-enough
				return s.Close()
			}
			for i := 0; ; i++ {
				if err := s.Issue(t.Context(), access(named("%d.%d", racer, i), "family")); err != nil {
					return err
				}
				if _, err := s.Token(t.Context(), introspect.DigestOf("known")); err != nil {
					return err
				}
				if issued.Add(1) == rounds {
					close(enough)
				}
			}
		})[:racers] {
			require.ErrorIs(t, err, store.ErrUnavailable)
		}
		require.NoError(t, s.Close())
	}},
}

// everyCall is one call of each method that takes a context.
func everyCall(ctx context.Context, s store.Store) map[string]func() error {
	known, unknown := introspect.DigestOf("a"), access("new", "family")
	return map[string]func() error{
		"Issue":        func() error { return s.Issue(ctx, unknown) },
		"Token":        func() error { _, err := s.Token(ctx, known); return err },
		"Rotate":       func() error { return s.Rotate(ctx, known, unknown) },
		"Revoke":       func() error { return s.Revoke(ctx, known) },
		"RevokeFamily": func() error { return s.RevokeFamily(ctx, "family") },
		"PutCode":      func() error { return s.PutCode(ctx, code("new code", "family")) },
		"Code":         func() error { _, err := s.Code(ctx, introspect.DigestOf("code")); return err },
		"Redeem":       func() error { return s.Redeem(ctx, introspect.DigestOf("code"), unknown) },
		"PutOnce":      func() error { return s.PutOnce(ctx, "jti", epoch) },
		"PutSession":   func() error { return s.PutSession(ctx, session("new session")) },
		"Session":      func() error { _, err := s.Session(ctx, introspect.DigestOf("session")); return err },
		"EndSession":   func() error { return s.EndSession(ctx, introspect.DigestOf("session")) },
		"Sweep":        func() error { _, err := s.Sweep(ctx, epoch, 1); return err },
	}
}

// ear is a subscriber that remembers what it was told.
type ear struct {
	mu    sync.Mutex
	heard []introspect.Digest
}

func (e *ear) hear(revocation store.Revocation) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, revocation.Digests...)
}

// take returns what was heard since it was last called.
func (e *ear) take() []introspect.Digest {
	e.mu.Lock()
	defer e.mu.Unlock()
	heard := e.heard
	e.heard = nil
	return heard
}

func listen(t *testing.T, s store.Store) *ear {
	t.Helper()
	e := new(ear)
	t.Cleanup(s.Subscribe(e.hear))
	return e
}

package cache_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/cache"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// A token is revoked while its answer is being checked: the authority was asked before, so that the check comes back
// with active, after the revocation was told.
func TestM13WhatIsForgottenDuringACheckDoesNotComeBack(t *testing.T) {
	for name, selector := range map[string]cache.Selector{
		"token":   {Token: introspect.DigestOf("t")},
		"subject": {Subject: "alice"},
		"client":  {ClientID: "app"},
		"all":     {All: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, revalidated)
			good := map[string]any{"active": true, "sub": "alice", "client_id": "app"}
			const rounds = 750 // for each of four selectors
			for round := range rounds {
				f.authority.says(good)
				require.True(t, f.ask(t, "t").Active)
				f.advance(time.Minute)
				g := f.held()
				require.Equal(t, introspect.Memory, f.ask(t, "t").Source)
				<-g.entered

				// The authority revokes, then tells.
				f.released()
				f.authority.says(map[string]any{"active": false})
				told := make(chan struct{})
				go func() {
					defer close(told)
					f.state.Forget(selector)
				}()
				if round%2 == 0 {
					runtime.Gosched()
				}
				close(g.release)
				<-told
				require.False(t, f.ask(t, "t").Active, "a revoked token is active again")
				f.quiet(t, "t")
				require.False(t, f.ask(t, "t").Active, "the check has brought it back")
				f.state.Forget(cache.Selector{All: true})
			}
		})
	}
}

// What could not be confirmed is forgotten like anything else.
func TestM13WhatIsStaleIsForgotten(t *testing.T) {
	for name, selector := range map[string]cache.Selector{
		"token":   {Token: introspect.DigestOf("t")},
		"subject": {Subject: "alice"},
		"client":  {ClientID: "app"},
		"all":     {All: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := remembering(t, revalidated, "t")
			f.authority.fails(introspect.ErrUnavailable)
			f.advance(time.Minute)
			f.ask(t, "t")
			f.quiet(t, "t")
			require.Equal(t, introspect.Stale, f.ask(t, "t").Source)
			f.state.Forget(selector)
			_, err := f.cache.Introspect(t.Context(), introspect.NewToken("t"))
			require.ErrorIs(t, err, introspect.ErrUnavailable)

			// Forgetting while a request waits for the answer to be confirmed leaves nothing to fall back on.
			f = remembering(t, revalidated, "t")
			f.authority.fails(introspect.ErrUnavailable)
			f.advance(time.Hour)
			g := f.held()
			pending, waits := f.begin(t, introspect.NewToken("t"))
			require.True(t, waits)
			<-g.entered
			f.state.Forget(selector)
			close(g.release)
			require.ErrorIs(t, (<-pending).err, introspect.ErrUnavailable)
		})
	}
}

// A thief's token is revoked between two calls. The first of them, which began before, ends last: what it says is neither
// kept nor told to whoever comes then, even where inactive answers are not remembered.
func TestD20ACallThatBeganEarlierAndEndsLaterBringsNothingBack(t *testing.T) {
	f := newFixture(t, cache.Life{DefaultTTL: time.Hour}) // no NegativeTTL, no Revalidate
	f.authority.says(map[string]any{"active": true, "sub": "thief"})
	early := newGate()
	f.authority.hold = early.hold
	first := f.askInBackground(t.Context(), introspect.NewToken("t"))
	<-early.entered

	f.authority.says(map[string]any{"active": false}) // revoked
	f.authority.mu.Lock()
	f.authority.hold = nil
	f.authority.mu.Unlock()
	f.advance(time.Second)
	strict, err := f.cache.Introspect(t.Context(), introspect.NewToken("t").AskedSince(f.now()))
	require.NoError(t, err)
	require.False(t, strict.Active)
	assert.False(t, f.ask(t, "t").Active, "while the first call is under way")

	close(early.release)
	require.NoError(t, (<-first).err)
	assert.False(t, f.ask(t, "t").Active, "after it has ended")
}

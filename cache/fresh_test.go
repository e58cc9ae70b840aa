package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
)

func TestFreshZeroJoinsOnlyWhatBeganAfterItArrived(t *testing.T) {
	f := remembering(t, revalidated, "t")
	now := func() introspect.Token { return introspect.NewToken("t").AskedSince(f.now()) }
	f.advance(time.Second)
	g := f.held()
	var sources []introspect.Source
	var all []<-chan result
	for round := range 3 {
		for range 3 {
			pending, waits := f.begin(t, now())
			require.True(t, waits, "what is remembered is too old")
			all = append(all, pending)
		}
		<-g.entered
		f.asked(t, 2+round)
		f.advance(1)
	}
	close(g.release)
	for _, pending := range all {
		r := <-pending
		require.NoError(t, r.err)
		sources = append(sources, r.answer.Source)
	}
	miss, joined := introspect.Miss, introspect.Coalesced
	assert.Equal(t, []introspect.Source{miss, joined, joined, miss, joined, joined, miss, joined, joined}, sources)
	f.asked(t, 4)
	f.quiet(t, "t")
	f.ask(t, "t")
	f.asked(t, 4)
}

func TestACheckIsJoinedByThoseWhoCameBeforeIt(t *testing.T) {
	for name, test := range map[string]struct {
		arrived time.Duration // after the check began
		joins   bool
	}{
		"before": {-1, true},
		"with":   {0, true},
		"after":  {1, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := remembering(t, revalidated, "t")
			f.advance(time.Minute)
			g := f.held()
			f.ask(t, "t")
			<-g.entered
			began := f.now()
			f.advance(1)
			pending, waits := f.begin(t, introspect.NewToken("t").AskedSince(began.Add(test.arrived)))
			require.True(t, waits)
			if !test.joins {
				<-g.entered
			}
			close(g.release)
			r := <-pending
			require.NoError(t, r.err)
			assert.False(t, r.answer.AskedAt.Before(began.Add(test.arrived)))
			f.asked(t, map[bool]int{true: 2, false: 3}[test.joins])
		})
	}
}

func TestFreshTellsHowOldAnAnswerMayBe(t *testing.T) {
	f := remembering(t, revalidated, "t")
	atMost := func(age time.Duration) introspect.Source {
		answer, err := f.cache.Introspect(t.Context(), introspect.NewToken("t").AskedSince(f.now().Add(-age)))
		require.NoError(t, err)
		return answer.Source
	}
	f.advance(10 * time.Second)
	assert.Equal(t, introspect.Memory, atMost(10*time.Second))
	assert.Equal(t, introspect.Memory, atMost(time.Hour))
	f.advance(1)
	assert.Equal(t, introspect.Miss, atMost(10*time.Second))
	f.quiet(t, "t")
	assert.Equal(t, introspect.Memory, atMost(0), "it was asked for at this instant")
	f.asked(t, 2)

	f.advance(5 * time.Second)
	assert.Equal(t, introspect.Memory, f.ask(t, "t").Source, "other routes use what a fresh one has asked for")
	f.authority.fails(introspect.ErrUnavailable)
	_, err := f.cache.Introspect(t.Context(), introspect.NewToken("t").AskedSince(f.now()))
	require.ErrorIs(t, err, introspect.ErrUnavailable)
	assert.Equal(t, introspect.Memory, f.ask(t, "t").Source, "and go on using it when a fresh one could not ask")
}

func TestC11EverybodyWaitsAsLongAsTheyWish(t *testing.T) {
	f := newFixture(t, revalidated)
	f.authority.says(map[string]any{"active": true})
	g := f.held()
	leader, _ := f.begin(t, introspect.NewToken("t"))
	<-g.entered
	ctx, hangUp := context.WithCancelCause(t.Context())
	impatient := f.askInBackground(ctx, introspect.NewToken("t"))
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	_, err := f.cache.Introspect(late, introspect.NewToken("t"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	hangUp(nil)
	require.ErrorIs(t, (<-impatient).err, context.Canceled)
	follower, waits := f.begin(t, introspect.NewToken("t"))
	require.True(t, waits)
	close(g.release)
	for _, pending := range []<-chan result{leader, follower} {
		r := <-pending
		require.NoError(t, r.err)
		assert.True(t, r.answer.Active)
	}
	f.asked(t, 1)
}

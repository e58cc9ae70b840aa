package storetest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

var rotationCases = []testCase{
	{"a rotated token is kept as such, and its successors are issued", func(t *testing.T, s store.Store) {
		old, next, fresh := refresh("old", "family"), refresh("next", "family"), access("fresh", "family")
		issue(t, s, old)
		require.NoError(t, s.Rotate(t.Context(), old.Digest, next, fresh))
		rotated := old
		rotated.Rotated = true
		requireSameToken(t, rotated, find(t, s, old.Digest))
		requireSameToken(t, next, find(t, s, next.Digest))
		requireSameToken(t, fresh, find(t, s, fresh.Digest))
	}},
	{"a chain of rotations leaves the last token active", func(t *testing.T, s store.Store) {
		last := refresh("0", "family")
		issue(t, s, last)
		for i := 1; i < 10; i++ {
			next := refresh(named("%d", i), "family")
			require.NoError(t, s.Rotate(t.Context(), last.Digest, next))
			require.False(t, active(t, s, last.Digest))
			last = next
		}
		require.True(t, active(t, s, last.Digest))
	}},
	{"attack: a refresh token is made up", refusedRotation(store.ErrNotFound,
		func(context.Context, store.Store) error { return nil })},
	{"attack: an access token is presented as a refresh token", refusedRotation(store.ErrNotFound,
		func(ctx context.Context, s store.Store) error { return s.Issue(ctx, access("old", "family")) })},
	{"attack: a stolen refresh token is replayed after its owner rotated it", refusedRotation(store.ErrConsumed,
		func(ctx context.Context, s store.Store) error {
			old := refresh("old", "family")
			if err := s.Issue(ctx, old); err != nil {
				return err
			}
			return s.Rotate(ctx, old.Digest, refresh("owner's", "family"))
		})},
	{"attack: a refresh token is used after it was revoked", refusedRotation(store.ErrRevoked,
		func(ctx context.Context, s store.Store) error {
			old := refresh("old", "family")
			if err := s.Issue(ctx, old); err != nil {
				return err
			}
			return s.Revoke(ctx, old.Digest)
		})},
	{"attack: a refresh token is used after its family was revoked", refusedRotation(store.ErrRevoked,
		func(ctx context.Context, s store.Store) error {
			if err := s.Issue(ctx, refresh("old", "family")); err != nil {
				return err
			}
			return s.RevokeFamily(ctx, "family")
		})},
	{"a successor that is known already leaves the old token as it was", func(t *testing.T, s store.Store) {
		old, next, taken := refresh("old", "family"), refresh("next", "family"), access("taken", "other")
		issue(t, s, old, taken)
		require.ErrorIs(t, s.Rotate(t.Context(), old.Digest, next, taken), store.ErrConsumed)
		requireUnknown(t, s, next)
		require.True(t, active(t, s, old.Digest))
	}},
	{"race: one of those who rotate the same token wins, and only its successors are kept", func(t *testing.T, s store.Store) {
		for round := range rounds {
			old := refresh(named("old %d", round), named("family %d", round))
			issue(t, s, old)
			successors := make([]store.Token, racers)
			for racer := range racers {
				successors[racer] = refresh(named("next %d.%d", round, racer), old.Family)
			}
			winner := requireOneWinner(t, race(racers, func(racer int) error {
				return s.Rotate(t.Context(), old.Digest, successors[racer])
			}), store.ErrConsumed)
			require.True(t, active(t, s, successors[winner].Digest))
			requireUnknown(t, s, successors[:winner]...)
			requireUnknown(t, s, successors[winner+1:]...)
		}
	}},
}

// refusedRotation prepares a token named "old" and wants that rotating it is refused and keeps nothing.
func refusedRotation(want error, prepare func(context.Context, store.Store) error) func(*testing.T, store.Store) {
	return func(t *testing.T, s store.Store) {
		require.NoError(t, prepare(t.Context(), s))
		old, next, fresh := refresh("old", "family"), refresh("thief's", "family"), access("fresh", "family")
		before, _ := s.Token(t.Context(), old.Digest)
		require.ErrorIs(t, s.Rotate(t.Context(), old.Digest, next, fresh), want)
		requireUnknown(t, s, next, fresh)
		after, _ := s.Token(t.Context(), old.Digest)
		require.Equal(t, before, after)
	}
}

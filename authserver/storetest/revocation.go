package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

var revocationCases = []testCase{
	{"a revoked token is kept as such, and no other is", func(t *testing.T, s store.Store) {
		one, sibling := access("a", "family"), refresh("b", "family")
		issue(t, s, one, sibling)
		require.NoError(t, s.Revoke(t.Context(), one.Digest))
		revoked := one
		revoked.Revoked = true
		requireSameToken(t, revoked, find(t, s, one.Digest))
		require.True(t, active(t, s, sibling.Digest))
	}},
	{"revoking is idempotent", func(t *testing.T, s store.Store) {
		one := access("a", "family")
		issue(t, s, one)
		for range 3 {
			require.NoError(t, s.Revoke(t.Context(), one.Digest))
		}
		require.NoError(t, s.RevokeFamily(t.Context(), "family"))
		require.NoError(t, s.RevokeFamily(t.Context(), "family"))
		require.True(t, find(t, s, one.Digest).Revoked)
	}},
	{"a token that was never issued cannot be revoked", func(t *testing.T, s store.Store) {
		require.ErrorIs(t, s.Revoke(t.Context(), introspect.DigestOf("a")), store.ErrNotFound)
	}},
	{"a rotated token can be revoked too", func(t *testing.T, s store.Store) {
		old := refresh("old", "family")
		issue(t, s, old)
		require.NoError(t, s.Rotate(t.Context(), old.Digest, refresh("next", "family")))
		require.NoError(t, s.Revoke(t.Context(), old.Digest))
		found := find(t, s, old.Digest)
		require.True(t, found.Revoked)
		require.True(t, found.Rotated)
	}},
	{"a family is revoked with all its generations, and no other family is", func(t *testing.T, s store.Store) {
		members := []store.Token{refresh("0", "family"), access("0 access", "family")}
		issue(t, s, members...)
		for i := 1; i < 5; i++ {
			next := []store.Token{refresh(named("%d", i), "family"), access(named("%d access", i), "family")}
			require.NoError(t, s.Rotate(t.Context(), members[len(members)-2].Digest, next...))
			members = append(members, next...)
		}
		var others []store.Token
		for _, family := range []string{"famil", "family2", "family\x00", "Family", "", "family/"} {
			others = append(others, access("of "+family, family))
		}
		issue(t, s, others...)
		require.NoError(t, s.RevokeFamily(t.Context(), "family"))
		for _, member := range members {
			require.True(t, find(t, s, member.Digest).Revoked)
		}
		for _, other := range others {
			require.True(t, active(t, s, other.Digest), "family %q", other.Family)
		}
	}},
	{"an unknown family is no error", func(t *testing.T, s store.Store) {
		require.NoError(t, s.RevokeFamily(t.Context(), "family"))
	}},
	{"attack: a code is redeemed twice, and what the first one got is revoked", func(t *testing.T, s store.Store) {
		putCode(t, s, code("code", "family"))
		first := []store.Token{access("a", "family"), refresh("r", "family")}
		require.NoError(t, s.Redeem(t.Context(), introspect.DigestOf("code"), first...))
		require.ErrorIs(t, s.Redeem(t.Context(), introspect.DigestOf("code"), access("b", "family")), store.ErrConsumed)
		require.NoError(t, s.RevokeFamily(t.Context(), "family"))
		for _, one := range first {
			require.False(t, active(t, s, one.Digest))
		}
	}},
	{"race: a refresh token rotated while it is revoked is not left active", func(t *testing.T, s store.Store) {
		for round := range rounds {
			old := refresh(named("old %d", round), named("family %d", round))
			next := refresh(named("next %d", round), old.Family)
			issue(t, s, old)
			errs := race(2, func(racer int) error {
				if racer == 0 {
					return s.Rotate(t.Context(), old.Digest, next)
				}
				return s.Revoke(t.Context(), old.Digest)
			})
			require.NoError(t, errs[1])
			require.True(t, find(t, s, old.Digest).Revoked)
			if errs[0] != nil {
				require.ErrorIs(t, errs[0], store.ErrRevoked)
				requireUnknown(t, s, next)
			}
		}
	}},
	{"race: nothing of a family outlives its revocation, however it is rotated meanwhile", func(t *testing.T, s store.Store) {
		for round := range rounds {
			family := named("family %d", round)
			const chains = 3
			var members []introspect.Digest
			for chain := range chains {
				old := refresh(named("%d.%d", round, chain), family)
				issue(t, s, old)
				members = append(members, old.Digest)
			}
			successors := make([]store.Token, chains)
			for chain := range chains {
				successors[chain] = refresh(named("%d.%d next", round, chain), family)
			}
			errs := race(chains+1, func(racer int) error {
				if racer == chains {
					return s.RevokeFamily(t.Context(), family)
				}
				return s.Rotate(t.Context(), members[racer], successors[racer])
			})
			require.NoError(t, errs[chains])
			for chain := range chains {
				if errs[chain] != nil {
					require.ErrorIs(t, errs[chain], store.ErrRevoked)
				}
				require.False(t, active(t, s, members[chain]))
				require.False(t, active(t, s, successors[chain].Digest))
			}
		}
	}},
}

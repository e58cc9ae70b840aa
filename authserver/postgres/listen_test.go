package postgres

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/internal/testpostgres"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// ears are what a store tells a subscriber, in order.
func ears(s *Store) <-chan introspect.Digest {
	heard := make(chan introspect.Digest, 1000)
	s.Subscribe(func(revocation store.Revocation) {
		for _, digest := range revocation.Digests {
			heard <- digest
		}
	})
	return heard
}

func await(t *testing.T, heard <-chan introspect.Digest) introspect.Digest {
	t.Helper()
	select {
	case digest := <-heard:
		return digest
	case <-time.After(patience):
		require.Fail(t, "nothing was heard")
		return introspect.Digest{}
	}
}

func TestAnotherProcessHearsOfRevocations(t *testing.T) {
	dsn, ctx := empty(t, testpostgres.Shared(t), "application_name=listening"), t.Context()
	here, there := openAt(t, dsn), openAt(t, dsn)
	tokens := map[string]store.Token{}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		tokens[name] = token(name)
		require.NoError(t, here.Issue(ctx, tokens[name]))
	}
	family := tokens["c"].Family
	var members []introspect.Digest
	for i := range 300 { // more than fit into one message
		member := token(fmt.Sprint(i))
		member.Family = family
		members = append(members, member.Digest)
		require.NoError(t, here.Issue(ctx, member))
	}
	members = append(members, tokens["c"].Digest)
	_, err := there.Token(ctx, tokens["a"].Digest)
	require.NoError(t, err)
	own, heard := ears(here), ears(there)

	t.Run("a token", func(t *testing.T) {
		require.NoError(t, here.Revoke(ctx, tokens["a"].Digest))
		require.Equal(t, tokens["a"].Digest, await(t, heard))
	})
	t.Run("a family", func(t *testing.T) {
		require.NoError(t, here.RevokeFamily(ctx, family))
		var told []introspect.Digest
		for range members {
			told = append(told, await(t, heard))
		}
		require.ElementsMatch(t, members, told)
	})
	t.Run("a process does not hear itself", func(t *testing.T) {
		require.NoError(t, there.Revoke(ctx, tokens["b"].Digest))
		require.Equal(t, tokens["b"].Digest, await(t, heard))
		told := make([]introspect.Digest, 0, len(members)+2)
		for len(told) < cap(told) {
			told = append(told, await(t, own))
		}
		require.ElementsMatch(t, append(slices.Clone(members), tokens["a"].Digest, tokens["b"].Digest), told)
		require.Empty(t, own)
	})
	t.Run("attack: somebody else sends messages", func(t *testing.T) {
		digest := tokens["d"].Digest
		for _, message := range []string{"", "x", "x token", "x token 00", "x token zz", "x family 00", "x other " + here.message(aToken, digest)[len(here.name)+7:]} {
			exec(t, dsn, "select pg_notify('"+channel+"', '"+message+"')")
		}
		require.NoError(t, here.Revoke(ctx, digest))
		require.Equal(t, digest, await(t, heard))
	})
	t.Run("what was revoked while the connection was gone", func(t *testing.T) {
		require.Positive(t, ask[int](t, dsn, "select count(pg_terminate_backend(pid)) from pg_stat_activity "+
			"where application_name = 'listening' and pid <> pg_backend_pid()"))
		require.Eventually(t, func() bool { return here.Revoke(ctx, tokens["e"].Digest) == nil }, patience, time.Millisecond)
		for await(t, heard) != tokens["e"].Digest { // and maybe what was revoked shortly before
		}
	})
	t.Run("and after it is back", func(t *testing.T) {
		require.NoError(t, here.Revoke(ctx, tokens["f"].Digest))
		for await(t, heard) != tokens["f"].Digest {
		}
	})
}

// A store that is opened late tells what was revoked since it was made: somebody may remember what an older one knew.
func TestAStoreThatIsOpenedLateCatchesUp(t *testing.T) {
	dsn, ctx := fresh(t), t.Context()
	late, other := openAt(t, dsn), openAt(t, dsn)
	heard := ears(late)
	require.NoError(t, other.Issue(ctx, token("a"), token("b")))
	require.NoError(t, other.Revoke(ctx, token("a").Digest))
	_, err := late.Token(ctx, token("b").Digest)
	require.NoError(t, err)
	require.Equal(t, token("a").Digest, <-heard, "before the first call returns")
}

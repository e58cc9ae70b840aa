package storetest

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

var holderCases = []testCase{
	{"tokens are listed by user, by client, and by both, page by page", func(t *testing.T, s store.Store) {
		issue(t, s, held("a1", "alice", "wiki"), held("a2", "alice", "shop"), held("b1", "bob", "wiki"), held("w", "", "wiki"))
		for _, c := range []struct {
			holder store.Holder
			want   []string
		}{
			{store.Holder{Subject: "alice"}, []string{"a1", "a2"}},
			{store.Holder{ClientID: "wiki"}, []string{"a1", "b1", "w"}},
			{store.Holder{Subject: "alice", ClientID: "wiki"}, []string{"a1"}},
			{store.Holder{Subject: "wiki"}, nil},
			{store.Holder{ClientID: "alic"}, nil},
		} {
			require.ElementsMatch(t, digestsOf(c.want...), listed(t, s, c.holder, 100), "%+v", c.holder)
			require.ElementsMatch(t, digestsOf(c.want...), listed(t, s, c.holder, 1), "%+v, one at a time", c.holder)
		}
	}},
	{"a swept token is listed no more", func(t *testing.T, s store.Store) {
		one := held("a1", "alice", "wiki")
		issue(t, s, one)
		requireSwept(t, s, 1, one.ExpiresAt, 100)
		require.Empty(t, listed(t, s, store.Holder{Subject: "alice"}, 100))
		require.Empty(t, listed(t, s, store.Holder{ClientID: "wiki"}, 100))
	}},
	{
		"all tokens of a holder are revoked, however many, the subscribers are told, and nobody else's are touched",
		func(t *testing.T, s store.Store) {
			const many = 1100
			tokens := make([]store.Token, many)
			for i := range tokens {
				tokens[i] = held(named("token %d", i), "alice", "wiki")
			}
			issue(t, s, tokens...)
			issue(t, s, held("other client", "alice", "shop"), held("other user", "bob", "wiki"))
			var mu sync.Mutex
			told := map[introspect.Digest]bool{}
			t.Cleanup(s.Subscribe(func(r store.Revocation) {
				mu.Lock()
				defer mu.Unlock()
				for _, digest := range r.Digests {
					told[digest] = true
				}
			}))
			require.NoError(t, s.RevokeAll(t.Context(), store.Holder{Subject: "alice", ClientID: "wiki"}))
			require.Len(t, told, many)
			for _, one := range tokens {
				require.True(t, told[one.Digest])
				require.False(t, active(t, s, one.Digest))
			}
			require.True(t, active(t, s, introspect.DigestOf("other client")))
			require.True(t, active(t, s, introspect.DigestOf("other user")))
			require.NoError(t, s.RevokeAll(t.Context(), store.Holder{Subject: "alice"}), "some are revoked already")
			require.False(t, active(t, s, introspect.DigestOf("other client")))
			require.NoError(t, s.RevokeAll(t.Context(), store.Holder{ClientID: "nobody"}))
			require.True(t, active(t, s, introspect.DigestOf("other user")))
		},
	},
	{"race: whoever rotates while all is revoked is left with nothing", func(t *testing.T, s store.Store) {
		for round := range rounds {
			old := held(named("old %d", round), "alice", "wiki")
			old.Kind = store.Refresh
			next := held(named("next %d", round), "alice", "wiki")
			issue(t, s, old)
			race(2, func(racer int) error {
				if racer == 0 {
					return s.Rotate(t.Context(), old.Digest, next)
				}
				return s.RevokeAll(t.Context(), store.Holder{Subject: "alice"})
			})
			require.False(t, active(t, s, old.Digest))
			if _, err := s.Token(t.Context(), next.Digest); err == nil {
				require.NoError(t, s.RevokeAll(t.Context(), store.Holder{Subject: "alice"}))
				require.False(t, active(t, s, next.Digest))
			}
		}
	}},
	{"attack: a thief goes on refreshing while all is revoked", func(t *testing.T, s store.Store) {
		const many, chains = 600, 4
		tokens := make([]store.Token, many)
		for i := range tokens {
			tokens[i] = held(named("other token %d", i), "alice", "wiki")
		}
		issue(t, s, tokens...)
		last := make([]introspect.Digest, chains)
		start, running := make(chan struct{}), new(sync.WaitGroup)
		var over atomic.Bool
		for chain := range chains {
			token := held(named("chain %d", chain), "alice", "wiki")
			token.Kind = store.Refresh
			issue(t, s, token)
			last[chain] = token.Digest
			running.Go(func() {
				<-start
				for i := 0; !over.Load(); i++ {
					next := token
					next.Digest = introspect.DigestOf(named("chain %d, token %d", chain, i))
					if err := s.Rotate(context.Background(), token.Digest, next); err != nil {
						return
					}
					token = next
					last[chain] = token.Digest
				}
			})
		}
		close(start)
		require.NoError(t, s.RevokeAll(t.Context(), store.Holder{Subject: "alice"}))
		over.Store(true)
		running.Wait()
		for _, digest := range last {
			require.False(t, active(t, s, digest))
		}
	}},
	{"the sessions of a user are listed, page by page, until they end", func(t *testing.T, s store.Store) {
		one, other, foreign := session("one"), session("other"), session("foreign")
		foreign.Subject = "bob"
		for _, each := range []store.Session{one, other, foreign} {
			require.NoError(t, s.PutSession(t.Context(), each))
		}
		var found []introspect.Digest
		var after introspect.Digest
		for {
			page, err := s.Sessions(t.Context(), "zoë", after, 1)
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			require.Len(t, page, 1)
			require.Equal(t, "zoë", page[0].Subject)
			after = page[0].Digest
			found = append(found, after)
		}
		require.ElementsMatch(t, []introspect.Digest{one.Digest, other.Digest}, found)
		require.NoError(t, s.EndSession(t.Context(), one.Digest))
		requireSwept(t, s, 2, other.ExpiresAt, 100)
		page, err := s.Sessions(t.Context(), "zoë", introspect.Digest{}, 10)
		require.NoError(t, err)
		require.Empty(t, page)
	}},
}

func held(name, subject, client string) store.Token {
	one := access(name, "family of "+name)
	one.Subject, one.Username, one.ClientID = subject, subject, client
	return one
}

func digestsOf(names ...string) []introspect.Digest {
	digests := []introspect.Digest{}
	for _, name := range names {
		digests = append(digests, introspect.DigestOf(name))
	}
	return digests
}

// listed pages through the tokens of a holder.
func listed(t *testing.T, s store.Store, holder store.Holder, limit int) []introspect.Digest {
	t.Helper()
	found := []introspect.Digest{}
	var after introspect.Digest
	for {
		page, err := s.Tokens(t.Context(), holder, after, limit)
		require.NoError(t, err)
		for _, one := range page {
			found = append(found, one.Digest)
		}
		if len(page) < limit {
			return found
		}
		after = page[len(page)-1].Digest
	}
}

// subscribed returns what tells which records were changed since it was last asked.
func subscribed(t *testing.T, s store.Store) func() []introspect.Digest {
	t.Helper()
	var mu sync.Mutex
	var told []introspect.Digest
	t.Cleanup(s.Subscribe(func(r store.Revocation) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, r.Records...)
	}))
	ask := func() []introspect.Digest {
		mu.Lock()
		defer mu.Unlock()
		found := slices.Clone(told)
		told = nil
		return found
	}
	return ask
}

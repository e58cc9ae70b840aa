package filestore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/authserver/storetest"
	"github.com/portcullis-gateway/portcullis/introspect"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openAt(t, pathOf(t)) })
}

func TestReopeningKeepsEverything(t *testing.T) {
	path, ctx := pathOf(t), t.Context()
	s := openAt(t, path)
	old, next, revoked := token("old"), token("next"), token("revoked")
	code := store.Code{Digest: introspect.DigestOf("code"), ExpiresAt: time.Unix(10, 0), KeepUntil: time.Unix(20, 0)}
	require.NoError(t, s.Issue(ctx, old, revoked))
	require.NoError(t, s.Rotate(ctx, old.Digest, next))
	require.NoError(t, s.Revoke(ctx, revoked.Digest))
	require.NoError(t, s.PutCode(ctx, code))
	require.NoError(t, s.Redeem(ctx, code.Digest))
	require.NoError(t, s.PutOnce(ctx, "jti", time.Unix(30, 0)))
	kept, ended := session("kept"), session("ended")
	require.NoError(t, s.PutSession(ctx, kept))
	require.NoError(t, s.PutSession(ctx, ended))
	require.NoError(t, s.EndSession(ctx, ended.Digest))
	require.NoError(t, s.Close())

	s = openAt(t, path)
	require.ErrorIs(t, s.Rotate(ctx, old.Digest), store.ErrConsumed)
	require.ErrorIs(t, s.Rotate(ctx, revoked.Digest), store.ErrRevoked)
	require.ErrorIs(t, s.Redeem(ctx, code.Digest), store.ErrConsumed)
	require.ErrorIs(t, s.PutOnce(ctx, "jti", time.Unix(30, 0)), store.ErrConsumed)
	_, err := s.Session(ctx, ended.Digest)
	require.ErrorIs(t, err, store.ErrNotFound)
	stillThere, err := s.Session(ctx, kept.Digest)
	require.NoError(t, err)
	require.Equal(t, kept, stillThere)
	found, err := s.Token(ctx, next.Digest)
	require.NoError(t, err)
	require.Equal(t, next, found)
	require.NoError(t, s.Rotate(ctx, next.Digest))
}

// A sweep has to leave nothing behind in the indexes, or the file grows for ever.
func TestQ08SweepCleansTheIndexes(t *testing.T) {
	path, ctx := pathOf(t), t.Context()
	s := openAt(t, path)
	old := token("old")
	require.NoError(t, s.Issue(ctx, old, token("other")))
	require.NoError(t, s.Rotate(ctx, old.Digest, token("next")))
	code := store.Code{Digest: introspect.DigestOf("code"), ExpiresAt: time.Unix(10, 0), KeepUntil: time.Unix(20, 0)}
	require.NoError(t, s.PutCode(ctx, code))
	require.NoError(t, s.Redeem(ctx, code.Digest, token("redeemed")))
	require.NoError(t, s.PutOnce(ctx, "jti", time.Unix(10, 0)))
	require.NoError(t, s.PutSession(ctx, session("expired")))
	require.NoError(t, s.PutSession(ctx, session("ended")))
	require.NoError(t, s.EndSession(ctx, session("ended").Digest))
	removed, err := s.Sweep(ctx, time.Now(), 100)
	require.NoError(t, err)
	require.Equal(t, 7, removed)
	require.NoError(t, s.Close())
	view(t, path, func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, bucket *bolt.Bucket) error {
			want := 0
			if string(name) == string(metaBucket) {
				want = 1
			}
			assert.Equal(t, want, bucket.Stats().KeyN, "bucket %s", name)
			return nil
		})
	})
}

func TestACodeThatNobodyRedeemedGoesWhenItExpires(t *testing.T) {
	s := openAt(t, pathOf(t))
	code := store.Code{Digest: introspect.DigestOf("code"), ExpiresAt: time.Unix(10, 0), KeepUntil: time.Unix(20, 0)}
	require.NoError(t, s.PutCode(t.Context(), code))
	removed, err := s.Sweep(t.Context(), code.ExpiresAt, 100)
	require.NoError(t, err)
	require.Equal(t, 1, removed)
}

func TestSubscribersAreToldOnce(t *testing.T) {
	s := openAt(t, pathOf(t))
	first, second := token("first"), token("second")
	first.Family, second.Family = "family", "family"
	require.NoError(t, s.Issue(t.Context(), first, second))
	var told []introspect.Digest
	s.Subscribe(func(revocation store.Revocation) { told = append(told, revocation.Digests...) })
	require.NoError(t, s.Revoke(t.Context(), first.Digest))
	require.NoError(t, s.Revoke(t.Context(), first.Digest))
	require.NoError(t, s.RevokeFamily(t.Context(), "family"))
	require.NoError(t, s.RevokeFamily(t.Context(), "family"))
	require.Equal(t, []introspect.Digest{first.Digest, second.Digest}, told)
}

func TestInstantsSort(t *testing.T) {
	instants := []time.Time{
		{},
		time.Unix(-1<<40, 0), time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC), time.Unix(0, 0), time.Unix(0, 1),
		time.Unix(1, 0), time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	for i, later := range instants[1:] {
		require.LessOrEqual(t, sortable(instants[i]), sortable(later), "%v and %v", instants[i], later)
	}
	require.Less(t, sortable(instants[2]), sortable(instants[3]))
	require.Less(t, sortable(instants[3]), sortable(instants[4]))
	require.Less(t, sortable(time.Now()), sortable(instants[7]))
}

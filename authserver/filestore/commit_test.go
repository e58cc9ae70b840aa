package filestore

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// bench is a committer whose batches the test puts together, and what its subscribers heard.
type bench struct {
	*committer
	told []introspect.Digest
}

func newBench(t *testing.T) *bench {
	t.Helper()
	db, err := open(pathOf(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	b := &bench{committer: &committer{db: db}}
	b.notify = func(revocation store.Revocation) error {
		b.told = append(b.told, revocation.Digests...)
		return nil
	}
	return b
}

func (b *bench) run(ops ...func(*changes) error) []error {
	batch := make([]*write, len(ops))
	for i, op := range ops {
		batch[i] = &write{ctx: context.Background(), apply: op, result: make(chan error, 1)}
	}
	return b.runWrites(batch)
}

func (b *bench) runWrites(batch []*write) []error {
	b.commit(batch)
	errs := make([]error, len(batch))
	for i, w := range batch {
		errs[i] = <-w.result
	}
	return errs
}

func (b *bench) has(t *testing.T, key string) bool {
	t.Helper()
	found := false
	require.NoError(t, b.db.View(func(tx *bolt.Tx) error {
		found = tx.Bucket(onceBucket).Get([]byte(key)) != nil
		return nil
	}))
	return found
}

func putting(key string) func(*changes) error {
	return func(c *changes) error {
		c.put(onceBucket, []byte(key), []byte("value"))
		c.revoked = append(c.revoked, introspect.DigestOf(key))
		return nil
	}
}

func TestAVerdictConcernsNobodyElse(t *testing.T) {
	b := newBench(t)
	given, end := context.WithCancel(t.Context())
	end()
	gone := &write{ctx: given, apply: putting("gone"), result: make(chan error, 1)}
	of := func(op func(*changes) error) *write {
		return &write{ctx: t.Context(), apply: op, result: make(chan error, 1)}
	}
	errs := b.runWrites([]*write{
		of(putting("first")),
		of(func(*changes) error { return store.ErrConsumed }),
		gone,
		of(func(*changes) error { panic("bug") }),
		of(func(c *changes) error {
			if c.has(onceBucket, []byte("first")) {
				return store.ErrNotFound
			}
			return nil
		}),
		of(putting("last")),
	})
	require.NoError(t, errs[0])
	require.ErrorIs(t, errs[1], store.ErrConsumed)
	require.ErrorIs(t, errs[2], context.Canceled)
	require.ErrorIs(t, errs[3], store.ErrUnavailable)
	require.ErrorContains(t, errs[3], "bug")
	require.ErrorIs(t, errs[4], store.ErrNotFound, "a write sees those before it")
	require.NoError(t, errs[5])
	require.True(t, b.has(t, "first"))
	require.True(t, b.has(t, "last"))
	require.False(t, b.has(t, "gone"))
	require.Equal(t, []introspect.Digest{introspect.DigestOf("first"), introspect.DigestOf("last")}, b.told)
}

func TestAFailedTransactionFailsForEverybody(t *testing.T) {
	for name, culprit := range map[string]func(*changes) error{
		"a write fails": func(c *changes) error {
			c.put(onceBucket, nil, []byte("value"))
			return nil
		},
		"refused after it wrote": func(c *changes) error {
			_ = putting("half")(c)
			return store.ErrConsumed
		},
		"panics after it wrote": func(c *changes) error {
			_ = putting("half")(c)
			panic("bug")
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			for _, err := range b.run(putting("first"), culprit, putting("last")) {
				require.ErrorIs(t, err, store.ErrUnavailable)
			}
			for _, key := range []string{"first", "half", "last"} {
				require.False(t, b.has(t, key), key)
			}
			require.Empty(t, b.told)
			require.NoError(t, b.run(putting("later"))[0], "the next transaction is not affected")
			require.True(t, b.has(t, "later"))
		})
	}
}

// An attacker who replays what was used already must not be able to make the disk flush.
func TestRefusalsDoNotFlush(t *testing.T) {
	b := newBench(t)
	before := transaction(t, b.db)
	require.ErrorIs(t, b.run(func(*changes) error { return store.ErrConsumed })[0], store.ErrConsumed)
	require.Equal(t, before, transaction(t, b.db))
	require.NoError(t, b.run(putting("a"))[0])
	require.Greater(t, transaction(t, b.db), before)
}

func transaction(t *testing.T, db *bolt.DB) (id int) {
	t.Helper()
	require.NoError(t, db.View(func(tx *bolt.Tx) error {
		id = tx.ID()
		return nil
	}))
	return id
}

func TestAnUntoldSubscriberIsNoSuccess(t *testing.T) {
	s := openAt(t, pathOf(t))
	require.NoError(t, s.Issue(t.Context(), token("a")))
	s.Subscribe(func(store.Revocation) { panic("bug") })
	told := 0
	s.Subscribe(func(store.Revocation) { told++ })
	require.ErrorIs(t, s.Revoke(t.Context(), token("a").Digest), store.ErrUnavailable)
	require.Equal(t, 1, told, "the other subscriber was forgotten")
	require.NoError(t, s.Issue(t.Context(), token("b")), "the committer ended")
}

func TestAFullQueueHonoursTheContext(t *testing.T) {
	b := newBench(t)
	b.queue = make(chan *write)
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error)
	go func() { answer <- b.do(ctx, putting("a")) }()
	cancel()
	err := <-answer
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.ErrorIs(t, err, context.Canceled)
}

func TestStoppingCommitsWhatIsQueued(t *testing.T) {
	db, err := open(pathOf(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	c := newCommitter(db, func(store.Revocation) error { return nil })
	var queued []*write
	for range maxQueue {
		w := &write{ctx: t.Context(), apply: putting("a"), result: make(chan error, 1)}
		queued = append(queued, w)
		c.queue <- w
	}
	c.stop()
	for _, w := range queued {
		require.NoError(t, <-w.result)
	}
}

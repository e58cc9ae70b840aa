package filestore

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

func TestNewDoesNotTouchTheDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "state.db")
	s := New(path)
	require.NoDirExists(t, filepath.Dir(path))
	require.NoError(t, s.Close())
	require.NoDirExists(t, filepath.Dir(path))

	s = openAt(t, path)
	require.NoError(t, s.Issue(t.Context(), token("a")))
	if runtime.GOOS != "windows" {
		for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): os.ModeDir | 0o700} {
			info, err := os.Stat(name)
			require.NoError(t, err)
			require.Equal(t, want, info.Mode(), name)
		}
	}
}

// A Caddy reload that opens the file under another name while the old configuration still has it must not block
// requests, and must heal as soon as the old one is gone.
func TestSecondStoreOnTheSamePath(t *testing.T) {
	path := pathOf(t)
	synctest.Test(t, func(t *testing.T) {
		first, second := openAt(t, path), openAt(t, path)
		require.NoError(t, first.Issue(t.Context(), token("a")))

		began := time.Now()
		_, err := second.Token(t.Context(), token("a").Digest)
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "holds the lock")
		require.LessOrEqual(t, time.Since(began), lockTimeout)

		require.NoError(t, first.Close())
		_, again := second.Token(t.Context(), token("a").Digest)
		require.EqualError(t, again, err.Error(), "a failure is not tried again at once")
		time.Sleep(retryInterval)
		_, err = second.Token(t.Context(), token("a").Digest)
		require.NoError(t, err)
	})
}

func TestCallersShareOneAttemptAndKeepTheirOwnPatience(t *testing.T) {
	path := pathOf(t)
	synctest.Test(t, func(t *testing.T) {
		first, second := openAt(t, path), openAt(t, path)
		require.NoError(t, first.Issue(t.Context(), token("a")))

		began := time.Now()
		answers := make(chan error)
		for range 10 {
			go func() {
				_, err := second.Token(t.Context(), token("a").Digest)
				answers <- err
			}()
		}
		synctest.Wait()
		ctx, cancel := contextWithTimeout(t, 100*time.Millisecond)
		defer cancel()
		err := second.Revoke(ctx, token("a").Digest)
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.ErrorIs(t, err, ctx.Err())
		require.Equal(t, 100*time.Millisecond, time.Since(began))

		for range 10 {
			require.ErrorIs(t, <-answers, store.ErrUnavailable)
		}
		require.LessOrEqual(t, time.Since(began), lockTimeout, "the impatient caller did not end the attempt")
	})
}

func TestCloseWaitsForTheAttemptToOpen(t *testing.T) {
	path := pathOf(t)
	synctest.Test(t, func(t *testing.T) {
		first, second := openAt(t, path), openAt(t, path)
		require.NoError(t, first.Issue(t.Context(), token("a")))
		ctx, cancel := contextWithTimeout(t, time.Millisecond)
		defer cancel()
		require.ErrorIs(t, second.Issue(ctx, token("b")), store.ErrUnavailable)

		closed := make(chan error)
		go func() { closed <- second.Close() }()
		synctest.Wait()
		require.NoError(t, first.Close())
		require.NoError(t, <-closed)

		third := openAt(t, path)
		require.NoError(t, third.Issue(t.Context(), token("b")), "the lock was left behind")
	})
}

func TestRefusedFiles(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, path string)
		want    string
	}{
		"written by a newer version": {func(t *testing.T, path string) {
			edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Put(versionKey, []byte("4")) })
		}, "schema version 4 and this program knows 3"},
		"a version that is none": {func(t *testing.T, path string) {
			edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Put(versionKey, []byte("x")) })
		}, "another program"},
		"the database of another program": {func(t *testing.T, path string) {
			edit(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket(metaBucket) })
		}, "another program"},
		"no database": {func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path, make([]byte, 1<<16), 0o600))
		}, "damaged or of another kind"},
		"a directory": {func(t *testing.T, path string) {
			require.NoError(t, os.Mkdir(path, 0o700))
		}, "of another kind"},
		"below a file": {func(t *testing.T, path string) {
			require.NoError(t, os.RemoveAll(filepath.Dir(path)))
			require.NoError(t, os.WriteFile(filepath.Dir(path), nil, 0o600))
		}, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store", "state.db")
			require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
			c.prepare(t, path)
			before, _ := os.ReadFile(path)
			err := openAt(t, path).Issue(t.Context(), token("a"))
			require.ErrorIs(t, err, store.ErrUnavailable)
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, c.want)
			after, _ := os.ReadFile(path)
			require.Equal(t, before, after, "the file was changed")
		})
	}
}

func TestAFileOfVersionOneGetsRoomForSessions(t *testing.T) {
	path, ctx := pathOf(t), t.Context()
	edit(t, path, func(tx *bolt.Tx) error {
		require.NoError(t, tx.DeleteBucket(sessionsBucket))
		return tx.Bucket(metaBucket).Put(versionKey, []byte("1"))
	})
	for range 2 {
		s := openAt(t, path)
		_, err := s.Token(ctx, token("a").Digest)
		require.NoError(t, err, "what was there stays")
		_, err = s.Session(ctx, session("none").Digest)
		require.ErrorIs(t, err, store.ErrNotFound)
		require.NoError(t, s.Close())
	}
	view(t, path, func(tx *bolt.Tx) error {
		require.Equal(t, "3", string(tx.Bucket(metaBucket).Get(versionKey)), "an earlier program does not write to it")
		return nil
	})
}

func TestAFileOfVersionTwoLearnsWhoseTokensItHas(t *testing.T) {
	path, ctx := pathOf(t), t.Context()
	var users, machines []introspect.Digest
	s := openAt(t, path)
	for i := range 600 { // more than are revoked in one transaction
		issued := token("token " + strconv.Itoa(i))
		if i%2 == 0 {
			issued.Subject, issued.Username = "zoë", "zoë"
			users = append(users, issued.Digest)
		} else {
			machines = append(machines, issued.Digest)
		}
		require.NoError(t, s.Issue(ctx, issued))
	}
	require.NoError(t, s.PutSession(ctx, session("browser")))
	require.NoError(t, s.Close())
	edit(t, path, func(tx *bolt.Tx) error {
		for _, later := range [][]byte{holdersBucket, recordsBucket, ownersBucket} {
			require.NoError(t, tx.DeleteBucket(later))
		}
		return tx.Bucket(metaBucket).Put(versionKey, []byte("2"))
	})

	s = openAt(t, path)
	found, err := s.Tokens(ctx, store.Holder{Subject: "zoë"}, introspect.Digest{}, 1000)
	require.NoError(t, err)
	require.Len(t, found, len(users))
	found, err = s.Tokens(ctx, store.Holder{ClientID: "client"}, introspect.Digest{}, 1000)
	require.NoError(t, err)
	require.Len(t, found, len(users)+len(machines)+1, "with the one of edit")
	sessions, err := s.Sessions(ctx, "zoë", introspect.Digest{}, 10)
	require.NoError(t, err)
	require.Equal(t, []store.Session{session("browser")}, sessions)
	require.NoError(t, s.RevokeAll(ctx, store.Holder{Subject: "zoë", ClientID: "client"}))
	for _, digest := range users {
		revoked, err := s.Token(ctx, digest)
		require.NoError(t, err)
		require.True(t, revoked.Revoked)
	}
	for _, digest := range machines {
		other, err := s.Token(ctx, digest)
		require.NoError(t, err)
		require.False(t, other.Revoked)
	}
	require.NoError(t, s.PutRecord(ctx, store.Record{Kind: "kind", Name: "name"}))
	removed, err := s.Sweep(ctx, time.Unix(6_000, 0), 1000)
	require.NoError(t, err)
	require.Equal(t, 602, removed)
	sessions, err = s.Sessions(ctx, "zoë", introspect.Digest{}, 10)
	require.NoError(t, err)
	require.Empty(t, sessions, "what is swept is nobody's any more")
}

// TestABackupIsACopyOfTheFile that was made while no process had it open.
func TestABackupIsACopyOfTheFile(t *testing.T) {
	path, ctx := pathOf(t), t.Context()
	s := openAt(t, path)
	require.NoError(t, s.Issue(ctx, token("before")))
	require.NoError(t, s.Close())
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	s = openAt(t, path)
	require.NoError(t, s.Issue(ctx, token("after")))
	require.NoError(t, s.Revoke(ctx, token("before").Digest))
	require.NoError(t, s.Close())

	require.NoError(t, os.WriteFile(path, content, 0o600))
	s = openAt(t, path)
	restored, err := s.Token(ctx, token("before").Digest)
	require.NoError(t, err)
	require.False(t, restored.Revoked, "what was revoked since is not: see the documentation")
	_, err = s.Token(ctx, token("after").Digest)
	require.ErrorIs(t, err, store.ErrNotFound)
}

// To read a page that was cut off would end the process, not the call.
func TestAFileThatWasCutOffIsRefused(t *testing.T) {
	path, ctx := pathOf(t), t.Context()
	s := openAt(t, path)
	for i := range 100 {
		require.NoError(t, s.Issue(ctx, token(strconv.Itoa(i))))
	}
	require.NoError(t, s.Close())
	var size int64
	view(t, path, func(tx *bolt.Tx) error {
		size = tx.Size()
		return nil
	})
	require.NoError(t, os.Truncate(path, size))
	s = New(path)
	_, err := s.Token(ctx, token("0").Digest)
	require.NoError(t, err, "nothing is missing yet")
	require.NoError(t, s.Close())
	page := int64(os.Getpagesize())
	for size -= page; size > page; size -= page {
		require.NoError(t, os.Truncate(path, size))
		s := New(path)
		_, err := s.Token(ctx, token("0").Digest)
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.ErrorContains(t, err, "restore it from a backup")
		require.NoError(t, s.Close())
	}
}

func TestADamagedFileIsNotTriedAgain(t *testing.T) {
	path := pathOf(t)
	edit(t, path, func(*bolt.Tx) error { return nil })
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := 2 * os.Getpagesize(); i < len(content); i++ {
		content[i] = 0xff
	}
	require.NoError(t, os.WriteFile(path, content, 0o600))
	synctest.Test(t, func(t *testing.T) {
		s := openAt(t, path)
		for range 3 {
			err := s.Issue(t.Context(), token("b"))
			require.ErrorIs(t, err, store.ErrUnavailable)
			require.ErrorIs(t, err, errDamaged)
			time.Sleep(2 * retryInterval)
		}
	})
}

func TestPlacesThatCannotBeWritten(t *testing.T) {
	t.Run("below a file", func(t *testing.T) {
		parent := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(parent, nil, 0o600))
		err := openAt(t, filepath.Join(parent, "state.db")).Issue(t.Context(), token("a"))
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.ErrorContains(t, err, parent)
	})
	t.Run("somebody else's", func(t *testing.T) {
		denied := error(&fs.PathError{Op: "open", Path: "state.db", Err: fs.ErrPermission})
		if os.Geteuid() != 0 { // root may write everywhere
			directory := t.TempDir()
			require.NoError(t, os.Chmod(directory, 0o500))
			denied = openAt(t, filepath.Join(directory, "state.db")).Issue(t.Context(), token("a"))
			require.ErrorIs(t, denied, store.ErrUnavailable)
		}
		err := cure(denied)
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorContains(t, err, "has to own the file")
	})
}

package authserver

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/filestore"
	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// counted is a store that counts how often records are read, and that can fail.
type counted struct {
	store.Store
	reads atomic.Int64
	down  atomic.Bool
	// during runs in the middle of reading a record.
	during func()
}

var errDown = errors.New("down")

func (c *counted) Record(ctx context.Context, kind, name string) (store.Record, error) {
	c.reads.Add(1)
	if c.down.Load() {
		return store.Record{}, errDown
	}
	record, err := c.Store.Record(ctx, kind, name)
	if c.during != nil {
		c.during()
	}
	return record, err
}

const someHash = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func newDirectoryServer(t *testing.T, shared bool) (*Server, *counted) {
	t.Helper()
	file := filestore.New(filepath.Join(t.TempDir(), "as.db"))
	t.Cleanup(func() { assert.NoError(t, file.Close()) })
	state := &counted{Store: file}
	password, err := NewSecret(someHash)
	require.NoError(t, err)
	clientSecret, err := NewSecret("secret")
	require.NoError(t, err)
	s, err := New(Config{
		Issuer:  "https://auth.example.com",
		Clients: []Client{{ID: "web", Secret: clientSecret}},
		Users:   []User{{Name: "alice", Password: password}},
		State:   NewState(state, StateConfig{Shared: shared}),
		Logger:  slog.New(slog.DiscardHandler),
	}, state)
	require.NoError(t, err)
	for name, record := range map[string]store.Record{
		"app":    {Owner: ownerClients, Value: []byte(`{"secrets":[{"hash":"` + hashGenerated("s") + `"}]}`)},
		"bob":    {Owner: ownerUsers, Value: []byte(`{"password":"` + someHash + `"}`)},
		"alice":  {Owner: ownerClients, Value: []byte(`{"auth":"none"}`)},
		"web":    {Owner: ownerUsers, Value: []byte(`{"password":"` + someHash + `"}`)},
		"broken": {Owner: ownerClients, Value: []byte(`{"auth":"private_key_jwt"}`)},
		"gone":   {Owner: ownerClients, Value: []byte(`{"auth":"none"}`), ExpiresAt: time.Now().Add(-time.Second)},
	} {
		record.Kind, record.Name = partyKind, name
		require.NoError(t, state.PutRecord(t.Context(), record))
	}
	return s, state
}

func (s *Server) has(t *testing.T, name string) string {
	t.Helper()
	client, user, err := s.parties(t.Context(), name, name)
	require.NoError(t, err)
	switch {
	case client != nil && user != nil:
		return "both"
	case client != nil:
		return "client"
	case user != nil:
		return "user"
	}
	return ""
}

func TestG03WhoseNameItIs(t *testing.T) {
	s, _ := newDirectoryServer(t, false)
	for name, want := range map[string]string{
		"web": "client", "alice": "user", // as the configuration has them, whatever the store says
		"app": "client", "bob": "user",
		"broken": "", "gone": "", "nobody": "", "": "", "a\x00b": "", string(make([]byte, 300)): "",
	} {
		assert.Equal(t, want, s.has(t, name), name)
	}
}

func TestTheDirectoryRemembers(t *testing.T) {
	t.Run("whom it knows", func(t *testing.T) {
		s, state := newDirectoryServer(t, false)
		for range 10 {
			for _, name := range []string{"web", "alice", "app", "bob"} {
				s.has(t, name)
			}
		}
		assert.EqualValues(t, 4, state.reads.Load(), "once each, those of the configuration included")
	})
	t.Run("attack: names are made up until the memory is full", func(t *testing.T) {
		s, _ := newDirectoryServer(t, false)
		for i := range 1000 {
			assert.Empty(t, s.has(t, strconv.Itoa(i)))
		}
		assert.Empty(t, s.state.directory.entries)
		assert.Empty(t, s.state.directory.reads)
	})
	t.Run("no more than it has room for", func(t *testing.T) {
		s, state := newDirectoryServer(t, false)
		for i := range maxEntries {
			s.state.directory.entries[store.RecordDigest("", strconv.Itoa(i))] = entry{}
		}
		assert.Equal(t, "user", s.has(t, "bob"))
		reads := state.reads.Load()
		assert.Equal(t, "user", s.has(t, "bob"))
		assert.Equal(t, reads, state.reads.Load())
		assert.Len(t, s.state.directory.entries, maxEntries)
	})
	t.Run("until it changes", func(t *testing.T) {
		s, state := newDirectoryServer(t, false)
		require.Equal(t, "user", s.has(t, "bob"))
		require.NoError(t, state.DeleteRecord(t.Context(), partyKind, "bob"))
		assert.Empty(t, s.has(t, "bob"))
		assert.Empty(t, s.state.directory.entries)
		require.Equal(t, "client", s.has(t, "web"))
		require.NoError(t, state.PutRecord(t.Context(), store.Record{Kind: markKind, Name: "web", Value: []byte(`{"generation":1}`)}))
		assert.Empty(t, s.has(t, "web"))
		require.NoError(t, state.PutRecord(t.Context(), store.Record{Kind: markKind, Name: "web", Version: 1, Value: []byte(`{"generation":2}`)}))
		assert.Equal(t, "client", s.has(t, "web"))
		require.NoError(t, state.PutRecord(t.Context(), store.Record{Kind: markKind, Name: "web", Version: 2, Value: []byte(`?`)}))
		assert.Empty(t, s.has(t, "web"), "a mark that cannot be read is one")
	})
	t.Run("not what it read while it changed", func(t *testing.T) {
		s, state := newDirectoryServer(t, false)
		state.during = func() {
			state.during = nil
			assert.NoError(t, state.DeleteRecord(context.Background(), partyKind, "bob"))
		}
		user, err := s.user(t.Context(), "bob")
		require.NoError(t, err)
		assert.NotNil(t, user, "who asked before may be told what was so before")
		assert.Empty(t, s.has(t, "bob"))
	})
	t.Run("nothing once nobody tells it of changes", func(t *testing.T) {
		s, state := newDirectoryServer(t, false)
		require.Equal(t, "user", s.has(t, "bob"))
		s.state.Close()
		require.NoError(t, state.DeleteRecord(t.Context(), partyKind, "bob"))
		assert.Empty(t, s.has(t, "bob"))
	})
	t.Run("what takes long to learn, across changes", func(t *testing.T) {
		s, state := newDirectoryServer(t, false)
		value := `{"secrets":[{"hash":"` + someHash + `"}],"name":`
		require.NoError(t, state.PutRecord(t.Context(), store.Record{Kind: partyKind, Name: "slow", Owner: ownerClients, Value: []byte(value + `"a"}`)}))
		before, err := s.client(t.Context(), "slow")
		require.NoError(t, err)
		require.NoError(t, state.PutRecord(t.Context(), store.Record{Kind: partyKind, Name: "slow", Owner: ownerClients, Version: 1, Value: []byte(value + `"b"}`)}))
		after, err := s.client(t.Context(), "slow")
		require.NoError(t, err)
		assert.Equal(t, "b", after.Name)
		assert.Same(t, before.Secret, after.Secret)
	})
}

func TestTheDirectoryOfASharedStore(t *testing.T) {
	// Another process changes a record behind this one's back.
	quiet := func(t *testing.T, name string, body func(t *testing.T, s *Server, state *counted)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, state := newDirectoryServer(t, true)
				s.state.cancel()
				body(t, s, state)
				synctest.Wait()
			})
		})
	}
	quiet(t, "a change that nobody told of is seen in time", func(t *testing.T, s *Server, state *counted) {
		require.Equal(t, "user", s.has(t, "bob"))
		require.NoError(t, state.DeleteRecord(t.Context(), partyKind, "bob"))
		assert.Equal(t, "user", s.has(t, "bob"))
		time.Sleep(sharedLife)
		assert.Empty(t, s.has(t, "bob"))
	})
	quiet(t, "who is in use is looked at before it is time to wait for it", func(t *testing.T, s *Server, state *counted) {
		for range 20 {
			require.Equal(t, "user", s.has(t, "bob"))
			synctest.Wait()
			time.Sleep(time.Second)
		}
		reads := state.reads.Load()
		assert.Less(t, reads, int64(20))
	})
	quiet(t, "while the store is down, what it said holds", func(t *testing.T, s *Server, state *counted) {
		require.Equal(t, "user", s.has(t, "bob"))
		state.down.Store(true)
		for range 5 {
			time.Sleep(time.Minute)
			assert.Equal(t, "user", s.has(t, "bob"))
		}
		_, err := s.user(t.Context(), "carol")
		require.ErrorIs(t, err, errDown)
		state.down.Store(false)
		require.NoError(t, state.DeleteRecord(t.Context(), partyKind, "bob"))
		time.Sleep(sharedLife)
		s.has(t, "bob")
		synctest.Wait()
		assert.Empty(t, s.has(t, "bob"))
	})
	quiet(t, "but not what is known to have changed", func(t *testing.T, s *Server, state *counted) {
		require.Equal(t, "user", s.has(t, "bob"))
		state.down.Store(true)
		s.state.directory.changed(store.Revocation{Records: []introspect.Digest{store.RecordDigest(partyKind, "bob")}})
		_, err := s.user(t.Context(), "bob")
		require.ErrorIs(t, err, errDown)
	})
}

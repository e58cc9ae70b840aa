package storetest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// The effects that a victim acknowledges.
const (
	issued   = "issued"
	rotated  = "rotated"
	revoked  = "revoked"
	redeemed = "redeemed"
	used     = "used"
	opened   = "opened"
	ended    = "ended"
	kept     = "kept"
	changed  = "changed"
	deleted  = "deleted"
)

// aRecord is the kind of the records that a victim keeps.
const aRecord = "client"

// KillAfter runs the test binary with a variable (NAME=value) in its environment, which has to make it a victim, kills it
// once it has acknowledged so many effects, and returns all that it acknowledged.
func KillAfter(t *testing.T, variable string, effects int) (acknowledged []string) {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	victim := exec.CommandContext(t.Context(), binary)
	victim.Env = append(os.Environ(), variable)
	victim.Stderr = os.Stderr
	output, err := victim.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, victim.Start())
	reader := bufio.NewReader(output)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			break
		}
		acknowledged = append(acknowledged, strings.TrimSpace(line))
		if len(acknowledged) == effects {
			require.NoError(t, victim.Process.Kill())
		}
	}
	require.Error(t, victim.Wait(), "the victim ended by itself")
	require.GreaterOrEqual(t, len(acknowledged), effects)
	return acknowledged
}

// RequireEffect wants that an effect which was acknowledged is there.
func RequireEffect(t *testing.T, s store.Store, acknowledged string) {
	t.Helper()
	effect, name, _ := strings.Cut(acknowledged, " ")
	digest := introspect.DigestOf(name)
	switch effect {
	case issued, rotated, revoked:
		found, err := s.Token(t.Context(), digest)
		require.NoError(t, err, acknowledged)
		require.True(t, effect != rotated || found.Rotated, acknowledged)
		require.True(t, effect != revoked || found.Revoked, acknowledged)
	case redeemed:
		code, err := s.Code(t.Context(), digest)
		require.NoError(t, err, acknowledged)
		require.True(t, code.Redeemed, acknowledged)
	case used:
		require.ErrorIs(t, s.PutOnce(t.Context(), name, time.Unix(1, 0)), store.ErrConsumed, acknowledged)
	case opened:
		_, err := s.Session(t.Context(), digest)
		require.NoError(t, err, acknowledged)
	case ended:
		_, err := s.Session(t.Context(), digest)
		require.ErrorIs(t, err, store.ErrNotFound, acknowledged)
	case kept, changed:
		found, err := s.Record(t.Context(), aRecord, name)
		require.NoError(t, err, acknowledged)
		require.True(t, effect != changed || found.Version == 2, acknowledged)
	case deleted:
		_, err := s.Record(t.Context(), aRecord, name)
		require.ErrorIs(t, err, store.ErrNotFound, acknowledged)
	default:
		require.Fail(t, "unknown effect", acknowledged)
	}
}

// BeVictim writes from many goroutines until it is killed, and prints each effect once it was told that it is there. It
// returns only if that fails.
func BeVictim(s store.Store) error {
	var printing sync.Mutex
	acknowledge := func(effect, name string) error {
		printing.Lock()
		defer printing.Unlock()
		_, err := fmt.Println(effect, name)
		return err
	}
	failures := make(chan error)
	for writer := range 16 {
		go func() {
			for i := 0; ; i++ {
				if err := live(s, fmt.Sprintf("%d-%d-%d", os.Getpid(), writer, i), acknowledge); err != nil {
					failures <- err
					return
				}
			}
		}()
	}
	return <-failures
}

// live is what becomes of one authorization: its code is redeemed, its refresh token rotated, its family revoked. Besides,
// somebody signs in and out, records are kept, changed and deleted, and all that a user holds is revoked.
func live(s store.Store, name string, acknowledge func(effect, name string) error) error {
	ctx, family := context.Background(), "family "+name
	one, lone := code("code "+name, family), access("lone "+name, "family of lone "+name)
	first, second := refresh("first "+name, family), refresh("second "+name, family)
	last, user := refresh("last "+name, "family of last "+name), store.Holder{Subject: "user " + name}
	last.Subject = user.Subject
	stays, goes := record(aRecord, "stays "+name, "owner"), record(aRecord, "goes "+name, "owner")
	next := stays
	next.Version = 1
	lasting := store.Session{Digest: introspect.DigestOf("lasting " + name), Subject: user.Subject, ExpiresAt: epoch}
	session := store.Session{Digest: introspect.DigestOf("session " + name), Subject: user.Subject, ExpiresAt: epoch}
	steps := []struct {
		effect, name string
		run          func() error
	}{
		{used, "jti " + name, func() error { return s.PutOnce(ctx, "jti "+name, epoch) }},
		{issued, "lone " + name, func() error { return s.Issue(ctx, lone) }},
		{revoked, "lone " + name, func() error { return s.Revoke(ctx, lone.Digest) }},
		{"", "", func() error { return s.PutCode(ctx, one) }},
		{redeemed, "code " + name, func() error { return s.Redeem(ctx, one.Digest, first) }},
		{issued, "first " + name, func() error { return nil }},
		{rotated, "first " + name, func() error { return s.Rotate(ctx, first.Digest, second) }},
		{issued, "second " + name, func() error { return nil }},
		{revoked, "second " + name, func() error { return s.RevokeFamily(ctx, family) }},
		{opened, "lasting " + name, func() error { return s.PutSession(ctx, lasting) }},
		{"", "", func() error { return s.PutSession(ctx, session) }},
		{ended, "session " + name, func() error { return s.EndSession(ctx, session.Digest) }},
		{kept, "stays " + name, func() error { return s.PutRecord(ctx, stays) }},
		{changed, "stays " + name, func() error { return s.PutRecord(ctx, next) }},
		{"", "", func() error { return s.PutRecord(ctx, goes) }},
		{deleted, "goes " + name, func() error { return s.DeleteRecord(ctx, goes.Kind, goes.Name) }},
		{issued, "last " + name, func() error { return s.Issue(ctx, last) }},
		{revoked, "last " + name, func() error { return s.RevokeAll(ctx, user) }},
	}
	for _, step := range steps {
		if err := step.run(); err != nil {
			return err
		}
		if step.effect == "" {
			continue
		}
		if err := acknowledge(step.effect, step.name); err != nil {
			return err
		}
	}
	return nil
}

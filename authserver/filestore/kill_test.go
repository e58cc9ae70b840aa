package filestore

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
	bolt "go.etcd.io/bbolt"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// victimPath makes the test binary write to the store there until it is killed.
const victimPath = "FILESTORE_TEST_VICTIM_PATH"

// The effects that the victim acknowledges.
const (
	issued   = "issued"
	rotated  = "rotated"
	revoked  = "revoked"
	redeemed = "redeemed"
	used     = "used"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(victimPath); path != "" {
		if err := beVictim(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// What a caller was told of has to outlive kill -9, however many others were writing.
func TestAcknowledgedEffectsOutliveTheProcess(t *testing.T) {
	const rounds, effects = 3, 2000
	path := pathOf(t)
	var acknowledged []string
	for range rounds {
		acknowledged = append(acknowledged, killAfter(t, path, effects)...)
		view(t, path, func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				require.NoError(t, err)
			}
			return nil
		})
		s := New(path)
		for _, line := range acknowledged {
			requireEffect(t, s, line)
		}
		require.NoError(t, s.Close())
	}
}

// killAfter kills a victim once it has acknowledged so many effects, and returns all that it acknowledged.
func killAfter(t *testing.T, path string, effects int) (lines []string) {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	victim := exec.CommandContext(t.Context(), binary)
	victim.Env = append(os.Environ(), victimPath+"="+path)
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
		lines = append(lines, strings.TrimSpace(line))
		if len(lines) == effects {
			require.NoError(t, victim.Process.Kill())
		}
	}
	require.Error(t, victim.Wait(), "the victim ended by itself")
	require.GreaterOrEqual(t, len(lines), effects)
	return lines
}

func requireEffect(t *testing.T, s *Store, line string) {
	t.Helper()
	effect, name, _ := strings.Cut(line, " ")
	digest := introspect.DigestOf(name)
	switch effect {
	case issued, rotated, revoked:
		found, err := s.Token(t.Context(), digest)
		require.NoError(t, err, line)
		require.True(t, effect != rotated || found.Rotated, line)
		require.True(t, effect != revoked || found.Revoked, line)
	case redeemed:
		code, err := s.Code(t.Context(), digest)
		require.NoError(t, err, line)
		require.True(t, code.Redeemed, line)
	case used:
		require.ErrorIs(t, s.PutOnce(t.Context(), name, time.Unix(1, 0)), store.ErrConsumed, line)
	default:
		require.Fail(t, "unknown effect", line)
	}
}

// beVictim writes from many goroutines for ever, and prints each effect once it was told that it is there.
func beVictim(path string) error {
	s := New(path)
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

// live is what becomes of one authorization: its code is redeemed, its refresh token rotated, its family revoked.
func live(s *Store, name string, acknowledge func(effect, name string) error) error {
	ctx, family := context.Background(), "family "+name
	code := store.Code{Digest: introspect.DigestOf("code " + name), Family: family, ExpiresAt: time.Unix(10, 0)}
	first, second := token("first "+name), token("second "+name)
	first.Family, second.Family = family, family
	steps := []struct {
		effect, name string
		run          func() error
	}{
		{used, "jti " + name, func() error { return s.PutOnce(ctx, "jti "+name, time.Unix(10, 0)) }},
		{issued, "lone " + name, func() error { return s.Issue(ctx, token("lone "+name)) }},
		{revoked, "lone " + name, func() error { return s.Revoke(ctx, introspect.DigestOf("lone "+name)) }},
		{"", "", func() error { return s.PutCode(ctx, code) }},
		{redeemed, "code " + name, func() error { return s.Redeem(ctx, code.Digest, first) }},
		{issued, "first " + name, func() error { return nil }},
		{rotated, "first " + name, func() error { return s.Rotate(ctx, first.Digest, second) }},
		{issued, "second " + name, func() error { return nil }},
		{revoked, "second " + name, func() error { return s.RevokeFamily(ctx, family) }},
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

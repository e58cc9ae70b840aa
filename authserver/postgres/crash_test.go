package postgres

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/authserver/storetest"
	"github.com/portcullis-gateway/portcullis/internal/testpostgres"
)

// What a caller was told of has to outlive kill -9, however many others were writing.
func TestQ07AcknowledgedEffectsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	const rounds, effects = 3, 600
	dsn := fresh(t)
	var acknowledged []string
	for range rounds {
		acknowledged = append(acknowledged, storetest.KillAfter(t, victimDSN+"="+dsn, effects)...)
		s := openAt(t, dsn)
		for _, line := range acknowledged {
			storetest.RequireEffect(t, s, line)
		}
	}
}

// What a caller was told of has to outlive a crash of the database, also of one that is set up to acknowledge before it
// writes. While the database is gone, calls say so, and afterwards they succeed without a restart of the store.
func TestADatabaseThatCrashesAndComesBack(t *testing.T) {
	t.Parallel()
	server := testpostgres.Start(t, "synchronous_commit=off", "wal_writer_delay=10s", "fsync=off")
	s, ctx := openAt(t, server.DSN()), t.Context()
	var issued []store.Token
	for i := range 50 {
		issued = append(issued, token(fmt.Sprint(i)))
		require.NoError(t, s.Issue(ctx, issued[i]))
	}
	server.Crash(t)
	for range 3 {
		_, err := s.Token(ctx, issued[0].Digest)
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.NotContains(t, err.Error(), testpostgres.Password)
	}
	server.Run(t)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, err := s.Token(ctx, issued[0].Digest)
		assert.NoError(c, err)
	}, patience, 10*time.Millisecond)
	for _, one := range issued {
		found, err := s.Token(ctx, one.Digest)
		require.NoError(t, err, "an acknowledged token is lost")
		require.Equal(t, one, found)
	}
	require.NoError(t, s.Revoke(ctx, issued[0].Digest))
}

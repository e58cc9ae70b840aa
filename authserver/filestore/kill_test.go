package filestore

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/portcullis-gateway/portcullis/authserver/storetest"
)

// victimPath makes the test binary write to the store there until it is killed.
const victimPath = "FILESTORE_TEST_VICTIM_PATH"

func TestMain(m *testing.M) {
	if path := os.Getenv(victimPath); path != "" {
		if err := storetest.BeVictim(New(path)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// What a caller was told of has to outlive kill -9, however many others were writing.
func TestQ07AcknowledgedEffectsOutliveTheProcess(t *testing.T) {
	const rounds, effects = 3, 2000
	path := pathOf(t)
	var acknowledged []string
	for range rounds {
		acknowledged = append(acknowledged, storetest.KillAfter(t, victimPath+"="+path, effects)...)
		view(t, path, func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				require.NoError(t, err)
			}
			return nil
		})
		s := New(path)
		for _, line := range acknowledged {
			storetest.RequireEffect(t, s, line)
		}
		require.NoError(t, s.Close())
	}
}

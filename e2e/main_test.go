// Package e2e tests Portcullis from outside: it starts the real program on a Caddyfile, and judges it by what clients,
// authorization servers and backends see.
//
// The cases name the requirements that they check by the IDs of docs/requirements.md.
package e2e

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// patience is how long anything may take that should happen at once, on a busy machine.
const patience = 20 * time.Second

// tick is how often a test looks whether something has happened.
const tick = 20 * time.Millisecond

func TestMain(m *testing.M) {
	// A test waits most of its time, so that more of them fit than there are processors. The command line may say otherwise.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(testgateway.Main(m))
}

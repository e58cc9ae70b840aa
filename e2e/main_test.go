// Package e2e tests Portcullis from outside: it starts the real program on a Caddyfile, and judges it by what clients,
// authorization servers and backends see.
//
// The cases name the requirements that they check by the IDs of docs/requirements.md.
package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// patience is how long anything may take that should happen at once, on a busy machine.
const patience = 20 * time.Second

// tick is how often a test looks whether something has happened.
const tick = 20 * time.Millisecond

func TestMain(m *testing.M) { os.Exit(testgateway.Main(m)) }

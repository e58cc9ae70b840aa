package authority

import (
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/dpop"
)

// checkers has the one checker of proofs of possession. What it remembers of them, and the secret of its nonces, outlive a
// reload.
var checkers = caddy.NewUsagePool()

func newChecker() (*dpop.Checker, error) {
	return dpop.NewChecker(dpop.Config{
		Memory: dpop.NewLocalMemory(dpop.DefaultProofs, time.Now),
		Nonces: dpop.NewNonces(),
	}), nil
}

// openProofs finds the checker of the configurations before, or makes one.
func (a *App) openProofs() error {
	checker, release, err := acquire(checkers, "proofs", newChecker)
	if err != nil {
		return err
	}
	a.release = append(a.release, release)
	a.proofs = checker
	return nil
}

// Proofs checks proofs of possession, for all routes: one that was used on one of them is worth nothing on another.
func (a *App) Proofs() *dpop.Checker { return a.proofs }

package testgateway

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// guard knows what a program must never write. It is safe for concurrent use.
type guard struct {
	mu      sync.Mutex
	secrets []string
}

func (g *guard) add(secrets ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, secret := range secrets {
		if secret != "" && !slices.Contains(g.secrets, secret) {
			g.secrets = append(g.secrets, secret)
		}
	}
}

// check looks for tokens and secrets in all that a program has written (K14, D21), and for signs of a fault.
func (g *guard) check(t testing.TB, written string) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, alarm := range []string{"panic", "DATA RACE", "goroutine "} {
		assert.NotContains(t, written, alarm)
	}
	for _, secret := range g.secrets {
		if before, after, found := strings.Cut(written, secret); found {
			line := before[strings.LastIndexByte(before, '\n')+1:] + secret
			rest, _, _ := strings.Cut(after, "\n")
			assert.Failf(t, "the program wrote a token or a secret", "%q in %s%s", secret, line, rest)
		}
	}
}

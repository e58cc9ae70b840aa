package testgateway

import (
	"net/url"
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

// shared is the guard of all gateways of this test process: what one of them has been told, none may write.
var shared guard

func (g *guard) add(secrets ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, secret := range secrets {
		if secret != "" && !slices.Contains(g.secrets, secret) {
			g.secrets = append(g.secrets, secret)
		}
	}
}

// addClient adds the secret of a client in the ways in which it is sent.
func (g *guard) addClient(id, secret string) {
	g.add(secret, url.QueryEscape(secret), Basic(id, secret), Basic(url.QueryEscape(id), url.QueryEscape(secret)))
}

// check looks for tokens and secrets in all that a program has written (K14), and for signs of a fault.
func (g *guard) check(t testing.TB, written string) {
	t.Helper()
	for _, alarm := range []string{"panic", "DATA RACE", "goroutine "} {
		if line, found := lineWith(written, alarm); found {
			assert.Fail(t, "the program has a fault", line)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, secret := range g.secrets {
		if line, found := lineWith(written, secret); found {
			assert.Failf(t, "the program wrote a token or a secret", "%q in %s", secret, line)
		}
	}
}

// lineWith returns the first line that holds a text.
func lineWith(written, text string) (line string, found bool) {
	before, after, found := strings.Cut(written, text)
	rest, _, _ := strings.Cut(after, "\n")
	return before[strings.LastIndexByte(before, '\n')+1:] + text + rest, found
}

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
	known   map[string]bool
}

// shared is the guard of all gateways of this test process: what one of them has been told, none may write.
var shared guard

func (g *guard) add(secrets ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known == nil {
		g.known = make(map[string]bool)
	}
	for _, secret := range secrets {
		if secret != "" && !g.known[secret] {
			g.known[secret] = true
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
	written = withoutRaceOfCaddy(written)
	for _, alarm := range []string{"panic", "DATA RACE", "goroutine "} {
		if line, found := lineWith(written, alarm); found {
			assert.Fail(t, "the program has a fault", line)
		}
	}
	// Others learn of secrets while this one looks.
	g.mu.Lock()
	secrets := slices.Clone(g.secrets)
	g.mu.Unlock()
	for _, secret := range within(written, secrets) {
		line, _ := lineWith(written, secret)
		assert.Failf(t, "the program wrote a token or a secret", "%q in %s", secret, line)
	}
}

// ending is how many bytes at the end of a text it is looked for by.
const ending = 8

// within returns those of the texts that are in another one, which it reads once for all that are not very short.
func within(written string, texts []string) (found []string) {
	byEnding := make(map[string][]string)
	for _, text := range texts {
		switch {
		case len(text) >= ending:
			key := text[len(text)-ending:]
			byEnding[key] = append(byEnding[key], text)
		case strings.Contains(written, text):
			found = append(found, text)
		}
	}
	for end := ending; end <= len(written); end++ {
		for _, text := range byEnding[written[end-ending:end]] {
			if strings.HasSuffix(written[:end], text) && !slices.Contains(found, text) {
				found = append(found, text)
			}
		}
	}
	return found
}

// lineWith returns the first line that holds a text.
func lineWith(written, text string) (line string, found bool) {
	before, after, found := strings.Cut(written, text)
	rest, _, _ := strings.Cut(after, "\n")
	return before[strings.LastIndexByte(before, '\n')+1:] + text + rest, found
}

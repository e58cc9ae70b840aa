// Package storetest is what every store.Store has to pass.
package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

const (
	// rounds is how often a race is run, and racers how many take part in it.
	rounds = 100
	racers = 8
)

// epoch is the instant at which the tests issue everything. A store reads no clock, so it may lie in the past.
var epoch = time.Date(2030, time.January, 2, 3, 4, 5, 678_000_000, time.UTC)

// Run checks that the stores that open returns do what package store promises. open is called once per subtest; it
// returns an empty store, which nobody else uses, and sees to it that it is closed when the subtest ends.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	groups := []struct {
		name  string
		cases []testCase
	}{
		{"tokens", tokenCases},
		{"rotation", rotationCases},
		{"revocation", revocationCases},
		{"codes", codeCases},
		{"once", onceCases},
		{"sessions", sessionCases},
		{"records", recordCases},
		{"holders", holderCases},
		{"sweep", sweepCases},
		{"subscribe", subscribeCases},
		{"lifecycle", lifecycleCases},
	}
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
			}
		})
	}
}

type testCase struct {
	name string
	run  func(t *testing.T, s store.Store)
}

func access(name, family string) store.Token { return token(store.Access, name, family) }

func refresh(name, family string) store.Token { return token(store.Refresh, name, family) }

func token(kind store.Kind, name, family string) store.Token {
	return store.Token{
		Digest:    introspect.DigestOf(name),
		Kind:      kind,
		Family:    family,
		ClientID:  "client",
		IssuedAt:  epoch,
		ExpiresAt: epoch.Add(time.Hour),
	}
}

func code(name, family string) store.Code {
	return store.Code{
		Digest:    introspect.DigestOf(name),
		Family:    family,
		ClientID:  "client",
		ExpiresAt: epoch.Add(time.Minute),
		KeepUntil: epoch.Add(time.Hour),
		Request:   []byte(`{"redirect_uri":"https://client.example/cb"}`),
	}
}

func issue(t *testing.T, s store.Store, tokens ...store.Token) {
	t.Helper()
	require.NoError(t, s.Issue(t.Context(), tokens...))
}

func putCode(t *testing.T, s store.Store, c store.Code) {
	t.Helper()
	require.NoError(t, s.PutCode(t.Context(), c))
}

func find(t *testing.T, s store.Store, digest introspect.Digest) store.Token {
	t.Helper()
	found, err := s.Token(t.Context(), digest)
	require.NoError(t, err)
	return found
}

func requireUnknown(t *testing.T, s store.Store, tokens ...store.Token) {
	t.Helper()
	for _, one := range tokens {
		_, err := s.Token(t.Context(), one.Digest)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
}

// active is what an introspection endpoint asks a store for (RFC 7662 section 2.2), apart from the clock.
func active(t *testing.T, s store.Store, digest introspect.Digest) bool {
	t.Helper()
	found, err := s.Token(t.Context(), digest)
	if err != nil {
		require.ErrorIs(t, err, store.ErrNotFound)
		return false
	}
	return !found.Revoked && !found.Rotated
}

// race calls f from n goroutines at once and returns what each call returned.
func race(n int, f func(racer int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var running sync.WaitGroup
	for racer := range n {
		running.Go(func() {
			<-start
			errs[racer] = f(racer)
		})
	}
	close(start)
	running.Wait()
	return errs
}

// requireOneWinner wants one success and, for all the others, the error of those who came too late.
func requireOneWinner(t *testing.T, errs []error, late error) (winner int) {
	t.Helper()
	winner = -1
	for racer, err := range errs {
		if err == nil {
			require.Equal(t, -1, winner, "two racers won")
			winner = racer
			continue
		}
		require.ErrorIs(t, err, late)
	}
	require.NotEqual(t, -1, winner, "nobody won")
	return winner
}

func named(format string, args ...any) string { return fmt.Sprintf(format, args...) }

func cancelled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

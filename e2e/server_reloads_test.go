package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// While people sign in and clients get, refresh and use tokens, the server is reloaded again and again. Nobody is refused,
// and all that was issued is good when it is over.
func TestAS_Q10_ReloadsOfTheServerUnderLoad(t *testing.T) {
	t.Parallel()
	const reloads, every, people, machines = 10, 300 * time.Millisecond, 2, 2
	s, app := newIssuer(t), testgateway.StartBackend(t)
	s.Guard(alicePassword)
	hash := s.hashOf(t, alicePassword, "argon2id")
	// Every configuration is another one, since Caddy does nothing about one that it has already.
	config := func(reload int) string {
		return s.caddyfile(s.withUsers(hash, fmt.Sprintf("access_token_ttl %dm", 20+reload)), s.site(app))
	}
	s.Start(t, config(0))

	var (
		mu                sync.Mutex
		access, refresh   []string
		done              = make(chan struct{})
		load              sync.WaitGroup
		signedIn, granted atomic.Int64
	)
	keep := func(list *[]string, token string) {
		mu.Lock()
		defer mu.Unlock()
		*list = append(*list, token)
	}
	// until calls f until the reloads are over, or it has failed.
	until := func(f func()) {
		load.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					f()
				}
			}
		})
	}
	use := func(token string) {
		require.Equal(t, http.StatusOK, s.get(t, "/", token).Status)
		keep(&access, token)
	}
	// exchange gets tokens for a code, and others for the first ones.
	exchange := func(code string) {
		first, old := s.tokens(t, s.asWeb(t, codeForm(code)))
		use(first)
		second, next := s.tokens(t, s.asWeb(t, refreshForm(old)))
		use(second)
		keep(&refresh, next)
	}
	for range people {
		until(func() {
			alice := s.person(t)
			for range 2 { // the second time she is signed in
				exchange(alice.code(t))
			}
			require.NotContains(t, alice.open(t, s.authorization("prompt", "consent")).Body, "Password", "a session is lost")
			signedIn.Add(1)
		})
	}
	for range machines {
		until(func() {
			use(s.token(t, "orders:read"))
			granted.Add(1)
		})
	}

	bystander := s.person(t)
	page := bystander.open(t, s.authorization("prompt", "consent"))
	pace := time.NewTicker(every)
	defer pace.Stop()
	for reload := range reloads {
		switch reload {
		case 0: // the login page is from before the reload
		case 1:
			page = bystander.submit(t, page, "username", "alice", "password", alicePassword)
		default: // the consent page, and then the code
			page = bystander.open(t, s.authorization("prompt", "consent"))
			require.NotContains(t, page.Body, "Password", "a session is lost")
		}
		code := ""
		if reload%2 == 1 {
			code = s.codeIn(t, bystander.submit(t, page, "decision", "allow"))
		}
		<-pace.C
		s.reload(t, config(reload+1))
		switch {
		case code != "":
			exchange(code)
		case reload > 0:
			exchange(s.codeIn(t, bystander.submit(t, page, "decision", "allow")))
		}
	}
	close(done)
	load.Wait()
	require.False(t, t.Failed())

	t.Logf("%d sign-ins, %d client credentials, %d tokens", signedIn.Load(), granted.Load(), len(access))
	assert.Positive(t, signedIn.Load())
	assert.Positive(t, granted.Load())
	for _, token := range access {
		require.Equal(t, http.StatusOK, s.get(t, "/", token).Status, "a token is lost")
	}
	for _, token := range refresh {
		s.tokens(t, s.asWeb(t, refreshForm(token)))
	}
}

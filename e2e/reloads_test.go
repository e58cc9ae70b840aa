package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// load counts how the requests of a load have ended.
type load struct {
	mu       sync.Mutex
	statuses map[int]int
	failed   []error
}

func (l *load) add(status int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, err)
		return
	}
	l.statuses[status]++
}

// Reloads under load, beside a Caddy that has no gateway in its Caddyfile and is reloaded as often. Caddy resets a few
// connections when it goes from one configuration to another; beyond that nobody notices anything.
func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	const (
		reloads, every = 50, 200 * time.Millisecond
		between        = 5 * time.Millisecond // requests
		long           = 2 * time.Second      // and one of some takes so long
		tokens         = 20
	)
	as, guarded, bare := newAuthority(t), newGateway(t), newGateway(t)
	backend := httptest.NewServer(takes(long, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	t.Cleanup(backend.Close)
	site := "handle /long {\nreverse_proxy " + backend.Listener.Addr().String() + "\n}\nhandle {\nrespond hello\n}\n"
	// Every configuration is another one, since Caddy does nothing about one that it has already.
	config := func(g *gateway, reload int) string {
		if g == bare {
			return g.caddyfile("", fmt.Sprintf("header X-Reload %d\n", reload)+site)
		}
		option := as.option("", fmt.Sprintf("timeout %ds", 10+reload), fmt.Sprintf("cache {\nttl %dm\n}", 100+reload))
		return g.caddyfile(strings.ReplaceAll(option, gatewaySecret, fmt.Sprint(gatewaySecret, reload)), "introspect\n"+site)
	}
	names := numbered("token-under-load", tokens)
	guarded.Start(t, config(guarded, 0))
	bare.Start(t, config(bare, 0))
	for _, token := range names {
		as.on(token, active(nil))
		require.Equal(t, http.StatusOK, guarded.get(t, "/", token).Status)
	}

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	loads := map[*gateway]*load{guarded: {statuses: make(map[int]int)}, bare: {statuses: make(map[int]int)}}
	done := make(chan struct{})
	var requests, reloading sync.WaitGroup
	requests.Go(func() {
		pace := time.NewTicker(between)
		defer pace.Stop()
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			case <-pace.C:
			}
			path := "/"
			if i%20 == 0 {
				path = "/long"
			}
			for g, l := range loads {
				request := g.request(t, t.Context(), path, names[i%tokens])
				requests.Go(func() {
					response, err := client.Do(request)
					if err != nil {
						l.add(0, err)
						return
					}
					_, err = testgateway.Read(response)
					l.add(response.StatusCode, err)
				})
			}
		}
	})
	for g := range loads {
		reloading.Go(func() {
			pace := time.NewTicker(every)
			defer pace.Stop()
			for reload := range reloads {
				<-pace.C
				assert.Equal(t, http.StatusOK, g.Load(t, config(g, reload+1)).Status)
			}
		})
	}
	reloading.Wait()
	close(done)
	requests.Wait()

	for name, l := range map[string]*load{"guarded": loads[guarded], "bare": loads[bare]} {
		t.Logf("%s: %v, and %d without a response", name, l.statuses, len(l.failed))
		assert.Positive(t, l.statuses[http.StatusOK])
		assert.Len(t, l.statuses, 1, "nothing but 200")
		for _, err := range l.failed {
			assert.True(t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF), err)
		}
	}
	assert.LessOrEqual(t, len(loads[guarded].failed), 2*len(loads[bare].failed)+20, "more than chance resets")
	for _, token := range names {
		assert.Len(t, as.asked(token), once, "the memory is lost")
	}
}

// goroutines is how many of them the program has.
func (g *gateway) goroutines(t *testing.T) (count int) {
	t.Helper()
	profile := testgateway.Get(t, "http://"+g.Admin+"/debug/pprof/goroutine?debug=1").Body
	_, err := fmt.Sscanf(profile, "goroutine profile: total %d", &count)
	require.NoError(t, err)
	return count
}

func TestReloadsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	as, g := newAuthority(t), newGateway(t)
	as.on("/", active(nil))
	config := func(reload int) string {
		return g.caddyfile(as.option("", fmt.Sprintf("timeout %ds", 10+reload)), "introspect\nrespond hello\n")
	}
	g.Start(t, config(0))
	const warm, reloads = 5, 30
	before := 0
	for i, token := range numbered("token-of-a-reload", warm+reloads) {
		require.Equal(t, http.StatusOK, g.get(t, "/", token).Status)
		fails := strings.ReplaceAll(config(i), gatewaySecret, "{env.NOT_SET_ANYWHERE}")
		require.Equal(t, http.StatusBadRequest, g.Load(t, fails).Status)
		g.reload(t, config(i+1))
		if i+1 == warm {
			before = g.goroutines(t)
		}
	}
	assert.Eventually(t, func() bool { return g.goroutines(t) <= before+reloads/2 }, 10*time.Second, 10*tick)
}

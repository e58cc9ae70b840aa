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

// A client asks as fast as it can, over connections that it keeps, and tries nothing twice.
type client struct {
	*http.Client
	gateway *gateway
}

func (g *gateway) client(t *testing.T) *client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{&http.Client{Transport: transport, Timeout: patience}, g}
}

// get returns the status of the reply. The token is not overheard.
func (c *client) get(t *testing.T, path, token string) (int, error) {
	response, err := c.Do(c.gateway.request(t, t.Context(), path, token))
	if err != nil {
		return 0, err
	}
	got, err := testgateway.Read(response)
	return got.Status, err
}

func TestManyRequestsWithAnUnseenTokenMakeOneCall(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option(""), "introspect\n"+app.Proxy()))
	c := g.client(t)
	for _, token := range numbered("token-that-64-share", 5) {
		g.Guard(token)
		as.on(token, takes(50*time.Millisecond, active(nil)))
		var group sync.WaitGroup
		for range 64 {
			group.Go(func() {
				status, err := c.get(t, "/", token)
				assert.NoError(t, err)
				assert.Equal(t, http.StatusOK, status)
			})
		}
		group.Wait()
		assert.Len(t, as.asked(token), once, "C11")
	}
}

// Somebody tries thousands of tokens, to push those of others out of a small memory.
func TestD22AFloodOfUnknownTokens(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option("", "cache {\nmemory 64KiB\nrevalidate off\n}"), "introspect\n"+app.Proxy()))
	c := g.client(t)
	const name, unknown, workers = "token-tried-5Wq", 2000, 16
	g.Guard(name)
	good := numbered("token-of-a-user", 80)
	for _, token := range good {
		as.on(token, active(claims{"exp": time.Now().Add(time.Hour).Unix(), "scope": "orders:read"}))
		require.Equal(t, http.StatusOK, g.get(t, "/", token).Status)
	}
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := next.Add(1); i <= unknown; i = next.Add(1) {
				status, err := c.get(t, "/", fmt.Sprintf("%s-%d", name, i))
				assert.NoError(t, err)
				assert.Equal(t, http.StatusUnauthorized, status)
				if i%10 == 0 {
					status, err := c.get(t, "/", good[int(i)/10%len(good)])
					assert.NoError(t, err)
					assert.Equal(t, http.StatusOK, status)
				}
			}
		})
	}
	group.Wait()
	for _, token := range good {
		assert.Equal(t, http.StatusOK, g.get(t, "/", token).Status)
		assert.Len(t, as.asked(token), once, "it was pushed out")
	}
}

package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// Whatever the order in which they come, the authority is asked once for each token.
func TestC11ManyTokensFourTimesEach(t *testing.T) {
	t.Parallel()
	const tokens, times, workers = 2_000, 4, 64
	as, g := newAuthority(t), newGateway(t)
	as.on("/", active(nil))
	g.Start(t, fmt.Sprintf(`{
	admin off
	%s
}
http://:%s {
	bind 127.0.0.1
	introspect
	respond {http.introspect.cache}
}
`, as.option(""), testgateway.PortOf(t, g.address)))

	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	defer client.CloseIdleConnections()
	var (
		group   sync.WaitGroup
		next    atomic.Int64
		sources sync.Map
	)
	for range workers {
		group.Go(func() {
			for i := next.Add(1) - 1; i < tokens*times; i = next.Add(1) - 1 {
				token := fmt.Sprintf("token-of-many-%05d", i/times)
				response, err := client.Do(testgateway.Request(t, http.MethodGet, "http://"+g.address+"/", token))
				if !assert.NoError(t, err) {
					return
				}
				got, err := testgateway.Read(response)
				if !assert.NoError(t, err) || !assert.Equal(t, http.StatusOK, got.Status) {
					return
				}
				count, _ := sources.LoadOrStore(got.Body, new(atomic.Int64))
				count.(*atomic.Int64).Add(1)
			}
		})
	}
	group.Wait()

	asked := make(map[string]int)
	for _, call := range as.asked("/") {
		asked[call.token]++
	}
	require.Len(t, asked, tokens)
	for token, calls := range asked {
		require.Equal(t, once, calls, token)
	}
	missed, _ := sources.Load("miss")
	assert.EqualValues(t, tokens, missed.(*atomic.Int64).Load())
}

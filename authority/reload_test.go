package authority_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/authority"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// A thousand reloads leave nothing behind: no goroutine, no connection and no memory.
func TestAThousandReloads(t *testing.T) {
	var calls atomic.Int32
	as := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"active":true,"sub":"alice"}`)
	}))
	t.Cleanup(as.Close)
	root, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	require.NoError(t, err)
	provision := func(authorities string) (*authority.App, func(), error) {
		ctx, cancel := caddy.NewContext(root)
		module, err := ctx.LoadModuleByID("introspect", json.RawMessage(`{"authorities":`+authorities+`}`))
		if err != nil {
			cancel()
			return nil, nil, err
		}
		return module.(*authority.App), cancel, nil
	}
	config := func(reload int) string {
		return fmt.Sprintf(`{"a":{"endpoint":%q,"client":{"id":"gw","secret":"secret-%d"},"timeout":%d,"cache":{"ttl":%d}}}`,
			as.URL, reload, time.Minute+time.Duration(reload), time.Hour+time.Duration(reload))
	}
	app, end, err := provision(config(0))
	require.NoError(t, err)
	about := func(token string) introspect.Source {
		answer, err := named(t, app).Introspect(t.Context(), introspect.NewToken(token))
		require.NoError(t, err)
		return answer.Source
	}
	require.Equal(t, introspect.Miss, about("kept"))
	reload := func(i int) {
		_, _, err := provision(`{"a":{"endpoint":"` + as.URL + `","client":{"id":"gw","secret":"x"}},"b":{"endpoint":"http://as.example.com"}}`)
		require.Error(t, err, "a reload that fails")
		next, endNext, err := provision(config(i))
		require.NoError(t, err)
		end()
		app, end = next, endNext
		require.Equal(t, introspect.Memory, about("kept"), "reload %d", i)
		if i%10 == 0 {
			require.Equal(t, introspect.Miss, about(strconv.Itoa(i)))
		}
	}
	inUse := func() (goroutines int, heap int64) {
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return runtime.NumGoroutine(), int64(stats.HeapAlloc)
	}
	const warm, reloads = 50, 1000
	for i := range warm {
		reload(i + 1)
	}
	goroutines, heap := inUse()
	for i := range reloads {
		reload(warm + i + 1)
	}
	assert.Eventually(t, func() bool {
		now, _ := inUse()
		return now <= goroutines+10
	}, 5*time.Second, 50*time.Millisecond, "goroutines are left")
	now, heapNow := inUse()
	t.Logf("goroutines %d, then %d; heap %d, then %d", goroutines, now, heap, heapNow)
	assert.Less(t, heapNow-heap, int64(1<<20))
	assert.EqualValues(t, 1+(warm+reloads)/10, calls.Load())
	end()
}

package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// request makes a request for a path of the site, with a bearer token unless it is empty.
func (g *gateway) request(t *testing.T, ctx context.Context, path, token string) *http.Request {
	t.Helper()
	return testgateway.Request(t, http.MethodGet, "http://"+g.address+path, token).WithContext(ctx)
}

// get asks the site for a path.
func (g *gateway) get(t *testing.T, path, token string) *testgateway.Reply {
	t.Helper()
	return testgateway.Send(t, g.request(t, t.Context(), path, token))
}

// send starts to ask the site for a path, and returns where the reply will be. If there is none, it is nil.
func (g *gateway) send(t *testing.T, ctx context.Context, path, token string) <-chan *testgateway.Reply {
	t.Helper()
	request := g.request(t, ctx, path, token)
	replies := make(chan *testgateway.Reply, 1)
	go func() {
		got, err := testgateway.Try(request)
		if err != nil {
			got = nil
		}
		replies <- got
	}()
	return replies
}

// receive waits for a reply that send has promised.
func receive(t *testing.T, replies <-chan *testgateway.Reply) *testgateway.Reply {
	t.Helper()
	select {
	case got := <-replies:
		require.NotNil(t, got, "the request failed")
		return got
	case <-time.After(patience):
		require.Fail(t, "no reply came")
		return nil
	}
}

// raw sends a request line and header lines byte for byte, as no HTTP library would, and what follows them.
func (g *gateway) raw(t *testing.T, requestLine string, headers []string, body string) *testgateway.Reply {
	t.Helper()
	return testgateway.Raw(t, g.address, requestLine, headers, body)
}

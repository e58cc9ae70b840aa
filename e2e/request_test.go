package e2e

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// client follows no redirects and keeps no connections, which a reload would close.
var client = &http.Client{
	Timeout:       patience,
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// reply is a response that was read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// challenge is the one challenge of a response, or nothing.
func (r *reply) challenge(t *testing.T) string {
	t.Helper()
	challenges := r.header["Www-Authenticate"]
	if len(challenges) == 0 {
		return ""
	}
	assert.Len(t, challenges, 1)
	return challenges[0]
}

// try sends a request. Unlike do, it may be called by any goroutine.
func try(request *http.Request) (*reply, error) {
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	return read(response)
}

func read(response *http.Response) (*reply, error) {
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return &reply{response.StatusCode, response.Header, string(body)}, err
}

func do(t *testing.T, request *http.Request) *reply {
	t.Helper()
	got, err := try(request)
	require.NoError(t, err)
	return got
}

func get(t *testing.T, url string) *reply {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	return do(t, request)
}

// request makes a request for a path of the site, with a bearer token unless it is empty.
func (g *gateway) request(t *testing.T, ctx context.Context, path, token string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.address+path, nil)
	require.NoError(t, err)
	if token != "" {
		g.guard(token)
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return request
}

// get asks the site for a path.
func (g *gateway) get(t *testing.T, path, token string) *reply {
	t.Helper()
	return do(t, g.request(t, t.Context(), path, token))
}

// getAgain asks the site for a path until there is a reply: where Caddy could not start some server of a configuration,
// it resets the connections that another one of the same configuration has accepted meanwhile, with or without us.
func (g *gateway) getAgain(t *testing.T, path, token string) *reply {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		got, err := try(g.request(t, t.Context(), path, token))
		if err == nil {
			return got
		}
		require.True(t, time.Now().Before(deadline), err)
	}
}

// send starts to ask the site for a path, and returns where the reply will be. If there is none, it is nil.
func (g *gateway) send(t *testing.T, ctx context.Context, path, token string) <-chan *reply {
	t.Helper()
	request := g.request(t, ctx, path, token)
	replies := make(chan *reply, 1)
	go func() {
		got, err := try(request)
		if err != nil {
			got = nil
		}
		replies <- got
	}()
	return replies
}

// receive waits for a reply that send has promised.
func receive(t *testing.T, replies <-chan *reply) *reply {
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

// dial opens a connection to the site.
func (g *gateway) dial(t *testing.T) net.Conn {
	t.Helper()
	connection, err := net.DialTimeout("tcp", g.address, patience)
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	require.NoError(t, connection.SetDeadline(time.Now().Add(patience)))
	return connection
}

// raw sends a request line and header lines byte for byte, as no HTTP library would, and what follows them.
func (g *gateway) raw(t *testing.T, requestLine string, headers []string, body string) *reply {
	t.Helper()
	connection := g.dial(t)
	lines := append([]string{requestLine + " HTTP/1.1", "Host: " + g.address}, headers...)
	_, err := io.WriteString(connection, strings.Join(lines, "\r\n")+"\r\n\r\n"+body)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	if response.StatusCode == http.StatusSwitchingProtocols {
		return &reply{status: response.StatusCode, header: response.Header}
	}
	got, err := read(response)
	require.NoError(t, err)
	return got
}

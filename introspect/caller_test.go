package introspect_test

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// carries is a transport that does what a test says.
type carries func(*http.Request) (*http.Response, error)

func (c carries) RoundTrip(request *http.Request) (*http.Response, error) { return c(request) }

func TestC12NothingOfTheClientsRequestReachesTheTransport(t *testing.T) {
	type key struct{}
	p := new(publisher)
	p.publish("https://as.example.com/introspect", jsonPage(`{"active":true}`))
	client, err := introspect.NewClient(introspect.ClientConfig{
		Endpoint: "https://as.example.com/introspect", Auth: introspect.NoAuth{},
		Transport: carries(func(request *http.Request) (*http.Response, error) {
			assert.Nil(t, request.Context().Value(key{}))
			return p.RoundTrip(request)
		}),
	})
	require.NoError(t, err)
	_, err = client.Introspect(context.WithValue(t.Context(), key{}, "of the request"), introspect.NewToken("t"))
	require.NoError(t, err)
}

func TestC09TheTimeoutCoversAllRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		client, err := introspect.NewClient(introspect.ClientConfig{
			Endpoint: "https://as.example.com/introspect", Auth: introspect.NoAuth{}, Timeout: time.Second, Retries: 10,
			Transport: carries(func(request *http.Request) (*http.Response, error) {
				calls++
				// The authority takes 300 ms to say that it is unavailable.
				ctx, cancel := context.WithTimeout(request.Context(), 300*time.Millisecond)
				defer cancel()
				<-ctx.Done()
				if request.Context().Err() != nil {
					return nil, request.Context().Err()
				}
				return &http.Response{StatusCode: http.StatusServiceUnavailable, Body: http.NoBody}, nil
			}),
		})
		require.NoError(t, err)
		began := time.Now()
		_, err = client.Introspect(t.Context(), introspect.NewToken("t"))
		require.ErrorIs(t, err, introspect.ErrTimeout)
		assert.Equal(t, time.Second, time.Since(began))
		assert.Equal(t, 4, calls)
	})
}

func TestC09TheTimeoutCoversDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const endpoint = "https://as.example.com/introspect"
		p := new(publisher)
		p.publish(oauthPlace, metadata(issuerURL, endpoint))
		slow := carries(func(request *http.Request) (*http.Response, error) {
			ctx, cancel := context.WithTimeout(request.Context(), 600*time.Millisecond)
			defer cancel()
			<-ctx.Done()
			if request.Context().Err() != nil {
				return nil, request.Context().Err()
			}
			return p.RoundTrip(request)
		})
		discovery, err := introspect.NewDiscovery(introspect.DiscoveryConfig{Issuer: issuerURL, Transport: slow, Timeout: time.Second})
		require.NoError(t, err)
		client, err := introspect.NewClient(introspect.ClientConfig{
			Discovery: discovery, Auth: introspect.NoAuth{}, Timeout: time.Second, Transport: slow,
		})
		require.NoError(t, err)
		began := time.Now()
		_, err = client.Introspect(t.Context(), introspect.NewToken("t"))
		require.ErrorIs(t, err, introspect.ErrTimeout)
		assert.Equal(t, time.Second, time.Since(began), "and not another one for the call")
	})
}

// Whoever waits less than the timeout is told when its own time is up.
func TestTheCallersDeadlineCountsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, err := introspect.NewClient(introspect.ClientConfig{
			Endpoint: "https://as.example.com/introspect", Auth: introspect.NoAuth{}, Timeout: time.Minute,
			Transport: carries(func(request *http.Request) (*http.Response, error) {
				<-request.Context().Done()
				return nil, request.Context().Err()
			}),
		})
		require.NoError(t, err)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = client.Introspect(ctx, introspect.NewToken("t"))
		require.ErrorIs(t, err, introspect.ErrTimeout)
		assert.Equal(t, time.Second, time.Since(began))
	})
}

// An answer that is short on the wire and endless in memory is cut at the same length as any other.
func TestC09ACompressedAnswerIsMeasuredUnpacked(t *testing.T) {
	var calls atomic.Int32
	client := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		packed := gzip.NewWriter(w)
		_, _ = io.WriteString(packed, `{"active":true,"x":"`)
		_, _ = io.Copy(packed, io.LimitReader(zeros{}, 8<<20)) // the client hangs up
		_ = packed.Close()
	}, func(c *introspect.ClientConfig) { c.Retries = 1 })
	_, err := client.Introspect(t.Context(), introspect.NewToken("t"))
	require.ErrorIs(t, err, introspect.ErrMalformed)
	require.ErrorContains(t, err, "more than 1048576 bytes")
	assert.EqualValues(t, 1, calls.Load())
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

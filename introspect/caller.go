package introspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// caller posts forms to an authorization server, signed in as a client. It follows no redirect, and reads no more of a
// response than it was told to.
type caller struct {
	auth        [2]ClientAuth
	ways        *Ways
	header      http.Header
	transport   http.RoundTripper
	retries     int
	maxResponse int64
	// accept is the type of response that is asked for.
	accept string
}

// reply is a response that was read whole.
type reply struct {
	status      int
	contentType string
	body        []byte
}

func newCaller(auth, other ClientAuth, ways *Ways, header http.Header, transport http.RoundTripper, retries int, maxResponse int64) *caller {
	c := &caller{auth: [2]ClientAuth{auth, other}, ways: ways, header: header, transport: transport, retries: retries, maxResponse: maxResponse, accept: "application/json"}
	if c.ways == nil {
		c.ways = new(Ways)
	}
	if c.maxResponse <= 0 {
		c.maxResponse = DefaultMaxResponse
	}
	if c.transport == nil {
		c.transport = DefaultTransport()
	}
	return c
}

// DefaultTransport is the one that carries all calls for which nobody names another. It outlives every reload, and so do its
// open connections.
var DefaultTransport = sync.OnceValue(func() http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          128,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
})

// bounded returns a context that ends with another one or after a while, and that carries none of its values: what
// belongs to the client's request must not reach the authorization server, nor the transport of this call the request.
func bounded(parent context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	deadline := time.Now().Add(timeout)
	if earlier, ok := parent.Deadline(); ok && earlier.Before(deadline) {
		deadline = earlier
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	if parent.Done() == nil {
		return ctx, cancel
	}
	stop := context.AfterFunc(parent, func() {
		if !errors.Is(parent.Err(), context.DeadlineExceeded) {
			cancel()
		}
	})
	return ctx, func() {
		stop()
		cancel()
	}
}

// renewable credentials may be refused only because they have run out before their time.
type renewable interface {
	// refused says that the server did not accept what Authenticate added to the request, in a call that began at that
	// instant, and tells whether it makes sense to try again.
	refused(request *http.Request, began time.Time) bool
}

// post sends a form, and repeats a call for which judge says that this makes sense, and once a call for which the
// credentials had run out.
func (c *caller) post(ctx context.Context, endpoint *url.URL, form url.Values, judge func(*reply) (again bool, err error)) error {
	return c.signIn(ctx, func(auth ClientAuth) error {
		renewed := false
		for attempt := 0; ; attempt++ {
			again, renew, err := c.postOnce(ctx, endpoint, form, auth, judge)
			switch {
			case err == nil || ctx.Err() != nil:
				return err
			case renew && !renewed:
				renewed = true
				attempt--
			case !again || attempt >= c.retries:
				return err
			}
		}
	})
}

func (c *caller) postOnce(ctx context.Context, endpoint *url.URL, form url.Values, auth ClientAuth, judge func(*reply) (bool, error)) (again, renew bool, err error) {
	target := *endpoint
	request := (&http.Request{
		Method: http.MethodPost, URL: &target, Host: target.Host, Header: make(http.Header, len(c.header)+4),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	for name, values := range c.header {
		request.Header[name] = slices.Clone(values)
	}
	body := make(url.Values, len(form)+4)
	maps.Copy(body, form)
	began := time.Now()
	if err := auth.Authenticate(request, body); err != nil {
		return false, false, err
	}
	encoded := body.Encode()
	request.Body = io.NopCloser(strings.NewReader(encoded))
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(encoded)), nil }
	request.ContentLength = int64(len(encoded))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", c.accept)

	response, err := send(c.transport, request, c.maxResponse)
	if err != nil {
		return !errors.Is(err, ErrMalformed), false, err
	}
	again, err = judge(response)
	if credentials, ok := auth.(renewable); ok && errors.Is(err, ErrCredentials) {
		renew = credentials.refused(request, began)
	}
	return again, renew, err
}

// send makes a call and reads the response whole. A redirect is a response: followed, a POST would become a GET, or hand a
// token to a stranger.
func send(transport http.RoundTripper, request *http.Request, maxResponse int64) (*reply, error) {
	if request.Header.Get("User-Agent") == "" {
		request.Header.Set("User-Agent", "portcullis")
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, callError(request.Context(), "asking the authorization server", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponse+1))
	if err != nil {
		return nil, callError(request.Context(), "reading the answer", err)
	}
	if int64(len(body)) > maxResponse {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrMalformed, maxResponse)
	}
	return &reply{response.StatusCode, response.Header.Get("Content-Type"), body}, nil
}

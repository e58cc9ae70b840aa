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
	"sync/atomic"
	"time"
)

// Client asks a remote introspection endpoint (RFC 7662 section 2.1). It follows no redirect, sends nothing of the
// client's request but the token, and reads no more of an answer than it was told to. It is safe for concurrent
// use.
type Client struct {
	endpoint    string
	auth        [2]ClientAuth
	hint        string
	parameters  url.Values
	header      http.Header
	httpClient  *http.Client
	timeout     time.Duration
	retries     int
	maxResponse int64
	now         func() time.Time
	ways        *Ways
}

// Ways is what is known of which of two ways to write the same credentials an authority accepts. It outlives the Client
// that finds it out, if it is given to the next one for the same credentials. The zero value knows nothing. It is safe
// for concurrent use.
type Ways struct {
	// way is the one that is used. Until it is settled, that is the first one, and only whoever holds the mutex tries
	// the other.
	way     atomic.Int32
	settled atomic.Bool
	trying  sync.Mutex
}

// ClientConfig says whom a Client asks and how.
type ClientConfig struct {
	// Endpoint is the introspection endpoint: https, or http on loopback.
	Endpoint string
	// InsecureHTTP allows http beyond loopback, where everybody on the way reads tokens and the client secret.
	InsecureHTTP bool
	// Auth signs in at the endpoint. RFC 7662 section 2.1 demands that one does.
	Auth ClientAuth
	// OtherAuth, if set, is the same credentials written in another way. It is tried once, when Auth is refused for the
	// first time, and kept if it is accepted.
	OtherAuth ClientAuth
	// Ways is what an earlier Client has found out about these credentials. Default: nothing.
	Ways *Ways
	// Hint is the token_type_hint that is sent (RFC 7662 section 2.1). Empty: none.
	Hint string
	// EndpointParameters are added to the endpoint's query, and Parameters to the form.
	EndpointParameters, Parameters url.Values
	// Header is added to the request.
	Header http.Header
	// Timeout bounds a whole call, retries included. Default: 5 seconds.
	Timeout time.Duration
	// Retries is how often a call is repeated after a connection error, 502, 503 or 504, within Timeout.
	Retries int
	// MaxResponse is the most of an answer that is read, in bytes. Default: 1 MiB.
	MaxResponse int64
	// Transport carries the call. Default: a transport of the client's own with pooled connections.
	Transport http.RoundTripper
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Defaults of a ClientConfig.
const (
	DefaultTimeout           = 5 * time.Second
	DefaultRetries           = 1
	DefaultMaxResponse int64 = 1 << 20
)

// NewClient checks the configuration and returns a Client. It opens no connection.
func NewClient(config ClientConfig) (*Client, error) {
	if err := CheckURL(config.Endpoint, config.InsecureHTTP); err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	if config.Auth == nil {
		return nil, errors.New("endpoint: no client authentication (RFC 7662 section 2.1): add 'client <id> <secret>'")
	}
	endpoint, err := withQuery(config.Endpoint, config.EndpointParameters)
	if err != nil {
		return nil, err
	}
	client := &Client{
		endpoint:    endpoint,
		auth:        [2]ClientAuth{config.Auth, config.OtherAuth},
		ways:        config.Ways,
		hint:        config.Hint,
		parameters:  config.Parameters,
		header:      config.Header,
		timeout:     config.Timeout,
		retries:     config.Retries,
		maxResponse: config.MaxResponse,
		now:         config.Now,
	}
	if client.ways == nil {
		client.ways = new(Ways)
	}
	if client.timeout <= 0 {
		client.timeout = DefaultTimeout
	}
	if client.maxResponse <= 0 {
		client.maxResponse = DefaultMaxResponse
	}
	if client.now == nil {
		client.now = time.Now
	}
	transport := config.Transport
	if transport == nil {
		transport = newTransport()
	}
	client.httpClient = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client, nil
}

func newTransport() *http.Transport {
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
}

// CheckURL says what is wrong with a URL to which tokens or secrets are sent: it has to be https, or http on loopback
// unless insecure http is allowed, without user information or fragment.
func CheckURL(text string, insecureHTTP bool) error {
	parsed, err := url.Parse(text)
	// What stands behind the host may be a secret.
	shown := ""
	if err == nil {
		shown = parsed.Scheme + "://" + parsed.Host
	}
	switch {
	case err != nil:
		return errors.New("not a URL")
	case parsed.User != nil:
		return errors.New("URL must not hold credentials: use 'client <id> <secret>'")
	case parsed.Hostname() == "":
		return errors.New("URL has no host")
	case parsed.Fragment != "" || strings.HasSuffix(text, "#"):
		return fmt.Errorf("URL %q must not have a fragment", shown)
	case parsed.Scheme == "https":
		return nil
	case parsed.Scheme == "http" && (insecureHTTP || isLoopback(parsed.Hostname())):
		return nil
	case parsed.Scheme == "http":
		return fmt.Errorf("URL %q must be https: http is for loopback, or for 'insecure_http'", shown)
	}
	return fmt.Errorf("URL %q must be https", shown)
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// withQuery adds parameters to a URL, and leaves the query that it has as it is written.
func withQuery(endpoint string, parameters url.Values) (string, error) {
	if len(parameters) == 0 {
		return endpoint, nil
	}
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return "", errors.New("endpoint: not a URL")
	}
	if parsed.RawQuery != "" {
		parsed.RawQuery += "&"
	}
	parsed.RawQuery += parameters.Encode()
	return parsed.String(), nil
}

// Introspect asks the endpoint.
func (c *Client) Introspect(ctx context.Context, token Token) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if c.auth[1] == nil {
		return c.askRepeatedly(ctx, token, 0)
	}
	way := c.ways.way.Load()
	answer, err := c.askRepeatedly(ctx, token, way)
	switch {
	case c.ways.settled.Load():
		// A call that began before the other way was found has used the wrong one.
		if found := c.ways.way.Load(); found != way && errors.Is(err, ErrCredentials) {
			return c.askRepeatedly(ctx, token, found)
		}
	case err == nil:
		c.ways.settled.Store(true)
	case errors.Is(err, ErrCredentials):
		return c.askInAnotherWay(ctx, token, err)
	}
	return answer, err
}

// askInAnotherWay finds out whether the authority accepts the credentials if they are written in the other way, once.
func (c *Client) askInAnotherWay(ctx context.Context, token Token, refused error) (*Answer, error) {
	c.ways.trying.Lock()
	defer c.ways.trying.Unlock()
	if c.ways.settled.Load() {
		if way := c.ways.way.Load(); way != 0 {
			return c.askRepeatedly(ctx, token, way)
		}
		return nil, refused
	}
	answer, err := c.askRepeatedly(ctx, token, 1)
	switch {
	case err == nil:
		c.ways.way.Store(1)
		c.ways.settled.Store(true)
	case errors.Is(err, ErrCredentials):
		c.ways.settled.Store(true)
	}
	return answer, err
}

func (c *Client) askRepeatedly(ctx context.Context, token Token, way int32) (*Answer, error) {
	for attempt := 0; ; attempt++ {
		answer, again, err := c.ask(ctx, token, c.auth[way])
		if err == nil || !again || attempt == c.retries || ctx.Err() != nil {
			return answer, err
		}
	}
}

// ask makes one call, and says whether it makes sense to repeat a failed one.
func (c *Client) ask(ctx context.Context, token Token, auth ClientAuth) (answer *Answer, again bool, err error) {
	// RFC 7662 section 2.1: parameters in the body, form-encoded.
	form := maps.Clone(c.parameters)
	if form == nil {
		form = make(url.Values)
	}
	form.Set("token", token.Value())
	if c.hint != "" {
		form.Set("token_type_hint", c.hint)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, nil)
	if err != nil {
		return nil, false, fmt.Errorf("%w: making the request", ErrUnavailable)
	}
	request.Header.Set("User-Agent", "portcullis")
	for name, values := range c.header {
		request.Header[name] = slices.Clone(values)
	}
	auth.Authenticate(request, form)
	encoded := form.Encode()
	request.Body = io.NopCloser(strings.NewReader(encoded))
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(encoded)), nil }
	request.ContentLength = int64(len(encoded))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")

	askedAt := c.now()
	response, err := c.httpClient.Do(request)
	if err != nil {
		return nil, true, callError(ctx, "asking the authorization server", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, c.maxResponse+1))
	if err != nil {
		return nil, true, callError(ctx, "reading the answer", err)
	}
	if int64(len(body)) > c.maxResponse {
		return nil, false, fmt.Errorf("%w: more than %d bytes", ErrMalformed, c.maxResponse)
	}
	return c.read(response, body, askedAt)
}

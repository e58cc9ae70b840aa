package introspect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client asks a remote introspection endpoint (RFC 7662 section 2.1). It follows no redirect, sends nothing of the
// client's request but the token, and reads no more of an answer than it was told to. It is safe for concurrent
// use.
type Client struct {
	endpoint   *url.URL // nil: the one that discovery finds
	discovery  *Discovery
	query      url.Values
	hint       string
	parameters url.Values
	shape      Shape
	signed     *verifier // nil: answers are plain JSON
	caller     *caller
	timeout    time.Duration
	now        func() time.Time
}

// ClientConfig says whom a Client asks and how.
type ClientConfig struct {
	// Endpoint is the introspection endpoint: https, or http on loopback.
	Endpoint string
	// Discovery finds the endpoint where Endpoint is empty.
	Discovery *Discovery
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
	// Shape says where in an answer its parts are. The zero value is the answer of RFC 7662.
	Shape Shape
	// Signed, if set, has answers asked for that are signed (RFC 9701), and no others believed.
	Signed *Signed
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
	if config.Endpoint != "" || config.Discovery == nil {
		if err := CheckURL(config.Endpoint, config.InsecureHTTP); err != nil {
			return nil, fmt.Errorf("endpoint: %w", err)
		}
	}
	if config.Auth == nil {
		return nil, errors.New("endpoint: no client authentication (RFC 7662 section 2.1): add 'client <id> <secret>'")
	}
	client := &Client{
		discovery:  config.Discovery,
		query:      config.EndpointParameters,
		hint:       config.Hint,
		parameters: config.Parameters,
		shape:      config.Shape,
		timeout:    config.Timeout,
		now:        config.Now,
		caller: newCaller(config.Auth, config.OtherAuth, config.Ways, config.Header, config.Transport, config.Retries,
			config.MaxResponse),
	}
	if config.Endpoint != "" {
		var err error
		if client.endpoint, err = withQuery(config.Endpoint, config.EndpointParameters); err != nil {
			return nil, err
		}
	}
	if client.timeout <= 0 {
		client.timeout = DefaultTimeout
	}
	if client.now == nil {
		client.now = time.Now
	}
	if config.Signed != nil {
		var err error
		if client.signed, err = newVerifier(*config.Signed, client.now, config.InsecureHTTP, config.Transport); err != nil {
			return nil, err
		}
		client.caller.accept = signedType
	}
	return client, nil
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
func withQuery(endpoint string, parameters url.Values) (*url.URL, error) {
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return nil, errors.New("endpoint: not a URL")
	}
	parsed.Host = strings.TrimSuffix(parsed.Host, ":") // an empty port, which not every server takes in Host
	if len(parameters) == 0 {
		return parsed, nil
	}
	if parsed.RawQuery != "" {
		parsed.RawQuery += "&"
	}
	parsed.RawQuery += parameters.Encode()
	return parsed, nil
}

// Introspect asks the endpoint.
func (c *Client) Introspect(ctx context.Context, token Token) (*Answer, error) {
	ctx, cancel := bounded(ctx, c.timeout)
	defer cancel()
	endpoint, err := c.findEndpoint(ctx)
	if err != nil {
		return nil, err
	}
	// RFC 7662 section 2.1: parameters in the body, form-encoded.
	form := make(url.Values, len(c.parameters)+2)
	maps.Copy(form, c.parameters)
	form.Set("token", token.Value())
	if c.hint != "" {
		form.Set("token_type_hint", c.hint)
	}
	var answer *Answer
	askedAt := c.now()
	err = c.caller.post(ctx, endpoint, form, func(response *reply) (again bool, err error) {
		answer, again, err = c.read(ctx, response, token, askedAt)
		return again, err
	})
	if err != nil {
		c.doubt(err)
		return nil, err
	}
	return answer, nil
}

// findEndpoint returns the endpoint that is configured, or else the one that the authority publishes.
func (c *Client) findEndpoint(ctx context.Context) (*url.URL, error) {
	if c.endpoint != nil {
		return c.endpoint, nil
	}
	metadata, err := c.discovery.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	return withQuery(metadata.IntrospectionEndpoint, c.query)
}

// doubt has the metadata looked at again where a call failed in a way that another endpoint would explain.
func (c *Client) doubt(err error) {
	if c.endpoint == nil && !errors.Is(err, context.Canceled) {
		c.discovery.Doubt()
	}
}

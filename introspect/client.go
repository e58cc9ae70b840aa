package introspect

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client asks a remote introspection endpoint (RFC 7662 section 2.1). It follows no redirect, sends nothing of the
// client's request but the token, and reads no more of an answer than it was told to. It is immutable and safe for
// concurrent use.
type Client struct {
	endpoint    string
	auth        ClientAuth
	httpClient  *http.Client
	timeout     time.Duration
	retries     int
	maxResponse int64
	now         func() time.Time
}

// ClientConfig says whom a Client asks and how.
type ClientConfig struct {
	// Endpoint is the introspection endpoint: https, or http on loopback.
	Endpoint string
	// InsecureHTTP allows http beyond loopback, where everybody on the way reads tokens and the client secret.
	InsecureHTTP bool
	// Auth signs in at the endpoint. RFC 7662 section 2.1 demands that one does.
	Auth ClientAuth
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
	client := &Client{
		endpoint:    config.Endpoint,
		auth:        config.Auth,
		timeout:     config.Timeout,
		retries:     config.Retries,
		maxResponse: config.MaxResponse,
		now:         config.Now,
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
	switch {
	case err != nil:
		return errors.New("not a URL")
	case parsed.User != nil:
		return errors.New("URL must not hold credentials: use 'client <id> <secret>'")
	case parsed.Hostname() == "":
		return fmt.Errorf("URL %q has no host", text)
	case parsed.Fragment != "" || strings.HasSuffix(text, "#"):
		return fmt.Errorf("URL %q must not have a fragment", text)
	case parsed.Scheme == "https":
		return nil
	case parsed.Scheme == "http" && (insecureHTTP || isLoopback(parsed.Hostname())):
		return nil
	case parsed.Scheme == "http":
		return fmt.Errorf("URL %q must be https: http is for loopback, or for 'insecure_http'", text)
	}
	return fmt.Errorf("URL %q must be https", text)
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// Introspect asks the endpoint.
func (c *Client) Introspect(ctx context.Context, token Token) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		answer, again, err := c.ask(ctx, token)
		if err == nil || !again || attempt == c.retries || ctx.Err() != nil {
			return answer, err
		}
	}
}

// ask makes one call, and says whether it makes sense to repeat a failed one.
func (c *Client) ask(ctx context.Context, token Token) (answer *Answer, again bool, err error) {
	// RFC 7662 section 2.1: parameters in the body, form-encoded.
	form := url.Values{"token": {token.Value()}, "token_type_hint": {"access_token"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, nil)
	if err != nil {
		return nil, false, fmt.Errorf("%w: making the request", ErrUnavailable)
	}
	c.auth.Authenticate(request, form)
	encoded := form.Encode()
	request.Body = io.NopCloser(strings.NewReader(encoded))
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(encoded)), nil }
	request.ContentLength = int64(len(encoded))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "portcullis")

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

// read judges a response by its status, type and body (RFC 7662 sections 2.2 and 2.3).
func (c *Client) read(response *http.Response, body []byte, askedAt time.Time) (answer *Answer, again bool, err error) {
	status := response.StatusCode
	switch {
	case status == http.StatusOK:
		if !isJSON(response.Header.Get("Content-Type")) {
			return nil, false, fmt.Errorf("%w: status 200 with a content type that is not JSON", ErrMalformed)
		}
		answer, err = ParseAnswer(body, askedAt)
		return answer, false, err
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return nil, false, fmt.Errorf("%w: status %d%s", ErrCredentials, status, errorCode(body))
	case status == http.StatusBadRequest:
		// The server knows of no introspection for tokens of this kind: to it the token is not active.
		if errorCode(body) == errorCodes["unsupported_token_type"] {
			return &Answer{AskedAt: askedAt, Source: Miss}, false, nil
		}
		return nil, false, fmt.Errorf("%w: status 400%s", ErrMalformed, errorCode(body))
	case status == http.StatusTooManyRequests:
		return nil, false, fmt.Errorf("%w: status 429", ErrUnavailable)
	case status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout:
		return nil, true, fmt.Errorf("%w: status %d", ErrUnavailable, status)
	case status >= 500:
		return nil, false, fmt.Errorf("%w: status %d", ErrUnavailable, status)
	case status >= 300 && status < 400:
		return nil, false, fmt.Errorf("%w: status %d, and redirects are not followed", ErrMalformed, status)
	}
	return nil, false, fmt.Errorf("%w: status %d", ErrMalformed, status)
}

// callError tells slowness from absence, and drops the URL, which may hold parameters that are nobody's business.
func callError(ctx context.Context, doing string, err error) error {
	if urlError, ok := errors.AsType[*url.Error](err); ok {
		err = urlError.Err
	}
	var netError net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%s: %w", doing, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netError) && netError.Timeout():
		return fmt.Errorf("%w: %s", ErrTimeout, doing)
	}
	return fmt.Errorf("%w: %s: %s", ErrUnavailable, doing, cause(err))
}

// cause names what went wrong on the connection, from the errors that hold nothing of what the authority sent.
func cause(err error) string {
	var (
		operation   *net.OpError
		certificate *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &certificate):
		return certificate.Error()
	case errors.As(err, &operation):
		return operation.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	return "no HTTP response"
}

// isJSON accepts what calls itself JSON, and an answer that says nothing of its type.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && (mediaType == "application/json" || strings.HasSuffix(mediaType, "+json"))
}

// errorCodes are the codes of RFC 6749 section 5.2, RFC 6750 section 3.1 and RFC 7009 section 2.2.1 as they are shown
// in an error text. Nothing else that an authority sends is repeated.
var errorCodes = map[string]string{
	"invalid_request":        " (invalid_request)",
	"invalid_client":         " (invalid_client)",
	"invalid_grant":          " (invalid_grant)",
	"unauthorized_client":    " (unauthorized_client)",
	"unsupported_grant_type": " (unsupported_grant_type)",
	"invalid_scope":          " (invalid_scope)",
	"invalid_token":          " (invalid_token)",
	"insufficient_scope":     " (insufficient_scope)",
	"unsupported_token_type": " (unsupported_token_type)",
}

func errorCode(body []byte) string {
	var members map[string]any
	if json.Unmarshal(body, &members) != nil {
		return ""
	}
	code, _ := members["error"].(string)
	return errorCodes[code]
}

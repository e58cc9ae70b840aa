package introspect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// TokenSource signs in with an access token of the gateway's own, which it gets by the client credentials grant (RFC 6749
// section 4.4) when it is first needed, and renews ahead of its expiry. It is safe for concurrent use.
type TokenSource struct {
	endpoint *url.URL
	form     url.Values
	caller   *caller
	timeout  time.Duration
	now      func() time.Time
	held     *HeldToken
}

// TokenSourceConfig says where the token comes from.
type TokenSourceConfig struct {
	// Endpoint is the token endpoint: https, or http on loopback.
	Endpoint string
	// InsecureHTTP allows http beyond loopback.
	InsecureHTTP bool
	// Scope is asked for, if there is any.
	Scope []string
	// Auth, OtherAuth and Ways sign in at the token endpoint, as in a ClientConfig.
	Auth, OtherAuth ClientAuth
	Ways            *Ways
	// Timeout bounds a whole call. Default: 5 seconds.
	Timeout time.Duration
	// Retries is how often a call is repeated after a connection error, 502, 503 or 504, within Timeout.
	Retries int
	// MaxResponse is the longest response that is read, in bytes. Default: 1 MiB.
	MaxResponse int64
	// Transport carries the calls. Default: a transport of its own.
	Transport http.RoundTripper
	// Held is the token that an earlier TokenSource with the same credentials has got. Default: none.
	Held *HeldToken
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// HeldToken is the token of a TokenSource. It outlives its TokenSource, if it is given to the next one with the same
// credentials. The zero value is no token. It is safe for concurrent use, and it never prints the token.
type HeldToken struct {
	mu        sync.Mutex
	value     string
	gotAt     time.Time
	renewAt   time.Time
	expiresAt time.Time
	renewal   chan struct{} // closed when the call that is under way ends; nil if none is
	err       error         // why the last call failed
	failedAt  time.Time
}

// String hides the token.
func (*HeldToken) String() string { return "[token]" }

// GoString hides the token from %#v.
func (*HeldToken) GoString() string { return "[token]" }

const (
	// lifeUnknown is how long a token is used whose response says nothing of its life (RFC 6749 section 5.1). It may be
	// refused earlier, and is renewed then.
	lifeUnknown = time.Hour
	// longestLife bounds what a token endpoint says.
	longestLife = 30 * 24 * time.Hour
	// renewalPause is how long a failed renewal is not repeated while a token is still good.
	renewalPause = time.Second
)

// NewTokenSource checks the configuration and returns a TokenSource. It opens no connection.
func NewTokenSource(config TokenSourceConfig) (*TokenSource, error) {
	if err := CheckURL(config.Endpoint, config.InsecureHTTP); err != nil {
		return nil, fmt.Errorf("bearer_from: %w", err)
	}
	endpoint, err := withQuery(config.Endpoint, nil)
	if err != nil {
		return nil, err
	}
	if config.Auth == nil {
		return nil, errors.New("bearer_from: no client authentication: add 'client <id> <secret>'")
	}
	source := &TokenSource{
		endpoint: endpoint,
		form:     url.Values{"grant_type": {"client_credentials"}},
		timeout:  config.Timeout,
		now:      config.Now,
		held:     config.Held,
		caller: newCaller(config.Auth, config.OtherAuth, config.Ways, nil, config.Transport, config.Retries,
			config.MaxResponse),
	}
	if len(config.Scope) > 0 {
		source.form.Set("scope", strings.Join(config.Scope, " "))
	}
	if source.timeout <= 0 {
		source.timeout = DefaultTimeout
	}
	if source.now == nil {
		source.now = time.Now
	}
	if source.held == nil {
		source.held = new(HeldToken)
	}
	return source, nil
}

// Authenticate sets the Authorization header, for which it may have to get a token first.
func (s *TokenSource) Authenticate(request *http.Request, form url.Values) error {
	token, err := s.token(request.Context())
	if err != nil {
		return err
	}
	return BearerToken(token).Authenticate(request, form)
}

// token returns the token that is held, or waits for one. A token that should be renewed and is still good is used while
// another one is being got.
func (s *TokenSource) token(ctx context.Context) (string, error) {
	h := s.held
	h.mu.Lock()
	now := s.now()
	good := h.value != "" && now.Before(h.expiresAt)
	if h.renewal == nil && (!good || !now.Before(h.renewAt) && now.Sub(h.failedAt) >= renewalPause) {
		h.renewal = make(chan struct{})
		go s.renew()
	}
	value, renewal := h.value, h.renewal
	h.mu.Unlock()
	if good {
		return value, nil
	}
	select {
	case <-renewal:
	case <-ctx.Done():
		return "", callError(ctx, "waiting for an access token of the gateway's own", ctx.Err())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return "", h.err
	}
	return h.value, nil
}

// refused drops a token that the authority did not accept, and tells whether another one may be: a token that was got for
// this very call is as good as the next.
func (s *TokenSource) refused(request *http.Request, began time.Time) bool {
	h := s.held
	h.mu.Lock()
	defer h.mu.Unlock()
	if "Bearer "+h.value != request.Header.Get("Authorization") {
		return true
	}
	if !h.gotAt.Before(began) {
		return false
	}
	h.value = ""
	return true
}

// renew gets a token, on a context of its own: the call that needs it first may be given up, and others wait as well.
func (s *TokenSource) renew() {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	began := s.now()
	var value string
	var life time.Duration
	err := s.caller.post(ctx, s.endpoint, s.form, func(response *reply) (again bool, err error) {
		value, life, again, err = readToken(response)
		return again, err
	})
	h := s.held
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	if err != nil {
		h.failedAt = s.now()
	} else {
		h.value, h.gotAt, h.expiresAt = value, s.now(), began.Add(life)
		h.renewAt = h.expiresAt.Add(-renewAhead(life))
	}
	close(h.renewal)
	h.renewal = nil
}

// renewAhead is how long before its expiry a token is renewed.
func renewAhead(life time.Duration) time.Duration { return min(life/4, time.Minute) }

// readToken reads a response of a token endpoint (RFC 6749 section 5). It has the meaning of the gateway's own
// credentials: what is wrong with it is nothing that a client could do better.
func readToken(response *reply) (token string, life time.Duration, again bool, err error) {
	switch status := response.status; {
	case status == http.StatusOK:
	case status == http.StatusUnauthorized, status == http.StatusForbidden,
		status == http.StatusBadRequest && errorCode(response.body) == errorCodes["invalid_client"]:
		return "", 0, false, fmt.Errorf("%w: token endpoint: status %d%s", ErrCredentials, status, errorCode(response.body))
	case status == http.StatusBadRequest:
		return "", 0, false, fmt.Errorf("%w: token endpoint: status 400%s", ErrMalformed, errorCode(response.body))
	default:
		again, err = failure(status)
		return "", 0, again, fmt.Errorf("token endpoint: %w", err)
	}
	members, err := parseObject(response.body)
	if err != nil || !isJSON(response.contentType) {
		return "", 0, false, fmt.Errorf("%w: token endpoint: no token response (RFC 6749 section 5.1)", ErrMalformed)
	}
	value, _ := members.get("access_token")
	token, _ = value.(string)
	kind, _ := members.get("token_type")
	kindName, _ := kind.(string)
	if !isToken68(token) || !strings.EqualFold(kindName, "Bearer") {
		return "", 0, false, fmt.Errorf("%w: token endpoint: no bearer token (RFC 6749 section 5.1)", ErrMalformed)
	}
	life = lifeUnknown
	if expiresIn, _ := members.get("expires_in"); expiresIn != nil {
		seconds, err := numericDate(expiresIn, "expires_in")
		if err != nil {
			return "", 0, false, fmt.Errorf("token endpoint: %w", err)
		}
		life = time.Duration(min(max(seconds.time().Unix(), 0), int64(longestLife/time.Second))) * time.Second
	}
	return token, life, false, nil
}

// isToken68 tells whether a text can be a bearer token (RFC 6750 section 2.1).
func isToken68(token string) bool {
	body := strings.TrimRight(token, "=")
	if body == "" {
		return false
	}
	for _, c := range []byte(body) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~+/", c) >= 0) {
			return false
		}
	}
	return true
}

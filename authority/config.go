package authority

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/cache"
	"github.com/portcullis-gateway/portcullis/internal/operator"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// Config describes an authority: an authorization server that is asked what it knows of a token.
type Config struct {
	// The issuer identifier of the authorization server: https, or http on loopback. Its introspection endpoint is
	// discovered (RFC 8414, then OpenID Connect Discovery) when it is first needed, and an `iss` in an answer has to be the
	// same. Beside `endpoint` it only checks the `iss`. Placeholders are resolved.
	Issuer string `json:"issuer,omitempty"`
	// The URL of the RFC 7662 introspection endpoint: https, or http on loopback. Default: discovered from `issuer`.
	// Placeholders are resolved.
	Endpoint string `json:"endpoint,omitempty"`
	// Ask the `authorization_server` of this process, without HTTP. Excludes `endpoint` and `client`.
	Embedded bool `json:"embedded,omitempty"`
	// The client as which the gateway asks.
	Client *Client `json:"client,omitempty"`
	// How the gateway signs in at the endpoint: `client_secret_basic`, `client_secret_post`, `client_secret_jwt`,
	// `private_key_jwt`, `tls_client_auth` (with a client certificate in `transport`) or `none`. Default:
	// `client_secret_basic` if the client has a secret, `private_key_jwt` if there is a `client_key`.
	ClientAuth string `json:"client_auth,omitempty"`
	// How `client_secret_basic` writes id and secret: `form` (RFC 6749 section 2.3.1), `raw` (as typed), or `auto`, which
	// tries form, then raw where that is something else, once per secret, and remembers which one was accepted. Default:
	// `auto`.
	BasicEncoding string `json:"basic_encoding,omitempty"`
	// The private key for `private_key_jwt`.
	ClientKey *ClientKey `json:"client_key,omitempty"`
	// The audience of the assertions of `client_secret_jwt` and `private_key_jwt`. Default: the issuer, else the token
	// endpoint, else the endpoint.
	AssertionAudience string `json:"assertion_audience,omitempty"`
	// A bearer token with which the gateway signs in instead of as a client. Placeholders are resolved.
	Bearer string `json:"bearer,omitempty"`
	// Where the gateway gets such a token by itself, by the client credentials grant as `client`. It is renewed ahead of
	// its expiry, and when it is refused.
	BearerFrom *BearerFrom `json:"bearer_from,omitempty"`
	// The token_type_hint that is sent, or `off`. Default: `access_token`.
	TokenTypeHint string `json:"token_type_hint,omitempty"`
	// Further form parameters. Placeholders in the values are resolved.
	Param []Pair `json:"param,omitempty"`
	// Further query parameters of the endpoint, which no log shows. Placeholders in the values are resolved.
	EndpointParam []Pair `json:"endpoint_param,omitempty"`
	// Further headers of the request. Placeholders in the values are resolved.
	RequestHeader []Pair `json:"request_header,omitempty"`
	// How the tokens of this authority begin. Where a route names several authorities, a token that is no JWT goes to the
	// first of which a prefix fits. Tokens of an `embedded` server are known by theirs without this.
	TokenPrefix []string `json:"token_prefix,omitempty"`
	// The longest token that is accepted, in bytes; a longer one is refused with 401 and the authority is not asked.
	// Default: 8192.
	MaxToken int64 `json:"max_token,omitempty"`
	// How far the clocks of the authority and the gateway may differ when `nbf` and `iat` are judged. It never
	// stretches `exp`. Default: `10s`.
	Leeway *caddy.Duration `json:"leeway,omitempty"`
	// Allow an http endpoint beyond loopback. Everybody on the way can read the tokens and the client secret.
	InsecureHTTP bool `json:"insecure_http,omitempty"`
	// How long a whole call to the endpoint may take, retries included. Default: `5s`.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// How often a call is repeated after a connection error, 502, 503 or 504, at most 10 times. Default: 1.
	Retries *int `json:"retries,omitempty"`
	// How many calls may be under way at once. Further ones wait for at most `timeout`; when too many wait, the
	// answer is 503. Default: 64.
	MaxConcurrent int `json:"max_concurrent,omitempty"`
	// When the authority is not asked for a while because it does not answer. Default: after 5 failures in a row, for `10s`.
	Breaker *Breaker `json:"breaker,omitempty"`
	// The longest answer that is read, in bytes. Default: 1048576.
	MaxResponse int64 `json:"max_response,omitempty"`
	// Ask for signed answers (RFC 9701), and believe no others.
	JWTResponse *JWTResponse `json:"jwt_response,omitempty"`
	// How many unknown tokens a client may try. Default: any number.
	UnknownTokens *UnknownTokens `json:"unknown_tokens,omitempty"`
	// Where the parts of an answer are, for an authority that does not answer as RFC 7662 demands.
	Answer *Answer `json:"answer,omitempty"`
	// How the calls are carried: the transport of Caddy's reverse proxy, for trust in certificates, a client certificate,
	// resolvers and the like. Default: one with the system's settings.
	Transport json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`
	// How long answers are remembered.
	Cache *Cache `json:"cache,omitempty"`
}

// Pair is a name and its value.
type Pair struct {
	Name  string `json:"name,omitempty"`
	Value string `json:"value,omitempty"`
}

// Client is the client as which the gateway introspects.
type Client struct {
	// The client id. Placeholders are resolved.
	ID string `json:"id,omitempty"`
	// The client secret. Use a placeholder, `{env.NAME}` or `{file./absolute/path}`: Caddy shows its configuration
	// to whoever reaches the admin endpoint.
	Secret string `json:"secret,omitempty"`
}

// ClientKey is a private key in a file.
type ClientKey struct {
	// The path of the file: a PEM block (PKCS #8, PKCS #1 or SEC 1), a JWK or a JWK set. Placeholders are resolved.
	File string `json:"file,omitempty"`
	// The key id that the assertions name. Default: the one of the JWK. In a JWK set it chooses the key.
	KeyID string `json:"kid,omitempty"`
}

// BearerFrom says where the gateway gets an access token of its own.
type BearerFrom struct {
	// The token endpoint: https, or http on loopback.
	TokenEndpoint string `json:"token_endpoint,omitempty"`
	// The scopes that are asked for.
	Scope []string `json:"scope,omitempty"`
}

// Breaker says when an authority that does not answer is left alone.
type Breaker struct {
	// Never.
	Off bool `json:"off,omitempty"`
	// After how many connection errors, timeouts and 5xx in a row, over at least three different tokens.
	Failures int `json:"failures,omitempty"`
	// For how long. Then one call is let through to see.
	Duration caddy.Duration `json:"duration,omitempty"`
}

// UnknownTokens bounds how many tokens that are not remembered clients at one address, or in one IPv6 network of 64 bits, may
// present. A token that the authority calls active does not count. One too many is refused with 429, and the authority is
// not asked.
type UnknownTokens struct {
	// How many, at once and in each `duration`.
	Tokens int `json:"tokens,omitempty"`
	// In which time.
	Duration caddy.Duration `json:"duration,omitempty"`
}

// Answer says where the parts of an answer are. Each is the path of a claim; one that is not given is the member that RFC
// 7662 names.
type Answer struct {
	// Where an answer tells that the token is active.
	Active *Active `json:"active,omitempty"`
	// Where the granted scopes are.
	Scope string `json:"scope,omitempty"`
	// Where the subject is.
	Sub string `json:"sub,omitempty"`
	// Where the name of the user is.
	Username string `json:"username,omitempty"`
	// Where the client is.
	ClientID string `json:"client_id,omitempty"`
	// Where the expiry is, in seconds since the epoch.
	Exp string `json:"exp,omitempty"`
}

// Active says when an answer calls a token active.
type Active struct {
	// The path of a claim.
	Path string `json:"path,omitempty"`
	// The value that it has to equal. Default: it is there, and neither null nor false.
	Value string `json:"value,omitempty"`
}

// Cache says how an authority's answers are remembered. What is remembered is the authority's answer, never a decision.
type Cache struct {
	// Remember nothing: ask on every request.
	Off bool `json:"off,omitempty"`
	// A memory of this authority's own, in bytes, at least 65536. An eighth of it is for inactive answers. Default:
	// 64 MiB shared by all authorities that do not say.
	Memory int64 `json:"memory,omitempty"`
	// The longest life of an active answer. Default: until its `exp`.
	TTL caddy.Duration `json:"ttl,omitempty"`
	// The life of an active answer without `exp`. Default: `1m`.
	DefaultTTL caddy.Duration `json:"default_ttl,omitempty"`
	// The life of an inactive answer; 0 turns it off. Default: `10s`.
	NegativeTTL *caddy.Duration `json:"negative_ttl,omitempty"`
	// The age from which an answer that is in use is confirmed in the background; at twice this age it is confirmed before
	// it is used. So a revocation is seen within twice this time and a call. 0 turns it off. Default: `1m`.
	Revalidate *caddy.Duration `json:"revalidate,omitempty"`
	// How long past `revalidate` an answer is used that cannot be confirmed, since the authority fails; 0 turns it off.
	// Default: until `ttl` or `exp`.
	Stale *caddy.Duration `json:"stale,omitempty"`
}

// MaxRetries is how often a call may be repeated at most.
const MaxRetries = 10

// defaultMaxToken is the longest token, in bytes, where nobody says otherwise.
const defaultMaxToken = 8 << 10

// Check says what is wrong with a configuration, as far as that can be told without its secrets.
func (c *Config) Check() error {
	switch {
	case c == nil:
		return errors.New("is null: it needs 'issuer <url>', 'endpoint <url>' or 'embedded'")
	case c.Embedded && (c.Endpoint != "" || c.Issuer != ""):
		return errors.New("'embedded' excludes 'issuer' and 'endpoint'")
	case c.Embedded && c.signsIn():
		return errors.New("'embedded' needs no client: the server is asked in the same process")
	case c.Embedded && c.calls():
		return errors.New("'embedded' makes no calls: options of the calls to an endpoint mean nothing there")
	case !c.Embedded && c.Endpoint == "" && c.Issuer == "":
		return errors.New("needs 'issuer <url>', 'endpoint <url>' or 'embedded'")
	case c.MaxToken < 0, c.Timeout < 0, c.MaxConcurrent < 0, c.MaxResponse < 0:
		return errors.New("'max_token', 'timeout', 'max_concurrent' and 'max_response' must be positive")
	case c.Retries != nil && (*c.Retries < 0 || *c.Retries > MaxRetries):
		return fmt.Errorf("'retries' must be from 0 to %d", MaxRetries)
	case c.Leeway != nil && *c.Leeway < 0:
		return errors.New("'leeway' must not be negative")
	}
	checks := []func() error{c.checkLiterals, c.Cache.check, c.checkPrefixes, c.UnknownTokens.check}
	if !c.Embedded {
		checks = append(checks, c.checkURLs, c.checkSignIn, c.checkPairs, c.checkTransport, c.checkJWTResponse, c.Breaker.check, c.Answer.check)
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// resolved returns the configuration with the URLs and the client id that placeholders stand for.
func (c *Config) resolved() (*Config, error) {
	if c == nil {
		return nil, nil
	}
	config := *c
	options := map[string]*string{"issuer": &config.Issuer, "endpoint": &config.Endpoint}
	if c.Client != nil {
		client := *c.Client
		config.Client = &client
		options["client"] = &client.ID
	}
	for option, value := range options {
		if !operator.IsPlaceholder(*value) {
			continue
		}
		text, err := operator.Secret(*value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", option, err)
		}
		*value = text
	}
	return &config, nil
}

func (c *Config) checkURLs() error {
	if operator.IsPlaceholder(c.Issuer) || operator.IsPlaceholder(c.Endpoint) {
		return nil // what they stand for is known when the configuration is loaded
	}
	if c.Issuer != "" {
		if err := introspect.CheckIssuer(c.Issuer, c.InsecureHTTP); err != nil {
			return fmt.Errorf("issuer: %w", err)
		}
	}
	if c.Endpoint != "" {
		if err := introspect.CheckURL(c.Endpoint, c.InsecureHTTP); err != nil {
			return fmt.Errorf("endpoint: %w", err)
		}
	}
	if c.BearerFrom != nil {
		if err := introspect.CheckURL(c.BearerFrom.TokenEndpoint, c.InsecureHTTP); err != nil {
			return fmt.Errorf("bearer_from: %w", err)
		}
	}
	return nil
}

// calls tells whether anything is said of the calls to an endpoint.
func (c *Config) calls() bool {
	return c.InsecureHTTP || c.Timeout != 0 || c.Retries != nil || c.MaxConcurrent != 0 || c.MaxResponse != 0 ||
		c.TokenTypeHint != "" || len(c.Param)+len(c.EndpointParam)+len(c.RequestHeader) > 0 ||
		c.Breaker != nil || c.JWTResponse != nil || c.Answer != nil || len(c.Transport) > 0
}

func (c *Config) checkTransport() error {
	if len(c.Transport) == 0 {
		return nil
	}
	var transport struct {
		Protocol string `json:"protocol"`
	}
	if err := json.Unmarshal(c.Transport, &transport); err != nil || transport.Protocol != "http" {
		return errors.New("transport: its protocol must be http")
	}
	return nil
}

func (b *Breaker) check() error {
	switch {
	case b == nil:
		return nil
	case b.Off && *b != Breaker{Off: true}:
		return errors.New("'breaker off' excludes all other breaker options")
	case !b.Off && (b.Failures < 1 || b.Duration <= 0):
		return errors.New("breaker: the number of failures and the duration must be positive")
	}
	return nil
}

func (c *Config) checkPrefixes() error {
	for _, prefix := range c.TokenPrefix {
		if !prefixPattern.MatchString(prefix) {
			return fmt.Errorf("token_prefix %q: must consist of letters, digits and -._~+/, as tokens do", prefix)
		}
	}
	return nil
}

var prefixPattern = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+$`)

func (u *UnknownTokens) check() error {
	if u != nil && (u.Tokens < 1 || u.Duration <= 0) {
		return errors.New("unknown_tokens: the number of tokens and the duration must be positive")
	}
	return nil
}

func (a *Answer) check() error {
	if a != nil && a.Active != nil && a.Active.Path == "" {
		return errors.New("answer: the path of 'active' is empty")
	}
	return nil
}

func (a *Answer) shape() introspect.Shape {
	if a == nil {
		return introspect.Shape{}
	}
	shape := introspect.Shape{Scope: a.Scope, Subject: a.Sub, Username: a.Username, ClientID: a.ClientID, Expiry: a.Exp}
	if a.Active != nil {
		shape.Active, shape.ActiveValue = a.Active.Path, a.Active.Value
	}
	return shape
}

func (c *Cache) check() error {
	switch {
	case c == nil:
		return nil
	case c.Off && *c != Cache{Off: true}:
		return errors.New("'cache off' excludes all other cache options")
	case c.Memory < 0 || c.Memory > 0 && c.Memory < cache.MinMemory || c.Memory > cache.MaxMemory:
		return fmt.Errorf("cache memory must be at least %d bytes, and at most %d", cache.MinMemory, int64(cache.MaxMemory))
	case c.TTL < 0, c.DefaultTTL < 0, c.NegativeTTL != nil && *c.NegativeTTL < 0, c.Revalidate != nil && *c.Revalidate < 0,
		c.Stale != nil && *c.Stale < 0:
		return errors.New("cache times must not be negative")
	}
	return nil
}

// life is how long answers of an authority are remembered. One that tells of every revocation at once needs no
// confirmation of them.
func (c *Config) life(tells bool) cache.Life {
	life := cache.Life{
		DefaultTTL:  cache.DefaultTTL,
		NegativeTTL: cache.DefaultNegativeTTL,
		Revalidate:  cache.DefaultRevalidate,
		Stale:       -1,
		Checks:      cmp.Or(c.MaxConcurrent, introspect.DefaultMaxConcurrent) / 2,
	}
	if tells {
		life.Revalidate = 0
	}
	if c.Cache == nil {
		return life
	}
	life.TTL = time.Duration(c.Cache.TTL)
	if c.Cache.DefaultTTL > 0 {
		life.DefaultTTL = time.Duration(c.Cache.DefaultTTL)
	}
	if c.Cache.NegativeTTL != nil {
		life.NegativeTTL = time.Duration(*c.Cache.NegativeTTL)
	}
	if c.Cache.Revalidate != nil && !tells {
		life.Revalidate = time.Duration(*c.Cache.Revalidate)
	}
	if c.Cache.Stale != nil {
		life.Stale = time.Duration(*c.Cache.Stale)
	}
	return life
}

func (c *Config) timeout() time.Duration {
	if c.Timeout > 0 {
		return time.Duration(c.Timeout)
	}
	return introspect.DefaultTimeout
}

func (c *Config) retries() int {
	if c.Retries != nil {
		return *c.Retries
	}
	return introspect.DefaultRetries
}

// digest names what makes an authority itself, as far as its answers go: two configurations with the same digest
// would be told the same of every token. Secrets and limits are no part of it.
func digest(parts ...string) string {
	hash := sha256.New()
	for _, part := range parts {
		hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		hash.Write([]byte(part))
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// label names an authority that has no name.
func (c *Config) label(digest string) string {
	if c.Embedded {
		return embeddedLabel
	}
	endpoint, err := url.Parse(cmp.Or(c.Endpoint, c.Issuer))
	if err != nil {
		return digest[:8]
	}
	return endpoint.Host + "-" + digest[:8]
}

// embeddedLabel is the label of the embedded authorization server where it has no name.
const embeddedLabel = "embedded"

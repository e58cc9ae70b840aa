package authority

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/internal/operator"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// ownParameters are those that the client writes itself.
var ownParameters = map[string]bool{
	"token": true, "token_type_hint": true, "client_id": true, "client_secret": true, "client_assertion": true,
	"client_assertion_type": true,
}

// ownHeaders are those that the client, or HTTP, writes itself.
var ownHeaders = map[string]bool{
	"Accept": true, "Authorization": true, "Connection": true, "Content-Length": true, "Content-Type": true, "Host": true,
	"Transfer-Encoding": true, "Trailer": true, "Upgrade": true, "Te": true,
}

func (c *Config) checkPairs() error {
	for _, pair := range c.Param {
		if pair.Name == "" || ownParameters[pair.Name] {
			return fmt.Errorf("param %q: this name is the gateway's own, or none", pair.Name)
		}
	}
	for _, pair := range c.EndpointParam {
		if pair.Name == "" {
			return errors.New("endpoint_param: the name is empty")
		}
	}
	for _, pair := range c.RequestHeader {
		if !httpguts.ValidHeaderFieldName(pair.Name) || ownHeaders[textproto.CanonicalMIMEHeaderKey(pair.Name)] {
			return fmt.Errorf("request_header %q: this name is the gateway's own, or none", pair.Name)
		}
	}
	return nil
}

// source makes the Introspector that asks the endpoint of an authority, and names what makes its answers what they are.
func (a *App) source(c *Config, authority *Authority) (introspect.Introspector, string, error) {
	transport, transportDigest, err := a.transport(c)
	if err != nil {
		return nil, "", err
	}
	found, err := a.signIn(c, transport, transportDigest)
	if err != nil {
		return nil, "", err
	}
	config := introspect.ClientConfig{
		Endpoint:     c.Endpoint,
		InsecureHTTP: c.InsecureHTTP,
		Auth:         found.auth,
		OtherAuth:    found.other,
		Hint:         cmp.Or(c.TokenTypeHint, "access_token"),
		Header:       make(http.Header),
		Shape:        c.Answer.shape(),
		Timeout:      c.timeout(),
		Retries:      c.retries(),
		MaxResponse:  c.MaxResponse,
		Transport:    transport,
	}
	if config.Hint == "off" {
		config.Hint = ""
	}
	whom := cmp.Or(c.Endpoint, c.Issuer)
	if config.Ways, err = outliving[introspect.Ways](a, ways, digest(whom, found.digest)); err != nil {
		return nil, "", err
	}
	if c.Endpoint == "" {
		if config.Discovery, err = a.discovery(c, transport, transportDigest, false); err != nil {
			return nil, "", err
		}
	}
	if config.Signed, err = a.signed(c, authority, config.Discovery, transport, transportDigest); err != nil {
		return nil, "", err
	}
	identity := []string{
		"endpoint", c.Endpoint, c.Issuer, config.Hint, c.caller(found), digest(config.Shape.Parts()...), transportDigest,
	}
	identity = append(identity, c.JWTResponse.identity()...)
	pairs, err := c.pairs(&config)
	if err != nil {
		return nil, "", err
	}
	client, err := introspect.NewClient(config)
	if err != nil {
		return nil, "", err
	}
	if config.Signed != nil {
		authority.signing = client
	}
	authority.endpoint = c.Endpoint
	authority.upstream = &upstream{next: client, discovery: config.Discovery}
	limited := introspect.Limit(authority.upstream, cmp.Or(c.MaxConcurrent, introspect.DefaultMaxConcurrent), c.timeout())
	name := digest(append(identity, pairs...)...)
	authority.guard, err = a.guard(c, limited, name)
	authority.breaks = c.Breaker == nil || !c.Breaker.Off
	return authority.guard, name, err
}

// pairs adds the parameters and headers, with placeholders resolved, and returns them in one list.
func (c *Config) pairs(config *introspect.ClientConfig) (all []string, err error) {
	for _, list := range []struct {
		option string
		pairs  []Pair
		into   *url.Values
	}{
		{"param", c.Param, &config.Parameters},
		{"endpoint_param", c.EndpointParam, &config.EndpointParameters},
		{"request_header", c.RequestHeader, (*url.Values)(&config.Header)},
	} {
		if *list.into == nil {
			*list.into = make(url.Values)
		}
		for _, pair := range list.pairs {
			value, err := operator.Secret(pair.Value)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", list.option, pair.Name, err)
			}
			name := pair.Name
			if list.option == "request_header" {
				if !httpguts.ValidHeaderFieldValue(value) {
					return nil, fmt.Errorf("%s %s: the value cannot be sent in a header", list.option, pair.Name)
				}
				name = textproto.CanonicalMIMEHeaderKey(name)
			}
			list.into.Add(name, value)
			all = append(all, list.option, name, value)
		}
	}
	return all, nil
}

// transport returns what carries the calls, nil for the default, and what names whom it takes for the authority: what one
// transport has been told another one that looks more closely must not believe. Times and sizes are no part of that.
func (a *App) transport(c *Config) (http.RoundTripper, string, error) {
	if len(c.Transport) == 0 {
		return nil, "", nil
	}
	var trust struct {
		TLS      json.RawMessage `json:"tls"`
		Resolver json.RawMessage `json:"resolver"`
		Proxy    json.RawMessage `json:"network_proxy"`
		ProxyURL json.RawMessage `json:"forward_proxy_url"`
	}
	if err := json.Unmarshal(c.Transport, &trust); err != nil { // loading the module clears it
		return nil, "", fmt.Errorf("transport: %w", err)
	}
	name := digest(string(trust.TLS), string(trust.Resolver), string(trust.Proxy), string(trust.ProxyURL))
	module, err := a.ctx.LoadModule(c, "Transport")
	if err != nil {
		return nil, "", fmt.Errorf("transport: %w", err)
	}
	transport, ok := module.(http.RoundTripper)
	if !ok {
		return nil, "", fmt.Errorf("transport: %T carries no HTTP requests", module)
	}
	return withReplacer{transport}, name, nil
}

// withReplacer gives a transport of Caddy's what it looks for in the context of a proxied request, without anything of one:
// it would panic over a placeholder, such as in tls_server_name, in a goroutine of its own.
type withReplacer struct{ http.RoundTripper }

// RoundTrip makes a call.
func (t withReplacer) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := context.WithValue(request.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	return t.RoundTripper.RoundTrip(request.WithContext(ctx))
}

// discovery finds what the issuer publishes: its introspection endpoint, or only where its keys are.
func (a *App) discovery(c *Config, transport http.RoundTripper, transportDigest string, keysOnly bool) (*introspect.Discovery, error) {
	known, err := outliving[introspect.Discovered](a, discovered,
		digest(c.Issuer, transportDigest, strconv.FormatBool(c.InsecureHTTP), strconv.FormatBool(keysOnly)))
	if err != nil {
		return nil, err
	}
	return introspect.NewDiscovery(introspect.DiscoveryConfig{
		Issuer:       c.Issuer,
		InsecureHTTP: c.InsecureHTTP,
		Keys:         keysOnly,
		Timeout:      c.timeout(),
		MaxResponse:  c.MaxResponse,
		Transport:    transport,
		Known:        known,
	})
}

// guard stops asking an authority that is broken. What it has counted outlives a reload; that the credentials were refused
// does not, since a reload may bring the right ones.
func (a *App) guard(c *Config, next introspect.Introspector, identity string) (*introspect.Guard, error) {
	var client string
	if c.Client != nil {
		client = c.Client.ID
	}
	breaker, err := outliving[introspect.Breaker](a, breakers, digest(identity, client))
	if err != nil {
		return nil, err
	}
	config := introspect.GuardConfig{Failures: introspect.DefaultFailures, Open: introspect.DefaultOpen, Breaker: breaker}
	if c.Breaker != nil {
		config.Failures, config.Open = c.Breaker.Failures, time.Duration(c.Breaker.Duration)
	}
	return introspect.NewGuard(next, config), nil
}

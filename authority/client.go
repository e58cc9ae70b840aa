package authority

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"

	"golang.org/x/net/http/httpguts"

	"github.com/portcullis-gateway/portcullis/internal/operator"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// The ways to sign in at an endpoint (the names of the IANA registry of token endpoint authentication methods), and the
// ways to write the credentials of the first.
const (
	clientSecretBasic = "client_secret_basic"
	clientSecretPost  = "client_secret_post"
	noClientAuth      = "none"

	encodingAuto = "auto"
	encodingForm = "form"
	encodingRaw  = "raw"
)

// signsIn tells whether anything is said of how to sign in.
func (c *Config) signsIn() bool {
	return c.Client != nil || c.ClientAuth != "" || c.BasicEncoding != "" || c.Bearer != ""
}

// method is how the gateway signs in: what is said, else what the credentials suggest.
func (c *Config) method() string {
	if c.ClientAuth == "" && c.Client != nil && c.Client.Secret != "" {
		return clientSecretBasic
	}
	return c.ClientAuth
}

// checkSignIn demands exactly one way to sign in.
func (c *Config) checkSignIn() error {
	hasSecret := c.Client != nil && c.Client.Secret != ""
	method := c.method()
	switch {
	case c.Bearer != "" && (c.Client != nil || c.ClientAuth != ""):
		return errors.New("'bearer' excludes 'client' and 'client_auth': there is one way to sign in")
	case c.Bearer != "":
	case method == "" && c.Client == nil:
		return errors.New("needs 'client <id> <secret>' or 'bearer <token>' to sign in at the endpoint, or 'client_auth none'")
	case method == "":
		return errors.New("'client' has no secret: add one, or say 'client_auth none'")
	case method == clientSecretBasic, method == clientSecretPost:
		if !hasSecret || c.Client.ID == "" {
			return fmt.Errorf("'client_auth %s' needs 'client <id> <secret>'", method)
		}
	case method == noClientAuth:
		if hasSecret {
			return errors.New("'client_auth none' sends no secret: leave it out")
		}
	default:
		return fmt.Errorf("client_auth %q: must be %s, %s or %s", method, clientSecretBasic, clientSecretPost, noClientAuth)
	}
	switch c.BasicEncoding {
	case "":
	case encodingAuto, encodingForm, encodingRaw:
		if c.Bearer != "" || method != clientSecretBasic {
			return errors.New("'basic_encoding' is for 'client_auth client_secret_basic'")
		}
	default:
		return fmt.Errorf("basic_encoding %q: must be auto, form or raw", c.BasicEncoding)
	}
	return nil
}

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

// auth makes the credentials, and the same ones written in another way if that may be what the server wants.
func (c *Config) auth() (auth, other introspect.ClientAuth, err error) {
	if c.Bearer != "" {
		token, err := operator.Secret(c.Bearer)
		if err != nil {
			return nil, nil, fmt.Errorf("bearer: %w", err)
		}
		return introspect.BearerToken(token), nil, nil
	}
	if c.method() == noClientAuth {
		var id string
		if c.Client != nil {
			id = c.Client.ID
		}
		return introspect.NoAuth{ID: id}, nil, nil
	}
	secret, err := operator.Secret(c.Client.Secret)
	if err != nil {
		return nil, nil, fmt.Errorf("client secret: %w", err)
	}
	if c.method() == clientSecretPost {
		return introspect.ClientSecretPost{ID: c.Client.ID, Secret: secret}, nil, nil
	}
	basic := introspect.ClientSecretBasic{ID: c.Client.ID, Secret: secret, Raw: c.BasicEncoding == encodingRaw}
	if cmp.Or(c.BasicEncoding, encodingAuto) == encodingAuto && basic.Distinct() {
		other = introspect.ClientSecretBasic{ID: c.Client.ID, Secret: secret, Raw: true}
	}
	return basic, other, nil
}

// caller names as whom the gateway asks, beside its client id: an authority may tell one what it does not tell another.
// Rotating a client's secret changes nobody; another bearer token may be somebody else's.
func (c *Config) caller(auth introspect.ClientAuth) string {
	switch auth := auth.(type) {
	case introspect.BearerToken:
		return "bearer " + digest(string(auth))
	case introspect.NoAuth:
		return "anonymous"
	}
	return "client"
}

// client makes the Introspector that asks the endpoint, and names what makes its answers what they are. What was found
// out earlier about credentials it gets from known, by a name that holds them as a digest.
func (c *Config) client(known func(credentials string) (*introspect.Ways, error)) (introspect.Introspector, string, error) {
	auth, other, err := c.auth()
	if err != nil {
		return nil, "", err
	}
	config := introspect.ClientConfig{
		Endpoint:     c.Endpoint,
		InsecureHTTP: c.InsecureHTTP,
		Auth:         auth,
		OtherAuth:    other,
		Hint:         cmp.Or(c.TokenTypeHint, "access_token"),
		Header:       make(http.Header),
		Timeout:      c.timeout(),
		Retries:      introspect.DefaultRetries,
		MaxResponse:  c.MaxResponse,
	}
	if basic, ok := auth.(introspect.ClientSecretBasic); ok && other != nil {
		if config.Ways, err = known(digest(c.Endpoint, basic.ID, basic.Secret)); err != nil {
			return nil, "", err
		}
	}
	if config.Hint == "off" {
		config.Hint = ""
	}
	if c.Retries != nil {
		config.Retries = *c.Retries
	}
	identity := []string{"endpoint", c.Endpoint, config.Hint, c.caller(auth)}
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
				return nil, "", fmt.Errorf("%s %s: %w", list.option, pair.Name, err)
			}
			if list.option == "request_header" && !httpguts.ValidHeaderFieldValue(value) {
				return nil, "", fmt.Errorf("%s %s: the value cannot be sent in a header", list.option, pair.Name)
			}
			name := pair.Name
			if list.option == "request_header" {
				name = textproto.CanonicalMIMEHeaderKey(name)
			}
			list.into.Add(name, value)
			identity = append(identity, list.option, name, value)
		}
	}
	client, err := introspect.NewClient(config)
	if err != nil {
		return nil, "", err
	}
	limit := cmp.Or(c.MaxConcurrent, introspect.DefaultMaxConcurrent)
	return introspect.Limit(client, limit, c.timeout()), digest(identity...), nil
}

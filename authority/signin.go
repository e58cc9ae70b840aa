package authority

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/internal/operator"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// The ways to sign in at an endpoint (the names of the IANA registry of token endpoint authentication methods), and the
// ways to write the credentials of the first.
const (
	clientSecretBasic = "client_secret_basic"
	clientSecretPost  = "client_secret_post"
	clientSecretJWT   = "client_secret_jwt"
	privateKeyJWT     = "private_key_jwt"
	tlsClientAuth     = "tls_client_auth"
	noClientAuth      = "none"

	encodingAuto = "auto"
	encodingForm = "form"
	encodingRaw  = "raw"
)

// ClientAuthMethods are the values of client_auth.
var ClientAuthMethods = []string{
	clientSecretBasic, clientSecretPost, clientSecretJWT, privateKeyJWT, tlsClientAuth, noClientAuth,
}

// signsIn tells whether anything is said of how to sign in.
func (c *Config) signsIn() bool {
	return c.Client != nil || c.ClientAuth != "" || c.BasicEncoding != "" || c.ClientKey != nil || c.AssertionAudience != "" ||
		c.Bearer != "" || c.BearerFrom != nil
}

// method is how the gateway signs in: what is said, else what the credentials suggest.
func (c *Config) method() string {
	switch {
	case c.ClientAuth != "":
	case c.ClientKey != nil:
		return privateKeyJWT
	case c.Client != nil && c.Client.Secret != "":
		return clientSecretBasic
	}
	return c.ClientAuth
}

// checkSignIn demands exactly one way to sign in, and all that it needs.
func (c *Config) checkSignIn() error {
	method := c.method()
	switch {
	case c.Bearer != "" && (c.Client != nil || c.ClientAuth != "" || c.BearerFrom != nil):
		return errors.New("'bearer' excludes 'client', 'client_auth' and 'bearer_from': there is one way to sign in")
	case c.Bearer == "":
		if err := c.checkMethod(method); err != nil {
			return err
		}
	}
	switch {
	case c.BearerFrom != nil && method == noClientAuth:
		return errors.New("'bearer_from' needs a client that signs in at the token endpoint (RFC 6749 section 4.4)")
	case c.ClientKey != nil && (c.Bearer != "" || method != privateKeyJWT):
		return errors.New("'client_key' is for 'client_auth private_key_jwt'")
	case c.AssertionAudience != "" && (c.Bearer != "" || method != privateKeyJWT && method != clientSecretJWT):
		return errors.New("'assertion_audience' is for 'client_auth client_secret_jwt' and 'private_key_jwt'")
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

// checkMethod demands what a way to sign in as a client needs, and nothing that it would ignore.
func (c *Config) checkMethod(method string) error {
	hasID := c.Client != nil && c.Client.ID != ""
	hasSecret := c.Client != nil && c.Client.Secret != ""
	switch method {
	case "":
		if c.Client == nil {
			return errors.New("needs 'client <id> <secret>' or 'bearer <token>' to sign in at the endpoint, or 'client_auth none'")
		}
		return errors.New("'client' has no secret: add one, or say 'client_auth none'")
	case clientSecretBasic, clientSecretPost, clientSecretJWT:
		if !hasSecret || !hasID {
			return fmt.Errorf("'client_auth %s' needs 'client <id> <secret>'", method)
		}
	case privateKeyJWT:
		if !hasID || hasSecret || c.ClientKey == nil || c.ClientKey.File == "" {
			return errors.New("'client_auth private_key_jwt' needs 'client <id>', without a secret, and 'client_key <file>'")
		}
	case tlsClientAuth:
		if !hasID || hasSecret || !c.hasClientCertificate() {
			return errors.New("'client_auth tls_client_auth' needs 'client <id>', without a secret, and a client certificate: " +
				"'transport http' with 'tls_client_auth <certificate> <key>'")
		}
	case noClientAuth:
		if hasSecret {
			return errors.New("'client_auth none' sends no secret: leave it out")
		}
	default:
		return fmt.Errorf("client_auth %q: must be one of %s", method, strings.Join(ClientAuthMethods, ", "))
	}
	return nil
}

// hasClientCertificate tells whether the transport shows a certificate in the TLS handshake.
func (c *Config) hasClientCertificate() bool {
	var transport struct {
		TLS struct {
			File     string `json:"client_certificate_file"`
			Automate string `json:"client_certificate_automate"`
		} `json:"tls"`
	}
	return json.Unmarshal(c.Transport, &transport) == nil && transport.TLS.File+transport.TLS.Automate != ""
}

// credentials are how the gateway signs in, with all placeholders resolved.
type credentials struct {
	auth, other introspect.ClientAuth
	// digest is of all that the server sees of them.
	digest string
}

// bearerToken resolves the token with which the gateway signs in.
func (c *Config) bearerToken() (credentials, error) {
	token, err := operator.Secret(c.Bearer)
	if err != nil {
		return credentials{}, fmt.Errorf("bearer: %w", err)
	}
	return credentials{auth: introspect.BearerToken(token), digest: digest("bearer", token)}, nil
}

// clientCredentials makes the credentials of the client, and the same ones written in another way if that may be what the server
// wants.
func (c *Config) clientCredentials(transportDigest string) (credentials, error) {
	method := c.method()
	var id string
	if c.Client != nil {
		id = c.Client.ID
	}
	switch method {
	case noClientAuth, tlsClientAuth:
		return credentials{auth: introspect.NoAuth{ID: id}, digest: digest(method, id, transportDigest)}, nil
	case privateKeyJWT:
		return c.keyCredentials(id)
	}
	secret, err := operator.Secret(c.Client.Secret)
	if err != nil {
		return credentials{}, fmt.Errorf("client secret: %w", err)
	}
	found := credentials{digest: digest(method, id, secret)}
	switch method {
	case clientSecretPost:
		found.auth = introspect.ClientSecretPost{ID: id, Secret: secret}
	case clientSecretJWT:
		found.auth, err = introspect.NewSecretAssertion(id, secret, c.audience(), time.Now)
	default:
		basic := introspect.ClientSecretBasic{ID: id, Secret: secret, Raw: c.BasicEncoding == encodingRaw}
		if cmp.Or(c.BasicEncoding, encodingAuto) == encodingAuto && basic.Distinct() {
			found.other = introspect.ClientSecretBasic{ID: id, Secret: secret, Raw: true}
		}
		found.auth = basic
	}
	return found, err
}

func (c *Config) keyCredentials(id string) (credentials, error) {
	name, err := operator.Secret(c.ClientKey.File)
	if err != nil {
		return credentials{}, fmt.Errorf("client_key: %w", err)
	}
	if strings.Contains(name, "PRIVATE KEY") || strings.HasPrefix(name, "{") {
		return credentials{}, errors.New("client_key: this is the key itself: it takes the path of a file that holds it")
	}
	key, err := os.ReadFile(name)
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathError.Err // the path may be a secret that was taken for one
	}
	if err != nil {
		return credentials{}, fmt.Errorf("client_key %s: %w", c.ClientKey.File, err)
	}
	assertion, err := introspect.NewKeyAssertion(id, key, c.ClientKey.KeyID, c.audience(), time.Now)
	if err != nil {
		return credentials{}, fmt.Errorf("client_key %s: %w", c.ClientKey.File, err)
	}
	return credentials{auth: assertion, digest: digest(privateKeyJWT, id, string(key))}, nil
}

// audience is whom the gateway's assertions are for.
func (c *Config) audience() string {
	var tokenEndpoint string
	if c.BearerFrom != nil {
		tokenEndpoint = c.BearerFrom.TokenEndpoint
	}
	return cmp.Or(c.AssertionAudience, c.Issuer, tokenEndpoint, c.Endpoint)
}

// signIn makes what the gateway signs in with at the introspection endpoint.
func (a *App) signIn(c *Config, transport http.RoundTripper, transportDigest string) (credentials, error) {
	if c.Bearer != "" {
		return c.bearerToken()
	}
	client, err := c.clientCredentials(transportDigest)
	if err != nil || c.BearerFrom == nil {
		return client, err
	}
	config := introspect.TokenSourceConfig{
		Endpoint:     c.BearerFrom.TokenEndpoint,
		InsecureHTTP: c.InsecureHTTP,
		Scope:        c.BearerFrom.Scope,
		Auth:         client.auth,
		OtherAuth:    client.other,
		Timeout:      c.timeout(),
		Retries:      c.retries(),
		MaxResponse:  c.MaxResponse,
		Transport:    transport,
	}
	of := digest(append([]string{client.digest, transportDigest, c.BearerFrom.TokenEndpoint}, c.BearerFrom.Scope...)...)
	if config.Ways, err = outliving[introspect.Ways](a, ways, of); err != nil {
		return credentials{}, err
	}
	if config.Held, err = outliving[introspect.HeldToken](a, heldTokens, of); err != nil {
		return credentials{}, err
	}
	source, err := introspect.NewTokenSource(config)
	return credentials{auth: source, digest: of}, err
}

// caller names as whom the gateway asks, beside its client id: an authority may tell one what it does not tell another.
// Rotating a client's secret changes nobody; another bearer token may be somebody else's.
func (c *Config) caller(found credentials) string {
	switch {
	case c.Bearer != "":
		return "bearer " + found.digest
	case c.BearerFrom != nil:
		return "bearer_from " + digest(append([]string{c.BearerFrom.TokenEndpoint}, c.BearerFrom.Scope...)...)
	case c.method() == noClientAuth:
		return "anonymous"
	}
	return "client"
}

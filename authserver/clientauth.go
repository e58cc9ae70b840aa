package authserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/bearer"
)

// The ways in which a client authenticates (RFC 7591 section 2, OpenID Connect Core section 9). A client that
// authenticates by AuthNone is a public one.
const (
	AuthSecretBasic   = "client_secret_basic"
	AuthSecretPost    = "client_secret_post"
	AuthSecretJWT     = "client_secret_jwt"
	AuthPrivateKeyJWT = "private_key_jwt"
	AuthNone          = "none"
)

// ClientAuthMethods lists them.
var ClientAuthMethods = []string{AuthSecretBasic, AuthSecretPost, AuthSecretJWT, AuthPrivateKeyJWT, AuthNone}

const (
	// assertionType is the one client_assertion_type (RFC 7523 section 2.2).
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// clientAssertion is the media type of an assertion by which a client authenticates (RFC 7523bis section 4).
	clientAssertion = "client-authentication+jwt"

	basicChallenge = `Basic realm="authorization server"`
)

// checkAuth demands what the way to authenticate needs, and nothing that it would ignore.
func (c *Client) checkAuth() error {
	if c.Auth == "" && c.Secret == nil && c.Keys != nil {
		c.Auth = AuthPrivateKeyJWT
	}
	switch c.Auth {
	case "":
		if c.Secret == nil {
			return errors.New("needs a secret, or 'jwks' for private_key_jwt, or 'auth none'")
		}
	case AuthSecretBasic, AuthSecretPost:
		if c.Secret == nil {
			return fmt.Errorf("'auth %s' needs a secret", c.Auth)
		}
	case AuthSecretJWT:
		if c.Secret == nil || c.Secret.key == nil {
			return fmt.Errorf("'auth %s' needs a secret to sign with", c.Auth)
		}
	case AuthPrivateKeyJWT:
		if c.Keys == nil {
			return errors.New("'auth private_key_jwt' needs 'jwks'")
		}
	case AuthNone:
		switch {
		case c.MayIntrospect:
			return errors.New("'introspect' is not for a public client: anybody could ask in its name")
		case slices.Contains(c.Grants, GrantClientCredentials):
			return errors.New("the grant client_credentials is not for a public client (RFC 6749 section 4.4)")
		}
	default:
		return fmt.Errorf("auth %q: must be one of %s", c.Auth, strings.Join(ClientAuthMethods, ", "))
	}
	switch {
	case c.Keys != nil && c.Auth != AuthPrivateKeyJWT:
		return errors.New("'jwks' is for 'auth private_key_jwt'")
	case c.Secret != nil && (c.Auth == AuthPrivateKeyJWT || c.Auth == AuthNone):
		return fmt.Errorf("'auth %s' uses no secret: leave it out", c.Auth)
	}
	return nil
}

// authenticatesBy tells whether this is the client's way to authenticate. One that is registered without a way has the
// two of RFC 6749 section 2.3.1.
func (c *Client) authenticatesBy(method string) bool {
	if c.Auth == "" {
		return method == AuthSecretBasic || method == AuthSecretPost
	}
	return c.Auth == method
}

// authenticate finds out which client is asking at one of the endpoints (RFC 6749 section 2.3). It has to say who it is
// in one way, which is the one that it is registered for. Why it is refused nobody learns who has not the client's
// secret or key. A public client only says its name.
func (s *Server) authenticate(r *http.Request, form map[string]string, path string) (*Client, error) {
	lines := r.Header["Authorization"]
	if isAmbiguous(lines, form) {
		return nil, refuse(http.StatusBadRequest, "invalid_request", "more than one client authentication")
	}
	var client *Client
	var err error
	challenge := ""
	switch {
	case len(lines) == 1:
		challenge = basicChallenge
		if candidates, ok := basicCredentials(lines[0]); ok {
			client, err = s.find(r, AuthSecretBasic, candidates)
		}
	case hasAssertion(form):
		client, err = s.findByAssertion(r.Context(), form, path)
	case form["client_secret"] != "":
		client, err = s.find(r, AuthSecretPost, [][2]string{{form["client_id"], form["client_secret"]}})
	default:
		if client, err = s.client(r.Context(), form["client_id"]); client != nil && !client.authenticatesBy(AuthNone) {
			client = nil
		}
	}
	switch id, ok := form["client_id"]; {
	case err != nil:
		return nil, err
	case client == nil:
		return nil, &oauthError{
			status: http.StatusUnauthorized, code: "invalid_client", description: "client authentication failed", challenge: challenge,
		}
	case ok && id != client.ID:
		return nil, refuse(http.StatusBadRequest, "invalid_request", "client_id differs from the client that authenticated")
	}
	s.notice(r.Context(), client)
	return client, nil
}

// isAmbiguous tells whether a request authenticates in more than one way.
func isAmbiguous(lines []string, form map[string]string) bool {
	ways := len(lines)
	if form["client_secret"] != "" {
		ways++
	}
	if hasAssertion(form) {
		ways++
	}
	return ways > 1
}

func hasAssertion(form map[string]string) bool {
	return form["client_assertion"] != "" || form["client_assertion_type"] != ""
}

// find returns the client that one of the credentials belongs to, or nil.
func (s *Server) find(r *http.Request, method string, candidates [][2]string) (*Client, error) {
	return s.throttled(r, candidates[0][0], func(ctx context.Context) (*Client, error) {
		for _, credentials := range candidates {
			if client, err := s.findOne(ctx, method, credentials[0], credentials[1]); err != nil || client != nil {
				return client, err
			}
		}
		return nil, nil
	})
}

// findOne returns the client with an id and a secret, or nil.
func (s *Server) findOne(ctx context.Context, method, id, secret string) (*Client, error) {
	client, err := s.client(ctx, id)
	if err != nil {
		return nil, err
	}
	decoy := s.decoySecret()
	checked := decoy
	exists := client != nil
	if exists && client.authenticatesBy(method) {
		checked = client.Secret
	}
	matches, err := checked.matches(ctx, secret)
	if err != nil {
		return nil, err
	}
	if !matches && checked != decoy {
		matches, err = client.hadSecret(ctx, secret, s.now())
	}
	if err != nil || matches {
		return client, err
	}
	if decoy.slow && !checked.slow {
		// A quick refusal would tell that this client exists, among others that take their time.
		if _, err := decoy.matches(ctx, secret); err != nil {
			return nil, err
		}
	}
	if exists {
		err = s.asUnknown(ctx, id)
	}
	return nil, err
}

// hadSecret says whether the client had the secret before its present one, and may still use it.
func (c *Client) hadSecret(ctx context.Context, secret string, now time.Time) (bool, error) {
	for _, former := range c.former {
		if !now.Before(former.until) {
			continue
		}
		if matches, err := former.secret.matches(ctx, secret); err != nil || matches {
			return matches, err
		}
	}
	return false, nil
}

// findByAssertion returns the client that has signed an assertion (RFC 7523 section 3), or nil. The assertion is of no
// further use then.
func (s *Server) findByAssertion(ctx context.Context, form map[string]string, path string) (*Client, error) {
	if form["client_assertion_type"] != assertionType {
		return nil, nil
	}
	a, err := parseAssertion(form["client_assertion"], assertionAlgorithms, clientAssertion)
	if err != nil {
		return nil, nil
	}
	client, err := s.signer(ctx, a)
	if err != nil || client == nil {
		return nil, err
	}
	refusal := func(reason string) error { return refuse(http.StatusUnauthorized, "invalid_client", reason) }
	switch id, ok := form["client_id"]; {
	case a.claims.Issuer != client.ID:
		return nil, refusal("iss and sub of the assertion must be the client_id")
	case ok && id != client.ID:
		return nil, refusal("client_id differs from the client that signed the assertion")
	case a.claims.ID == "":
		return nil, refusal("the assertion has no jti")
	}
	if err := a.check(s.now(), []string{s.issuer, s.url(tokenPath), s.url(path)}); err != nil {
		return nil, refusal(err.Error())
	}
	switch fresh, err := s.useOnce(ctx, clientAssertion, client.ID, a); {
	case err != nil:
		return nil, err
	case !fresh:
		return nil, refusal("the assertion was used before")
	}
	return client, nil
}

// signer returns the client that is the subject of an assertion, if it has signed it in the way that it is registered
// for. Whether there is such a client the time that this takes does not tell.
func (s *Server) signer(ctx context.Context, a *assertion) (client *Client, err error) {
	if a.claims.Subject != nil {
		if client, err = s.client(ctx, *a.claims.Subject); err != nil {
			return nil, err
		}
	}
	method := AuthPrivateKeyJWT
	if slices.Contains(secretAlgorithms, a.algorithm) {
		method = AuthSecretJWT
	}
	if client == nil || !client.authenticatesBy(method) {
		for _, key := range s.decoyKeys {
			a.isSignedWith(key) // one of them fits
		}
		return nil, nil
	}
	signed := false
	if method == AuthSecretJWT {
		signed = a.isSignedWith(client.Secret.key)
	} else if signed, err = client.Keys.verify(ctx, a); err != nil && ctx.Err() == nil {
		s.logger.WarnContext(ctx, "a client cannot authenticate",
			slog.String("client_id", client.ID), slog.String("error", err.Error()))
	}
	if !signed {
		return nil, s.asUnknown(ctx, client.ID)
	}
	return client, nil
}

// newDecoyKeys returns a key of each kind, for the assertions of clients that do not exist.
func newDecoyKeys() ([]any, error) {
	random := make([]byte, leastRSA/8)
	_, _ = rand.Read(random) // never fails
	keys := []any{random[:64], ed25519.NewKeyFromSeed(random[:ed25519.SeedSize]).Public()}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key.Public())
	}
	// To check a signature takes as long with any odd number for a modulus.
	modulus := new(big.Int).SetBytes(random)
	modulus.SetBit(modulus, leastRSA-1, 1).SetBit(modulus, 0, 1)
	return append(keys, &rsa.PublicKey{N: modulus, E: 65537}), nil
}

// describeClientAuth says in the metadata how the clients that are registered authenticate at the three endpoints (RFC
// 8414 section 2).
func (s *Server) describeClientAuth(members map[string]any) {
	var methods, algorithms []string
	for _, method := range ClientAuthMethods {
		if s.anyClient(func(c *Client) bool { return c.authenticatesBy(method) }) ||
			s.registration != nil && slices.Contains(registrationMethods, method) {
			methods = append(methods, method)
		}
	}
	if len(methods) == 0 {
		methods = []string{AuthSecretBasic, AuthSecretPost}
	}
	if slices.Contains(methods, AuthPrivateKeyJWT) {
		for _, algorithm := range publicKeyAlgorithms {
			algorithms = append(algorithms, string(algorithm))
		}
	}
	if slices.Contains(methods, AuthSecretJWT) {
		for _, algorithm := range secretAlgorithms {
			algorithms = append(algorithms, string(algorithm))
		}
	}
	introspection := slices.DeleteFunc(slices.Clone(methods), func(method string) bool { return method == AuthNone })
	if s.anyClient(func(c *Client) bool { return slices.Contains(c.Scopes, scopeIntrospection) }) {
		introspection = append(introspection, bearer.SchemeBearer, bearer.SchemeDPoP)
	}
	for endpoint, supported := range map[string][]string{
		"token_endpoint": methods, "introspection_endpoint": introspection, "revocation_endpoint": methods,
	} {
		members[endpoint+"_auth_methods_supported"] = supported
		if len(algorithms) > 0 {
			members[endpoint+"_auth_signing_alg_values_supported"] = algorithms
		}
	}
}

func (s *Server) anyClient(holds func(*Client) bool) bool {
	for _, client := range s.clients {
		if holds(client) {
			return true
		}
	}
	return false
}

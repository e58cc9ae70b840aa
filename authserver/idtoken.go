package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// scopeOpenID makes an authorization request one of OpenID Connect (Core section 3.1.2.1), and scopeOffline is for tokens
// that outlive the session (section 11).
const (
	scopeOpenID  = "openid"
	scopeOffline = "offline_access"
)

// idTokenLife is how long an ID token is good for. It says that somebody has signed in, and is no key to anything.
const idTokenLife = time.Hour

// acrPassword says that a user has signed in with a password.
const acrPassword = "urn:portcullis:acr:password"

// authenticationMethods are the methods (RFC 8176) behind each acr that the server offers.
var authenticationMethods = map[string][]string{acrPassword: {"pwd"}}

// typIDToken is the `typ` of ID tokens. What else the server may sign has another.
const typIDToken = "JWT"

// maxSubject bounds the subject of an ID token, in ASCII characters (OpenID Connect Core section 2).
const maxSubject = 255

// isSubject says whether a name can be the subject of an ID token.
func isSubject(name string) bool { return len(name) <= maxSubject && isVisible(name) }

// idTokenAlgorithm is what the client's ID tokens are signed by.
func (c *Client) idTokenAlgorithm() jose.SignatureAlgorithm {
	if c.IDTokenAlgorithm == "" {
		return signingAlgorithms[0]
	}
	return jose.SignatureAlgorithm(c.IDTokenAlgorithm)
}

// checkIDTokenAlgorithm demands an algorithm that the server signs with.
func (c *Client) checkIDTokenAlgorithm() error {
	if !slices.Contains(signingAlgorithms, c.idTokenAlgorithm()) {
		return fmt.Errorf("id_token_signed_response_alg must be one of %v", signingAlgorithms)
	}
	return nil
}

// accessHash ties an ID token to an access token (OpenID Connect Core section 3.1.3.6). Both of signingAlgorithms hash
// with SHA-256.
func accessHash(token string) string {
	hash := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(hash[:sha256.Size/2])
}

// addIDToken adds an ID token (OpenID Connect Core section 2) where the access token speaks of a user and has the scope
// openid. It is signed before anything is used up.
func (s *Server) addIDToken(ctx context.Context, issued *issuance, request *tokenRequest, g *grant) error {
	access := issued.tokens[0]
	if g.user == nil || !slices.Contains(access.Scope, scopeOpenID) {
		return nil
	}
	claims := map[string]any{
		"iss":     s.issuer,
		"sub":     access.Subject,
		"aud":     access.ClientID,
		"iat":     access.IssuedAt.Unix(),
		"exp":     access.IssuedAt.Add(idTokenLife).Unix(),
		"at_hash": accessHash(issued.members["access_token"].(string)),
	}
	if access.AuthTime > 0 {
		claims["auth_time"], claims["acr"], claims["amr"] = access.AuthTime, access.ACR, authenticationMethods[access.ACR]
	}
	if g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	token, err := s.sign(ctx, request.client.idTokenAlgorithm(), typIDToken, claims)
	if err != nil {
		return err
	}
	issued.members["id_token"] = token
	return nil
}

// hint is what an ID token says that a client sends back (OpenID Connect Core section 3.1.2.1).
type hint struct{ subject, clientID string }

var errNoHint = errors.New("id_token_hint is not an ID token of this server")

// readHint reads an ID token that this server has issued. It may have expired.
func (s *Server) readHint(ctx context.Context, text string) (*hint, error) {
	token, err := jose.ParseSignedCompact(text, signingAlgorithms)
	if err != nil || len(token.Signatures) != 1 {
		return nil, errNoHint
	}
	header := token.Signatures[0].Protected
	if header.ExtraHeaders[jose.HeaderType] != typIDToken {
		return nil, errNoHint
	}
	keys, err := s.signing[jose.SignatureAlgorithm(header.Algorithm)].current(ctx, false)
	if err != nil {
		return nil, err
	}
	keys = published(keys, s.now())
	at := slices.IndexFunc(keys, func(key signingKey) bool { return key.JWK.KeyID == header.KeyID })
	if at < 0 {
		return nil, errNoHint
	}
	payload, err := token.Verify(keys[at].JWK.Public())
	if err != nil {
		return nil, errNoHint
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience string `json:"aud"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Issuer != s.issuer || claims.Subject == "" {
		return nil, errNoHint
	}
	return &hint{claims.Subject, claims.Audience}, nil
}

// outlivesSession says whether tokens with a scope go on working when the user has signed out (OpenID Connect Core
// section 11).
func outlivesSession(scope []string) bool { return slices.Contains(scope, scopeOffline) }

package authserver

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/internal/jwks"
)

// assertion is a JWT that somebody presents as a proof (RFC 7523 section 3). Until its signature is verified, what it says
// is only what somebody says.
type assertion struct {
	jws       *jose.JSONWebSignature
	algorithm jose.SignatureAlgorithm
	kid       string
	claims    claims
	// signed is what the signature covers. Unlike the signature, nobody without the key can write it in another way.
	signed string
}

// claims are those of RFC 7523 section 3.
type claims struct {
	Issuer    string   `json:"iss"`
	Subject   *string  `json:"sub"`
	Audience  audience `json:"aud"`
	Expiry    *instant `json:"exp"`
	NotBefore *instant `json:"nbf"`
	IssuedAt  *instant `json:"iat"`
	ID        string   `json:"jti"`
}

// The algorithms of assertions, by the kind of key.
var (
	publicKeyAlgorithms = jwks.Algorithms
	secretAlgorithms    = []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}
	assertionAlgorithms = slices.Concat(publicKeyAlgorithms, secretAlgorithms)
)

const (
	// assertionLife is the longest that an assertion may be good for.
	assertionLife = time.Hour
	// assertionLeeway is by how much the clock of whoever signs an assertion may differ. It never prolongs exp.
	assertionLeeway = time.Minute
	// lastInstant is the end of the year 9999.
	lastInstant = 253402300799
)

var errNoAssertion = errors.New("not an assertion")

// parseAssertion reads a JWT in compact form, signed by one of the algorithms, of one of the types or of none (RFC 8725
// section 3.11). A member that is there twice, or of another kind, is an error.
func parseAssertion(text string, algorithms []jose.SignatureAlgorithm, typ string) (*assertion, error) {
	jws, err := jose.ParseSignedCompact(text, algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, errNoAssertion
	}
	for part := range strings.SplitSeq(text, ".") {
		decoded, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || base64.RawURLEncoding.EncodeToString(decoded) != part {
			// Line breaks and spare bits would be other ways to write the same assertion.
			return nil, errNoAssertion
		}
	}
	header := jws.Signatures[0].Protected
	if _, critical := header.ExtraHeaders["crit"]; critical || !isType(header.ExtraHeaders[jose.HeaderType], typ) {
		return nil, errNoAssertion
	}
	a := &assertion{jws: jws, algorithm: jose.SignatureAlgorithm(header.Algorithm), kid: header.KeyID}
	a.signed = text[:strings.LastIndexByte(text, '.')]
	if json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &a.claims) != nil {
		return nil, errNoAssertion
	}
	return a, nil
}

// isType tells whether the header `typ` is absent, JWT, or the given one. It is a media type (RFC 7515 section 4.1.9).
func isType(header any, wanted string) bool {
	if header == nil {
		return true
	}
	typ, ok := header.(string)
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	return ok && (typ == "jwt" || typ == wanted)
}

func (a *assertion) isSignedWith(key any) bool {
	_, err := a.jws.Verify(key)
	return err == nil
}

// check says what is wrong with whom the assertion is for, and with its times.
func (a *assertion) check(now time.Time, audiences []string) error {
	c := &a.claims
	latest := now.Add(assertionLeeway)
	switch {
	case len(c.Audience) != 1 || !slices.Contains(audiences, c.Audience[0]):
		// More than one would let another server that is named pass the assertion on.
		return errors.New("aud of the assertion must be the issuer of this server, or the URL of this endpoint, and nothing else")
	case c.Expiry == nil:
		return errors.New("the assertion has no exp")
	case !now.Before(c.Expiry.Time):
		return errors.New("the assertion has expired")
	case c.Expiry.Sub(latest) > assertionLife, c.IssuedAt != nil && c.Expiry.Sub(c.IssuedAt.Add(assertionLeeway)) > assertionLife:
		return errors.New("the assertion is good for more than an hour")
	case c.IssuedAt != nil && c.IssuedAt.After(latest), c.NotBefore != nil && c.NotBefore.After(latest):
		return errors.New("the assertion is not valid yet")
	}
	return nil
}

// useOnce makes an assertion of no further use: its jti, among those of whoever signed it, or, where it has none, the
// assertion itself.
func (s *Server) useOnce(ctx context.Context, purpose, signer string, a *assertion) (fresh bool, err error) {
	kind, id := "jti", a.claims.ID
	if id == "" {
		kind, id = "jwt", a.signed
	}
	// What stands before the last part has no NUL.
	value := strings.Join([]string{purpose, signer, kind, id}, "\x00")
	err = s.store.PutOnce(ctx, value, a.claims.Expiry.Add(assertionLeeway))
	if errors.Is(err, store.ErrConsumed) {
		return false, nil
	}
	return err == nil, err
}

// audience is one string or an array of them (RFC 7519 section 4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// instant is a NumericDate (RFC 7519 section 2).
type instant struct{ time.Time }

func (i *instant) UnmarshalJSON(text []byte) error {
	seconds, err := strconv.ParseFloat(string(text), 64)
	if err != nil || seconds < 0 || seconds > lastInstant {
		return errors.New("not a NumericDate")
	}
	i.Time = time.Unix(int64(seconds), 0)
	return nil
}

package introspect

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/portcullis-gateway/portcullis/internal/jwks"
)

// Signed says how the signed answers of an authority are verified (RFC 9701).
type Signed struct {
	// Issuer is what iss has to be, to the letter.
	Issuer string
	// Audience is what aud has to contain: the client as which the gateway asks, as a rule.
	Audience string
	// KeysURL is where the issuer publishes its keys: https, or http on loopback. Empty: where Discovery finds them.
	KeysURL   string
	Discovery *Discovery
	// Known is what an earlier Client has fetched of these keys. Default: nothing.
	Known *jwks.Known
	// Leeway is how far the clock of the issuer may differ.
	Leeway time.Duration
	// Logger gets what an operator should know of the keys. Default: slog.Default.
	Logger *slog.Logger
}

const (
	// signedType is the media type of a signed answer, and signedTyp the type in its header (RFC 9701 section 5).
	signedType = "application/" + signedTyp
	signedTyp  = "token-introspection+jwt"
	// keysPause is how soon keys of which none fits are fetched again. Only the authority can cause that.
	keysPause = 10 * time.Second
	// MaxSigned is the longest signed answer that is kept, in bytes: it has to fit into a header.
	MaxSigned = 16 << 10
)

// errNoKeys means that nobody knows where the keys of the issuer are.
var errNoKeys = fmt.Errorf("%w: the metadata of the issuer name no jwks_uri: add 'jwks <url>' to 'jwt_response'", ErrMalformed)

// verifier reads signed answers. It is safe for concurrent use.
type verifier struct {
	Signed
	transport http.RoundTripper
	now       func() time.Time
	// keep says that answers keep the JWT in which they came.
	keep atomic.Bool
}

func newVerifier(config Signed, now func() time.Time, insecureHTTP bool, transport http.RoundTripper) (*verifier, error) {
	switch {
	case config.Issuer == "":
		return nil, errors.New("jwt_response: no issuer, whose answers these are: add 'issuer <url>'")
	case config.Audience == "":
		return nil, errors.New("jwt_response: no client, for which these answers are: add 'audience <aud>'")
	case config.KeysURL == "" && config.Discovery == nil:
		return nil, errors.New("jwt_response: no keys: add 'jwks <url>'")
	case config.KeysURL != "":
		if err := CheckURL(config.KeysURL, insecureHTTP); err != nil {
			return nil, fmt.Errorf("jwks: %w", err)
		}
	}
	if transport == nil {
		transport = DefaultTransport()
	}
	if config.Known == nil {
		config.Known = new(jwks.Known)
	}
	return &verifier{Signed: config, transport: transport, now: now}, nil
}

// KeepSigned has all further answers keep the JWT in which they came, if they are signed.
func (c *Client) KeepSigned() {
	if c.signed != nil {
		c.signed.keep.Store(true)
	}
}

// read verifies a response about a token and returns the answer that is in it. What it believes is signed for this client,
// now: an answer in which any of that is missing is none.
func (v *verifier) read(ctx context.Context, response *reply, shape Shape, token Token, askedAt time.Time) (*Answer, error) {
	mediaType, _, err := mime.ParseMediaType(response.contentType)
	switch {
	case err == nil && mediaType == signedType:
	case isJSON(response.contentType):
		return nil, fmt.Errorf("%w: plain JSON, where 'jwt_response' demands a signed answer (RFC 9701)", ErrMalformed)
	default:
		return nil, fmt.Errorf("%w: status 200 with a content type that is not %s", ErrMalformed, signedType)
	}
	text := string(bytes.TrimSpace(response.body))
	signed, err := parseSigned(text)
	if err != nil {
		return nil, malformedSigned(err)
	}
	if err := v.verify(ctx, signed); err != nil {
		return nil, err
	}
	answer, err := v.judge(signed, token, askedAt)
	if err != nil {
		return nil, malformedSigned(err)
	}
	kept := ""
	if v.keep.Load() {
		kept = text
	}
	if len(kept) > MaxSigned {
		return nil, malformedSigned(fmt.Errorf("has more than the %d bytes that 'phantom_token' can hand on", MaxSigned))
	}
	return shape.newAnswer(answer, kept, askedAt)
}

// malformedSigned is the error of a signed answer that is none. It repeats nothing of it.
func malformedSigned(err error) error {
	return fmt.Errorf("%w: the signed answer %w", ErrMalformed, err)
}

// verify demands that one of the issuer's keys has signed an answer.
func (v *verifier) verify(ctx context.Context, signed *signedAnswer) error {
	place := v.KeysURL
	if place == "" {
		metadata, err := v.Discovery.Metadata(ctx)
		switch {
		case err != nil:
			return err
		case metadata.JWKSURI == "":
			return errNoKeys
		}
		place = metadata.JWKSURI
	}
	keys := jwks.NewRemote(jwks.Remote{
		URL: place, Pause: keysPause, Transport: v.transport, Logger: v.Logger, Known: v.Known, Now: v.now,
	})
	verified, err := keys.Verify(ctx, signed.isSignedBy)
	switch {
	case verified:
		return nil
	case v.KeysURL == "":
		v.Discovery.Doubt()
	}
	switch {
	case ctx.Err() != nil:
		return callError(ctx, "waiting for the authorization server's keys", ctx.Err())
	case errors.Is(err, jwks.ErrMalformed):
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	case err != nil:
		// Whatever it is, the token may be good, and the endpoint is not to blame.
		return fmt.Errorf("%w: %s", errBusy, err.Error())
	}
	return malformedSigned(errors.New("is signed with none of the issuer's keys"))
}

// signedAnswer is a JWT that calls itself an answer. What it says is only what somebody says until its signature is
// verified.
type signedAnswer struct {
	jws       *jose.JSONWebSignature
	algorithm jose.SignatureAlgorithm
	keyID     string
	payload   []byte
}

// parseSigned reads a JWT in compact form, in its one way to be written, of the type of RFC 9701 section 5, and signed by
// an algorithm for which nobody but the issuer has the key.
func parseSigned(text string) (*signedAnswer, error) {
	parts := strings.Split(text, ".")
	switch len(parts) {
	case 3:
	case 5:
		return nil, errors.New("is encrypted, which is not supported: register the gateway's client without encryption of introspection responses")
	default:
		return nil, errors.New("is no JWT in compact form")
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		decoded[i], err = base64.RawURLEncoding.DecodeString(part)
		if err != nil || base64.RawURLEncoding.EncodeToString(decoded[i]) != part {
			return nil, errors.New("is no JWT in compact form")
		}
	}
	header, err := parseObject(decoded[0])
	if err != nil {
		return nil, fmt.Errorf("has a header that is %w", err)
	}
	signed := &signedAnswer{payload: decoded[1]}
	if err := signed.readHeader(header); err != nil {
		return nil, err
	}
	if signed.jws, err = jose.ParseSignedCompact(text, jwks.Algorithms); err != nil {
		return nil, errors.New("has a header that makes no sense")
	}
	return signed, nil
}

func (s *signedAnswer) readHeader(header object) error {
	typ, _ := header.get("typ")
	name, _ := typ.(string)
	if strings.TrimPrefix(strings.ToLower(name), "application/") != signedTyp {
		return fmt.Errorf("is another kind of JWT: its typ is not %s", signedTyp)
	}
	alg, _ := header.get("alg")
	algorithm, _ := alg.(string)
	s.algorithm = jose.SignatureAlgorithm(algorithm)
	if !slices.Contains(jwks.Algorithms, s.algorithm) {
		return fmt.Errorf("is not signed with one of %v", jwks.Algorithms)
	}
	for _, name := range []string{"crit", "b64"} {
		if _, ok := header.get(name); ok {
			return errors.New("has a header that demands what nobody here understands")
		}
	}
	kid, ok := header.get("kid")
	keyID, isString := kid.(string)
	if ok && !isString {
		return errors.New("has a kid that is no string")
	}
	s.keyID = keyID
	return nil
}

// isSignedBy tells whether one of the keys has signed the answer.
func (s *signedAnswer) isSignedBy(keys []jose.JSONWebKey) bool {
	for i := range keys {
		if !jwks.Fits(&keys[i], s.algorithm, s.keyID) {
			continue
		}
		if _, err := s.jws.Verify(keys[i].Key); err == nil {
			return true
		}
	}
	return false
}

// judge reads what is signed, and says why it is not meant for this question. It returns the members of the answer.
func (v *verifier) judge(signed *signedAnswer, token Token, askedAt time.Time) (object, error) {
	claims, err := parseObject(signed.payload)
	if err != nil {
		return nil, fmt.Errorf("is %w", err)
	}
	if issuer, _ := claims.get("iss"); issuer != v.Issuer {
		return nil, errors.New("has no iss, or not that of the issuer")
	}
	audience, _ := claims.get("aud")
	names, _ := audience.([]any)
	if audience != v.Audience && !slices.Contains(names, any(v.Audience)) {
		return nil, errors.New("is not for this client: aud does not name it, nor what 'audience' of 'jwt_response' says")
	}
	if err := v.judgeTimes(claims, askedAt); err != nil {
		return nil, err
	}
	value, _ := claims.get("token_introspection")
	answer, ok := value.(Object)
	if !ok {
		return nil, errors.New("has no object token_introspection")
	}
	if !isAbout(answer.members, token) {
		return nil, errors.New("is about another token: its jti is another one")
	}
	return answer.members, nil
}

// judgeTimes demands that the answer was made for this question: neither before it was asked, so that an older answer
// cannot be shown again, nor in the future.
func (v *verifier) judgeTimes(claims object, askedAt time.Time) error {
	var dates [3]time.Time
	for i, name := range []string{"iat", "exp", "nbf"} {
		value, _ := claims.get(name)
		date, err := numericDate(value, name)
		if err != nil {
			return fmt.Errorf("has dates that cannot be read: %s", name)
		}
		dates[i] = date.time()
	}
	issuedAt, expiresAt, notBefore := dates[0], dates[1], dates[2]
	now := v.now()
	switch {
	case issuedAt.IsZero():
		return errors.New("has no iat")
	case issuedAt.Before(askedAt.Truncate(time.Second).Add(-v.Leeway)):
		return errors.New("is an older one: it was issued before it was asked for, or the clocks differ by more than 'leeway'")
	case issuedAt.After(now.Add(v.Leeway)), notBefore.After(now.Add(v.Leeway)):
		return errors.New("was issued in the future, or the clocks differ by more than 'leeway'")
	case !expiresAt.IsZero() && !now.Before(expiresAt):
		return errors.New("has expired")
	}
	return nil
}

// isAbout tells whether an answer can be about a token. Where the token is a JWT with a jti, and the answer has one, they
// are the same (RFC 7662 section 2.2). Nothing else in an answer says about which token it is.
func isAbout(answer object, token Token) bool {
	value, _ := answer.get("jti")
	id, ok := value.(string)
	if !ok {
		return true
	}
	parts := strings.Split(token.Value(), ".")
	if len(parts) != 3 {
		return true
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return true
	}
	claims, err := parseObject(payload)
	if err != nil {
		return true
	}
	own, _ := claims.get("jti")
	ownID, ok := own.(string)
	return !ok || ownID == id
}

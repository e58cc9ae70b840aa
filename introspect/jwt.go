package introspect

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// UnverifiedIssuer reads the `iss` of a token that is a JWT (RFC 7519), or looks like one: three parts between dots, of which
// the first is a JSON object in base64url. Nobody has signed for what it returns. It may say which authority to ask about
// the token, and nothing else. A JWT that cannot be read, or has no single `iss`, or one that is no text, has an empty one.
func UnverifiedIssuer(token string) (issuer string, isJWT bool) {
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, found := strings.Cut(rest, ".")
	if !found || strings.Contains(signature, ".") {
		return "", false
	}
	decoded, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil || !bytes.HasPrefix(bytes.TrimLeft(decoded, " \t\r\n"), []byte("{")) {
		return "", false
	}
	if decoded, err = base64.RawURLEncoding.DecodeString(payload); err != nil {
		return "", true
	}
	claims, err := parseObject(decoded)
	if err != nil {
		return "", true
	}
	value, _ := claims.get("iss")
	issuer, _ = value.(string)
	return issuer, true
}

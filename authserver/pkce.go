package authserver

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"regexp"
)

var (
	// s256Challenge is what S256 makes of any verifier (RFC 7636 section 4.2).
	s256Challenge = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	// codeVerifier is a verifier (RFC 7636 section 4.1).
	codeVerifier = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)
)

// checkChallenge demands a code challenge of the method S256 (RFC 9700 section 2.1.1).
func checkChallenge(challenge, method string) error {
	switch {
	case challenge == "":
		return errors.New("code_challenge is missing: PKCE is required (RFC 7636)")
	case method != "S256":
		return errors.New("code_challenge_method must be S256")
	case !s256Challenge.MatchString(challenge):
		return errors.New("code_challenge must be 43 characters of base64url, without padding")
	}
	return nil
}

// verifies says whether a code verifier is the one that the challenge was made of (RFC 7636 section 4.6).
func verifies(verifier, challenge string) bool {
	if !codeVerifier.MatchString(verifier) {
		return false
	}
	digest := sha256.Sum256([]byte(verifier))
	made := base64.RawURLEncoding.EncodeToString(digest[:])
	return subtle.ConstantTimeCompare([]byte(made), []byte(challenge)) == 1
}

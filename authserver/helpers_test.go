package authserver_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// source is an Introspector with one answer.
type source struct {
	answer *introspect.Answer
	err    error
}

func (s source) Introspect(context.Context, introspect.Token) (*introspect.Answer, error) {
	return s.answer, s.err
}

// argon2idOf hashes a secret as `portcullis hash-password --algorithm argon2id` would, only faster.
func argon2idOf(t *testing.T, secret string) string {
	t.Helper()
	salt := []byte("salt-for-a-test")
	hash := argon2.IDKey([]byte(secret), salt, 1, 64, 1, 32)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=64,t=1,p=1$%s$%s", argon2.Version, encode(salt), encode(hash))
}

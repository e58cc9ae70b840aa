// Package operator reads what an operator wrote, in the way that Caddy's operators are used to.
package operator

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Secret resolves the placeholders {env.NAME} and {file./absolute/path} of a secret. A variable that is unset and a
// file that is missing or empty are errors, as are placeholders of any other kind: a secret that turns out to be
// nothing, or its own name, must not be taken for one. Text without a placeholder is the secret itself, braces
// included. Errors do not repeat what resolved.
func Secret(text string) (string, error) {
	if !IsPlaceholder(text) {
		if strings.HasPrefix(text, "{") && strings.HasSuffix(text, "}") {
			return "", fmt.Errorf("%s is not resolved here: use {env.NAME} or {file./absolute/path}", text)
		}
		return text, nil
	}
	secret, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err != nil {
		return "", fmt.Errorf("resolving %s: %w", text, err)
	}
	return secret, nil
}

// IsPlaceholder says whether a secret stands elsewhere, so that the configuration does not show it.
func IsPlaceholder(text string) bool {
	return strings.Contains(text, "{env.") || strings.Contains(text, "{file.")
}

// Package operator reads what an operator wrote, in the way that Caddy's operators are used to.
package operator

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// placeholder is one whole placeholder of a kind that is resolved in a secret.
var placeholder = regexp.MustCompile(`\{(env|file)\.[^{}]*\}`)

// Secret resolves the placeholders {env.NAME} and {file./absolute/path} of a secret. A variable that is unset and a
// file that is missing or empty are errors, as are placeholders of any other kind and ones that are not closed: a
// secret that turns out to be nothing, or its own name, must not be taken for one. Text without a placeholder is the
// secret itself, braces inside included. Errors name the placeholder at most, and repeat neither what it resolved to
// nor what stands around it.
func Secret(text string) (string, error) {
	around := placeholder.ReplaceAllString(text, "")
	switch {
	case strings.Contains(around, "{env.") || strings.Contains(around, "{file."):
		return "", errors.New("a placeholder has no closing brace")
	case around != text && strings.ContainsAny(around, "{}"),
		around == text && strings.HasPrefix(text, "{") && strings.HasSuffix(text, "}"):
		return "", errors.New("only {env.NAME} and {file./absolute/path} are resolved here")
	}
	replacer := caddy.NewReplacer()
	var unresolved error
	secret := placeholder.ReplaceAllStringFunc(text, func(name string) string {
		value, _ := replacer.GetString(strings.Trim(name, "{}"))
		if value == "" {
			unresolved = fmt.Errorf("%s is unset, missing or empty", name)
		}
		return value
	})
	if unresolved != nil {
		return "", unresolved
	}
	return secret, nil
}

// IsPlaceholder says whether a secret stands elsewhere, so that the configuration does not show it.
func IsPlaceholder(text string) bool { return placeholder.MatchString(text) }

// WarnOfLiteral tells the operator of a secret on the current line of a Caddyfile that Caddy would show in its
// configuration.
func WarnOfLiteral(d *caddyfile.Dispenser) {
	caddy.Log().Named("caddyfile").Warn(
		"Caddy shows a literal secret to whoever reaches its configuration or its debug log: "+
			"use {env.NAME} or {file./absolute/path}",
		zap.String("file", d.File()), zap.Int("line", d.Line()))
}

// Replaced is a secret with a text in the place of each placeholder.
func Replaced(secret, text string) string { return placeholder.ReplaceAllLiteralString(secret, text) }

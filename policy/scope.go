package policy

import (
	"fmt"
	"strings"
)

// ScopeMatch says when a granted scope covers one that a route demands. Scopes are compared as whole words, and
// case-sensitively (RFC 6749 section 3.3).
type ScopeMatch string

// The ways to match scopes.
const (
	// Exact: the same word. The default.
	Exact ScopeMatch = "exact"
	// Hierarchic: also every scope below it: `a` covers `a:b`, `a.b` and `a/b`.
	Hierarchic ScopeMatch = "hierarchic"
	// Wildcard: a granted scope may end in `*` behind a separator, and then covers whatever stands in its place:
	// `a:*` covers `a:b` and `a:b:c`, not `a`. A bare `*` covers nothing.
	Wildcard ScopeMatch = "wildcard"
)

// Check says why a way to match is none.
func (m ScopeMatch) Check() error {
	switch m {
	case "", Exact, Hierarchic, Wildcard:
		return nil
	}
	return fmt.Errorf("scope_match %q: must be exact, hierarchic or wildcard", string(m))
}

const separators = ":./"

// covers tells whether one of the granted scopes, with one space between two, covers the demanded one.
func (m ScopeMatch) covers(granted, demanded string) bool {
	for granted != "" {
		var scope string
		scope, granted, _ = strings.Cut(granted, " ")
		if scope == demanded || m.coversBelow(scope, demanded) {
			return true
		}
	}
	return false
}

// coversBelow tells whether a granted scope covers another one that is demanded.
func (m ScopeMatch) coversBelow(scope, demanded string) bool {
	switch m {
	case Hierarchic:
		below, ok := strings.CutPrefix(demanded, scope)
		return ok && strings.ContainsRune(separators, rune(below[0]))
	case Wildcard:
		prefix, ok := strings.CutSuffix(scope, "*")
		return ok && len(prefix) > 1 && strings.ContainsRune(separators, rune(prefix[len(prefix)-1])) &&
			len(demanded) > len(prefix) && strings.HasPrefix(demanded, prefix)
	}
	return false
}

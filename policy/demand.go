package policy

import (
	"slices"
	"strings"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// Demand judges the scopes and claims of an answer, and nothing else of it.
func (r *Rules) Demand(answer *introspect.Answer) Verdict {
	granted := answer.Scope()
	for _, scope := range r.Scope {
		if !r.ScopeMatch.covers(granted, scope) {
			return Verdict{InsufficientScope, "scope " + scope + " is missing"}
		}
	}
	covered := func(scope string) bool { return r.ScopeMatch.covers(granted, scope) }
	if len(r.AnyScope) > 0 && !slices.ContainsFunc(r.AnyScope, covered) {
		return Verdict{InsufficientScope, "none of the scopes " + strings.Join(r.AnyScope, ", ") + " is granted"}
	}
	for _, claim := range r.Claims {
		if !claim.met(answer) {
			return Verdict{Forbidden, "claim " + claim.Path + " is absent or has another value"}
		}
	}
	return Verdict{Outcome: Allowed}
}

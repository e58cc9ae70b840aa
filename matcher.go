package portcullis

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/bearer"
	"github.com/portcullis-gateway/portcullis/internal/operator"
	"github.com/portcullis-gateway/portcullis/policy"
)

func init() {
	caddy.RegisterModule(new(Matcher))
}

// Matcher matches requests by what the authority said of their token. It looks at the answer that the last `introspect` directive
// let the request through with; all of what it names has to be met. A request that came without a token, or whose token was
// not good enough there, does not match.
//
// A request that no `introspect` directive has come to yet is an error (500), and is not passed on: it would be wrong to
// take it for one without the scope.
type Matcher struct {
	// The token is good.
	Active bool `json:"active,omitempty"`
	// The scopes that are granted, all of them, in the way of `scope_match` of the directive.
	Scope []string `json:"scope,omitempty"`
	// The scopes of which at least one is granted.
	AnyScope []string `json:"any_scope,omitempty"`
	// Demands on members of the answer, all of which are met.
	Claim []policy.Claim `json:"claim,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Matcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.introspect", New: func() caddy.Module { return new(Matcher) }}
}

// UnmarshalCaddyfile parses the matcher. Syntax:
//
//	introspect active
//	introspect scope     <scope>...
//	introspect any_scope <scope>...
//	introspect claim     <path> [<value>...]
//	introspect {
//		<any of these>
//	}
func (m *Matcher) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		if words := d.RemainingArgs(); len(words) > 0 {
			if err := m.demand(words); err != nil {
				return d.WrapErr(err)
			}
			if d.NextBlock(d.Nesting()) {
				return d.Err("the matcher 'introspect' has its demand on its line, or several in its block")
			}
			continue
		}
		seen := make(once)
		for nesting := d.Nesting(); d.NextBlock(nesting); {
			if err := seen.check(d, "scope", "any_scope", "claim"); err != nil {
				return err
			}
			if err := m.demand(append([]string{d.Val()}, d.RemainingArgs()...)); err != nil {
				return d.WrapErr(err)
			}
		}
		if len(seen) == 0 {
			return d.WrapErr(errNoDemand)
		}
	}
	return nil
}

var errNoDemand = errors.New("the matcher 'introspect' needs one of active, scope, any_scope, claim")

// demand adds what stands on one line.
func (m *Matcher) demand(words []string) error {
	if len(words) == 0 {
		return errNoDemand
	}
	name, arguments := words[0], words[1:]
	switch name {
	case "active":
		if len(arguments) > 0 {
			return errors.New("'active' takes no argument")
		}
		m.Active = true
		return nil
	case "scope", "any_scope", "claim":
	default:
		return fmt.Errorf("unrecognized demand '%s': %w", name, errNoDemand)
	}
	if len(arguments) == 0 {
		return fmt.Errorf("'%s' needs an argument", name)
	}
	switch name {
	case "scope":
		m.Scope = append(m.Scope, arguments...)
	case "any_scope":
		m.AnyScope = append(m.AnyScope, arguments...)
	case "claim":
		m.Claim = append(m.Claim, policy.Claim{Path: arguments[0], Values: arguments[1:]})
	}
	return m.check()
}

// Provision checks what is demanded.
func (m *Matcher) Provision(caddy.Context) error {
	if !m.Active && len(m.Scope)+len(m.AnyScope)+len(m.Claim) == 0 {
		return errNoDemand
	}
	return m.check()
}

func (m *Matcher) check() error {
	rules := m.rules()
	if err := operator.CheckLiteral("the matcher 'introspect'", append(rules.Demanded(), claimTexts(m.Claim)...)...); err != nil {
		return err
	}
	for _, scope := range rules.Demanded() {
		if err := bearer.CheckScope(scope); err != nil {
			return fmt.Errorf("scope %q: %w", scope, err)
		}
	}
	return rules.Check()
}

func (m *Matcher) rules() policy.Rules {
	return policy.Rules{Scope: m.Scope, AnyScope: m.AnyScope, Claims: m.Claim}
}

// MatchWithError tells whether the token of a request is what is demanded.
func (m *Matcher) MatchWithError(r *http.Request) (bool, error) {
	v, ok := caddyhttp.GetVar(r.Context(), visitKey).(*visit)
	if !ok {
		return false, caddyhttp.Error(http.StatusInternalServerError, errors.New(
			"the matcher 'introspect' was asked about a request that no directive 'introspect' has come to"))
	}
	if v.outcome != outcomeAllowed && v.outcome != wouldBe+outcomeAllowed {
		return false, nil
	}
	rules := m.rules()
	rules.ScopeMatch = v.asked.rules.ScopeMatch
	return rules.Demand(v.last().answer).Outcome == policy.Allowed, nil
}

// CELLibrary offers the matcher to the `expression` matcher, as a function with the words of the line: introspect('scope',
// 'orders:write').
func (*Matcher) CELLibrary(caddy.Context) (cel.Library, error) {
	return caddyhttp.CELMatcherImpl("introspect", "introspect_request", []*cel.Type{cel.ListType(cel.StringType)},
		func(data ref.Val) (caddyhttp.RequestMatcherWithError, error) {
			words, err := data.ConvertToNative(reflect.TypeFor[[]string]())
			if err != nil {
				return nil, err
			}
			m := new(Matcher)
			return m, m.demand(words.([]string))
		})
}

// Interface guards
var (
	_ caddy.Provisioner                 = (*Matcher)(nil)
	_ caddyfile.Unmarshaler             = (*Matcher)(nil)
	_ caddyhttp.RequestMatcherWithError = (*Matcher)(nil)
	_ caddyhttp.CELLibraryProducer      = (*Matcher)(nil)
)

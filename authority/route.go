package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// Route is the authorities that a route names, of which each token has its own. It asks no other one about the token, so that
// none sees the tokens of another. It is immutable, and safe for concurrent use.
type Route struct {
	// Authorities are in the order in which they are named.
	Authorities []*Authority

	tryEach bool
	page    *page // of the requests for which none of them is asked
}

// ErrNobodys means that a token is of none of the authorities of a route, as far as it can be told from the token, so that
// none of them was asked.
var ErrNobodys = errors.New("the token is of none of the authorities of this route")

// CheckRoute says why the authorities of a route could not be told apart by their tokens. The configurations are those of
// the names.
func CheckRoute(names []string, configs map[string]*Config, tryEach bool) error {
	if len(names) < 2 {
		if tryEach {
			return errors.New("'try_each' needs several authorities to ask in turn")
		}
		return nil
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("authority '%s' is named twice", name)
		}
	}
	if tryEach {
		return nil
	}
	unmarked, issuers := "", make(map[string]string)
	for _, name := range names {
		config := configs[name]
		other, taken := issuers[config.Issuer]
		switch {
		case config.Issuer != "" && taken:
			return fmt.Errorf("authorities '%s' and '%s' have the same issuer, so that their tokens cannot be told apart", other, name)
		case config.Issuer != "":
			issuers[config.Issuer] = name
		case config.Embedded || len(config.TokenPrefix) > 0:
		case unmarked != "":
			return fmt.Errorf("tokens of the authorities '%s' and '%s' cannot be told apart: neither has an 'issuer' or a 'token_prefix' "+
				"(or show every token to each of them: 'try_each')", unmarked, name)
		default:
			unmarked = name
		}
	}
	return nil
}

// Several returns the route of several named authorities.
func (a *App) Several(names []string, tryEach bool) (*Route, error) {
	route := &Route{tryEach: tryEach}
	configs := make(map[string]*Config, len(names))
	for _, name := range names {
		authority, err := a.Named(name)
		if err != nil {
			return nil, err
		}
		route.Authorities = append(route.Authorities, authority)
		if configs[name], err = a.Authorities[name].resolved(); err != nil {
			return nil, err
		}
	}
	if err := CheckRoute(names, configs, tryEach); err != nil {
		return nil, err
	}
	page, release := books.openRoute(strings.Join(names, ","))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.release = append(a.release, release)
	route.page = page
	return route, nil
}

// Outcome is the counter of the requests that end in one way without that any of the authorities is asked. It goes on across
// reloads.
func (r *Route) Outcome(name string) *Counter { return r.page.outcome(name) }

// MaxToken is the longest token that any of the authorities is asked about, in bytes.
func (r *Route) MaxToken() int {
	longest := 0
	for _, authority := range r.Authorities {
		longest = max(longest, authority.MaxToken)
	}
	return longest
}

// Ask has the authority of a token asked, or all of them in turn until one calls it active, and returns who answered last. An
// authority that could not be asked is nobody's word: where none calls the token active, its error counts.
func (r *Route) Ask(
	ctx context.Context, token string, ask func(*Authority) (*introspect.Answer, error),
) (by *Authority, answer *introspect.Answer, err error) {
	var failed *Authority
	var failure error
	for _, authority := range r.candidates(token) {
		if len(token) > authority.MaxToken {
			continue
		}
		said, err := ask(authority)
		switch {
		case err == nil && said.Active:
			return authority, said, nil
		case err == nil:
			by, answer = authority, said
		case ctx.Err() != nil:
			return authority, nil, err
		case failed == nil:
			failed, failure = authority, err
		}
	}
	switch {
	case failed != nil && r.tryEach && !introspect.IsLimited(failure):
		// Which of them it is of nobody can tell, so it is nobody's fault.
		return failed, nil, fmt.Errorf("%w: %s", introspect.ErrUnavailable, failure.Error())
	case failed != nil:
		return failed, nil, failure
	case by == nil:
		return nil, nil, ErrNobodys
	}
	return by, answer, nil
}

// candidates are the authorities of which the token may be.
func (r *Route) candidates(token string) []*Authority {
	issuer, isJWT := introspect.UnverifiedIssuer(token)
	mayVouch := func(a *Authority) bool { return a.Issuer == "" || a.Issuer == issuer }
	switch {
	case r.tryEach && isJWT && !slices.ContainsFunc(r.Authorities, mayVouch):
		return nil
	case r.tryEach:
		return r.Authorities
	case isJWT:
		return r.the(func(a *Authority) bool { return issuer != "" && a.Issuer == issuer })
	}
	begins := func(prefix string) bool { return strings.HasPrefix(token, prefix) }
	if found := r.the(func(a *Authority) bool { return slices.ContainsFunc(a.Prefixes, begins) }); found != nil {
		return found
	}
	unmarked := func(a *Authority) bool { return len(a.Prefixes) == 0 }
	found := r.the(unmarked)
	if last := slices.IndexFunc(r.Authorities, unmarked); found != nil && slices.ContainsFunc(r.Authorities[last+1:], unmarked) {
		return nil
	}
	return found
}

// the returns the first authority of a kind, or none.
func (r *Route) the(kind func(*Authority) bool) []*Authority {
	i := slices.IndexFunc(r.Authorities, kind)
	if i < 0 {
		return nil
	}
	return r.Authorities[i : i+1]
}

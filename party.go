package portcullis

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/portcullis-gateway/portcullis/authority"
	"github.com/portcullis-gateway/portcullis/bearer"
	"github.com/portcullis-gateway/portcullis/introspect"
	"github.com/portcullis-gateway/portcullis/policy"
)

// party is an authority of a route, or none of them, the rules by which its answers are judged, and the counters of the
// requests for which it was asked.
type party struct {
	*authority.Authority
	rules    policy.Rules
	counters map[outcome]*authority.Counter
}

// findAuthorities returns the authorities of the route, in the order in which they are named.
func (h *Handler) findAuthorities() (authorities []*authority.Authority, err error) {
	if len(h.Authorities) > 1 && h.Authority == nil {
		if h.route, err = h.app.Several(h.Authorities, h.TryEach); err != nil {
			return nil, err
		}
		return h.route.Authorities, nil
	}
	only, err := h.findAuthority()
	if err != nil {
		return nil, err
	}
	return []*authority.Authority{only}, authority.CheckRoute(nil, nil, h.TryEach)
}

// admit makes the parties of the authorities, when the rules are known.
func (h *Handler) admit(authorities []*authority.Authority) {
	for _, one := range authorities {
		asked := &party{Authority: one, rules: h.rules, counters: h.openCounters(one.Outcome)}
		asked.rules.Leeway, asked.rules.Issuer = one.Leeway, one.Issuer
		h.parties = append(h.parties, asked)
	}
	h.maxToken, h.nobody = authorities[0].MaxToken, h.parties[0]
	if h.route != nil {
		h.maxToken, h.nobody = h.route.MaxToken(), &party{counters: h.openCounters(h.route.Outcome)}
	}
}

// ask asks the authority of a token, or those of the route in turn, and returns who answered last, or could not be asked. It
// is nil where the token is nobody's.
func (h *Handler) ask(ctx context.Context, v *visit, credential bearer.Credential, since time.Time) (*party, *introspect.Answer, error) {
	if h.route == nil {
		only := h.parties[0]
		answer, err := v.ask(ctx, only.Authority, credential, since)
		return only, answer, err
	}
	by, answer, err := h.route.Ask(ctx, credential.Token, func(one *authority.Authority) (*introspect.Answer, error) {
		return v.ask(ctx, one, credential, since)
	})
	i := slices.IndexFunc(h.parties, func(asked *party) bool { return asked.Authority == by })
	if i < 0 {
		return nil, nil, fmt.Errorf("%w: %w", bearer.ErrInvalidToken, err)
	}
	v.asked = h.parties[i]
	return v.asked, answer, err
}

package portcullis

import (
	"github.com/portcullis-gateway/portcullis/internal/operator"
	"github.com/portcullis-gateway/portcullis/policy"
)

// checkLiterals refuses placeholders where what is written counts: a route that demands the scope {env.SCOPE} would let nobody
// pass, and not say why.
func (h *Handler) checkLiterals() error {
	var places, members, copies []string
	for _, place := range h.TokenFrom {
		places = append(places, place.Name)
	}
	for _, values := range h.ResourceMetadata {
		members = append(members, values...)
	}
	for _, c := range h.CopyClaims {
		copies = append(copies, c.Claim)
	}
	for option, values := range map[string][]string{
		"scope": h.Scope, "any_scope": h.AnyScope, "audience": h.Audience, "acr": h.ACR, "claim": claimTexts(h.Claim),
		"require": h.Require, "realm": {h.Realm}, "token_from": places, "resource_metadata": members, "copy_claims": copies,
	} {
		if err := operator.CheckLiteral(option, values...); err != nil {
			return err
		}
	}
	return nil
}

// claimTexts lists what is written in demands on claims.
func claimTexts(claims []policy.Claim) (texts []string) {
	for _, claim := range claims {
		texts = append(append(texts, claim.Path), claim.Values...)
	}
	return texts
}

package policy

import (
	"slices"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// Claim is a demand on one member of the answer.
type Claim struct {
	// The path of the claim: tried as one whole member name first, then split at its dots, of which `\.` is a literal
	// one.
	Path string `json:"path,omitempty"`
	// The values of which the claim must equal, or as an array contain, one. Booleans and numbers compare by their
	// JSON text. Without values the claim has to be present, and not null.
	Values []string `json:"values,omitempty"`
}

// met tells whether an answer meets the demand.
func (c Claim) met(answer *introspect.Answer) bool {
	value, _ := answer.Claim(c.Path)
	if value == nil {
		return false
	}
	if len(c.Values) == 0 {
		return true
	}
	elements, isArray := value.([]any)
	if !isArray {
		elements = []any{value}
	}
	return slices.ContainsFunc(elements, func(element any) bool {
		text, isScalar := introspect.Scalar(element)
		return isScalar && slices.Contains(c.Values, text)
	})
}

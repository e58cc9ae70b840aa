package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/portcullis-gateway/portcullis/dpop"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// The outcomes of a token that is bound to a key.
const (
	// InvalidProof: the token is good, and the proof of possession is not. RFC 9449 section 7.1 answers 401.
	InvalidProof Outcome = "invalid_dpop_proof"
	// NonceDemanded: the proof is good but for its nonce. RFC 9449 section 9 answers 401.
	NonceDemanded Outcome = "use_dpop_nonce"
	// Undecided: there is no telling whether the proof was used before.
	Undecided Outcome = "undecided"
)

// DPoP is what a route demands of proofs of possession (RFC 9449). A token that is bound to a key needs one anyway.
type DPoP string

// The demands on proofs of possession.
const (
	// DPoPRequired: only tokens that are bound to a key pass.
	DPoPRequired DPoP = "required"
	// DPoPNonce: likewise, and the proof has to hold a nonce of the gateway.
	DPoPNonce DPoP = "nonce"
)

// Check says why a demand is none.
func (d DPoP) Check() error {
	switch d {
	case "", DPoPRequired, DPoPNonce:
		return nil
	}
	return fmt.Errorf("dpop %q: must be required or nonce", string(d))
}

// MTLS is what a route demands of client certificates (RFC 8705). A token that is bound to one needs it anyway.
type MTLS string

// MTLSRequired is the demand that only tokens pass that are bound to a certificate.
const MTLSRequired MTLS = "required"

// Check says why a demand is none.
func (m MTLS) Check() error {
	if m != "" && m != MTLSRequired {
		return fmt.Errorf("mtls %q: must be required", string(m))
	}
	return nil
}

// Holder proves that a client holds what its token is bound to.
type Holder interface {
	// ProveKey proves that the client holds the key of a thumbprint, by a proof with a nonce if one is demanded. The errors
	// are those of dpop.Checker.
	ProveKey(jkt string, nonce bool) error
	// Certificate is the thumbprint of the client's certificate (the x5t#S256 of RFC 8705 section 3.1), or nothing.
	Certificate() string
}

// binding is what a token is bound to.
type binding struct {
	key         string // jkt
	certificate string // x5t#S256
}

// bindingOf reads the member cnf (RFC 7800). Members that are not understood may be what makes a stolen token worthless.
func bindingOf(answer *introspect.Answer) (bound binding, understood bool) {
	if !answer.Bound {
		return binding{}, true
	}
	if answer.BoundWithin {
		return binding{}, false
	}
	value, _ := answer.Claim("cnf")
	members, isObject := value.(introspect.Object)
	if !isObject {
		return binding{}, false
	}
	for name, value := range members.All() {
		text, _ := value.(string)
		switch {
		case text == "":
			return binding{}, false
		case name == "jkt":
			bound.key = text
		case name == "x5t#S256":
			bound.certificate = text
		default:
			return binding{}, false
		}
	}
	return bound, bound != binding{}
}

// judgeBinding decides whether possession is proved of all that a token is bound to, and whether it is bound to what the
// route demands. The proof, which is good once, comes last. The verdict is empty if all is well.
func (r *Rules) judgeBinding(answer *introspect.Answer, presented Presented) Verdict {
	bound, understood := bindingOf(answer)
	switch {
	case !understood:
		return Verdict{InvalidToken, "the token is bound to something that is not understood (cnf)"}
	case bound.key == "" && strings.EqualFold(answer.TokenType(), "DPoP"):
		return Verdict{InvalidToken, "the token is bound to a key by its token_type, and cnf does not say which"}
	case bound.key == "" && presented.Possession:
		return Verdict{InvalidToken, "the token is presented under the scheme DPoP, and is not bound to a key"}
	case bound.key == "" && r.DPoP != "":
		return Verdict{InvalidToken, "the token is not bound to a key"}
	case bound.certificate == "" && r.MTLS != "":
		return Verdict{InvalidToken, "the token is not bound to a certificate"}
	case bound.key != "" && !presented.Possession:
		return Verdict{InvalidToken, "the token is bound to a key, and possession is not proved: it is not presented under the scheme DPoP"}
	case bound == binding{}:
		return Verdict{}
	case presented.Holder == nil:
		return Verdict{InvalidToken, "the token is bound, and possession is not proved"}
	}
	if bound.certificate != "" {
		switch presented.Holder.Certificate() {
		case bound.certificate:
		case "":
			return Verdict{InvalidToken, "the token is bound to a certificate, and possession is not proved: the client has shown none, if it was asked for one"}
		default:
			return Verdict{InvalidToken, "the token is bound to another certificate"}
		}
	}
	if bound.key == "" {
		return Verdict{}
	}
	err := presented.Holder.ProveKey(bound.key, r.DPoP == DPoPNonce)
	switch {
	case err == nil:
		return Verdict{}
	case errors.Is(err, dpop.ErrNonce):
		return Verdict{NonceDemanded, err.Error()}
	case errors.Is(err, dpop.ErrOtherKey):
		return Verdict{InvalidToken, "the token is bound to another key than that of the proof"}
	case errors.Is(err, dpop.ErrUnavailable):
		return Verdict{Undecided, err.Error()}
	}
	return Verdict{InvalidProof, err.Error()}
}

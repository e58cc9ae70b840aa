package policy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/dpop"
	"github.com/portcullis-gateway/portcullis/introspect"
	"github.com/portcullis-gateway/portcullis/policy"
)

const (
	jkt         = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	certificate = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"
)

// holder is a client that holds a key and a certificate, or none.
type holder struct {
	key, certificate string
	err              error
	nonces           []bool // of every proof that was asked for
}

func (h *holder) ProveKey(key string, nonce bool) error {
	h.nonces = append(h.nonces, nonce)
	if h.err == nil && key != h.key {
		return dpop.ErrOtherKey
	}
	return h.err
}

func (h *holder) Certificate() string { return h.certificate }

func TestBinding(t *testing.T) {
	const (
		key, cert = `"cnf":{"jkt":"` + jkt + `"}`, `"cnf":{"x5t#S256":"` + certificate + `"}`
		both      = `"cnf":{"jkt":"` + jkt + `","x5t#S256":"` + certificate + `"}`
	)
	owner, thief := holder{key: jkt, certificate: certificate}, holder{key: "other", certificate: "other"}
	for _, tc := range []struct {
		name, members string
		rules         policy.Rules
		dpop          bool
		holder        holder
		want          policy.Outcome
		proofs        []bool
	}{
		{"G09 the key", key, policy.Rules{}, true, owner, policy.Allowed, []bool{false}},
		{"G09 the key, with token_type DPoP", `"token_type":"DPoP",` + key, policy.Rules{}, true, owner, policy.Allowed, []bool{false}},
		{"G09 another key", key, policy.Rules{}, true, thief, policy.InvalidToken, []bool{false}},
		{"G10 the key, presented as Bearer", key, policy.Rules{}, false, owner, policy.InvalidToken, nil},
		{"G11 no key, presented as DPoP", ``, policy.Rules{}, true, owner, policy.InvalidToken, nil},
		{"G11 a certificate and no key, presented as DPoP", cert, policy.Rules{}, true, owner, policy.InvalidToken, nil},
		{"G02 a bad proof", key, policy.Rules{}, true, holder{err: fmt.Errorf("%w: x", dpop.ErrInvalid)}, policy.InvalidProof, []bool{false}},
		{"G13 no telling", key, policy.Rules{}, true, holder{err: fmt.Errorf("%w: x", dpop.ErrUnavailable)}, policy.Undecided, []bool{false}},
		{"G15 no nonce", key, policy.Rules{DPoP: policy.DPoPNonce}, true, holder{err: dpop.ErrNonce}, policy.NonceDemanded, []bool{true}},
		{"G15 a nonce", key, policy.Rules{DPoP: policy.DPoPNonce}, true, owner, policy.Allowed, []bool{true}},
		{"G21 demanded, and bound", key, policy.Rules{DPoP: policy.DPoPRequired}, true, owner, policy.Allowed, []bool{false}},
		{"G21 demanded, and not bound", ``, policy.Rules{DPoP: policy.DPoPRequired}, false, owner, policy.InvalidToken, nil},
		{"G21 demanded, and not bound, presented as DPoP", ``, policy.Rules{DPoP: policy.DPoPRequired}, true, owner, policy.InvalidToken, nil},
		{"G21 demanded, and bound to a certificate", cert, policy.Rules{DPoP: policy.DPoPRequired}, false, owner, policy.InvalidToken, nil},
		{"H01 the certificate", cert, policy.Rules{}, false, owner, policy.Allowed, nil},
		{"H01 another certificate", cert, policy.Rules{}, false, thief, policy.InvalidToken, nil},
		{"H01 no certificate", cert, policy.Rules{}, false, holder{}, policy.InvalidToken, nil},
		{"H01 demanded, and bound", cert, policy.Rules{MTLS: policy.MTLSRequired}, false, owner, policy.Allowed, nil},
		{"H01 demanded, and not bound", ``, policy.Rules{MTLS: policy.MTLSRequired}, false, owner, policy.InvalidToken, nil},
		{"H01 demanded, and bound to a key", key, policy.Rules{MTLS: policy.MTLSRequired}, true, owner, policy.InvalidToken, nil},
		{"D15 both", both, policy.Rules{}, true, owner, policy.Allowed, []bool{false}},
		{"D15 both, and another key", both, policy.Rules{}, true, holder{"other", certificate, nil, nil}, policy.InvalidToken, []bool{false}},
		{"D15 both, and another certificate, for which no proof is used up", both, policy.Rules{}, true, holder{jkt, "other", nil, nil}, policy.InvalidToken, nil},
		{"D15 both, presented as Bearer", both, policy.Rules{}, false, owner, policy.InvalidToken, nil},
		{"D15 both demanded", both, policy.Rules{DPoP: policy.DPoPRequired, MTLS: policy.MTLSRequired}, true, owner, policy.Allowed, []bool{false}},
		{"D15 a member that is not understood", `"cnf":{"jkt":"` + jkt + `","kid":"x"}`, policy.Rules{}, true, owner, policy.InvalidToken, nil},
		{"D15 the thumbprint of SHA-1", `"cnf":{"x5t":"x"}`, policy.Rules{}, false, owner, policy.InvalidToken, nil},
		{"D15 another spelling", `"cnf":{"JKT":"` + jkt + `"}`, policy.Rules{}, true, owner, policy.InvalidToken, nil},
		{"D15 a key in full", `"cnf":{"jwk":{"kty":"EC"}}`, policy.Rules{}, true, owner, policy.InvalidToken, nil},
		{"D15 jkt is empty", `"cnf":{"jkt":""}`, policy.Rules{}, true, holder{}, policy.InvalidToken, nil},
		{"D15 jkt is null", `"cnf":{"jkt":null}`, policy.Rules{}, true, owner, policy.InvalidToken, nil},
		{"D15 jkt is null beside a certificate", `"cnf":{"jkt":null,"x5t#S256":"` + certificate + `"}`, policy.Rules{}, false, owner, policy.InvalidToken, nil},
		{"D15 jkt is a number", `"cnf":{"jkt":1}`, policy.Rules{}, true, owner, policy.InvalidToken, nil},
		{"D15 jkt is a list", `"cnf":{"jkt":["` + jkt + `"]}`, policy.Rules{}, true, owner, policy.InvalidToken, nil},
		{"D15 the certificate is empty", `"cnf":{"x5t#S256":""}`, policy.Rules{}, false, holder{}, policy.InvalidToken, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			verdict := tc.rules.Judge(active(t, tc.members), now, policy.Presented{Possession: tc.dpop, Holder: &tc.holder})
			assert.Equal(t, tc.want, verdict.Outcome)
			assert.Equal(t, tc.want != policy.Allowed, verdict.Reason != "")
			assert.NotContains(t, verdict.Reason, jkt)
			assert.Equal(t, tc.proofs, tc.holder.nonces, "proofs that were asked for")
		})
	}
}

// A proof is good once, so that a token that does not pass for what it is uses none up.
// A thief has the key that the answer names at its top, and not what it names beside the parts of its own shape.
func TestD15ATokenThatIsBoundTwiceOver(t *testing.T) {
	body := `{"data":{"active":true,"cnf":{"x5t#S256":"` + certificate + `"}},"cnf":{"jkt":"` + jkt + `"}}`
	answer, err := introspect.Shape{Active: "data.active"}.Parse([]byte(body), time.Now())
	require.NoError(t, err)
	verdict := (&policy.Rules{}).Judge(answer, time.Now(), policy.Presented{Possession: true, Holder: &holder{key: jkt, certificate: certificate}})
	assert.Equal(t, policy.InvalidToken, verdict.Outcome)
}

func TestG14_ABadTokenUsesNoProofUp(t *testing.T) {
	client := &holder{key: jkt}
	rules := policy.Rules{Audience: []string{"api"}}
	verdict := rules.Judge(active(t, `"aud":"web","cnf":{"jkt":"`+jkt+`"}`), now, policy.Presented{Possession: true, Holder: client})
	assert.Equal(t, policy.InvalidToken, verdict.Outcome)
	assert.Empty(t, client.nonces)
}

func TestBindingComesBeforeScope(t *testing.T) {
	rules := policy.Rules{Scope: []string{"write"}}
	answer := active(t, `"cnf":{"jkt":"`+jkt+`"}`)
	verdict := rules.Judge(answer, now, policy.Presented{Possession: true, Holder: &holder{err: dpop.ErrInvalid}})
	assert.Equal(t, policy.InvalidProof, verdict.Outcome)
	verdict = rules.Judge(answer, now, policy.Presented{Possession: true, Holder: &holder{key: jkt}})
	assert.Equal(t, policy.InsufficientScope, verdict.Outcome)
}

func TestDemandsThatAreNone(t *testing.T) {
	for _, rules := range []policy.Rules{{DPoP: "Required"}, {DPoP: "off"}, {MTLS: "nonce"}, {MTLS: "true"}} {
		assert.Error(t, rules.Check())
	}
	for _, rules := range []policy.Rules{{}, {DPoP: policy.DPoPRequired}, {DPoP: policy.DPoPNonce}, {MTLS: policy.MTLSRequired}} {
		assert.NoError(t, rules.Check())
	}
}

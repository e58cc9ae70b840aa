package authserver

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/internal/testdpop"
)

func TestO06AProofOfAPushedRequest(t *testing.T) {
	s, _ := newDirectoryServer(t, false)
	const path = "/oauth2/par"
	key, other := testdpop.NewKey(t), testdpop.NewKey(t)
	proof := func(key *testdpop.Key) string { return key.Proof(t, http.MethodPost, s.url(path)) }
	for name, test := range map[string]struct {
		parameter string
		proofs    []string
		bound     string
		refused   bool
	}{
		"neither":                       {"", nil, "", false},
		"the parameter":                 {key.JKT(), nil, key.JKT(), false},
		"a proof":                       {"", []string{proof(key)}, key.JKT(), false},
		"both, which agree":             {key.JKT(), []string{proof(key)}, key.JKT(), false},
		"attack: both, of which one is": {other.JKT(), []string{proof(key)}, "", true},
		"attack: two proofs":            {"", []string{proof(key), proof(key)}, "", true},
		"attack: a proof for the token": {"", []string{key.Proof(t, http.MethodPost, s.url(tokenPath))}, "", true},
		"attack: a proof of another":    {"", []string{proof(other)[1:]}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "http://evil.example"+path, nil)
			r.Header["Dpop"] = test.proofs
			form := make(map[string]string)
			if test.parameter != "" {
				form["dpop_jkt"] = test.parameter
			}
			err := s.bindRequest(r, form, path)
			if !test.refused {
				require.NoError(t, err)
				assert.Equal(t, test.bound, form["dpop_jkt"])
				return
			}
			refusal, ok := errors.AsType[*oauthError](err)
			require.True(t, ok, err)
			assert.Equal(t, http.StatusBadRequest, refusal.status)
			assert.Equal(t, "invalid_dpop_proof", refusal.code)
		})
	}
}

func TestO04AClientOfTheStoreThatGetsBoundTokensOnly(t *testing.T) {
	s, state := newDirectoryServer(t, false)
	require.NoError(t, state.PutRecord(t.Context(), store.Record{
		Kind: partyKind, Name: "bound", Owner: ownerClients, Value: []byte(`{"auth":"none","dpop_bound_access_tokens":true}`),
	}))
	client, err := s.client(t.Context(), "bound")
	require.NoError(t, err)
	require.NotNil(t, client)
	assert.True(t, client.DPoPBound)
}

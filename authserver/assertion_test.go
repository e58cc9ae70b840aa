package authserver_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
)

// FuzzAssertion: whatever a client signs, the server ends, and takes only what says that it is of this client, for this
// server, now, and once. The signature is always right, so that everything else is what counts.
func FuzzAssertion(f *testing.F) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const good = `{"iss":"holder","sub":"holder","aud":"https://auth.example.com","jti":"1","iat":1795348800,"exp":1795348860}`
	for _, seed := range []struct{ header, claims string }{
		{`{"alg":"EdDSA"}`, good},
		{`{"alg":"EdDSA","typ":"client-authentication+jwt","kid":"k"}`, good},
		{`{"alg":"EdDSA","typ":"at+jwt"}`, good},
		{`{"alg":"EdDSA","crit":["b64"],"b64":false}`, good},
		{`{"alg":"none"}`, good},
		{`{"alg":"HS256"}`, good},
		{`{"alg":"EdDSA"}`, `{"iss":"holder","sub":"holder","aud":["https://auth.example.com"],"jti":"1","nbf":1.5e9,"exp":1795348860.5}`},
		{`{"alg":"EdDSA"}`, `{"sub":"x","sub":"holder","iss":"holder","aud":["https://auth.example.com","x"],"jti":1,"exp":"1795348860"}`},
		{`{"alg":"EdDSA"}`, `{"iss":"holder","sub":null,"aud":null,"jti":"\ud800","exp":1e400}`},
	} {
		f.Add(seed.header, seed.claims)
	}
	state := new(memory)
	server, err := authserver.New(authserver.Config{
		Issuer:  issuer,
		Clients: []authserver.Client{{ID: "holder", Keys: keySet(f, publicKey(edKey, "k")), Grants: []string{authserver.GrantClientCredentials}}},
		Logger:  slog.New(slog.DiscardHandler),
		Now:     func() time.Time { return now },
	}, state)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, header, claims string) {
		state.once.Clear()
		encode := base64.RawURLEncoding.EncodeToString
		signed := encode([]byte(header)) + "." + encode([]byte(claims))
		assertion := signed + "." + encode(ed25519.Sign(edKey, []byte(signed)))
		asking := request{path: "/oauth2/token", form: assertionForm(assertion)}
		fixture := &fixture{Server: server}
		response, _ := fixture.do(t, asking)
		if response.StatusCode != 200 {
			require.Equal(t, 401, response.StatusCode)
			return
		}
		var said struct {
			Algorithm string  `json:"alg"`
			Critical  any     `json:"crit"`
			Issuer    string  `json:"iss"`
			Subject   string  `json:"sub"`
			Audience  any     `json:"aud"`
			Expiry    float64 `json:"exp"`
			ID        string  `json:"jti"`
		}
		require.NoError(t, json.Unmarshal([]byte(header), &said))
		require.NoError(t, json.Unmarshal([]byte(claims), &said))
		require.Equal(t, "EdDSA", said.Algorithm)
		require.Nil(t, said.Critical)
		require.Equal(t, "holder", said.Issuer)
		require.Equal(t, "holder", said.Subject)
		if several, ok := said.Audience.([]any); ok {
			require.Len(t, several, 1)
			said.Audience = several[0]
		}
		require.True(t, slices.Contains([]any{issuer, issuer + "/oauth2/token"}, said.Audience), said.Audience)
		require.Greater(t, said.Expiry, float64(now.Unix()))
		require.LessOrEqual(t, said.Expiry, float64(now.Add(time.Hour+time.Minute).Unix())+1)
		require.NotEmpty(t, said.ID)
		response, _ = fixture.do(t, asking)
		require.Equal(t, 401, response.StatusCode, "it is of use once")
	})
}

package authserver

import (
	"encoding/json"
	"log/slog"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzRegistration: whatever somebody says of a client, the server ends, keeps what it can make a client of, and gives it
// nothing that clients which register themselves may not have.
func FuzzRegistration(f *testing.F) {
	for _, document := range []string{
		`{"redirect_uris":["https://app.example.net/cb"]}`,
		`{"redirect_uris":["http://localhost:1/cb","com.example.app:/cb"],"application_type":"native","grant_types":["refresh_token","authorization_code"],"response_types":["code"],"scope":"read  write admin","client_name":" x ","token_endpoint_auth_method":"none"}`,
		`{"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://a.example/jwks"}`,
		`{"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}}`,
		`{"redirect_uris":["javascript:alert(1)"],"grant_types":["implicit"],"introspect":true}`,
	} {
		f.Add([]byte(document))
	}
	ceiling := []string{"read", "write"}
	s, err := New(Config{Issuer: "https://auth.example.com", Logger: slog.New(slog.DiscardHandler)}, nil)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, document []byte) {
		m, err := parseClientMetadata(document, ceiling)
		if err != nil {
			var refusal *oauthError
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, 400, refusal.status)
			return
		}
		require.NotEmpty(t, m.RedirectURIs)
		for _, uri := range m.RedirectURIs {
			require.NoError(t, CheckRedirectURI(uri))
		}
		assert.Subset(t, []string{GrantAuthorizationCode, GrantRefreshToken}, m.GrantTypes)
		assert.Contains(t, m.GrantTypes, GrantAuthorizationCode)
		assert.Subset(t, ceiling, splitScope(m.Scope))
		assert.False(t, m.JWKS != nil && m.JWKSURI != "")

		kept := clientRecord{
			Title: m.Name, Auth: m.AuthMethod, JWKS: m.JWKS, JWKSURI: m.JWKSURI, Grants: m.GrantTypes, RedirectURIs: m.RedirectURIs,
			Scopes: splitScope(m.Scope), Registration: json.RawMessage("{}"),
		}
		if slices.Contains([]string{"", AuthSecretBasic, AuthSecretPost}, m.AuthMethod) {
			kept.Secrets = []secretRecord{{Hash: hashGenerated("x")}}
		}
		client, err := s.clientOf("dyn_x", &kept, nil)
		require.NoError(t, err, "what is taken makes a client")
		assert.False(t, client.MayIntrospect || client.Trusted || !client.registered)

		text, err := json.Marshal(m)
		require.NoError(t, err)
		again, err := parseClientMetadata(text, ceiling)
		require.NoError(t, err, "what a client is told it can say again")
		assert.Equal(t, m.RedirectURIs, again.RedirectURIs)
		assert.Equal(t, m.Scope, again.Scope)
	})
}

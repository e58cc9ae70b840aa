package interop_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// goClient is a client of golang.org/x/oauth2 and go-oidc.
type goClient struct {
	oauth2.Config
	server   *issuer
	provider *oidc.Provider
}

// goClient makes a client, which finds the server by its metadata.
func (s *issuer) goClient(t *testing.T, client credentials, style oauth2.AuthStyle) *goClient {
	t.Helper()
	provider, err := oidc.NewProvider(t.Context(), s.url)
	require.NoError(t, err)
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = style
	return &goClient{
		Config: oauth2.Config{
			ClientID: client.id, ClientSecret: client.secret, Endpoint: endpoint,
			RedirectURL: webCallback, Scopes: []string{oidc.ScopeOpenID, "profile", "email", "orders:read"},
		},
		server:   s,
		provider: provider,
	}
}

// allowed has alice consent to a request, and returns her code and what redeems it.
func (c *goClient) allowed(t *testing.T, alice *userAgent) (code, codeVerifier string) {
	t.Helper()
	codeVerifier = oauth2.GenerateVerifier()
	address := c.AuthCodeURL("af0ifjsldkj", oauth2.S256ChallengeOption(codeVerifier), oidc.Nonce("n-0S6_WzA2Mj"))
	location, answer := alice.sentBack(t, alice.allow(t, address))
	require.NotEmpty(t, answer.Get("code"), location)
	assert.Equal(t, "af0ifjsldkj", answer.Get("state"))
	c.server.Guard(answer.Get("code"))
	return answer.Get("code"), codeVerifier
}

// guarded registers tokens of the server.
func (c *goClient) guarded(token *oauth2.Token) *oauth2.Token {
	hint, _ := token.Extra("id_token").(string)
	c.server.Guard(token.AccessToken, token.RefreshToken, hint)
	return token
}

// authorize has alice authorize the client.
func (c *goClient) authorize(t *testing.T, alice *userAgent) *oauth2.Token {
	t.Helper()
	code, codeVerifier := c.allowed(t, alice)
	token, err := c.Exchange(t.Context(), code, oauth2.VerifierOption(codeVerifier))
	require.NoError(t, err)
	return c.guarded(token)
}

// verified is what the ID token that came with an access token says.
func (c *goClient) verified(t *testing.T, token *oauth2.Token) *oidc.IDToken {
	t.Helper()
	text, ok := token.Extra("id_token").(string)
	require.True(t, ok)
	verifier := c.provider.VerifierContext(t.Context(), &oidc.Config{ClientID: c.ClientID})
	said, err := verifier.Verify(t.Context(), text)
	require.NoError(t, err)
	require.NoError(t, said.VerifyAccessToken(token.AccessToken))
	assert.Equal(t, "alice", said.Subject)
	return said
}

// passes says that a request with a client's token reaches the backend, and what the backend learns.
func (s *issuer) passes(t *testing.T, client *http.Client, expected map[string]string) {
	t.Helper()
	assert.Equal(t, http.StatusOK, s.status(t, client))
	s.tells(t, expected)
}

func (s *issuer) status(t *testing.T, client *http.Client) int {
	t.Helper()
	got, err := client.Get(s.url + "/orders")
	require.NoError(t, err)
	require.NoError(t, got.Body.Close())
	return got.StatusCode
}

// assertRefused says that the server has refused a request for a token.
func assertRefused(t *testing.T, code string, err error) {
	t.Helper()
	var refused *oauth2.RetrieveError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, code, refused.ErrorCode, refused.ErrorDescription)
}

// When it is not told how to authenticate, golang.org/x/oauth2 tries the header, with an empty secret if there is none,
// and after any error the body. It remembers what has worked.
func TestGoOAuth2IsAClientOfTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	server, _ := startOpenID(t, openIDFile)
	alice := server.userAgent(t)
	either, basic, post := credentials{"either", strangeSecret}, credentials{"basic", strangeSecret}, credentials{"post", strangeSecret}
	spa := credentials{"spa", ""}
	for name, test := range map[string]struct {
		client credentials
		style  oauth2.AuthStyle
	}{
		"told to use the header":                         {basic, oauth2.AuthStyleInHeader},
		"told to use the body":                           {post, oauth2.AuthStyleInParams},
		"trying, where either will do":                   {either, oauth2.AuthStyleAutoDetect},
		"trying, where the header is right":              {basic, oauth2.AuthStyleAutoDetect},
		"AS-D13 trying, where only the body will do":     {post, oauth2.AuthStyleAutoDetect},
		"AS-D15 a public client, told to use the body":   {spa, oauth2.AuthStyleInParams},
		"AS-D15 a public client that tries a header too": {spa, oauth2.AuthStyleAutoDetect},
	} {
		id := test.client.id
		t.Run("authorization code, "+name, func(t *testing.T) {
			client := server.goClient(t, test.client, test.style)
			first := client.authorize(t, alice)
			assert.Equal(t, "Bearer", first.Type())
			assert.WithinDuration(t, time.Now().Add(15*time.Minute), first.Expiry, time.Minute)
			assert.Equal(t, openIDScope, first.Extra("scope"), "AS-A14")
			before := client.verified(t, first)
			assert.Equal(t, "n-0S6_WzA2Mj", before.Nonce, "AS-P03")
			server.passes(t, client.Client(t.Context(), first), openIDUser(id))

			user, err := client.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(first))
			require.NoError(t, err)
			claims := object{}
			require.NoError(t, user.Claims(&claims))
			assert.Equal(t, openIDClaims, claims, "AS-P12")
			assert.True(t, user.EmailVerified)

			// What an application has kept.
			source := client.TokenSource(t.Context(), &oauth2.Token{RefreshToken: first.RefreshToken})
			second, err := source.Token()
			require.NoError(t, err)
			client.guarded(second)
			assert.NotEqual(t, first.AccessToken, second.AccessToken)
			assert.NotEqual(t, first.RefreshToken, second.RefreshToken, "AS-F02")
			assert.Empty(t, client.verified(t, second).Nonce, "AS-P14")
			server.passes(t, oauth2.NewClient(t.Context(), source), openIDUser(id))
		})
	}
	for name, test := range map[string]struct {
		client credentials
		style  oauth2.AuthStyle
	}{
		"told to use the header":                     {basic, oauth2.AuthStyleInHeader},
		"told to use the body":                       {post, oauth2.AuthStyleInParams},
		"trying, where the header is right":          {basic, oauth2.AuthStyleAutoDetect},
		"AS-D13 trying, where only the body will do": {post, oauth2.AuthStyleAutoDetect},
	} {
		t.Run("client credentials, "+name, func(t *testing.T) {
			own := clientcredentials.Config{
				ClientID: test.client.id, ClientSecret: test.client.secret, TokenURL: server.url + "/oauth2/token",
				Scopes: []string{"orders:read"}, AuthStyle: test.style,
			}
			source := own.TokenSource(t.Context())
			token, err := source.Token()
			require.NoError(t, err)
			server.Guard(token.AccessToken)
			assert.Empty(t, token.RefreshToken, "AS-G02")
			server.passes(t, oauth2.NewClient(t.Context(), source), asClient(test.client.id, "orders:read"))
		})
	}
	for name, style := range map[string]oauth2.AuthStyle{
		"in the header": oauth2.AuthStyleInHeader, "in the body": oauth2.AuthStyleInParams, "trying": oauth2.AuthStyleAutoDetect,
	} {
		t.Run("AS-E01 a wrong secret "+name+", and its code survives", func(t *testing.T) {
			wrong := server.goClient(t, credentials{"either", "another-secret"}, style)
			code, codeVerifier := wrong.allowed(t, alice)
			_, err := wrong.Exchange(t.Context(), code, oauth2.VerifierOption(codeVerifier))
			assertRefused(t, "invalid_client", err)
			right := server.goClient(t, either, style)
			token, err := right.Exchange(t.Context(), code, oauth2.VerifierOption(codeVerifier))
			require.NoError(t, err)
			right.guarded(token)
			server.passes(t, right.Client(t.Context(), token), openIDUser("either"))
		})
	}
	t.Run("AS-C05 attack: a stolen code, which the thief's library tries twice", func(t *testing.T) {
		client := server.goClient(t, spa, oauth2.AuthStyleAutoDetect)
		code, codeVerifier := client.allowed(t, alice)
		_, err := client.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
		assertRefused(t, "invalid_grant", err)
		token, err := client.Exchange(t.Context(), code, oauth2.VerifierOption(codeVerifier))
		require.NoError(t, err)
		client.verified(t, client.guarded(token))
	})
	t.Run("AS-E03 attack: a code is used again, and what came of it is worth nothing", func(t *testing.T) {
		client := server.goClient(t, basic, oauth2.AuthStyleAutoDetect)
		code, codeVerifier := client.allowed(t, alice)
		token, err := client.Exchange(t.Context(), code, oauth2.VerifierOption(codeVerifier))
		require.NoError(t, err)
		client.guarded(token)
		_, err = client.Exchange(t.Context(), code, oauth2.VerifierOption(codeVerifier))
		assertRefused(t, "invalid_grant", err)
		assert.Equal(t, http.StatusUnauthorized, server.status(t, client.Client(t.Context(), token)))
		assert.Empty(t, server.backend.Take(), "the backend must not be asked")
	})
	t.Run("AS-A14 AS-P01 the user does not let the client know who she is", func(t *testing.T) {
		client := server.goClient(t, basic, oauth2.AuthStyleAutoDetect)
		codeVerifier := oauth2.GenerateVerifier()
		address := client.AuthCodeURL("af0ifjsldkj", oauth2.S256ChallengeOption(codeVerifier), oauth2.SetAuthURLParam("prompt", "consent"))
		page := alice.submit(t, alice.signIn(t, alice.open(t, address)), url.Values{"decision": {"allow"}}, oidc.ScopeOpenID)
		_, answer := alice.sentBack(t, page)
		server.Guard(answer.Get("code"))
		token, err := client.Exchange(t.Context(), answer.Get("code"), oauth2.VerifierOption(codeVerifier))
		require.NoError(t, err)
		client.guarded(token)
		assert.Equal(t, "profile email orders:read", token.Extra("scope"))
		assert.Nil(t, token.Extra("id_token"))
		_, err = client.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token))
		require.ErrorContains(t, err, "403")
	})
	// A program that has just started knows nothing of what has worked before.
	t.Run("AS-D16 AS-D13 a client that begins anew each time, and tries the header first", func(t *testing.T) {
		for range 30 {
			own := clientcredentials.Config{ClientID: post.id, ClientSecret: post.secret, TokenURL: server.url + "/oauth2/token"}
			token, err := own.Token(t.Context())
			require.NoError(t, err)
			server.Guard(token.AccessToken)
		}
	})
	t.Run("AS-D16 AS-D15 a public client that begins anew each time, and tries the header first", func(t *testing.T) {
		token := server.goClient(t, spa, oauth2.AuthStyleInParams).authorize(t, alice)
		for range 30 {
			client := server.goClient(t, spa, oauth2.AuthStyleAutoDetect)
			var err error
			token, err = client.TokenSource(t.Context(), &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
			require.NoError(t, err)
			client.guarded(token)
		}
	})
}

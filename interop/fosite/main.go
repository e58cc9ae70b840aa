// Command fosite is an authorization server of ory/fosite, for the tests of the gateway.
//
// Everything that speaks OAuth 2.0 here is fosite's: the client authentication, the client credentials, password and
// refresh token grants, and the introspection and revocation endpoints. Storage is its memory store, and a session says
// who the user is. Nothing is added to the answers.
//
// The first line on stdout is the URL of the server, which listens on a free port of 127.0.0.1.
package main

import (
	"crypto/rand"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/storage"
	"golang.org/x/crypto/bcrypt"
)

// brief is how long the tokens of brief-app live.
var brief = time.Second

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	store, err := newStore()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	server := &http.Server{Handler: handler(store), ReadHeaderTimeout: time.Minute}
	log.Fatal(server.Serve(listener))
}

func handler(store *storage.MemoryStore) http.Handler {
	config := &fosite.Config{
		GlobalSecret:             []byte(rand.Text() + rand.Text()),
		RefreshTokenScopes:       []string{"offline"},
		ScopeStrategy:            fosite.ExactScopeStrategy,
		AudienceMatchingStrategy: fosite.DefaultAudienceMatchingStrategy,
	}
	provider := compose.Compose(
		config,
		store,
		compose.CommonStrategy{CoreStrategy: compose.NewOAuth2HMACStrategy(config)},
		compose.OAuth2ClientCredentialsGrantFactory,
		compose.OAuth2ResourceOwnerPasswordCredentialsFactory, //nolint:staticcheck // the shortest way to tokens of a user
		compose.OAuth2RefreshTokenGrantFactory,
		compose.OAuth2TokenIntrospectionFactory,
		compose.OAuth2TokenRevocationFactory,
	)
	mux := http.NewServeMux()
	mux.HandleFunc("/oauth/token", func(w http.ResponseWriter, r *http.Request) { issue(provider, w, r) })
	mux.HandleFunc("/oauth/introspect", func(w http.ResponseWriter, r *http.Request) { introspect(provider, w, r) })
	mux.HandleFunc("/oauth/revoke", func(w http.ResponseWriter, r *http.Request) {
		provider.WriteRevocationResponse(r.Context(), w, provider.NewRevocationRequest(r.Context(), r))
	})
	return mux
}

func issue(provider fosite.OAuth2Provider, w http.ResponseWriter, r *http.Request) {
	ctx, session := r.Context(), new(fosite.DefaultSession)
	request, err := provider.NewAccessRequest(ctx, r, session)
	if err != nil {
		provider.WriteAccessError(ctx, w, request, err)
		return
	}
	if request.GetGrantTypes().ExactOne("password") {
		session.Username = r.PostForm.Get("username")
		session.Subject = "subject-of-" + session.Username
	}
	for _, scope := range request.GetRequestedScopes() {
		request.GrantScope(scope)
	}
	for _, audience := range request.GetRequestedAudience() {
		request.GrantAudience(audience)
	}
	response, err := provider.NewAccessResponse(ctx, request)
	if err != nil {
		provider.WriteAccessError(ctx, w, request, err)
		return
	}
	provider.WriteAccessResponse(ctx, w, request, response)
}

func introspect(provider fosite.OAuth2Provider, w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	response, err := provider.NewIntrospectionRequest(ctx, r, new(fosite.DefaultSession))
	if err != nil {
		provider.WriteIntrospectionError(ctx, w, err)
		return
	}
	provider.WriteIntrospectionResponse(ctx, w, response)
}

func newStore() (*storage.MemoryStore, error) {
	store := storage.NewMemoryStore()
	store.Users["jane"] = storage.MemoryUserRelation{Username: "jane", Password: "jane-password"}
	for id, secret := range map[string]string{
		"gateway":    "gateway-secret_0.1~fosite",
		"gateway-2":  "p@ss w+rd/é%:& ",
		"orders-app": "orders-app-secret",
		"brief-app":  "brief-app-secret",
	} {
		hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
		if err != nil {
			return nil, err
		}
		store.Clients[id] = &fosite.DefaultClientWithCustomTokenLifespans{DefaultClient: &fosite.DefaultClient{
			ID:         id,
			Secret:     hash,
			GrantTypes: fosite.Arguments{"client_credentials", "password", "refresh_token"},
			Scopes:     fosite.Arguments{"orders:read", "orders:write", "offline"},
			Audience:   fosite.Arguments{"https://orders.example.com"},
		}}
	}
	err := store.SetTokenLifespans("brief-app", &fosite.ClientLifespanConfig{
		ClientCredentialsGrantAccessTokenLifespan: &brief,
	})
	return store, err
}

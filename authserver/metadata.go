package authserver

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"

	"github.com/portcullis-gateway/portcullis/dpop"
)

// serveMetadata describes the server (RFC 8414 section 3, OpenID Connect Discovery section 4). It is public, for scripts
// of other origins too.
func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request) {
	if answerPreflight(w, r, "GET, HEAD", "*") || !isRead(w, r) {
		return
	}
	members := map[string]any{
		"issuer":                 s.issuer,
		"authorization_endpoint": s.url(authorizePath),
		"token_endpoint":         s.url(tokenPath),
		"introspection_endpoint": s.url(introspectionPath),
		"revocation_endpoint":    s.url(revocationPath),
		"grant_types_supported":  s.grants(),

		"pushed_authorization_request_endpoint": s.url(pushPath),

		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query", "form_post"},
		"code_challenge_methods_supported":               []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
		"dpop_signing_alg_values_supported":              dpop.Algorithms(),
	}
	s.describeClientAuth(members)
	s.describeOpenID(members)
	s.describeLegacy(members)
	s.describeRegistration(members)
	if len(s.resources) > 0 {
		members["protected_resources"] = s.resources // RFC 9728 section 4
	}
	writePublic(w, members)
}

// describeOpenID adds what concerns OpenID Connect (Discovery section 3, RP-Initiated Logout section 2.1, RFC 9470
// section 7).
func (s *Server) describeOpenID(members map[string]any) {
	maps.Copy(members, map[string]any{
		"jwks_uri":                              s.url(keysPath),
		"userinfo_endpoint":                     s.url(userInfoPath),
		"end_session_endpoint":                  s.url(logoutPath),
		"scopes_supported":                      s.knownScopes(),
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": signingAlgorithms,
		"acr_values_supported":                  slices.Sorted(maps.Keys(authenticationMethods)),
		"prompt_values_supported":               promptValues,
		"claim_types_supported":                 []string{"normal"},
		"claims_supported":                      supportedClaims,
		"claims_parameter_supported":            false,
		"request_parameter_supported":           false,
		"request_uri_parameter_supported":       false, // the default is true
	})
}

// supportedClaims are those that an ID token or the UserInfo endpoint may have.
var supportedClaims = func() []string {
	all := slices.Clone(protocolClaims)
	for _, names := range scopeClaims {
		all = append(all, names...)
	}
	slices.Sort(all)
	return all
}()

// knownScopes are openid, the scopes of all clients, those that clients which register themselves may have, and those that
// are described.
func (s *Server) knownScopes() []string {
	known := map[string]bool{scopeOpenID: true}
	for _, client := range s.clients {
		for _, scope := range client.Scopes {
			known[scope] = true
		}
	}
	for scope := range s.scopes {
		known[scope] = true
	}
	if s.registration != nil {
		for _, scope := range s.registration.Scopes {
			known[scope] = true
		}
	}
	return slices.Sorted(maps.Keys(known))
}

// serveKeys publishes the keys that the server signs with (RFC 7517 section 5).
func (s *Server) serveKeys(w http.ResponseWriter, r *http.Request) {
	if answerPreflight(w, r, "GET, HEAD", "*") || !isRead(w, r) {
		return
	}
	keys, err := s.publicKeys(r.Context())
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	writePublic(w, keys)
}

// answerPreflight lets scripts of all origins read an endpoint to which browsers send nothing of their own accord, and
// answers when they ask whether they may (Fetch section 3.3.2).
func answerPreflight(w http.ResponseWriter, r *http.Request, methods, headers string) bool {
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	header.Set("Access-Control-Allow-Methods", methods)
	header.Set("Access-Control-Allow-Headers", headers)
	header.Set("Access-Control-Max-Age", "3600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// isRead answers a request that is none to read.
func isRead(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	w.WriteHeader(http.StatusMethodNotAllowed)
	return false
}

// writePublic answers with a document that everybody may keep for a while: for less than signingKeyLead.
func writePublic(w http.ResponseWriter, document any) {
	w.Header().Set("Cache-Control", "public, max-age=3600")
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document) // the client hung up
}

package authserver

import (
	"encoding/json"
	"net/http"
)

// serveMetadata describes the server (RFC 8414 section 3). It is public, for scripts of other origins too.
func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	header.Set("Cache-Control", "public, max-age=3600")
	header.Set("Content-Type", "application/json")
	members := map[string]any{
		"issuer":                 s.issuer,
		"authorization_endpoint": s.url(authorizePath),
		"token_endpoint":         s.url(tokenPath),
		"introspection_endpoint": s.url(introspectionPath),
		"revocation_endpoint":    s.url(revocationPath),
		"grant_types_supported":  s.grants(),

		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query", "form_post"},
		"code_challenge_methods_supported":               []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
	}
	s.describeClientAuth(members)
	_ = json.NewEncoder(w).Encode(members) // the client hung up
}

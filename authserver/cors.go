package authserver

import "net/http"

// crossOrigin lets scripts of all origins use an endpoint (OAuth 2.1 section 3.2). It takes nothing from a cookie, so what a
// script of another site can do with it, anybody can; browsers send none, and are not allowed to. It is not for the
// endpoints at which users sign in and consent.
func crossOrigin(endpoint http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if answerPreflight(w, r, "POST", "Authorization, Content-Type, DPoP") {
			return
		}
		w.Header().Set("Access-Control-Expose-Headers", "DPoP-Nonce, Retry-After, WWW-Authenticate")
		endpoint(w, r)
	}
}

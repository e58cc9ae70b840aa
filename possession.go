package portcullis

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/dpop"
	"github.com/portcullis-gateway/portcullis/policy"
)

// possession is what a request has to prove that its client holds what its token is bound to (RFC 9449, RFC 8705). It is a
// part of the visit, so that a proof is checked once, whatever the number of directives.
type possession struct {
	request *http.Request
	checker *dpop.Checker
	token   string

	// proofs and certificates are the header lines DPoP and Client-Cert as they came in, which are removed from the request.
	proofs, certificates []string

	checked bool
	proof   dpop.Proof
	err     error
}

// bring takes from a request what may prove possession, before it is removed.
func (p *possession) bring(r *http.Request) {
	p.request = r
	p.proofs, p.certificates = r.Header["Dpop"], r.Header["Client-Cert"]
}

// ProveKey is that of policy.Holder.
func (p *possession) ProveKey(jkt string, nonce bool) error {
	if !p.checked {
		method, target := targetOf(p.request)
		p.proof, p.err = p.checker.Check(p.request.Context(), dpop.Request{
			Header: p.proofs, Method: method, URL: target, AccessToken: p.token, Key: jkt, Nonce: nonce,
		})
		// What has failed used nothing up, and may do for the next directive, if this one only observes.
		p.checked = p.err == nil
	}
	switch {
	case p.err != nil:
		return p.err
	case p.proof.JKT != jkt:
		return dpop.ErrOtherKey
	case nonce && !p.proof.HasNonce:
		return dpop.ErrNonce
	}
	return nil
}

// Certificate is that of policy.Holder. A proxy that is trusted says whose certificate it has seen (RFC 9440); whoever
// else says something has the certificate of the connection.
func (p *possession) Certificate() string {
	if len(p.certificates) > 0 && isFromProxy(p.request) {
		if len(p.certificates) > 1 {
			return ""
		}
		certificate, ok := parseBinary(p.certificates[0])
		if !ok {
			return ""
		}
		return thumbprintOf(certificate)
	}
	if tls := p.request.TLS; tls != nil && len(tls.PeerCertificates) > 0 {
		return thumbprintOf(tls.PeerCertificates[0].Raw)
	}
	return ""
}

// checkScheme says that no token could be presented as the route demands it.
func (h *Handler) checkScheme() error {
	if h.DPoP != "" && len(h.TokenFrom) > 0 && !h.TokenFrom.TakeDPoP() {
		return errors.New("dpop: no token_from takes a token under the scheme DPoP: add 'token_from header'")
	}
	return nil
}

// thumbprintOf is the x5t#S256 of a certificate in DER.
func thumbprintOf(certificate []byte) string {
	hash := sha256.Sum256(certificate)
	return base64.RawURLEncoding.EncodeToString(hash[:])
}

// parseBinary reads a byte sequence (RFC 8941 section 3.3.5).
func parseBinary(text string) ([]byte, bool) {
	inside, begins := strings.CutPrefix(strings.Trim(text, " "), ":")
	inside, ends := strings.CutSuffix(inside, ":")
	if !begins || !ends || inside == "" {
		return nil, false
	}
	value, err := base64.StdEncoding.Strict().DecodeString(inside)
	return value, err == nil
}

// isFromProxy tells whether the request comes from one of the proxies that Caddy's server option trusted_proxies names.
func isFromProxy(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// targetOf is the method and the URL of a request as its client has written them, before any rewrite. A proxy that is
// trusted says which scheme the client used. The host is what the request says, which proxies have to pass on: from a
// header of its own a client could choose the host that a proof of another host is for.
func targetOf(r *http.Request) (method, target string) {
	method, url := r.Method, r.URL
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		method, url = original.Method, original.URL
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	if lines := r.Header["X-Forwarded-Proto"]; len(lines) > 0 && isFromProxy(r) {
		switch said := strings.ToLower(lines[len(lines)-1]); said {
		case "http", "https":
			scheme = said
		}
	}
	return method, scheme + "://" + r.Host + url.EscapedPath()
}

var _ policy.Holder = (*possession)(nil)

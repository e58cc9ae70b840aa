package portcullis

import (
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/authority"
)

func init() {
	caddy.RegisterModule(new(StatusHandler))
	registerDirective("introspect_status", parseIntrospectStatus)
	// Behind whatever may protect the site: basic_auth, introspect and forward_auth.
	httpcaddyfile.RegisterDirectiveOrder("introspect_status", httpcaddyfile.Before, "request_header")
}

// StatusHandler shows how the authorities fare: as JSON, to a browser as a page that draws it, and at a path that ends in
// `/ready` as a probe, which is 200 while every authority can be asked, as far as is known, and else 503 with the names of
// those that cannot. It answers every GET and HEAD request that reaches it, and changes nothing.
//
// It shows neither tokens nor secrets, but it is for operators: protect it.
type StatusHandler struct {
	app *authority.App
}

// CaddyModule returns the Caddy module information.
func (*StatusHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.introspect_status", New: func() caddy.Module { return new(StatusHandler) }}
}

// Provision finds the authorities.
func (s *StatusHandler) Provision(ctx caddy.Context) error {
	app, err := ctx.App("introspect")
	if err != nil {
		return fmt.Errorf("loading the authorities: %w", err)
	}
	s.app = app.(*authority.App)
	return nil
}

// readiness is what the probe answers.
type readiness struct {
	Ready bool `json:"ready"`
	// NotReady are the authorities that cannot be asked.
	NotReady []string `json:"not_ready"`
}

// ServeHTTP shows the status.
func (s *StatusHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return caddyhttp.Error(http.StatusMethodNotAllowed, errors.New("the status can only be read"))
	}
	if path.Base(r.URL.Path) == "ready" {
		notReady := s.app.NotReady()
		if len(notReady) > 0 {
			return authority.WriteJSON(w, http.StatusServiceUnavailable, readiness{NotReady: notReady})
		}
		return authority.WriteJSON(w, http.StatusOK, readiness{Ready: true, NotReady: notReady})
	}
	w.Header().Add("Vary", "Accept")
	if wantsPage(r.Header.Values("Accept")) {
		statusPage.write(w)
		return nil
	}
	return authority.WriteJSON(w, http.StatusOK, authority.StatusDocument{Authorities: s.app.Statuses()})
}

// wantsPage tells a browser, which names text/html and no JSON, from everybody else (RFC 9110 section 12.5.1).
func wantsPage(accept []string) bool {
	page := false
	for part := range strings.SplitSeq(strings.ToLower(strings.Join(accept, ",")), ",") {
		mediaType, parameters, _ := strings.Cut(strings.ReplaceAll(part, " ", ""), ";")
		switch {
		case mediaType == "application/json":
			return false
		case mediaType == "text/html" && parameters != "q=0":
			page = true
		}
	}
	return page
}

//go:embed status.html
var statusHTML string

// page is a page that needs nothing from elsewhere, and that may run its own script and style only.
type page struct{ html, policy string }

var statusPage = newPage(statusHTML)

// newPage makes a page of HTML with one style and one script.
func newPage(html string) page {
	return page{html, "default-src 'none'; connect-src 'self'; style-src '" + inlineHash(html, "style") +
		"'; script-src '" + inlineHash(html, "script") + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
}

// inlineHash names the content of an element in a content security policy.
func inlineHash(html, element string) string {
	_, rest, _ := strings.Cut(html, "<"+element+">")
	content, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(content))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (p page) write(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", p.policy)
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(p.html)) // who asked may be gone
}

// parseIntrospectStatus parses the directive, which has neither arguments nor a block. Syntax:
//
//	introspect_status [<matcher>]
func parseIntrospectStatus(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	if h.NextBlock(h.Nesting()) {
		return nil, h.Err("introspect_status has no block")
	}
	return new(StatusHandler), nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*StatusHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*StatusHandler)(nil)
)

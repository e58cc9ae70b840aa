package shim

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler serves the endpoints of the embedded authorization server, by the path that the client asked for, whatever
// rewrites came before, and passes every other request on, without the cookie of the server's own sessions.
type Handler struct {
	app *App
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.authorization_server",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision finds the server.
func (h *Handler) Provision(ctx caddy.Context) error {
	app, err := ctx.AppIfConfigured("authorization_server")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return errors.New("authorization_server needs the global option 'authorization_server { issuer <url> … }'")
	}
	if err != nil {
		return fmt.Errorf("loading the authorization server: %w", err)
	}
	h.app = app.(*App)
	return nil
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	asked := r.URL
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		asked = original.URL
	}
	if endpoint := h.app.Endpoint(asked.EscapedPath()); endpoint != nil {
		endpoint.ServeHTTP(w, r)
		hideLocation(w)
		return nil
	}
	h.app.server.WithoutSession(r)
	return next.ServeHTTP(w, r)
}

// hideLocation keeps the address of a redirect, and the authorization code that may be in it, out of the access log,
// which shows the header of a response as it is in the end. It sees to it that the header is on its way: over HTTP/3 it
// is sent with the body, or later.
func hideLocation(w http.ResponseWriter) {
	if w.Header().Get("Location") != "" && http.NewResponseController(w).Flush() == nil {
		w.Header().Del("Location")
	}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)

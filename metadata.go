package portcullis

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/authority"
	"github.com/portcullis-gateway/portcullis/policy"
	"github.com/portcullis-gateway/portcullis/resource"
)

func init() {
	caddy.RegisterModule(new(MetadataHandler))
	registerDirective("introspect_metadata", parseIntrospectMetadata)
	httpcaddyfile.RegisterDirectiveOrder("introspect_metadata", httpcaddyfile.Before, "redir")
}

// MetadataHandler serves the metadata of the protected resources of this configuration (RFC 9728) at the host that a request
// names: of every `introspect` with a `resource` there, on whatever site. It judges the path that the client asked for,
// whatever rewrites came before, answers all that begins with `/.well-known/oauth-protected-resource`, and passes every
// other request on. The documents are public, and scripts of all origins may read them.
type MetadataHandler struct {
	app *authority.App
}

// CaddyModule returns the Caddy module information.
func (*MetadataHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.introspect_metadata", New: func() caddy.Module { return new(MetadataHandler) }}
}

// Provision finds the resources.
func (m *MetadataHandler) Provision(ctx caddy.Context) error {
	app, err := ctx.App("introspect")
	if err != nil {
		return fmt.Errorf("loading the resources: %w", err)
	}
	m.app = app.(*authority.App)
	return nil
}

// ServeHTTP serves a document.
func (m *MetadataHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if serveMetadata(w, r, m.app.Resources()) {
		return nil
	}
	return next.ServeHTTP(w, r)
}

// serveMetadata answers a request for a document, whether there is one or not, if there is any at the host. Clients try several
// places, and a challenge in one of them would lead them in circles.
func serveMetadata(w http.ResponseWriter, r *http.Request, resources *resource.Directory) bool {
	if resources == nil {
		return false
	}
	method, url := r.Method, r.URL
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		method, url = original.Method, original.URL
	}
	if !resource.IsMetadata(url.EscapedPath()) || !resources.IsAt(r.Host) {
		return false
	}
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Allow-Methods", "GET, HEAD")
	header.Set("Access-Control-Allow-Headers", "*")
	header.Set("Access-Control-Max-Age", "3600")
	document := resources.Document(r.Host, url.EscapedPath(), url.RawQuery)
	switch {
	case document == nil:
		header.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNotFound)
	case method == http.MethodOptions:
		header.Set("Allow", "GET, HEAD, OPTIONS")
		w.WriteHeader(http.StatusNoContent)
	case method == http.MethodGet || method == http.MethodHead:
		header.Set("Cache-Control", "public, max-age=300")
		header.Set("Content-Type", "application/json")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Content-Length", strconv.Itoa(len(document)))
		// Who asked may be gone, and the server keeps the body of HEAD to itself.
		_, _ = w.Write(document) //nolint:gosec // the request only chose among documents of the configuration
	default:
		header.Set("Allow", "GET, HEAD, OPTIONS")
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
	return true
}

// checkResource says what is wrong with the resource, and with what is said of it.
func (h *Handler) checkResource() error {
	if h.Resource == "" {
		if len(h.ResourceMetadata) > 0 {
			return errors.New("resource_metadata: says something of a resource that is not named: add 'resource <url>'")
		}
		return nil
	}
	if err := resource.CheckIdentifier(h.Resource); err != nil {
		return fmt.Errorf("resource: %w", err) // it may hold credentials
	}
	for name, values := range h.ResourceMetadata {
		if err := resource.CheckMember(name, values); err != nil {
			return fmt.Errorf("resource_metadata: %w", err)
		}
	}
	return nil
}

// checkServers says that the clients of the resource could not be told where to get a token. The configurations are those of
// the named authorities.
func (h *Handler) checkServers(named map[string]*authority.Config) error {
	if h.Resource == "" {
		return nil
	}
	asked := []*authority.Config{h.Authority}
	if h.Authority == nil {
		asked = nil
		for _, name := range h.Authorities {
			asked = append(asked, named[name])
		}
	}
	if slices.ContainsFunc(asked, func(config *authority.Config) bool { return config.Issuer == "" && !config.Embedded }) {
		return resource.CheckServers(nil, h.ResourceMetadata)
	}
	return nil
}

// publishResource describes the resource of the route, whose tokens are those of the given authorities.
func (h *Handler) publishResource(authorities []*authority.Authority) error {
	if err := h.checkResource(); err != nil || h.Resource == "" {
		return err
	}
	description := resource.Description{
		Resource:         h.Resource,
		Scopes:           h.rules.Demanded(),
		BearerMethods:    h.places.Methods(),
		DPoPRequired:     h.DPoP != "",
		CertificateBound: h.MTLS == policy.MTLSRequired,
		Members:          h.ResourceMetadata,
	}
	if h.places.TakeDPoP() {
		description.DPoPAlgorithms = proofAlgorithms
	}
	for _, authority := range authorities {
		issuer := authority.IssuerIdentifier()
		if issuer == "" {
			// Of an incomplete list clients could not tell that it is one.
			description.AuthorizationServers = nil
			break
		}
		description.AuthorizationServers = append(description.AuthorizationServers, issuer)
	}
	h.metadataURL = resource.MetadataURL(h.Resource)
	return h.app.Describe(description)
}

// maxAge is the max_age of challenges, if there is one.
func (h *Handler) maxAge() string {
	if h.MaxAge == 0 {
		return ""
	}
	return strconv.FormatInt(int64(time.Duration(h.MaxAge)/time.Second), 10)
}

// parseIntrospectMetadata parses the directive, which has neither arguments nor a block. Syntax:
//
//	introspect_metadata [<matcher>]
func parseIntrospectMetadata(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	if h.NextBlock(h.Nesting()) {
		return nil, h.Err("introspect_metadata has no block")
	}
	return new(MetadataHandler), nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*MetadataHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*MetadataHandler)(nil)
)

package portcullis

import (
	"context"
	"net/http"
	"strings"
	"sync"
)

// targets lets only requests through whose target has a path, as matchers, rewrites and expressions take it for granted. A target
// such as `x:http://host/admin` (RFC 3986 section 3, and none of RFC 9112 section 3.2) has none for them, while Caddy's proxy passes
// on what stands behind its colon, from error pages too, and a backend takes that for a URL.
type targets struct{ next http.Handler }

// ServeHTTP answers a request with such a target as the server answers one that it cannot read. It stands in front of all routes.
func (t targets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect || r.URL.Path != "" || r.URL.Opaque != "" {
		if r.URL.Path == "" && r.URL.Opaque == "" {
			r.URL.Path = "/" // which is what it means (RFC 9110 section 4.2.3)
		}
		if !strings.HasPrefix(r.URL.Path, "/") {
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusBadRequest)
			return
		}
	}
	t.next.ServeHTTP(w, r)
}

var guarding sync.Mutex

// guardTargets has the server of a new connection look at targets. No request of the connection has been served yet, and every
// other connection of the server comes by here before its requests do.
func guardTargets(ctx context.Context) {
	server, ok := ctx.Value(http.ServerContextKey).(*http.Server)
	if !ok || server.Handler == nil {
		return
	}
	guarding.Lock()
	defer guarding.Unlock()
	if _, guarded := server.Handler.(targets); !guarded {
		server.Handler = targets{server.Handler}
	}
}

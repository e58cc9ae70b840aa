package shim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/authserver/store"
)

func init() {
	caddy.RegisterModule(new(Admin))
}

// Admin adds to Caddy's administration what manages a running authorization server: its clients, users, tokens and
// sessions, below `/authorization_server/`.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.authorization_server", New: func() caddy.Module { return new(Admin) }}
}

// AdminPath is where the endpoints are.
const AdminPath = "/authorization_server/"

// Routes returns the endpoints.
func (*Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: AdminPath, Handler: caddy.AdminHandlerFunc(serveAdmin)}}
}

const (
	// maxAdminBody is the longest body of a request, in bytes.
	maxAdminBody = 128 << 10
	defaultPage  = 100
	maxPage      = 1000
)

// call is a request for one of the endpoints.
type call struct {
	w      http.ResponseWriter
	r      *http.Request
	app    *App
	server *authserver.Server
	// item is what the request names below the collection; empty if it names the collection.
	item string
}

// methods are what can be done at an endpoint.
type methods map[string]func(*call) error

var collections = map[string]methods{
	"clients":         {http.MethodGet: listClients, http.MethodPost: addClient},
	"users":           {http.MethodGet: listUsers, http.MethodPost: addUser},
	"tokens":          {http.MethodGet: listTokens},
	"tokens/revoke":   {http.MethodPost: revokeTokens},
	"sessions":        {http.MethodGet: listSessions},
	"sessions/revoke": {http.MethodPost: revokeSessions},
}

var items = map[string]methods{
	"clients": {http.MethodGet: getClient, http.MethodPatch: changeClient, http.MethodDelete: deleteClient},
	"users":   {http.MethodGet: getUser, http.MethodPatch: changeUser, http.MethodDelete: deleteUser},
}

func serveAdmin(w http.ResponseWriter, r *http.Request) error {
	path := strings.TrimPrefix(r.URL.EscapedPath(), AdminPath)
	allowed, c := collections[strings.TrimSuffix(path, "/")], &call{w: w, r: r}
	if allowed == nil {
		name, escaped, _ := strings.Cut(path, "/")
		item, err := url.PathUnescape(escaped)
		if err == nil && item != "" {
			allowed, c.item = items[name], item
		}
	}
	if allowed == nil {
		return apiError(http.StatusNotFound, fmt.Errorf("below %s there are clients, users, tokens and sessions", AdminPath))
	}
	serve := allowed[r.Method]
	if serve == nil {
		var names []string
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete} {
			if allowed[method] != nil {
				names = append(names, method)
			}
		}
		w.Header().Set("Allow", strings.Join(names, ", "))
		return apiError(http.StatusMethodNotAllowed, fmt.Errorf("here the method can be %s", strings.Join(names, ", ")))
	}
	app, err := running()
	if err != nil {
		return err
	}
	c.app, c.server = app, app.server
	app.used.Store(true)
	return statusOf(serve(c))
}

// running is the server of the configuration that is active.
func running() (*App, error) {
	app, err := caddy.ActiveContext().AppIfConfigured("authorization_server")
	switch {
	case errors.Is(err, caddy.ErrNotConfigured):
		return nil, apiError(http.StatusNotFound, errors.New("no authorization server is configured: the global option is 'authorization_server { issuer <url> … }'"))
	case err != nil:
		return nil, err
	}
	return app.(*App), nil
}

func apiError(status int, err error) error { return caddy.APIError{HTTPStatus: status, Err: err} }

// statusOf gives an error its status.
func statusOf(err error) error {
	var done caddy.APIError
	switch {
	case err == nil, errors.As(err, &done):
		return err
	case errors.Is(err, authserver.ErrUnknown):
		return apiError(http.StatusNotFound, err)
	case errors.Is(err, authserver.ErrConflict):
		return apiError(http.StatusConflict, err)
	case errors.Is(err, authserver.ErrInvalid):
		return apiError(http.StatusBadRequest, err)
	case errors.Is(err, store.ErrUnavailable):
		return apiError(http.StatusServiceUnavailable, err)
	}
	return err
}

func (c *call) ctx() context.Context { return c.r.Context() }

// write answers with JSON that nobody keeps.
func (c *call) write(status int, document any) error {
	body, err := json.Marshal(document)
	if err != nil {
		return err
	}
	header := c.w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(append(body, '\n')) // who asked may be gone
	return nil
}

// done answers that there is nothing to say.
func (c *call) done() error {
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// parameters reads the query: each of the names at most once, and nothing else.
func (c *call) parameters(names ...string) (map[string]string, error) {
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, errors.New("the query cannot be read"))
	}
	known := make(map[string]string)
	for _, name := range names {
		switch all := values[name]; {
		case len(all) > 1:
			return nil, apiError(http.StatusBadRequest, fmt.Errorf("%q is there twice", name))
		case len(all) == 1:
			known[name] = all[0]
		}
		delete(values, name)
	}
	if len(values) > 0 {
		return nil, apiError(http.StatusBadRequest, fmt.Errorf("here the query has %s, and nothing else", strings.Join(names, ", ")))
	}
	return known, nil
}

// limit is how long a page is to be.
func limitOf(parameters map[string]string) (int, error) {
	text, ok := parameters["limit"]
	if !ok {
		return defaultPage, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > maxPage {
		return 0, apiError(http.StatusBadRequest, fmt.Errorf(`"limit" must be a number between 1 and %d`, maxPage))
	}
	return limit, nil
}

// body reads the body, which has to be JSON.
func (c *call) body() ([]byte, error) {
	mediaType, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return nil, apiError(http.StatusUnsupportedMediaType, errors.New("the content type must be application/json"))
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxAdminBody))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return nil, apiError(http.StatusRequestEntityTooLarge, fmt.Errorf("more than %d bytes", maxAdminBody))
	}
	if err != nil {
		return nil, apiError(http.StatusBadRequest, errors.New("the body cannot be read"))
	}
	return body, nil
}

// decodeAdmin reads one JSON object into a document. What the body does not mention stays as it is in the document. Its
// errors repeat no values, of which one may be a secret in the wrong place.
func decodeAdmin(body []byte, document any) error {
	if err := checkObject(body); err != nil {
		return apiError(http.StatusBadRequest, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(document)
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		member := kind.Field[strings.LastIndexByte(kind.Field, '.')+1:]
		err = fmt.Errorf("%q must be of another type: %s", member, typeName(kind.Type.String()))
	case err != nil && strings.HasPrefix(err.Error(), "json: unknown field "):
		err = fmt.Errorf("there is no member %s here", strings.TrimPrefix(err.Error(), "json: unknown field "))
	case err != nil:
		err = errors.New("the body must be one JSON object")
	}
	if err != nil {
		return apiError(http.StatusBadRequest, err)
	}
	return nil
}

// typeName is what JSON calls a type.
func typeName(name string) string {
	switch {
	case strings.HasPrefix(name, "[]"):
		return "an array of strings"
	case strings.HasPrefix(name, "map["):
		return "an object whose members are arrays of strings"
	case name == "bool":
		return "true or false"
	case strings.HasPrefix(name, "int"):
		return "a whole number"
	}
	return "a string"
}

// checkObject says why a body is not one JSON object with each member once.
func checkObject(body []byte) error {
	notJSON := errors.New("the body must be one JSON object")
	if !utf8.Valid(body) || !json.Valid(body) {
		return notJSON
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return notJSON
	}
	seen := make(map[string]bool)
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return notJSON
		}
		name, _ := token.(string)
		if name = strings.ToLower(name); seen[name] {
			return fmt.Errorf("%q is there twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return notJSON
		}
	}
	return nil
}

// Interface guards
var _ caddy.AdminRouter = (*Admin)(nil)

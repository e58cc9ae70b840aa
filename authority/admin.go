package authority

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/cache"
	"github.com/portcullis-gateway/portcullis/introspect"
)

func init() {
	caddy.RegisterModule(new(Admin))
}

// Admin adds two endpoints to Caddy's administration: `GET /introspect/` tells how the authorities fare, and
// `POST /introspect/purge` forgets what is remembered of a token, a subject, a client or an authority.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.introspect", New: func() caddy.Module { return new(Admin) }}
}

const (
	adminPrefix = "/introspect/"
	purgePath   = adminPrefix + "purge"
)

// Routes returns the endpoints.
func (*Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminPrefix, Handler: caddy.AdminHandlerFunc(serveAdmin)}}
}

func serveAdmin(w http.ResponseWriter, r *http.Request) error {
	switch r.URL.Path {
	case adminPrefix:
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return notAllowed(w, "GET, HEAD")
		}
		app, err := active()
		if err != nil {
			return err
		}
		return WriteJSON(w, http.StatusOK, StatusDocument{Authorities: app.Statuses()})
	case purgePath:
		if r.Method != http.MethodPost {
			return notAllowed(w, http.MethodPost)
		}
		return servePurge(w, r)
	}
	return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("there are %s and %s", adminPrefix, purgePath)}
}

func notAllowed(w http.ResponseWriter, allowed string) error {
	w.Header().Set("Allow", allowed)
	return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}
}

// active returns the app of the configuration that is in use: an endpoint outlives the one that it was made for if the
// next one fails to load. Without the app there are no authorities.
func active() (*App, error) {
	app, err := caddy.ActiveContext().AppIfConfigured("introspect")
	switch {
	case errors.Is(err, caddy.ErrNotConfigured):
		return new(App), nil
	case err != nil:
		return nil, err
	}
	return app.(*App), nil
}

// StatusDocument is the status as it is sent.
type StatusDocument struct {
	Authorities []Status `json:"authorities"`
}

// WriteJSON answers with JSON that nobody keeps.
func WriteJSON(w http.ResponseWriter, status int, document any) error {
	body, err := json.Marshal(document)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // who asked may be gone
	return nil
}

// maxPurge is the longest purge request, in bytes: far longer than any token.
const maxPurge = 2 << 20

func servePurge(w http.ResponseWriter, r *http.Request) error {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return caddy.APIError{HTTPStatus: http.StatusUnsupportedMediaType, Err: errors.New("the content type must be application/json")}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPurge))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return caddy.APIError{HTTPStatus: http.StatusRequestEntityTooLarge, Err: fmt.Errorf("more than %d bytes", maxPurge)}
	}
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New("the body cannot be read")}
	}
	label, selector, err := parsePurge(body)
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	app, err := active()
	if err != nil {
		return err
	}
	purged, err := app.Purge(label, selector)
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	return WriteJSON(w, http.StatusOK, purged)
}

// parsePurge reads what is to be forgotten. The errors repeat nothing of what was sent, which may be a token in the wrong
// place.
func parsePurge(body []byte) (label string, selector cache.Selector, err error) {
	members, err := purgeMembers(body)
	if err != nil {
		return "", cache.Selector{}, err
	}
	var selectors []string
	for _, name := range []string{"token", "sub", "client_id", "authority"} {
		value, ok := members[name]
		if !ok {
			continue
		}
		text, isString := value.(string)
		if !isString || text == "" {
			return "", cache.Selector{}, fmt.Errorf("%q must be a string that is not empty", name)
		}
		switch name {
		case "token":
			selector.Token = introspect.DigestOf(text)
		case "sub":
			selector.Subject = text
		case "client_id":
			selector.ClientID = text
		case "authority":
			label = text
			continue
		}
		selectors = append(selectors, name)
	}
	if value, ok := members["all"]; ok {
		if value != true {
			return "", cache.Selector{}, errors.New(`"all" must be true`)
		}
		if label != "" {
			return "", cache.Selector{}, errors.New(`"all" excludes "authority", which alone selects all of that authority`)
		}
		selectors = append(selectors, "all")
	}
	switch {
	case len(selectors) > 1:
		return "", cache.Selector{}, fmt.Errorf("one of %s, not several", strings.Join(selectors, ", "))
	case len(selectors) == 0 && label == "":
		return "", cache.Selector{}, errors.New(`what is to be forgotten? One of "token", "sub", "client_id", "authority" or "all"`)
	case len(selectors) == 0, selectors[0] == "all":
		selector.All = true
	}
	return label, selector, nil
}

// purgeMembers reads one JSON object of the known members, each of them there at most once.
func purgeMembers(body []byte) (map[string]any, error) {
	notJSON := errors.New("the body must be one JSON object")
	if !utf8.Valid(body) || !json.Valid(body) {
		return nil, notJSON
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, notJSON
	}
	members := make(map[string]any)
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, notJSON
		}
		name, _ := token.(string)
		var value any
		if err := decoder.Decode(&value); err != nil {
			return nil, notJSON
		}
		switch name {
		case "token", "sub", "client_id", "authority", "all":
		default:
			return nil, errors.New(`there is a member beside "token", "sub", "client_id", "authority" and "all"`)
		}
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		members[name] = value
	}
	return members, nil
}

// Interface guards
var _ caddy.AdminRouter = (*Admin)(nil)

package authserver

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxForm bounds the body of a request to an endpoint, in bytes.
const maxForm = 64 << 10

// oauthError is a refusal in the form of RFC 6749 section 5.2.
type oauthError struct {
	status      int
	code        string
	description string
	// challenge is the WWW-Authenticate header, which a request that used the Authorization header is answered with.
	challenge string
	// retryAfter is when to try again.
	retryAfter time.Duration
}

func (e *oauthError) Error() string { return e.code + ": " + e.description }

func refuse(status int, code, description string) error {
	return &oauthError{status: status, code: code, description: description}
}

// writeError answers with an error. What is no refusal is a fault of the store, which is the server's and passes.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	var refusal *oauthError
	if !errors.As(err, &refusal) {
		if r.Context().Err() == nil {
			s.logger.ErrorContext(r.Context(), "authorization server cannot answer", slog.String("error", err.Error()))
		}
		w.Header().Set("Retry-After", "1")
		refusal = &oauthError{status: http.StatusServiceUnavailable, code: "temporarily_unavailable", description: "try again later"}
	}
	if refusal.challenge != "" {
		w.Header().Set("WWW-Authenticate", refusal.challenge)
	}
	if refusal.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(refusal.retryAfter.Seconds()))))
	}
	members := map[string]any{"error_description": refusal.description}
	if refusal.code != "" { // there is none where nothing was presented (RFC 6750 section 3.1)
		members["error"] = refusal.code
	}
	writeJSON(w, refusal.status, members)
}

func writeJSON(w http.ResponseWriter, status int, members map[string]any) {
	noStore(w.Header())
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(members) // the client hung up
}

// noStore keeps an answer out of every cache (RFC 6749 section 5.1).
func noStore(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("Pragma", "no-cache")
}

// readForm reads the parameters of a request (RFC 6749 section 3.2): from a form-encoded body by POST and from nowhere
// else, each at most once, and one without a value as if it were absent.
func readForm(w http.ResponseWriter, r *http.Request) (map[string]string, error) {
	form, _, err := readRequest(w, r)
	return form, err
}

// readRequest reads the parameters as readForm does, and beside them `resource`, of which there may be several (RFC 8707
// section 2).
func readRequest(w http.ResponseWriter, r *http.Request) (form map[string]string, resources []string, err error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, nil, refuse(http.StatusMethodNotAllowed, "invalid_request", "the method must be POST")
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/x-www-form-urlencoded" {
		return nil, nil, refuse(http.StatusBadRequest, "invalid_request", "the body must be application/x-www-form-urlencoded")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return nil, nil, refuse(http.StatusBadRequest, "invalid_request", "the body cannot be read or is too long")
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, nil, refuse(http.StatusBadRequest, "invalid_request", "the body is not form-encoded")
	}
	form = make(map[string]string, len(values))
	for name, all := range values {
		if name == "resource" {
			resources = slices.DeleteFunc(all, func(resource string) bool { return resource == "" })
			continue
		}
		if len(all) > 1 {
			return nil, nil, refuse(http.StatusBadRequest, "invalid_request", "a parameter is repeated")
		}
		if all[0] != "" {
			form[name] = all[0]
		}
	}
	return form, resources, nil
}

// basicCredentials reads HTTP Basic credentials: form-decoded as RFC 6749 section 2.3.1 demands, then, where that is
// something else, as they were typed, since half of all clients do not encode them.
func basicCredentials(line string) ([][2]string, bool) {
	scheme, encoded, _ := strings.Cut(line, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return nil, false
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.Trim(encoded, " "))
	if err != nil {
		return nil, false
	}
	id, secret, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return nil, false
	}
	raw := [2]string{id, secret}
	formID, err := url.QueryUnescape(id)
	formSecret, err2 := url.QueryUnescape(secret)
	if form := [2]string{formID, formSecret}; err == nil && err2 == nil && form != raw {
		return [][2]string{form, raw}, true
	}
	return [][2]string{raw}, true
}

package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// requestURIPrefix begins the name of every authorization request that was pushed (RFC 9126 section 2.2). It is kept as
// a code is, and no code and no request that waits for consent has a name that begins so.
const requestURIPrefix = "urn:ietf:params:oauth:request_uri:"

const (
	// pushedTTL is how long a client has to send the user to the authorization endpoint.
	pushedTTL = 90 * time.Second
	// signInTTL is how long the user has, from then on, to sign in.
	signInTTL = 10 * time.Minute
)

// pushes is what one network may push without credentials.
var pushes = allowance{60, time.Second}

// pushedRequest is what the store keeps of an authorization request that was pushed.
type pushedRequest struct {
	Parameters map[string]string `json:"parameters"`
	Resources  []string          `json:"resources,omitempty"`
	// OpenBefore is when it can no longer be brought to the authorization endpoint.
	OpenBefore time.Time `json:"open_before"`
}

var errNotPushed = &pageError{http.StatusBadRequest, "This request is unknown, was used already, or took too long. Go back to the application and start again."}

// servePush is the pushed authorization request endpoint (RFC 9126 section 2).
func (s *Server) servePush(w http.ResponseWriter, r *http.Request) {
	requestURI, err := s.push(w, r)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	writeJSON(w, http.StatusCreated, map[string]any{"request_uri": requestURI, "expires_in": int64(pushedTTL.Seconds())})
}

func (s *Server) push(w http.ResponseWriter, r *http.Request) (requestURI string, err error) {
	form, resources, err := readRequest(w, r)
	if err != nil {
		return "", err
	}
	client, err := s.authenticate(r, form, pushPath)
	if err != nil {
		return "", err
	}
	if client.Auth == AuthNone || client.registered {
		if wait := s.state.pushes.take(s.clientAddress(r)); wait > 0 {
			return "", tooMany(wait)
		}
	}
	if err := s.bindRequest(r, form, pushPath); err != nil {
		return "", err
	}
	values := url.Values{"client_id": {client.ID}, "resource": resources}
	for _, name := range authorizationParameters {
		if form[name] != "" {
			values.Set(name, form[name])
		}
	}
	switch {
	case form["request_uri"] != "":
		return "", refuse(http.StatusBadRequest, "invalid_request", "request_uri is what this endpoint answers, and takes none")
	case len(values.Encode()) > maxAuthorization:
		return "", refuse(http.StatusRequestEntityTooLarge, "invalid_request", "the authorization request is too long")
	}
	a, err := s.readAuthorization(r.Context(), values)
	var toUser *pageError
	var toClient *clientError
	switch {
	case errors.As(err, &toUser):
		return "", refuse(http.StatusBadRequest, "invalid_request", "redirect_uri is not registered, or a parameter is too long or no text")
	case errors.As(err, &toClient):
		return "", refuse(http.StatusBadRequest, toClient.code, toClient.description)
	case err != nil:
		return "", err
	}
	now := s.now()
	record, err := json.Marshal(pushedRequest{a.parameters, a.resources, now.Add(pushedTTL)})
	if err != nil {
		return "", err
	}
	requestURI, expires := newToken(requestURIPrefix), now.Add(pushedTTL+signInTTL)
	return requestURI, s.store.PutCode(r.Context(), store.Code{
		Digest: introspect.DigestOf(requestURI), ClientID: client.ID, ExpiresAt: expires, KeepUntil: expires, Request: record,
	})
}

// findAuthorization judges an authorization request, or the one that was pushed before and is named by it (RFC 9126
// section 4), of which nothing that is said here changes anything.
func (s *Server) findAuthorization(ctx context.Context, values url.Values, opening bool) (*authorization, error) {
	requestURI := values.Get("request_uri")
	if !strings.HasPrefix(requestURI, requestURIPrefix) {
		return s.readAuthorization(ctx, values)
	}
	if len(values["request_uri"]) > 1 || len(values["client_id"]) != 1 {
		return nil, errNotPushed
	}
	record, err := s.store.Code(ctx, introspect.DigestOf(requestURI))
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNotPushed
	}
	if err != nil {
		return nil, err
	}
	var pushed pushedRequest
	if err := json.Unmarshal(record.Request, &pushed); err != nil {
		return nil, err
	}
	now := s.now()
	if record.Redeemed || record.ClientID != values.Get("client_id") || !now.Before(record.ExpiresAt) ||
		opening && !now.Before(pushed.OpenBefore) {
		return nil, errNotPushed
	}
	a, err := s.readAuthorization(ctx, valuesOf(pushed.Parameters, pushed.Resources))
	if a != nil {
		a.requestURI = requestURI
	}
	return a, err
}

// use makes the name of a request that was pushed of no further use. Only one caller succeeds.
func (s *Server) use(ctx context.Context, a *authorization) error {
	if a.requestURI == "" {
		return nil
	}
	err := s.store.Redeem(ctx, introspect.DigestOf(a.requestURI))
	if errors.Is(err, store.ErrConsumed) || errors.Is(err, store.ErrNotFound) {
		return errNotPushed
	}
	a.requestURI = ""
	return err
}

// valuesOf are the parameters of an authorization request as those of a URL.
func valuesOf(parameters map[string]string, resources []string) url.Values {
	values := make(url.Values, len(parameters)+1)
	for name, value := range parameters {
		values.Set(name, value)
	}
	if len(resources) > 0 {
		values["resource"] = slices.Clone(resources)
	}
	return values
}

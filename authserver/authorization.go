package authserver

import (
	"context"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxAuthorization bounds an authorization request, and maxParameter each of its parameters, in bytes.
	maxAuthorization = 16 << 10
	maxParameter     = 4 << 10
	// maxName bounds the names of users, in bytes.
	maxName = 256
)

// authorizationParameters are the parameters that the authorization endpoint understands. The others are ignored
// (RFC 6749 section 3.1).
var authorizationParameters = []string{
	"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "code_challenge",
	"code_challenge_method", "prompt", "login_hint", "resource", "request", "request_uri", "nonce", "max_age", "acr_values",
	"id_token_hint", "dpop_jkt",
}

// promptValues are those of the parameter prompt (OpenID Connect Core section 3.1.2.1).
var promptValues = []string{"none", "login", "consent", "select_account"}

// authorization is an authorization request (RFC 6749 section 4.1.1) whose response can be sent to its client.
type authorization struct {
	// parameters are those of the request, without the empty and the unknown ones.
	parameters map[string]string
	client     *Client
	// redirectURI is where the response goes.
	redirectURI string
	// scope is what the client may have of what it asked for.
	scope []string
	// maxAge is how long ago the user may have signed in, or nil, and expected who that has to be, or nobody.
	maxAge   *time.Duration
	expected string
	// resources are those that the request names, and audience what the tokens are for (RFC 8707).
	resources, audience []string
	// implicit says that the response holds an access token, and no code.
	implicit bool
	// answered says that the user has seen where the response goes, and has said what it is.
	answered bool
	// requestURI is what the request was pushed as, until that is used (RFC 9126).
	requestURI string
	// consent names the consent that a code is issued under.
	consent string
}

// asks says whether a value is one of the parameter prompt.
func (a *authorization) asks(prompt string) bool {
	return slices.Contains(strings.Fields(a.parameters["prompt"]), prompt)
}

// query is the request again, as the query of a URL.
func (a *authorization) query() string {
	if a.requestURI != "" {
		return url.Values{"client_id": {a.client.ID}, "request_uri": {a.requestURI}}.Encode()
	}
	return valuesOf(a.parameters, a.resources).Encode()
}

// pageError is an error that the user is told of, since there is no client that could be (RFC 6749 section 4.1.2.1).
type pageError struct {
	status  int
	message string
}

func (e *pageError) Error() string { return e.message }

// clientError is an error that the client is told of (RFC 6749 section 4.1.2.1).
type clientError struct{ code, description string }

func (e *clientError) Error() string { return e.code + ": " + e.description }

// authorizationValues reads the parameters of an authorization request: of the query, and of the body of a POST request
// beside it, as if they were one.
func authorizationValues(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	raw := r.URL.RawQuery
	switch r.Method {
	case http.MethodGet:
	case http.MethodPost:
		mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || mediaType != "application/x-www-form-urlencoded" {
			return nil, &pageError{http.StatusUnsupportedMediaType, "The application sent a request of an unknown type."}
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAuthorization))
		if err != nil {
			return nil, &pageError{http.StatusRequestEntityTooLarge, "The application sent a request that is too long."}
		}
		raw += "&" + string(body)
	default:
		w.Header().Set("Allow", "GET, POST")
		return nil, &pageError{http.StatusMethodNotAllowed, "This page is opened by an application."}
	}
	if len(raw) > maxAuthorization {
		return nil, &pageError{http.StatusRequestURITooLong, "The application sent a request that is too long."}
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, &pageError{http.StatusBadRequest, "The application sent a request that cannot be read."}
	}
	return values, nil
}

// isText says whether a text is UTF-8 without control characters.
func isText(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// readAuthorization judges an authorization request. What it returns beside a clientError is the request whose client is
// to be told.
func (s *Server) readAuthorization(ctx context.Context, values url.Values) (*authorization, error) {
	a := &authorization{parameters: make(map[string]string)}
	repeated := false
	for _, name := range authorizationParameters {
		all := values[name]
		for _, value := range all {
			if len(value) > maxParameter || !isText(value) {
				return nil, &pageError{http.StatusBadRequest, "The application sent a request with a parameter that is too long or no text."}
			}
		}
		switch {
		case name == "resource": // of which there may be several (RFC 8707 section 2)
			a.resources = slices.DeleteFunc(slices.Clone(all), func(resource string) bool { return resource == "" })
		case len(all) > 1:
			repeated = true
		case len(all) == 1 && all[0] != "":
			a.parameters[name] = all[0]
		}
	}
	// Until here and in what follows, nobody knows where a response could go.
	var err error
	a.client, err = s.client(ctx, a.parameters["client_id"])
	if err != nil {
		return nil, err
	}
	if a.client == nil {
		return nil, &pageError{http.StatusBadRequest, "The application is not registered here."}
	}
	var registered bool
	a.redirectURI, registered = a.client.redirectURI(a.parameters["redirect_uri"])
	isOpenID := slices.Contains(strings.Split(a.parameters["scope"], " "), "openid")
	if !registered || len(values["redirect_uri"]) > 1 || isOpenID && a.parameters["redirect_uri"] == "" {
		return nil, &pageError{http.StatusBadRequest, "The application asked to be answered at an address that is not registered for it."}
	}
	// A token does not go into a query, which is in histories and logs (RFC 9700 section 2.1.2).
	mode := "query"
	if a.implicit = s.legacyImplicit && a.parameters["response_type"] == "token"; a.implicit {
		mode = "fragment"
	}
	if asked := a.parameters["response_mode"]; asked != "" && asked != mode && asked != "form_post" {
		delete(a.parameters, "response_mode")
		return a, &clientError{"invalid_request", "response_mode must be " + mode + " or form_post"}
	}
	if repeated {
		return a, &clientError{"invalid_request", "a parameter is repeated"}
	}
	if err := s.judge(a); err != nil {
		return a, err
	}
	return a, s.judgeAuthentication(ctx, a)
}

// judge finds what the client is to be told of.
func (s *Server) judge(a *authorization) error {
	if a.parameters["request"] != "" {
		return &clientError{"request_not_supported", "request is not supported"}
	}
	if a.parameters["request_uri"] != "" {
		return &clientError{"request_uri_not_supported", "request_uri is not supported"}
	}
	grant := GrantAuthorizationCode
	switch kind := a.parameters["response_type"]; {
	case kind == "":
		return &clientError{"invalid_request", "response_type is missing"}
	case a.implicit:
		grant = GrantImplicit
	case kind != "code":
		return &clientError{"unsupported_response_type", "response_type must be code"}
	}
	if !a.client.may(grant) {
		return &clientError{"unauthorized_client", "the client may not use this response_type"}
	}
	if a.implicit && a.client.DPoPBound {
		return &clientError{"unauthorized_client", "the client's tokens are bound to a key, and this response proves none"}
	}
	if !a.implicit {
		if err := checkChallenge(a.parameters["code_challenge"], a.parameters["code_challenge_method"]); err != nil {
			return &clientError{"invalid_request", err.Error()}
		}
	}
	if jkt := a.parameters["dpop_jkt"]; jkt != "" && !keyThumbprint.MatchString(jkt) {
		return &clientError{"invalid_request", "dpop_jkt must be 43 characters of base64url, without padding"}
	}
	var err error
	if a.audience, err = pick(a.client.Audiences, a.resources); err != nil {
		return &clientError{"invalid_target", err.Error()}
	}
	prompts := strings.Fields(a.parameters["prompt"])
	for _, prompt := range prompts {
		if !slices.Contains(promptValues, prompt) {
			return &clientError{"invalid_request", "prompt has an unknown value"}
		}
	}
	if len(prompts) > 1 && slices.Contains(prompts, "none") {
		return &clientError{"invalid_request", "prompt none stands alone"}
	}
	if a.scope, err = a.client.grant(splitScope(a.parameters["scope"])); err != nil {
		return &clientError{"invalid_scope", err.Error()}
	}
	return nil
}

// splitScope reads a scope parameter (RFC 6749 section 3.3).
func splitScope(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ' ' })
}

// respond sends an authorization response to the client, with the state that it sent and the issuer (RFC 9207).
func (s *Server) respond(w http.ResponseWriter, a *authorization, parameters ...parameter) {
	if state := a.parameters["state"]; state != "" {
		parameters = append(parameters, parameter{"state", state})
	}
	parameters = append(parameters, parameter{"iss", s.issuer})
	if a.parameters["response_mode"] == "form_post" {
		s.writeFormPost(w, a.redirectURI, parameters)
		return
	}
	if a.implicit {
		redirect(w, addFragment(a.redirectURI, parameters))
		return
	}
	redirect(w, addQuery(a.redirectURI, parameters))
}

// redirect sends the browser elsewhere, with GET and without what it has just sent (RFC 9700 section 4.12).
func redirect(w http.ResponseWriter, location string) {
	header := w.Header()
	noStore(header)
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
	_, _ = io.WriteString(w, "See other\n") // the client hung up
}

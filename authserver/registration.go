package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/bearer"
)

// Registration says who may register clients (RFC 7591), and how far.
type Registration struct {
	// Token is the initial access token that has to be shown. Nil: none, and anybody may.
	Token *Secret
	// Scopes are the most that a client gets which has registered itself. Default: DefaultRegistrationScopes.
	Scopes []string
	// MaxClients is how many of them there may be. Default: 1000.
	MaxClients int
	// ExpireUnused is after how long without use one is gone. Default: 30 days.
	ExpireUnused time.Duration
}

// The limits of registration where nobody says otherwise.
const (
	DefaultMaxClients   = 1000
	MostMaxClients      = 10_000 // they are counted whenever one is added
	DefaultExpireUnused = 30 * 24 * time.Hour
)

// DefaultRegistrationScopes are the most that a client gets which has registered itself, where nobody says otherwise.
var DefaultRegistrationScopes = []string{"openid", "profile", "email", "offline_access"}

const (
	// registeredPrefix begins the id of every client that has registered itself.
	registeredPrefix = "dyn_"

	// maxRegistration bounds a registration request, in bytes, and maxRedirectURIs, maxTitle and maxKeys what it says.
	maxRegistration = 32 << 10
	maxRedirectURIs = 20
	maxTitle        = 100
	maxKeys         = 10

	// leastExpireUnused is the shortest time in which it is noticed for sure that a client is in use.
	leastExpireUnused = 2 * noticeEvery
)

// registrations is what one network may register or try to.
var registrations = allowance{20, 30 * time.Second}

// check completes the limits.
func (r *Registration) check() error {
	switch {
	case r.MaxClients < 0 || r.MaxClients > MostMaxClients:
		return fmt.Errorf("max_clients must be between 1 and %d", MostMaxClients)
	case r.ExpireUnused < 0 || r.ExpireUnused > 0 && r.ExpireUnused < leastExpireUnused:
		return fmt.Errorf("expire_unused must be at least %s: it is written down once a day that a client is in use", leastExpireUnused)
	}
	for _, scope := range r.Scopes {
		if err := bearer.CheckScope(scope); err != nil {
			return fmt.Errorf("scope %q: %w", scope, err)
		}
	}
	if slices.Contains(r.Scopes, scopeIntrospection) {
		return fmt.Errorf("scope %q is not for clients that register themselves: they could ask about any token", scopeIntrospection)
	}
	if r.Scopes == nil {
		r.Scopes = DefaultRegistrationScopes
	}
	if r.MaxClients == 0 {
		r.MaxClients = DefaultMaxClients
	}
	if r.ExpireUnused == 0 {
		r.ExpireUnused = DefaultExpireUnused
	}
	return nil
}

// setRegistration lets clients register, if the operator wants that.
func (s *Server) setRegistration(config Config, path string) error {
	if config.Registration == nil {
		return nil
	}
	registration := *config.Registration
	if err := registration.check(); err != nil {
		return fmt.Errorf("registration: %w", err)
	}
	s.registration = &registration
	s.endpoints[path+registrationPath] = crossOrigin(s.serveRegistration)
	return nil
}

// registrationMethods are the ways to authenticate of clients that have registered themselves. Of their secrets the server
// keeps hashes, with which nobody can sign.
var registrationMethods = []string{AuthSecretBasic, AuthSecretPost, AuthPrivateKeyJWT, AuthNone}

// clientMetadata is what a client says of itself (RFC 7591 section 2), as far as this server understands it.
type clientMetadata struct {
	RedirectURIs      []string        `json:"redirect_uris,omitempty"`
	AuthMethod        string          `json:"token_endpoint_auth_method,omitempty"`
	GrantTypes        []string        `json:"grant_types,omitempty"`
	ResponseTypes     []string        `json:"response_types,omitempty"`
	Name              string          `json:"client_name,omitempty"`
	Scope             string          `json:"scope,omitempty"`
	JWKS              json.RawMessage `json:"jwks,omitempty"`
	JWKSURI           string          `json:"jwks_uri,omitempty"`
	ApplicationType   string          `json:"application_type,omitempty"`
	IDTokenAlgorithm  string          `json:"id_token_signed_response_alg,omitempty"`
	DPoPBound         bool            `json:"dpop_bound_access_tokens,omitempty"`
	SoftwareStatement string          `json:"software_statement,omitempty"`
}

// registeredState is what the server keeps of a client that has registered itself, beside the client.
type registeredState struct {
	ApplicationType  string `json:"application_type,omitempty"`
	IDTokenAlgorithm string `json:"id_token_signed_response_alg,omitempty"`
}

// The errors of RFC 7591 section 3.2.2.
func badMetadata(description string) error {
	return refuse(http.StatusBadRequest, "invalid_client_metadata", description)
}

func badRedirect(description string) error {
	return refuse(http.StatusBadRequest, "invalid_redirect_uri", description)
}

// serveRegistration is the client registration endpoint (RFC 7591 section 3).
func (s *Server) serveRegistration(w http.ResponseWriter, r *http.Request) {
	members, err := s.register(w, r)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	writeJSON(w, http.StatusCreated, members)
}

func (s *Server) register(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, refuse(http.StatusMethodNotAllowed, "invalid_request", "the method must be POST")
	}
	if err := s.admitRegistration(r); err != nil {
		return nil, err
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return nil, badMetadata("the body must be application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRegistration))
	if err != nil {
		return nil, refuse(http.StatusRequestEntityTooLarge, "invalid_client_metadata", "the body cannot be read or is too long")
	}
	metadata, err := parseClientMetadata(body, s.registration.Scopes)
	if err != nil {
		return nil, err
	}
	return s.keepClient(r.Context(), metadata)
}

// admitRegistration lets those through who have the initial access token, or anybody where there is none, as often as a
// network may.
func (s *Server) admitRegistration(r *http.Request) error {
	presented, shown := presentedToken(r)
	shown = shown && presented.Scheme == bearer.SchemeBearer
	challenge := bearer.Challenge{Scheme: bearer.SchemeBearer, Realm: "authorization server"}
	if s.registration.Token != nil && !shown {
		return &oauthError{status: http.StatusUnauthorized, code: "invalid_token", description: "registering needs an initial access token", challenge: challenge.String()}
	}
	if s.registration.Token != nil && s.registration.Token.isKnown(presented.Token) {
		return nil
	}
	if wait := s.state.registrations.full(s.clientAddress(r)); wait > 0 {
		return tooMany(wait) // before a guess costs anything
	}
	known := false
	if s.registration.Token != nil {
		var err error
		if known, err = s.registration.Token.matches(r.Context(), presented.Token); err != nil || known {
			return err
		}
	}
	if wait := s.state.registrations.take(s.clientAddress(r)); wait > 0 {
		return tooMany(wait)
	}
	if s.registration.Token != nil {
		challenge.Error = "invalid_token"
		return &oauthError{status: http.StatusUnauthorized, code: challenge.Error, description: "the initial access token is wrong", challenge: challenge.String()}
	}
	return nil
}

// parseClientMetadata reads what a client says of itself, and makes of it what the server will keep: with the defaults,
// and without what it does not have. A member that is there twice is an error, one that is not known is ignored.
func parseClientMetadata(text []byte, ceiling []string) (*clientMetadata, error) {
	var m clientMetadata
	if trimmed := strings.TrimLeft(string(text), " \t\r\n"); !strings.HasPrefix(trimmed, "{") || strict.Unmarshal(text, &m) != nil {
		return nil, badMetadata("the body is no JSON object with members of the kinds that RFC 7591 demands")
	}
	if m.SoftwareStatement != "" {
		return nil, refuse(http.StatusBadRequest, "unapproved_software_statement", "software statements are not taken")
	}
	for _, complete := range []func() error{m.completeGrants, m.completeRedirects, m.completeKeys, m.completeName, func() error { return m.completeScope(ceiling) }} {
		if err := complete(); err != nil {
			return nil, err
		}
	}
	return &m, nil
}

func (m *clientMetadata) completeGrants() error {
	// Grants of extensions are what a client could use elsewhere.
	m.GrantTypes = slices.DeleteFunc(m.GrantTypes, func(grant string) bool { return strings.HasPrefix(grant, "urn:") })
	slices.Sort(m.GrantTypes)
	m.GrantTypes = slices.Compact(m.GrantTypes)
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = []string{GrantAuthorizationCode}
	}
	for _, grant := range m.GrantTypes {
		if grant != GrantAuthorizationCode && grant != GrantRefreshToken {
			return badMetadata("grant_types can be authorization_code and refresh_token")
		}
	}
	if !slices.Contains(m.GrantTypes, GrantAuthorizationCode) {
		return badMetadata("grant_types must have authorization_code")
	}
	if len(m.ResponseTypes) == 0 {
		m.ResponseTypes = []string{"code"}
	}
	if !slices.Equal(m.ResponseTypes, []string{"code"}) {
		return badMetadata("response_types can be code")
	}
	if m.IDTokenAlgorithm == "" {
		m.IDTokenAlgorithm = string(jose.RS256) // OpenID Connect Registration section 2
	}
	if !slices.Contains(signingAlgorithms, jose.SignatureAlgorithm(m.IDTokenAlgorithm)) {
		return badMetadata(fmt.Sprintf("id_token_signed_response_alg must be one of %v", signingAlgorithms))
	}
	return nil
}

func (m *clientMetadata) completeRedirects() error {
	slices.Sort(m.RedirectURIs)
	m.RedirectURIs = slices.Compact(m.RedirectURIs)
	switch {
	case m.ApplicationType != "" && m.ApplicationType != "web" && m.ApplicationType != "native":
		return badMetadata("application_type must be web or native")
	case len(m.RedirectURIs) == 0:
		return badRedirect("redirect_uris is missing")
	case len(m.RedirectURIs) > maxRedirectURIs:
		return badRedirect(fmt.Sprintf("there can be %d redirect_uris", maxRedirectURIs))
	}
	for _, uri := range m.RedirectURIs {
		if len(uri) > maxParameter {
			return badRedirect("a redirect URI is too long")
		}
		if err := CheckRedirectURI(uri); err != nil {
			return badRedirect("a redirect URI " + err.Error())
		}
		if m.ApplicationType == "web" && isPublicRedirect(uri) {
			return badRedirect("the redirect URIs of a web application must be https, and not on loopback")
		}
	}
	return nil
}

func (m *clientMetadata) completeKeys() error {
	if string(m.JWKS) == "null" {
		m.JWKS = nil
	}
	switch {
	case m.AuthMethod != "" && !slices.Contains(registrationMethods, m.AuthMethod):
		return badMetadata("token_endpoint_auth_method must be one of " + strings.Join(registrationMethods, ", "))
	case m.JWKS != nil && m.JWKSURI != "":
		return badMetadata("there can be jwks or jwks_uri, not both")
	case m.AuthMethod == AuthPrivateKeyJWT && m.JWKS == nil && m.JWKSURI == "":
		return badMetadata("private_key_jwt needs jwks or jwks_uri")
	}
	if m.JWKS != nil {
		keys, err := ParseKeySet(m.JWKS)
		if err != nil {
			return badMetadata("jwks " + err.Error())
		}
		if keys.set.Len() > maxKeys {
			return badMetadata(fmt.Sprintf("jwks can hold %d keys", maxKeys))
		}
	}
	if m.JWKSURI != "" {
		if parsed, err := url.Parse(m.JWKSURI); err != nil || parsed.Scheme != "https" || parsed.Hostname() == "" || parsed.User != nil ||
			parsed.Fragment != "" || len(m.JWKSURI) > maxParameter {
			return badMetadata("jwks_uri must be an https URL without user information or fragment")
		}
	}
	if m.AuthMethod != AuthPrivateKeyJWT {
		m.JWKS, m.JWKSURI = nil, "" // they would be of no use
	}
	return nil
}

func isInvisible(c rune) bool { return unicode.In(c, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp) }

func (m *clientMetadata) completeName() error {
	m.Name = strings.TrimSpace(m.Name)
	// Invisible characters could turn round what stands beside the name.
	if len([]rune(m.Name)) > maxTitle || !isText(m.Name) || strings.ContainsFunc(m.Name, isInvisible) {
		return badMetadata(fmt.Sprintf("client_name can be a text of %d characters", maxTitle))
	}
	return nil
}

// completeScope leaves of the scopes those that a client may have which registers itself, which are also what one gets
// that asks for none.
func (m *clientMetadata) completeScope(ceiling []string) error {
	asked := splitScope(m.Scope)
	allowed := ceiling
	if len(asked) > 0 {
		if allowed = intersect(ceiling, asked); len(allowed) == 0 {
			return badMetadata("clients that register themselves may have none of the scopes")
		}
	}
	m.Scope = strings.Join(allowed, " ")
	return nil
}

// keepClient keeps a new client, and returns what it is told (RFC 7591 section 3.2.1).
func (s *Server) keepClient(ctx context.Context, m *clientMetadata) (map[string]any, error) {
	if err := s.checkRoom(ctx, s.registration.MaxClients-1); err != nil {
		return nil, err
	}
	now, id := s.now(), newToken(registeredPrefix)
	state, err := json.Marshal(registeredState{m.ApplicationType, m.IDTokenAlgorithm})
	if err != nil {
		return nil, err
	}
	kept := clientRecord{
		Title: m.Name, Auth: m.AuthMethod, JWKS: m.JWKS, JWKSURI: m.JWKSURI, Grants: m.GrantTypes,
		RedirectURIs: m.RedirectURIs, Scopes: splitScope(m.Scope),
		DPoPBound: m.DPoPBound, CreatedAt: now, ExpireUnused: int64(s.registration.ExpireUnused.Seconds()), Registration: state,
	}
	members := map[string]any{
		"client_id": id, "client_id_issued_at": now.Unix(), "redirect_uris": m.RedirectURIs, "grant_types": m.GrantTypes,
		"response_types": m.ResponseTypes, "token_endpoint_auth_method": m.AuthMethod, "scope": m.Scope,
		"id_token_signed_response_alg": m.IDTokenAlgorithm,
	}
	if m.AuthMethod == "" {
		// It may use both ways to send a secret, since clients are not agreed which one this is.
		members["token_endpoint_auth_method"] = AuthSecretBasic
	}
	if m.AuthMethod != AuthNone && m.AuthMethod != AuthPrivateKeyJWT {
		secret := newToken(secretPrefix)
		kept.Secrets = []secretRecord{{Hash: hashGenerated(secret)}}
		members["client_secret"], members["client_secret_expires_at"] = secret, 0
	}
	for name, value := range map[string]string{"client_name": m.Name, "application_type": m.ApplicationType, "jwks_uri": m.JWKSURI} {
		if value != "" {
			members[name] = value
		}
	}
	if m.JWKS != nil {
		members["jwks"] = m.JWKS
	}
	if m.DPoPBound {
		members["dpop_bound_access_tokens"] = true
	}
	if _, err := s.clientOf(id, &kept, nil); err != nil {
		return nil, badMetadata("these do not go together")
	}
	value, err := json.Marshal(kept)
	if err != nil {
		return nil, err
	}
	if err := s.store.PutRecord(ctx, store.Record{
		Kind: partyKind, Name: id, Owner: ownerRegistered, ExpiresAt: now.Add(s.registration.ExpireUnused), Value: value,
	}); err != nil {
		return nil, err
	}
	// Others may have registered meanwhile. One too many is taken back by whoever sees it, so there never is one for long.
	if err := s.checkRoom(ctx, s.registration.MaxClients); err != nil {
		return nil, errors.Join(err, s.store.DeleteRecord(context.WithoutCancel(ctx), partyKind, id))
	}
	return members, nil
}

// checkRoom refuses if more clients than a number have registered themselves.
func (s *Server) checkRoom(ctx context.Context, most int) error {
	const page = 200
	now, count, after := s.now(), 0, ""
	for {
		records, err := s.store.Records(ctx, partyKind, ownerRegistered, after, page)
		if err != nil {
			return err
		}
		for _, record := range records {
			if after = record.Name; record.ExpiresAt.IsZero() || now.Before(record.ExpiresAt) {
				count++
			}
		}
		switch {
		case count > most:
			s.logger.WarnContext(ctx, "a client cannot register: max_clients is reached")
			return refuse(http.StatusServiceUnavailable, "temporarily_unavailable", "there are too many registered clients")
		case len(records) < page:
			return nil
		}
	}
}

// limited is the client as far as it may go now: one that has registered itself may ask tokens for the server's own
// resources, and has no scope that such clients may not have any more.
func (s *Server) limited(client *Client) *Client {
	if client == nil || !client.registered {
		return client
	}
	limits := *client
	limits.Audiences = s.resources
	if s.registration != nil {
		limits.Scopes = intersect(client.Scopes, s.registration.Scopes)
		limits.DefaultScopes = intersect(client.DefaultScopes, s.registration.Scopes)
	}
	return &limits
}

// describeRegistration says in the metadata where clients register.
func (s *Server) describeRegistration(members map[string]any) {
	if s.registration != nil {
		members["registration_endpoint"] = s.url(registrationPath)
	}
}

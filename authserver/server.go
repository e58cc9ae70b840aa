// Package authserver is an OAuth 2.0 authorization server: it issues access tokens (RFC 6749), answers questions about
// them (RFC 7662), takes them back (RFC 7009), and describes itself (RFC 8414). It knows nothing of the gateway, which
// asks it like any other Introspector.
package authserver

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/dpop"
)

// Config describes an authorization server.
type Config struct {
	// Issuer identifies the server (RFC 8414 section 2): https, or http on loopback, without query or fragment. Every
	// URL that the server writes comes from it.
	Issuer string
	// Resources are what the server is as a protected resource: in the process, and to clients that may introspect and say
	// nothing else, tokens for others are inactive.
	Resources []string
	// Clients are the registered clients, beside those that the store has.
	Clients []Client
	// AssertionIssuers are those whose assertions are taken for a grant (RFC 7523 section 2.1). Default: none.
	AssertionIssuers []AssertionIssuer
	// Users are the people who can sign in, beside those that the store has.
	Users []User
	// Scopes says in words what a scope allows, by its name.
	Scopes map[string]string
	// AccessTokenTTL is the life of an access token. Default: 15 minutes.
	AccessTokenTTL time.Duration
	// RefreshTokenTTL is how long after an authorization its tokens can be refreshed. Default: 30 days.
	RefreshTokenTTL time.Duration
	// CodeTTL is the life of an authorization code, at most 10 minutes. Default: 60 seconds.
	CodeTTL time.Duration
	// SessionTTL is how long a user stays signed in. Default: 8 hours.
	SessionTTL time.Duration
	// LegacyPassword and LegacyImplicit allow clients to have the grants GrantPassword and GrantImplicit, against RFC 9700.
	LegacyPassword, LegacyImplicit bool
	// Registration lets clients register themselves. Default: they cannot.
	Registration *Registration
	// Branding is what the pages show beside what they are for.
	Branding Branding
	// ClientAddress says who sent a request. Default: the address of the peer.
	ClientAddress func(*http.Request) string
	// KeySet returns the key set of a URL, for clients that are not part of the configuration. Default: NewRemoteKeySet.
	KeySet func(url string) (*KeySet, error)
	// State is what was learnt before a reload, over the same store. Default: nothing.
	State *State
	// Logger gets what an operator should know. Default: slog.Default.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// The times where nobody says otherwise.
const (
	DefaultAccessTokenTTL  = 15 * time.Minute
	DefaultRefreshTokenTTL = 30 * 24 * time.Hour
	DefaultCodeTTL         = time.Minute
	DefaultSessionTTL      = 8 * time.Hour
)

// maxCodeTTL is from RFC 6749 section 4.1.2.
const maxCodeTTL = 10 * time.Minute

// Server is an authorization server over a store. It is immutable but for the store and its State, and safe for concurrent
// use. It does not close the store.
type Server struct {
	issuer     string
	origin     string
	cookieName string
	clients    map[string]*Client
	decoy      *Client
	decoyKeys  []any
	// assertionIssuers are known by their names.
	assertionIssuers map[string]*AssertionIssuer
	users            map[string]*User
	// configured are the clients and the users.
	configured      map[string]*party
	passwords       []*Secret // of all users, one of which stands in for that of a name that nobody has
	scopes          map[string]string
	accessTokenTTL  time.Duration
	refreshTokenTTL time.Duration
	codeTTL         time.Duration
	sessionTTL      time.Duration
	state           *State
	proofs          *dpop.Checker
	remoteKeys      func(url string) (*KeySet, error)
	signing         map[jose.SignatureAlgorithm]*signingKeys
	resources       []string
	registration    *Registration // nil: off
	legacyPassword  bool
	legacyImplicit  bool
	clientAddress   func(*http.Request) string
	pages           *pages
	store           store.Store
	logger          *slog.Logger
	now             func() time.Time
	endpoints       map[string]http.HandlerFunc
}

// The endpoints, below the issuer.
const (
	authorizePath     = "/oauth2/authorize"
	loginPath         = "/oauth2/login"
	consentPath       = "/oauth2/consent"
	accountPath       = "/oauth2/account"
	tokenPath         = "/oauth2/token"
	pushPath          = "/oauth2/par"
	registrationPath  = "/oauth2/register"
	introspectionPath = "/oauth2/introspect"
	revocationPath    = "/oauth2/revoke"
	userInfoPath      = "/oauth2/userinfo"
	keysPath          = "/oauth2/jwks"
	logoutPath        = "/oauth2/logout"
	openIDPath        = "/.well-known/openid-configuration"
	metadataPath      = "/.well-known/oauth-authorization-server"
)

// New checks the configuration and returns a Server. It does not touch the store.
func New(config Config, state store.Store) (*Server, error) {
	issuer, err := checkIssuer(config.Issuer)
	if err != nil {
		return nil, fmt.Errorf("issuer %q: %w", config.Issuer, err)
	}
	s := &Server{
		issuer:        config.Issuer,
		origin:        originOf(issuer),
		cookieName:    cookieName(issuer),
		clients:       make(map[string]*Client),
		users:         make(map[string]*User),
		scopes:        config.Scopes,
		resources:     config.Resources,
		clientAddress: config.ClientAddress,
		store:         state,
		logger:        config.Logger,
		now:           config.Now,
	}
	if err := s.setTimes(config); err != nil {
		return nil, err
	}
	if err := checkResources("resource", config.Resources); err != nil {
		return nil, err
	}
	if s.clientAddress == nil {
		s.clientAddress = remoteAddress
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	for i := range config.Clients {
		client := config.Clients[i]
		if err := client.check(); err != nil {
			return nil, fmt.Errorf("client %q: %w", client.ID, err)
		}
		if s.clients[client.ID] != nil {
			return nil, fmt.Errorf("client %q is registered twice", client.ID)
		}
		s.clients[client.ID] = &client
	}
	s.decoy = newDecoy(s.clients)
	if s.decoyKeys, err = newDecoyKeys(); err != nil {
		return nil, err
	}
	if err := s.addAssertionIssuers(config.AssertionIssuers); err != nil {
		return nil, err
	}
	if err := s.registerUsers(config.Users); err != nil {
		return nil, err
	}
	s.configure()
	if s.pages, err = newPages(config.Branding); err != nil {
		return nil, err
	}
	if s.state = config.State; s.state == nil {
		s.state = NewState(state, StateConfig{Now: s.now})
	}
	s.proofs = dpop.NewChecker(dpop.Config{Memory: s.state.proofs, Now: s.now})
	if s.remoteKeys = config.KeySet; s.remoteKeys == nil {
		s.remoteKeys = func(url string) (*KeySet, error) {
			return NewRemoteKeySet(RemoteKeySet{URL: url, Logger: s.logger, Now: s.now})
		}
	}
	for _, user := range s.users {
		user.changedAt = s.state.sayOf(user, s.now())
	}
	s.signing = s.newSigningKeys()
	if err := s.setLegacy(config); err != nil {
		return nil, err
	}

	path := strings.TrimSuffix(issuer.EscapedPath(), "/")
	s.endpoints = map[string]http.HandlerFunc{
		path + authorizePath:     s.serveAuthorize,
		path + loginPath:         s.serveLogin,
		path + consentPath:       s.serveConsent,
		path + accountPath:       s.serveAccount,
		path + tokenPath:         crossOrigin(s.serveToken),
		path + pushPath:          crossOrigin(s.servePush),
		path + introspectionPath: s.serveIntrospection,
		path + revocationPath:    crossOrigin(s.serveRevocation),
		path + userInfoPath:      s.serveUserInfo,
		path + keysPath:          s.serveKeys,
		path + logoutPath:        s.serveLogout,
		// RFC 8414 section 3.1: inserted between host and path.
		metadataPath + path: s.serveMetadata,
		// OpenID Connect Discovery section 4: appended, and, as some clients look for it, inserted.
		path + openIDPath: s.serveMetadata,
		openIDPath + path: s.serveMetadata,
	}
	if err := s.setRegistration(config, path); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) setTimes(config Config) error {
	for _, one := range []struct {
		name          string
		given, preset time.Duration
		into          *time.Duration
	}{
		{"access_token_ttl", config.AccessTokenTTL, DefaultAccessTokenTTL, &s.accessTokenTTL},
		{"refresh_token_ttl", config.RefreshTokenTTL, DefaultRefreshTokenTTL, &s.refreshTokenTTL},
		{"code_ttl", config.CodeTTL, DefaultCodeTTL, &s.codeTTL},
		{"session_ttl", config.SessionTTL, DefaultSessionTTL, &s.sessionTTL},
	} {
		if one.given < 0 {
			return fmt.Errorf("%s must be positive", one.name)
		}
		if *one.into = one.given; one.given == 0 {
			*one.into = one.preset
		}
	}
	if s.codeTTL > maxCodeTTL {
		return errors.New("code_ttl must be at most 10m (RFC 6749 section 4.1.2)")
	}
	return nil
}

func checkIssuer(text string) (*url.URL, error) {
	issuer, err := url.Parse(text)
	switch {
	case err != nil || issuer.Hostname() == "":
		return nil, errors.New("must be a URL such as https://auth.example.com")
	case issuer.RawQuery != "" || issuer.ForceQuery || issuer.Fragment != "" || strings.HasSuffix(text, "#"):
		return nil, errors.New("must have neither query nor fragment (RFC 8414 section 2)")
	case issuer.User != nil:
		return nil, errors.New("must not have user information")
	case issuer.Scheme != "https" && (issuer.Scheme != "http" || !isLoopback(issuer.Hostname())):
		return nil, errors.New("must be https, or http on loopback")
	}
	return issuer, nil
}

// Issuer is the identifier of the server.
func (s *Server) Issuer() string { return s.issuer }

// Endpoint returns the handler of one of the server's own paths, or nil. The path is the escaped path of the request
// as the client sent it.
func (s *Server) Endpoint(path string) http.Handler {
	if endpoint, ok := s.endpoints[path]; ok {
		return endpoint
	}
	return nil
}

// url is the address of an endpoint.
func (s *Server) url(path string) string { return strings.TrimSuffix(s.issuer, "/") + path }

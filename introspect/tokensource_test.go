package introspect_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// issuing is an authorization server with a token endpoint, which issues token-1, token-2 and so on, and an introspection
// endpoint, which accepts those that the test accepts.
type issuing struct {
	*httptest.Server

	mu      sync.Mutex
	issued  int
	members string           // further members of the token response
	broken  http.HandlerFunc // in place of issuing a token
	refused map[string]int   // the status with which a token is refused
	forms   []url.Values     // of the token requests
	basics  []string         // their credentials
	asked   []string         // the credentials of the introspection requests
	gate    chan struct{}    // what token requests wait for
}

func newIssuing(t *testing.T) *issuing {
	t.Helper()
	s := &issuing{members: `,"expires_in":100`, refused: make(map[string]int)}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *issuing) serve(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm() // a form that cannot be read is empty
	authorization := r.Header.Get("Authorization")
	if r.URL.Path == "/introspect" {
		s.mu.Lock()
		s.asked = append(s.asked, authorization)
		status := s.refused[strings.TrimPrefix(authorization, "Bearer ")] + s.refused["all"]
		s.mu.Unlock()
		if status == 0 {
			reply(200, "application/json", `{"active":true}`)(w, r)
			return
		}
		w.WriteHeader(status)
		return
	}
	s.mu.Lock()
	s.forms = append(s.forms, r.PostForm)
	s.basics = append(s.basics, authorization)
	broken, gate := s.broken, s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if broken != nil {
		broken(w, r)
		return
	}
	s.mu.Lock()
	s.issued++
	body := fmt.Sprintf(`{"access_token":"token-%d","token_type":"bearer"%s}`, s.issued, s.members)
	s.mu.Unlock()
	reply(200, "application/json", body)(w, r)
}

// set changes what the server does.
func (s *issuing) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// requests is how many token requests have come.
func (s *issuing) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.forms)
}

// uses are the credentials with which the introspection endpoint was asked, and are forgotten then.
func (s *issuing) uses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	uses := s.asked
	s.asked = nil
	return uses
}

// client is a client that gets its token here.
func (s *issuing) client(t *testing.T, change ...func(*introspect.TokenSourceConfig)) *introspect.Client {
	t.Helper()
	config := introspect.TokenSourceConfig{
		Endpoint: s.URL + "/token", Auth: introspect.ClientSecretBasic{ID: "gw", Secret: "s3cret"},
	}
	for _, c := range change {
		c(&config)
	}
	source, err := introspect.NewTokenSource(config)
	require.NoError(t, err)
	client, err := introspect.NewClient(introspect.ClientConfig{Endpoint: s.URL + "/introspect", Auth: source})
	require.NoError(t, err)
	return client
}

func introspects(client *introspect.Client) error {
	_, err := client.Introspect(context.Background(), introspect.NewToken("t"))
	return err
}

func TestC03ATokenOfTheGatewaysOwn(t *testing.T) {
	s := newIssuing(t)
	client := s.client(t, func(c *introspect.TokenSourceConfig) { c.Scope = []string{"introspect", "x:y"} })
	assert.Zero(t, s.requests(), "it is got when it is needed")
	for range 3 {
		require.NoError(t, introspects(client))
	}
	assert.Equal(t, []string{"Bearer token-1", "Bearer token-1", "Bearer token-1"}, s.uses())
	assert.Equal(t, []url.Values{{"grant_type": {"client_credentials"}, "scope": {"introspect x:y"}}}, s.forms, "C05")
	assert.Equal(t, []string{"Basic " + basic("gw", "s3cret")}, s.basics)

	held := new(introspect.HeldToken)
	require.NoError(t, introspects(s.client(t, func(c *introspect.TokenSourceConfig) { c.Held = held })))
	for _, text := range []string{fmt.Sprint(held), fmt.Sprintf("%+v %#v %s", held, held, held)} {
		assert.NotContains(t, text, "token-2", "K14")
	}
	require.NoError(t, introspects(s.client(t, func(c *introspect.TokenSourceConfig) { c.Held = held })))
	assert.Equal(t, 2, s.requests(), "the next configuration has it")
	assert.NotContains(t, s.forms[1], "scope")
}

func basic(id, secret string) string {
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.SetBasicAuth(id, secret)
	return strings.TrimPrefix(request.Header.Get("Authorization"), "Basic ")
}

func TestTheTokenIsRenewedAheadOfItsExpiry(t *testing.T) {
	for name, test := range map[string]struct {
		members string
		life    time.Duration
		ahead   time.Duration
	}{
		"a short life":               {`,"expires_in":100`, 100 * time.Second, 25 * time.Second},
		"a short life, in a string":  {`,"expires_in":"100"`, 100 * time.Second, 25 * time.Second},
		"a long life":                {`,"expires_in":7200`, 2 * time.Hour, time.Minute},
		"a life that nobody tells":   {``, time.Hour, time.Minute},
		"a life that is null":        {`,"expires_in":null`, time.Hour, time.Minute},
		"a life beyond all measures": {`,"expires_in":1e300`, 30 * 24 * time.Hour, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s, now := newIssuing(t), newClock()
			s.members = test.members
			client := s.client(t, func(c *introspect.TokenSourceConfig) { c.Now = now.now })
			require.NoError(t, introspects(client))
			now.advance(test.life - test.ahead - 1)
			require.NoError(t, introspects(client))
			require.Equal(t, 1, s.requests())

			// Nobody waits for the renewal.
			gate := make(chan struct{})
			s.set(func() { s.gate = gate })
			now.advance(1)
			for range 3 {
				require.NoError(t, introspects(client))
			}
			assert.Equal(t, []string{"Bearer token-1", "Bearer token-1", "Bearer token-1", "Bearer token-1", "Bearer token-1"}, s.uses())
			close(gate)
			require.Eventually(t, func() bool {
				require.NoError(t, introspects(client))
				uses := s.uses()
				return uses[len(uses)-1] == "Bearer token-2"
			}, 10*time.Second, time.Millisecond)
			assert.Equal(t, 2, s.requests())
		})
	}
}

func TestARenewalThatFailsIsNotRepeatedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tokens, endpoint = "https://as.example.com/token", "https://as.example.com/introspect"
		p, now := new(publisher), newClock()
		p.publish(endpoint, jsonPage(`{"active":true}`))
		source, err := introspect.NewTokenSource(introspect.TokenSourceConfig{
			Endpoint: tokens, Auth: introspect.NoAuth{ID: "gw"}, Transport: p, Now: now.now,
		})
		require.NoError(t, err)
		client, err := introspect.NewClient(introspect.ClientConfig{Endpoint: endpoint, Auth: source, Transport: p})
		require.NoError(t, err)
		// ask introspects, and returns what was asked for, the renewal in the background included.
		ask := func() ([]string, error) {
			err := introspects(client)
			synctest.Wait()
			return p.asked(), err
		}
		issue := func(token string) {
			p.publish(tokens, jsonPage(`{"access_token":"`+token+`","token_type":"Bearer","expires_in":100}`))
		}
		issue("token-1")
		asked, err := ask()
		require.NoError(t, err)
		require.Equal(t, []string{tokens, endpoint}, asked)

		p.publish(tokens, page{status: 500})
		now.advance(75 * time.Second)
		for range 24 {
			asked, err = ask()
			require.NoError(t, err, "the token is good until it expires")
			require.ElementsMatch(t, []string{endpoint, tokens}, asked)
			now.advance(time.Second - 1)
			asked, err = ask()
			require.NoError(t, err)
			require.Equal(t, []string{endpoint}, asked, "a second has not passed")
			now.advance(1)
		}
		now.advance(time.Second)
		asked, err = ask()
		require.ErrorIs(t, err, introspect.ErrUnavailable, "a token that has expired is not used")
		require.Equal(t, []string{tokens}, asked)
		issue("token-2")
		_, err = ask()
		require.NoError(t, err)
	})
}

func TestATokenThatExpiresAtOnceIsUsedOnce(t *testing.T) {
	for _, members := range []string{`,"expires_in":0`, `,"expires_in":-5`} {
		s := newIssuing(t)
		s.members = members
		client := s.client(t)
		for range 3 {
			require.NoError(t, introspects(client))
		}
		assert.Equal(t, []string{"Bearer token-1", "Bearer token-2", "Bearer token-3"}, s.uses())
	}
}

func TestC11ConcurrentCallsGetOneToken(t *testing.T) {
	s := newIssuing(t)
	gate := make(chan struct{})
	s.gate = gate
	client := s.client(t)

	hungUp, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := client.Introspect(hungUp, introspect.NewToken("t"))
		first <- err
	}()
	require.Eventually(t, func() bool { return s.requests() == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)

	results := make(chan error, 50)
	for range 50 {
		go func() { results <- introspects(client) }()
	}
	close(gate)
	for range 50 {
		require.NoError(t, <-results)
	}
	assert.Equal(t, 1, s.requests())
}

func TestATokenThatIsRefusedIsRenewedOnce(t *testing.T) {
	for _, status := range []int{401, 403} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			s := newIssuing(t)
			client := s.client(t)
			require.NoError(t, introspects(client))
			s.uses()
			s.set(func() { s.refused["token-1"] = status })
			require.NoError(t, introspects(client), "nobody notices")
			assert.Equal(t, []string{"Bearer token-1", "Bearer token-2"}, s.uses())
			require.NoError(t, introspects(client))
			assert.Equal(t, 2, s.requests())
		})
		t.Run(http.StatusText(status)+" whatever the token", func(t *testing.T) {
			s := newIssuing(t)
			client := s.client(t)
			require.NoError(t, introspects(client))
			s.uses()
			s.set(func() { s.refused["all"] = status })
			require.ErrorIs(t, introspects(client), introspect.ErrCredentials)
			assert.Equal(t, []string{"Bearer token-1", "Bearer token-2"}, s.uses(), "once, not again and again")
			assert.Equal(t, 2, s.requests())
		})
		t.Run(http.StatusText(status)+" for the very first token", func(t *testing.T) {
			s := newIssuing(t)
			s.refused["all"] = status
			require.ErrorIs(t, introspects(s.client(t)), introspect.ErrCredentials)
			assert.Equal(t, []string{"Bearer token-1"}, s.uses())
			assert.Equal(t, 1, s.requests(), "another one would be as good")
		})
	}
	t.Run("many at once", func(t *testing.T) {
		s := newIssuing(t)
		client := s.client(t)
		require.NoError(t, introspects(client))
		s.set(func() { s.refused["token-1"] = 401 })
		results := make(chan error, 20)
		for range 20 {
			go func() { results <- introspects(client) }()
		}
		for range 20 {
			require.NoError(t, <-results)
		}
		assert.Equal(t, 2, s.requests())
	})
}

func TestTokenEndpointsThatFail(t *testing.T) {
	const canary = "canary-token-response"
	says := func(body string) http.HandlerFunc { return reply(200, "application/json", body) }
	for name, test := range map[string]struct {
		broken http.HandlerFunc
		err    error
		calls  int
	}{
		"B16 wrong credentials":      {reply(401, "application/json", `{"error":"invalid_client"}`), introspect.ErrCredentials, 1},
		"B16 wrong credentials, 400": {reply(400, "application/json", `{"error":"invalid_client"}`), introspect.ErrCredentials, 1},
		"B16 forbidden":              {reply(403, "text/html", canary), introspect.ErrCredentials, 1},
		"an error":                   {reply(500, "text/plain", canary), introspect.ErrUnavailable, 1},
		"unavailable":                {reply(503, "", canary), introspect.ErrUnavailable, 2},
		"too many requests":          {reply(429, "", canary), introspect.ErrUnavailable, 1},
		"the connection breaks":      {hangUp, introspect.ErrUnavailable, 2},
		"C08 a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/introspect", http.StatusTemporaryRedirect)
		}, introspect.ErrMalformed, 1},
		"not found":                     {reply(404, "", canary), introspect.ErrMalformed, 1},
		"created":                       {reply(201, "application/json", `{"access_token":"canary-token-response","token_type":"Bearer"}`), introspect.ErrMalformed, 1},
		"a page":                        {reply(200, "text/html", `{"access_token":"canary-token-response","token_type":"Bearer"}`), introspect.ErrMalformed, 1},
		"nothing":                       {says(``), introspect.ErrMalformed, 1},
		"a list":                        {says(`["canary-token-response"]`), introspect.ErrMalformed, 1},
		"an error with 200":             {says(`{"error":"canary-token-response"}`), introspect.ErrMalformed, 1},
		"no token":                      {says(`{"token_type":"Bearer"}`), introspect.ErrMalformed, 1},
		"an empty token":                {says(`{"access_token":"","token_type":"Bearer"}`), introspect.ErrMalformed, 1},
		"a token that is none":          {says(`{"access_token":"canary-token-response\r\nX: y","token_type":"Bearer"}`), introspect.ErrMalformed, 1},
		"a token with a space":          {says(`{"access_token":"canary-token-response x","token_type":"Bearer"}`), introspect.ErrMalformed, 1},
		"a token that is a number":      {says(`{"access_token":1234567890,"token_type":"Bearer"}`), introspect.ErrMalformed, 1},
		"a token of another type":       {says(`{"access_token":"canary-token-response","token_type":"DPoP"}`), introspect.ErrMalformed, 1},
		"a token of no type":            {says(`{"access_token":"canary-token-response"}`), introspect.ErrMalformed, 1},
		"two tokens":                    {says(`{"access_token":"canary-token-response","access_token":"b","token_type":"Bearer"}`), introspect.ErrMalformed, 1},
		"a life that cannot be read":    {says(`{"access_token":"canary-token-response","token_type":"Bearer","expires_in":"soon"}`), introspect.ErrMalformed, 1},
		"C09 a response without end":    {says(`{"x":"` + strings.Repeat("canary", 300_000) + `"}`), introspect.ErrMalformed, 1},
		"the grant is refused for good": {reply(400, "application/json", `{"error":"unauthorized_client"}`), introspect.ErrMalformed, 1},
		"the scope is refused":          {reply(400, "application/json", `{"error":"invalid_scope"}`), introspect.ErrMalformed, 1},
		"the request is not understood": {reply(400, "text/plain", canary), introspect.ErrMalformed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newIssuing(t)
			s.broken = test.broken
			client := s.client(t, func(c *introspect.TokenSourceConfig) { c.Retries = 1 })
			err := introspects(client)
			require.ErrorIs(t, err, test.err)
			assert.NotContains(t, err.Error(), "canary")
			assert.NotContains(t, err.Error(), "s3cret")
			assert.Empty(t, s.uses(), "nobody is asked without a token")
			assert.Equal(t, test.calls, s.requests())
			s.set(func() { s.broken = nil })
			require.NoError(t, introspects(client), "and it recovers")
		})
	}
	t.Run("C09 slow", func(t *testing.T) {
		s := newIssuing(t)
		gate := make(chan struct{})
		s.gate = gate
		t.Cleanup(func() { close(gate) })
		client := s.client(t, func(c *introspect.TokenSourceConfig) { c.Timeout = 10 * time.Millisecond })
		require.ErrorIs(t, introspects(client), introspect.ErrTimeout)
	})
}

// Half of all servers decode Basic credentials, and half do not.
func TestC04TheEncodingOfBasicIsFoundAtTheTokenEndpointToo(t *testing.T) {
	const secret = "p@ss:w+rd/é%"
	config := func(c *introspect.TokenSourceConfig) {
		c.Auth = introspect.ClientSecretBasic{ID: "gw", Secret: secret}
		c.OtherAuth = introspect.ClientSecretBasic{ID: "gw", Secret: secret, Raw: true}
	}
	form, raw := "Basic "+basic("gw", url.QueryEscape(secret)), "Basic "+basic("gw", secret)
	for name, test := range map[string]struct {
		broken http.HandlerFunc // nil: as below
		takes  string
		sent   []string
		works  bool
	}{
		"a server that decodes":        {nil, form, []string{form}, true},
		"a server that does not":       {nil, raw, []string{form, raw}, true},
		"neither":                      {nil, "", []string{form, raw}, false},
		"a scope that is refused":      {reply(400, "application/json", `{"error":"invalid_scope"}`), "", []string{form}, false},
		"a grant that is refused":      {reply(400, "application/json", `{"error":"unauthorized_client"}`), "", []string{form}, false},
		"a server that is unavailable": {reply(503, "", ""), "", []string{form}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newIssuing(t)
			if s.broken = test.broken; test.broken == nil {
				s.broken = func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Authorization") == test.takes {
						reply(200, "application/json", `{"access_token":"good","token_type":"Bearer"}`)(w, r)
						return
					}
					reply(401, "application/json", `{"error":"invalid_client"}`)(w, r)
				}
			}
			err := introspects(s.client(t, config))
			assert.Equal(t, test.works, err == nil, "%v", err)
			assert.Equal(t, test.sent, s.basics)
		})
	}
}

func TestTokenSourcesThatAreRefused(t *testing.T) {
	_, err := introspect.NewTokenSource(introspect.TokenSourceConfig{Endpoint: "http://as.example.com/token", Auth: introspect.NoAuth{}})
	require.ErrorContains(t, err, "must be https", "C07")
	_, err = introspect.NewTokenSource(introspect.TokenSourceConfig{Endpoint: "https://as.example.com/token"})
	require.ErrorContains(t, err, "client authentication", "C03")
}

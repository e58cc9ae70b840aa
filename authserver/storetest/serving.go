package storetest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// benchClients is how many clients come at the same time, each on a connection of its own.
const benchClients = 64

const (
	benchIssuer   = "https://auth.example.com"
	benchCallback = "https://web.example.com/cb"
	// authorization is the address of an authorization request, with the challenge of RFC 7636 appendix B.
	authorization = benchIssuer + "/oauth2/authorize?client_id=web&redirect_uri=https%3A%2F%2Fweb.example.com%2Fcb&response_type=code&scope=read" +
		"&state=xyz&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
)

// benched is a server that is measured.
type benched struct {
	*authserver.Server
	address string
}

// Serve measures an authorization server over a store. open returns an empty store, which nobody else uses, and sees to it
// that it is closed when the benchmark ends.
func Serve(b *testing.B, open func(b *testing.B) store.Store) {
	for _, measured := range []struct {
		name    string
		measure func(s *benched, b *testing.B)
	}{
		{fmt.Sprintf("token endpoint/clients=%d", benchClients), (*benched).issue},
		{fmt.Sprintf("introspection endpoint/clients=%d", benchClients), (*benched).introspect},
		{"introspection in the process", (*benched).ask},
		{"login page", (*benched).open},
	} {
		b.Run(measured.name, func(b *testing.B) { measured.measure(newBenched(b, open(b)), b) })
	}
}

func newBenched(b *testing.B, s store.Store) *benched {
	b.Helper()
	secretOf := func(text string) *authserver.Secret {
		secret, err := authserver.NewSecret(text)
		require.NoError(b, err)
		return secret
	}
	server, err := authserver.New(authserver.Config{
		Issuer: benchIssuer,
		Clients: []authserver.Client{
			{ID: "app", Secret: secretOf("app-secret"), Grants: []string{authserver.GrantClientCredentials}, Scopes: []string{"read"}},
			{ID: "rs", Secret: secretOf("rs-secret"), MayIntrospect: true},
			{ID: "web", Secret: secretOf("web-secret"), Grants: []string{authserver.GrantAuthorizationCode}, RedirectURIs: []string{benchCallback}, Scopes: []string{"read", "write"}},
		},
		Users:  []authserver.User{{Name: "alice", Password: secretOf(authserver.HashSecret("correct horse battery"))}},
		Logger: slog.New(slog.DiscardHandler),
	}, s)
	require.NoError(b, err)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		server.Endpoint(r.URL.EscapedPath()).ServeHTTP(w, r)
	}))
	b.Cleanup(site.Close)
	return &benched{server, site.Listener.Addr().String()}
}

// caller is a client on a connection of its own, which costs as little as can be.
type caller struct {
	connection net.Conn
	reader     *bufio.Reader
}

func (s *benched) caller() (*caller, error) {
	connection, err := net.Dial("tcp", s.address)
	if err != nil {
		return nil, err
	}
	return &caller{connection, bufio.NewReader(connection)}, nil
}

// call sends a request and returns the body of the response, which has to be a 200.
func (c *caller) call(request string) ([]byte, error) {
	if _, err := io.WriteString(c.connection, request); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return body, err
}

// formOf is a request with a form, from a client that signs in.
func formOf(path, id, secret string, form url.Values) string {
	request := httptest.NewRequest(http.MethodPost, path, nil)
	request.SetBasicAuth(id, secret)
	body := form.Encode()
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: auth.example.com\r\nAuthorization: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		path, request.Header.Get("Authorization"), len(body), body)
}

// together lets all clients send requests.
func (s *benched) together(b *testing.B, request func(n int) string) {
	b.Helper()
	var sent atomic.Int64
	b.SetParallelism(max(1, benchClients/runtime.GOMAXPROCS(0)))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c, err := s.caller()
		if err != nil {
			b.Error(err)
			return
		}
		defer c.connection.Close()
		for pb.Next() {
			if _, err := c.call(request(int(sent.Add(1)))); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// tokens gets so many tokens.
func (s *benched) tokens(b *testing.B, n int) []string {
	b.Helper()
	c, err := s.caller()
	require.NoError(b, err)
	defer c.connection.Close()
	tokens := make([]string, n)
	for i := range tokens {
		body, err := c.call(tokenRequest)
		require.NoError(b, err)
		var members struct {
			AccessToken string `json:"access_token"`
		}
		require.NoError(b, json.Unmarshal(body, &members))
		tokens[i] = members.AccessToken
	}
	return tokens
}

var tokenRequest = formOf("/oauth2/token", "app", "app-secret", url.Values{"grant_type": {"client_credentials"}})

// issue has tokens issued over HTTP, each of them on the disk before the response.
func (s *benched) issue(b *testing.B) {
	b.Helper()
	s.tokens(b, 1)
	s.together(b, func(int) string { return tokenRequest })
}

// introspect has tokens introspected over HTTP, 1000 of them in turn.
func (s *benched) introspect(b *testing.B) {
	b.Helper()
	var requests []string
	for _, token := range s.tokens(b, 1000) {
		requests = append(requests, formOf("/oauth2/introspect", "rs", "rs-secret", url.Values{"token": {token}}))
	}
	s.together(b, func(n int) string { return requests[n%len(requests)] })
}

// ask has tokens introspected by the gateway of the same process, which does not remember them.
func (s *benched) ask(b *testing.B) {
	b.Helper()
	tokens := s.tokens(b, 1000)
	var asked atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			answer, err := s.Introspect(b.Context(), introspect.NewToken(tokens[int(asked.Add(1))%len(tokens)]))
			if err != nil || !answer.Active {
				b.Error(answer, err)
				return
			}
		}
	})
}

// open opens the login page in a browser that nobody has signed in with: the authorization request, and the redirect to the page.
func (s *benched) open(b *testing.B) {
	b.Helper()
	for b.Loop() {
		address, cookies := authorization, []*http.Cookie(nil)
		for {
			request := httptest.NewRequest(http.MethodGet, address, nil)
			for _, cookie := range cookies {
				request.AddCookie(cookie)
			}
			recorder := httptest.NewRecorder()
			s.Endpoint(request.URL.EscapedPath()).ServeHTTP(recorder, request)
			cookies = append(cookies, recorder.Result().Cookies()...)
			if address = recorder.Header().Get("Location"); address != "" {
				continue
			}
			if !strings.Contains(recorder.Body.String(), "Password") {
				b.Fatal(recorder.Body)
			}
			break
		}
	}
}

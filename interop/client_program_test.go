package interop_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// object is a JSON object.
type object = map[string]any

// clientProgram is a program that calls the libraries of clients as it is told, by lines of JSON.
type clientProgram struct {
	*testgateway.Process
	server *issuer
	stdin  io.Writer
	lines  int
}

func (s *issuer) startClients(t *testing.T, command *exec.Cmd) *clientProgram {
	t.Helper()
	stdin, err := command.StdinPipe()
	require.NoError(t, err)
	return &clientProgram{Process: testgateway.Run(t, command), server: s, stdin: stdin}
}

// session is a session of a library.
type session struct {
	clients *clientProgram
	name    string
}

// outcome is what a call has led to.
type outcome struct {
	// Result is what the library returned.
	Result json.RawMessage
	// Exception is what it raised.
	Exception *exception
	// Kept are the tokens that it has handed to the application to keep.
	Kept []object
}

type exception struct {
	Type, Text string
	// Error is the error code of OAuth (RFC 6749 sections 4.1.2.1 and 5.2).
	Error string
	// Challenge are the parameters of the challenge of a resource.
	Challenge object
	// Token is the token that the library does not want to use.
	Token object
}

// do has the program do what a line says.
func (c *clientProgram) do(t *testing.T, line object) outcome {
	t.Helper()
	c.lines++
	line["id"] = c.lines
	text, err := json.Marshal(line)
	require.NoError(t, err)
	_, err = c.stdin.Write(append(text, '\n'))
	require.NoError(t, err)
	answer := c.Await(t, fmt.Sprintf(`{"id":%d,`, c.lines))
	var got outcome
	require.NoError(t, json.Unmarshal([]byte(answer), &got), answer)
	for _, kept := range got.Kept {
		c.server.guardTokens(kept)
	}
	return got
}

// open opens a session, with the arguments of its class.
func (c *clientProgram) open(t *testing.T, kind string, arguments object) *session {
	t.Helper()
	name := fmt.Sprint("session ", c.lines)
	got := c.do(t, object{"open": kind, "as": name, "with": arguments})
	require.Nil(t, got.Exception)
	return &session{c, name}
}

// try calls a method.
func (s *session) try(t *testing.T, method string, arguments object) outcome {
	t.Helper()
	return s.clients.do(t, object{"session": s.name, "call": method, "with": arguments})
}

// call calls a method that succeeds, and stores what it returns in result.
func (s *session) call(t *testing.T, result any, method string, arguments object) outcome {
	t.Helper()
	got := s.try(t, method, arguments)
	require.Nil(t, got.Exception, method)
	require.NoError(t, json.Unmarshal(got.Result, result), string(got.Result))
	return got
}

// refused calls a method that ends with an error of OAuth.
func (s *session) refused(t *testing.T, code, method string, arguments object) {
	t.Helper()
	got := s.try(t, method, arguments)
	require.NotNil(t, got.Exception, string(got.Result))
	assert.Equal(t, code, got.Exception.Error, got.Exception.Text)
}

// token calls a method that gets a bearer token.
func (s *session) token(t *testing.T, method string, arguments object) object {
	t.Helper()
	token := s.issued(t, method, arguments)
	assert.Equal(t, "bearer", strings.ToLower(token["token_type"].(string)))
	return token
}

// issued calls a method that gets a token of any type.
func (s *session) issued(t *testing.T, method string, arguments object) object {
	t.Helper()
	var token object
	s.call(t, &token, method, arguments)
	s.clients.server.guardTokens(token)
	require.NotEmpty(t, token["access_token"])
	require.NotEmpty(t, token["token_type"])
	return token
}

// response is a response that the library got.
type response struct {
	Status int
	Body   string
}

// send calls a method that sends a request.
func (s *session) send(t *testing.T, method string, arguments object) response {
	t.Helper()
	var got response
	s.call(t, &got, method, arguments)
	return got
}

// passes says that a request with the session's token reaches the backend, and what the backend learns.
func (s *session) passes(t *testing.T, expected map[string]string) {
	t.Helper()
	server := s.clients.server
	require.Equal(t, http.StatusOK, s.send(t, "get", object{"url": server.url + "/orders"}).Status)
	server.tells(t, expected)
}

// fails says that the session's token is no good any more.
func (s *session) fails(t *testing.T) {
	t.Helper()
	server := s.clients.server
	assert.Equal(t, http.StatusUnauthorized, s.send(t, "get", object{"url": server.url + "/orders"}).Status)
	assert.Empty(t, server.backend.Take(), "the backend must not be asked")
}

// introspected asks about a token.
func (s *session) introspected(t *testing.T, token any) object {
	t.Helper()
	got := s.send(t, "introspect_token", object{"url": s.clients.server.url + "/oauth2/introspect", "token": token})
	require.Equal(t, http.StatusOK, got.Status, got.Body)
	var members object
	require.NoError(t, json.Unmarshal([]byte(got.Body), &members), got.Body)
	return members
}

// guardTokens registers the tokens of a response of the token endpoint.
func (s *issuer) guardTokens(token object) {
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		value, _ := token[name].(string)
		s.Guard(value)
	}
}

// awaitExpiry waits until a token has expired, to the server and to the library that got it.
func (s *issuer) awaitExpiry(t *testing.T, token object) {
	t.Helper()
	expiry := time.UnixMilli(int64(token["expires_at"].(float64) * 1000))
	require.Eventually(t, func() bool {
		got := s.get(t, "/orders", token["access_token"].(string))
		return time.Now().After(expiry) && got.Status == http.StatusUnauthorized
	}, time.Minute, 10*time.Millisecond)
	s.backend.Take()
}

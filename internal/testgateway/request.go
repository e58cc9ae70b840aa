package testgateway

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// client asks the way a simple program does: it follows no redirect, knows of no proxy, and keeps no connection, which a
// reload would close.
var client = &http.Client{
	Timeout:       20 * time.Second,
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Reply is a response that was read to its end.
type Reply struct {
	Status int
	Header http.Header
	Body   string
}

// Read reads a response to its end.
func Read(response *http.Response) (*Reply, error) {
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	shared.overhearReply(string(body))
	return &Reply{response.StatusCode, response.Header, string(body)}, err
}

// Challenge is the one challenge of a response, or nothing. Behind one of another scheme the scheme DPoP may be offered
// (RFC 9449 section 7.2), which blames the request for nothing.
func (r *Reply) Challenge(t testing.TB) string {
	t.Helper()
	challenges := r.Header["Www-Authenticate"]
	if len(challenges) == 0 {
		return ""
	}
	if len(challenges) == 2 {
		assert.Regexp(t, `^DPoP realm="[^"]*".*, algs="[^"]+"$`, challenges[1])
		assert.NotContains(t, challenges[1], "error=")
		challenges = challenges[:1]
	}
	assert.Len(t, challenges, 1)
	return challenges[0]
}

// AccessToken is the token in a response of a token endpoint.
func (r *Reply) AccessToken(t testing.TB) string {
	t.Helper()
	require.Equal(t, http.StatusOK, r.Status, r.Body)
	var issued struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.Body), &issued), r.Body)
	require.NotEmpty(t, issued.AccessToken)
	return issued.AccessToken
}

// Request makes a request with a bearer token, or without one if that is empty.
func Request(t testing.TB, method, url, token string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return request
}

// Post makes a POST request with a body of some type.
func Post(t testing.TB, url, contentType, body string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", contentType)
	return request
}

// Form makes a POST request with a form for a body, signed by HTTP Basic unless the client's id is empty.
func Form(t testing.TB, url, id, secret string, form url.Values) *http.Request {
	t.Helper()
	request := Post(t, url, "application/x-www-form-urlencoded", form.Encode())
	if id != "" {
		request.SetBasicAuth(id, secret)
	}
	return request
}

// Basic are the credentials of HTTP Basic, without the name of the scheme.
func Basic(id, secret string) string {
	return base64.StdEncoding.EncodeToString([]byte(id + ":" + secret))
}

// Try sends a request. Unlike Send, it may be called by any goroutine.
func Try(request *http.Request) (*Reply, error) {
	shared.overhearSent(request)
	for attempt := 1; ; attempt++ {
		response, err := client.Do(request)
		if err == nil {
			return Read(response)
		}
		unheard := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
		if !unheard || attempt == attempts || !rewind(request) {
			return nil, err
		}
	}
}

// attempts is how often a request is sent at most. While Caddy goes from one configuration to another it closes a few
// of the connections that it has just accepted, with or without this plugin, and a client asks again.
const attempts = 5

// rewind makes a request ready to be sent again, if it can be.
func rewind(request *http.Request) bool {
	if request.Body == nil {
		return true
	}
	if request.GetBody == nil {
		return false
	}
	body, err := request.GetBody()
	request.Body = body
	return err == nil
}

// Send sends a request and returns the reply.
func Send(t testing.TB, request *http.Request) *Reply {
	t.Helper()
	reply, err := Try(request)
	require.NoError(t, err)
	return reply
}

// Raw sends a request line and header lines byte for byte, as no HTTP library would, and what follows them, to an address.
func Raw(t testing.TB, address, requestLine string, headers []string, body string) *Reply {
	t.Helper()
	fields := make(http.Header)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ":")
		fields.Add(name, value)
	}
	shared.overhearRequest(fields, body)
	connection := Dial(t, address)
	lines := append([]string{requestLine + " HTTP/1.1", "Host: " + address}, headers...)
	_, err := io.WriteString(connection, strings.Join(lines, "\r\n")+"\r\n\r\n"+body)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	if response.StatusCode == http.StatusSwitchingProtocols {
		return &Reply{Status: response.StatusCode, Header: response.Header}
	}
	got, err := Read(response)
	require.NoError(t, err)
	return got
}

// Dial opens a connection that is closed when the test ends, and on which nothing takes long.
func Dial(t testing.TB, address string) net.Conn {
	t.Helper()
	connection, err := net.DialTimeout("tcp", address, client.Timeout)
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	require.NoError(t, connection.SetDeadline(time.Now().Add(client.Timeout)))
	return connection
}

// Get asks for a URL.
func Get(t testing.TB, url string) *Reply {
	t.Helper()
	return Send(t, Request(t, http.MethodGet, url, ""))
}

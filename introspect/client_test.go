package introspect_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// endpoint starts an introspection endpoint that behaves as it is told, and a client of it.
func endpoint(t *testing.T, handler http.HandlerFunc, change ...func(*introspect.ClientConfig)) *introspect.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	config := introspect.ClientConfig{
		Endpoint: server.URL + "/introspect",
		Auth:     introspect.ClientSecretBasic{ID: "gateway", Secret: "s3cret"},
		Hint:     "access_token",
	}
	for _, c := range change {
		c(&config)
	}
	client, err := introspect.NewClient(config)
	require.NoError(t, err)
	return client
}

func reply(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestTheRequestIsRFC7662AndNothingElse(t *testing.T) {
	token := "a+b/c-._~=="
	secret := `p@ss:w+rd/é% &`
	client := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		form, err := url.ParseQuery(string(body))
		assert.NoError(t, err)
		assert.Equal(t, url.Values{"token": {token}, "token_type_hint": {"access_token"}}, form, "C01 C05")
		assert.Equal(t, http.MethodPost, r.Method)
		assert.Equal(t, "application/x-www-form-urlencoded", r.Header.Get("Content-Type"))
		assert.Equal(t, "application/json", r.Header.Get("Accept"), "C02")
		assert.Empty(t, r.URL.RawQuery)
		basic, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Basic ")
		assert.True(t, ok)
		decoded, err := base64.StdEncoding.DecodeString(basic)
		assert.NoError(t, err)
		id, encoded, _ := strings.Cut(string(decoded), ":")
		assert.Equal(t, "gate%2Fway", id, "C04: form-encoded before base64")
		got, err := url.QueryUnescape(encoded)
		assert.NoError(t, err)
		assert.Equal(t, secret, got, "C04")
		assert.Empty(t, r.Header.Get("Cookie"), "C12")
		reply(200, "application/json", `{"active":true}`)(w, r)
	}, func(c *introspect.ClientConfig) {
		c.Auth = introspect.ClientSecretBasic{ID: "gate/way", Secret: secret}
	})
	answer, err := client.Introspect(t.Context(), introspect.NewToken(token))
	require.NoError(t, err)
	assert.True(t, answer.Active)
}

func TestEveryAnswerOfAnAuthority(t *testing.T) {
	const good = `{"active":true,"sub":"canary-raw-answer"}`
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		err     error // nil: an answer
		active  bool
		calls   int32
	}{
		"active":                         {reply(200, "application/json", good), nil, true, 1},
		"charset":                        {reply(200, "Application/JSON; charset=UTF-8", good), nil, true, 1},
		"no content type":                {reply(200, "", good), nil, true, 1},
		"another JSON":                   {reply(200, "application/vnd.as+json", good), nil, true, 1},
		"inactive":                       {reply(200, "application/json", `{"active":false}`), nil, false, 1},
		"unsupported token type":         {reply(400, "application/json", `{"error":"unsupported_token_type"}`), nil, false, 1},
		"C10 HTML":                       {reply(200, "text/html", good), introspect.ErrMalformed, false, 1},
		"C10 plain text":                 {reply(200, "text/plain", good), introspect.ErrMalformed, false, 1},
		"C10 no content":                 {reply(204, "", ""), introspect.ErrMalformed, false, 1},
		"C10 created":                    {reply(201, "application/json", good), introspect.ErrMalformed, false, 1},
		"C10 empty":                      {reply(200, "application/json", ""), introspect.ErrMalformed, false, 1},
		"C10 array":                      {reply(200, "application/json", "["+good+"]"), introspect.ErrMalformed, false, 1},
		"C09 too long":                   {reply(200, "application/json", `{"active":true,"x":"`+strings.Repeat("x", 5000)+`"}`), introspect.ErrMalformed, false, 1},
		"signed answer nobody asked for": {reply(200, "application/token-introspection+jwt", "e30.e30.x"), introspect.ErrMalformed, false, 1},
		"B16 credentials refused":        {reply(401, "application/json", `{"error":"invalid_client"}`), introspect.ErrCredentials, false, 1},
		"B16 refused in HTML":            {reply(403, "text/html", "<h1>canary-raw-answer</h1>"), introspect.ErrCredentials, false, 1},
		"B16 refused with 400":           {reply(400, "application/json", `{"error":"invalid_client"}`), introspect.ErrCredentials, false, 1},
		"bad request":                    {reply(400, "application/json", `{"error":"invalid_request"}`), introspect.ErrMalformed, false, 1},
		"bad request with its own words": {reply(400, "application/json", `{"error":"canary-raw-answer"}`), introspect.ErrMalformed, false, 1},
		"bad request without words":      {reply(400, "", ""), introspect.ErrMalformed, false, 1},
		"not found":                      {reply(404, "text/plain", "404"), introspect.ErrMalformed, false, 1},
		"too many requests":              {reply(429, "", ""), introspect.ErrUnavailable, false, 1},
		"internal error is not repeated": {reply(500, "", ""), introspect.ErrUnavailable, false, 1},
		"bad gateway is repeated":        {reply(502, "", ""), introspect.ErrUnavailable, false, 2},
		"unavailable is repeated":        {reply(503, "", ""), introspect.ErrUnavailable, false, 2},
		"gateway timeout is repeated":    {reply(504, "", ""), introspect.ErrUnavailable, false, 2},
		"connection closed is repeated":  {hangUp, introspect.ErrUnavailable, false, 2},
		"closed in the middle":           {closeInTheMiddle, introspect.ErrUnavailable, false, 2},
		"C08 a redirect is not followed": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, introspect.ErrMalformed, false, 1},
		"C08 nor one that changes method": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusMovedPermanently)
		}, introspect.ErrMalformed, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			client := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				assert.Equal(t, "/introspect", r.URL.Path)
				test.handler(w, r)
			}, func(c *introspect.ClientConfig) { c.MaxResponse, c.Retries = 4096, 1 })
			answer, err := client.Introspect(t.Context(), introspect.NewToken("canary-token"))
			assert.Equal(t, test.calls, calls.Load(), "calls")
			if test.err != nil {
				require.ErrorIs(t, err, test.err)
				for _, secret := range []string{"canary", "s3cret", "/introspect"} {
					assert.NotContains(t, err.Error(), secret)
				}
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.active, answer.Active)
		})
	}
}

func TestEveryWayToSignIn(t *testing.T) {
	for name, test := range map[string]struct {
		auth          introspect.ClientAuth
		authorization string
		form          url.Values // beside the token
	}{
		"C04 basic":     {introspect.ClientSecretBasic{ID: "g:w", Secret: "a+b"}, "g%3Aw:a%2Bb", nil},
		"C04 raw basic": {introspect.ClientSecretBasic{ID: "gw", Secret: "a+b:%", Raw: true}, "gw:a+b:%", nil},
		"C03 post":      {introspect.ClientSecretPost{ID: "gw", Secret: "a+b&c"}, "", url.Values{"client_id": {"gw"}, "client_secret": {"a+b&c"}}},
		"C03 bearer":    {introspect.BearerToken("tok"), "Bearer tok", nil},
		"none":          {introspect.NoAuth{}, "", nil},
		"none, named":   {introspect.NoAuth{ID: "gw"}, "", url.Values{"client_id": {"gw"}}},
	} {
		t.Run(name, func(t *testing.T) {
			client := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
				assert.NoError(t, r.ParseForm())
				want := url.Values{"token": {"t"}}
				maps.Copy(want, test.form)
				assert.Equal(t, want, r.PostForm, "C05: nothing else")
				got := r.Header.Get("Authorization")
				if id, secret, ok := r.BasicAuth(); ok {
					got = id + ":" + secret
				}
				assert.Equal(t, test.authorization, got)
				reply(200, "application/json", `{"active":true}`)(w, r)
			}, func(c *introspect.ClientConfig) { c.Auth, c.Hint = test.auth, "" })
			_, err := client.Introspect(t.Context(), introspect.NewToken("t"))
			require.NoError(t, err)
		})
	}
}

func TestFurtherParametersAndHeaders(t *testing.T) {
	client := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "a=1&key=s3cret", r.URL.RawQuery)
		assert.Equal(t, []string{"x", "y"}, r.Header["X-Tenant"])
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		form, err := url.ParseQuery(string(body))
		assert.NoError(t, err)
		assert.Equal(t, url.Values{"token": {"t"}, "token_type_hint": {"access_token"}, "realm": {"a", "b"}}, form)
		w.WriteHeader(http.StatusTeapot)
	}, func(c *introspect.ClientConfig) {
		c.Endpoint += "?a=1"
		c.EndpointParameters = url.Values{"key": {"s3cret"}}
		c.Parameters = url.Values{"realm": {"a", "b"}}
		c.Header = http.Header{"X-Tenant": {"x", "y"}}
	})
	for range 2 { // what one call adds the next does not see
		_, err := client.Introspect(t.Context(), introspect.NewToken("t"))
		require.ErrorIs(t, err, introspect.ErrMalformed)
		assert.NotContains(t, err.Error(), "s3cret")
	}
}

// Half of all servers decode Basic credentials, half do not, and only a refusal tells which half this one belongs to.
func TestTheEncodingOfBasicIsFoundOnce(t *testing.T) {
	const secret = "p@ss:w+rd/é%"
	wants := func(accepted string, status int, body string, calls *atomic.Int32) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			if _, sent, _ := r.BasicAuth(); sent != accepted {
				reply(status, "application/json", body)(w, r)
				return
			}
			reply(200, "application/json", `{"active":true}`)(w, r)
		}
	}
	for name, test := range map[string]struct {
		accepted string
		status   int
		body     string
		first    int32 // calls that the first token needs
		then     int32 // and each further one
		works    bool
	}{
		"form":                       {url.QueryEscape(secret), 401, "", 1, 1, true},
		"raw, 401":                   {secret, 401, "", 2, 1, true},
		"raw, 403 in HTML":           {secret, 403, "<html>", 2, 1, true},
		"raw, 400 invalid_client":    {secret, 400, `{"error":"invalid_client"}`, 2, 1, true},
		"raw, 400 of another reason": {secret, 400, `{"error":"invalid_request"}`, 1, 1, false},
		"neither":                    {"another secret", 401, "", 2, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			client := endpoint(t, wants(test.accepted, test.status, test.body, &calls), func(c *introspect.ClientConfig) {
				c.Auth = introspect.ClientSecretBasic{ID: "gw", Secret: secret}
				c.OtherAuth = introspect.ClientSecretBasic{ID: "gw", Secret: secret, Raw: true}
			})
			want := test.first
			for range 3 {
				calls.Store(0)
				_, err := client.Introspect(t.Context(), introspect.NewToken("t"))
				assert.Equal(t, test.works, err == nil, "%v", err)
				assert.Equal(t, want, calls.Load())
				want = test.then
			}
		})
	}
	t.Run("concurrently", func(t *testing.T) {
		var calls, refused atomic.Int32
		handler := wants(secret, 401, "", &calls)
		client := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
			if _, sent, _ := r.BasicAuth(); sent != secret {
				refused.Add(1)
			}
			handler(w, r)
		}, func(c *introspect.ClientConfig) {
			c.Auth = introspect.ClientSecretBasic{ID: "gw", Secret: secret}
			c.OtherAuth = introspect.ClientSecretBasic{ID: "gw", Secret: secret, Raw: true}
		})
		results := make(chan error, 20)
		for range 20 {
			go func() {
				_, err := client.Introspect(context.Background(), introspect.NewToken("t"))
				results <- err
			}()
		}
		for range 20 {
			require.NoError(t, <-results, "nobody is refused because the encoding was being found")
		}
		assert.LessOrEqual(t, refused.Load(), int32(20))
	})
	assert.False(t, introspect.ClientSecretBasic{ID: "a.b-c_d~", Secret: "A0"}.Distinct())
	assert.True(t, introspect.ClientSecretBasic{ID: "a", Secret: "b c"}.Distinct())
	assert.True(t, introspect.ClientSecretBasic{ID: "a:b", Secret: "c"}.Distinct())
}

func hangUp(w http.ResponseWriter, _ *http.Request) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = connection.Close()
	}
}

func closeInTheMiddle(w http.ResponseWriter, _ *http.Request) {
	connection, buffer, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = buffer.WriteString("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"active\":true")
	_ = buffer.Flush()
	_ = connection.Close()
}

func TestARawProtocolErrorIsNotRepeatedToAnybody(t *testing.T) {
	client := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		connection, buffer, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		_, _ = buffer.WriteString("canary-raw-answer without a status line\r\n\r\n")
		_ = buffer.Flush()
		_ = connection.Close()
	})
	_, err := client.Introspect(t.Context(), introspect.NewToken("t"))
	require.ErrorIs(t, err, introspect.ErrUnavailable)
	assert.NotContains(t, err.Error(), "canary")
}

func TestSlownessAndAbsence(t *testing.T) {
	release := make(chan struct{})
	slow := endpoint(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}, func(c *introspect.ClientConfig) { c.Timeout, c.Retries = 30*time.Millisecond, 1 })
	t.Cleanup(func() { close(release) })
	_, err := slow.Introspect(t.Context(), introspect.NewToken("t"))
	require.ErrorIs(t, err, introspect.ErrTimeout, "C09")

	slowBody := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"active":`)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}, func(c *introspect.ClientConfig) { c.Timeout = 30 * time.Millisecond })
	_, err = slowBody.Introspect(t.Context(), introspect.NewToken("t"))
	require.ErrorIs(t, err, introspect.ErrTimeout)

	gone := httptest.NewServer(nil)
	gone.Close()
	client, err := introspect.NewClient(introspect.ClientConfig{Endpoint: gone.URL, Auth: introspect.ClientSecretBasic{ID: "a", Secret: "b"}})
	require.NoError(t, err)
	_, err = client.Introspect(t.Context(), introspect.NewToken("t"))
	require.ErrorIs(t, err, introspect.ErrUnavailable)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client.Introspect(ctx, introspect.NewToken("t"))
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, introspect.ErrUnavailable, "nobody waited: that says nothing of the authority")
}

func TestARetrySucceeds(t *testing.T) {
	var calls atomic.Int32
	client := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			hangUp(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Contains(t, string(body), "token=t", "the body is sent again")
		reply(200, "application/json", `{"active":true}`)(w, r)
	}, func(c *introspect.ClientConfig) { c.Retries = 1 })
	answer, err := client.Introspect(t.Context(), introspect.NewToken("t"))
	require.NoError(t, err)
	assert.True(t, answer.Active)
}

func TestAnUntrustedCertificateIsRefused(t *testing.T) {
	server := httptest.NewTLSServer(reply(200, "application/json", `{"active":true}`))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = nil
	client, err := introspect.NewClient(introspect.ClientConfig{
		Endpoint: server.URL, Auth: introspect.ClientSecretBasic{ID: "a", Secret: "b"},
	})
	require.NoError(t, err)
	_, err = client.Introspect(t.Context(), introspect.NewToken("t"))
	require.ErrorIs(t, err, introspect.ErrUnavailable, "C07")
	assert.Contains(t, err.Error(), "certificate")
}

func TestEndpointsThatAreRefused(t *testing.T) {
	auth := introspect.ClientSecretBasic{ID: "a", Secret: "b"}
	for name, test := range map[string]struct {
		config introspect.ClientConfig
		says   string
	}{
		"C07 http":               {introspect.ClientConfig{Endpoint: "http://as.example.com/i", Auth: auth}, "must be https"},
		"credentials in the URL": {introspect.ClientConfig{Endpoint: "https://u:s3cret@as.example.com/i", Auth: auth}, "credentials"},
		"fragment":               {introspect.ClientConfig{Endpoint: "https://as.example.com/i#x", Auth: auth}, "fragment"},
		"empty fragment":         {introspect.ClientConfig{Endpoint: "https://as.example.com/i#", Auth: auth}, "fragment"},
		"no host":                {introspect.ClientConfig{Endpoint: "https:///i", Auth: auth}, "no host"},
		"no scheme":              {introspect.ClientConfig{Endpoint: "as.example.com/i", Auth: auth}, "no host"},
		"another scheme":         {introspect.ClientConfig{Endpoint: "ftp://as.example.com/i", Auth: auth}, "must be https"},
		"no URL":                 {introspect.ClientConfig{Endpoint: "https://%zz", Auth: auth}, "not a URL"},
		"a loopback lookalike":   {introspect.ClientConfig{Endpoint: "http://127.0.0.1.evil.example/i", Auth: auth}, "must be https"},
		"C03 no authentication":  {introspect.ClientConfig{Endpoint: "https://as.example.com/i"}, "client authentication"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := introspect.NewClient(test.config)
			require.ErrorContains(t, err, test.says)
			assert.NotContains(t, err.Error(), "s3cret")
		})
	}
	for _, allowed := range []string{"https://as.example.com/i?tenant=a", "http://localhost:1/i", "http://127.0.0.1:1", "http://[::1]:1/i"} {
		_, err := introspect.NewClient(introspect.ClientConfig{Endpoint: allowed, Auth: auth})
		assert.NoError(t, err, allowed)
	}
	_, err := introspect.NewClient(introspect.ClientConfig{Endpoint: "http://as.example.com/i", Auth: auth, InsecureHTTP: true})
	assert.NoError(t, err)
}

// source is an Introspector that does what a test says.
type source func(context.Context, introspect.Token) (*introspect.Answer, error)

func (s source) Introspect(ctx context.Context, token introspect.Token) (*introspect.Answer, error) {
	return s(ctx, token)
}

func TestLimitBoundsCallsAndWaiters(t *testing.T) {
	entered, release := make(chan struct{}, 100), make(chan struct{})
	var underWay, most atomic.Int32
	limited := introspect.Limit(source(func(context.Context, introspect.Token) (*introspect.Answer, error) {
		if n := underWay.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer underWay.Add(-1)
		entered <- struct{}{}
		<-release
		return &introspect.Answer{}, nil
	}), 1, time.Hour)
	ask := func(ctx context.Context) <-chan error {
		result := make(chan error, 1)
		go func() {
			_, err := limited.Introspect(ctx, introspect.NewToken("t"))
			result <- err
		}()
		return result
	}
	first := ask(t.Context())
	<-entered

	hungUp, cancel := context.WithCancel(t.Context())
	waiting := ask(hungUp)
	cancel()
	require.ErrorIs(t, <-waiting, context.Canceled)

	// One call is under way, and sixteen may wait for it: of twenty more, four are refused.
	results := make(chan error, 20)
	for range 20 {
		go func() { results <- <-ask(t.Context()) }()
	}
	for range 4 {
		require.ErrorIs(t, <-results, introspect.ErrUnavailable)
	}
	close(release)
	require.NoError(t, <-first)
	for range 16 {
		require.NoError(t, <-results)
	}
	assert.EqualValues(t, 1, most.Load())
}

func TestLimitDoesNotWaitForEver(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{})
	limited := introspect.Limit(source(func(context.Context, introspect.Token) (*introspect.Answer, error) {
		close(entered)
		<-release
		return nil, errors.New("late")
	}), 1, time.Millisecond)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = limited.Introspect(context.Background(), introspect.NewToken("t"))
	}()
	<-entered
	_, err := limited.Introspect(t.Context(), introspect.NewToken("u"))
	require.ErrorIs(t, err, introspect.ErrUnavailable)
	close(release)
	<-done
}

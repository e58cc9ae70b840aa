package introspect_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
)

const (
	issuerURL   = "https://as.example.com/tenant"
	oauthPlace  = "https://as.example.com/.well-known/oauth-authorization-server/tenant"
	openIDPlace = "https://as.example.com/tenant/.well-known/openid-configuration"
)

// publisher is an authorization server as a transport sees it: what it publishes at each URL. Other URLs are 404.
type publisher struct {
	mu       sync.Mutex
	pages    map[string]page
	requests []*http.Request
	// gate, if it is there, is what every request waits for.
	gate chan struct{}
}

// page is a response, or an error of the connection.
type page struct {
	status      int
	contentType string
	body        string
	err         error
}

func jsonPage(body string) page { return page{200, "application/json", body, nil} }

func metadata(issuer, endpoint string) page {
	return jsonPage(fmt.Sprintf(`{"issuer":%q,"introspection_endpoint":%q}`, issuer, endpoint))
}

func (p *publisher) RoundTrip(request *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.requests = append(p.requests, request)
	found, ok := p.pages[request.URL.String()]
	gate := p.gate
	p.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-request.Context().Done():
			return nil, request.Context().Err()
		}
	}
	switch {
	case !ok:
		found = page{404, "text/plain", "nothing here", nil}
	case found.err != nil:
		return nil, found.err
	}
	header := make(http.Header)
	if found.contentType != "" {
		header.Set("Content-Type", found.contentType)
	}
	if found.status/100 == 3 {
		header.Set("Location", "https://evil.example.com/")
	}
	return &http.Response{
		StatusCode: found.status, Header: header, Body: io.NopCloser(strings.NewReader(found.body)), Request: request,
	}, nil
}

// publish sets what is published at a URL.
func (p *publisher) publish(url string, found page) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pages == nil {
		p.pages = make(map[string]page)
	}
	p.pages[url] = found
}

// asked lists the URLs that were asked for, and forgets them.
func (p *publisher) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var urls []string
	for _, request := range p.requests {
		urls = append(urls, request.URL.String())
	}
	p.requests = nil
	return urls
}

// count is how many requests have come since somebody asked.
func (p *publisher) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.requests)
}

func newDiscovery(t *testing.T, p *publisher, change ...func(*introspect.DiscoveryConfig)) *introspect.Discovery {
	t.Helper()
	config := introspect.DiscoveryConfig{Issuer: issuerURL, Transport: p}
	for _, c := range change {
		c(&config)
	}
	before := p.count()
	discovery, err := introspect.NewDiscovery(config)
	require.NoError(t, err)
	assert.Equal(t, before, p.count(), "nothing is fetched before it is wanted")
	return discovery
}

func TestWhereMetadataAreLookedFor(t *testing.T) {
	for _, test := range []struct{ name, issuer, oauth, openID string }{
		{"no path", "https://as.example.com", "https://as.example.com/.well-known/oauth-authorization-server", "https://as.example.com/.well-known/openid-configuration"},
		{"a slash", "https://as.example.com/", "https://as.example.com/.well-known/oauth-authorization-server", "https://as.example.com/.well-known/openid-configuration"},
		{"a path", issuerURL, oauthPlace, openIDPlace},
		{"a path and a slash", issuerURL + "/", oauthPlace, openIDPlace},
		{"a long path", "https://as.example.com/a/b%2Fc", "https://as.example.com/.well-known/oauth-authorization-server/a/b%2Fc", "https://as.example.com/a/b%2Fc/.well-known/openid-configuration"},
		{"a port", "https://as.example.com:8443/t", "https://as.example.com:8443/.well-known/oauth-authorization-server/t", "https://as.example.com:8443/t/.well-known/openid-configuration"},
		{"loopback", "http://[::1]:8080/t", "http://[::1]:8080/.well-known/oauth-authorization-server/t", "http://[::1]:8080/t/.well-known/openid-configuration"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := new(publisher)
			p.publish(test.openID, metadata(test.issuer, "https://as.example.com/introspect"))
			discovery := newDiscovery(t, p, func(c *introspect.DiscoveryConfig) { c.Issuer = test.issuer })
			found, err := discovery.Metadata(t.Context())
			require.NoError(t, err)
			assert.Equal(t, introspect.Metadata{Issuer: test.issuer, IntrospectionEndpoint: "https://as.example.com/introspect"}, *found)
			for _, request := range p.requests {
				assert.Equal(t, http.MethodGet, request.Method)
				assert.Equal(t, "application/json", request.Header.Get("Accept"))
				assert.NotContains(t, request.Header, "Authorization")
			}
			assert.Equal(t, []string{test.oauth, test.openID}, p.asked())

			p.publish(test.oauth, metadata(test.issuer, "https://as.example.com/first"))
			found, err = newDiscovery(t, p, func(c *introspect.DiscoveryConfig) { c.Issuer = test.issuer }).Metadata(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "https://as.example.com/first", found.IntrospectionEndpoint)
			assert.Equal(t, []string{test.oauth}, p.asked(), "the first that fits counts")
		})
	}
}

func TestIssuersThatAreRefused(t *testing.T) {
	for _, issuer := range []string{
		"", "as.example.com", "http://as.example.com", "https://as.example.com?tenant=a", "https://as.example.com/?", "https://as.example.com#a",
		"https://user:s3cret@as.example.com", "ftp://as.example.com", "https://",
	} {
		_, err := introspect.NewDiscovery(introspect.DiscoveryConfig{Issuer: issuer})
		require.ErrorContains(t, err, "issuer: ", issuer)
		assert.NotContains(t, err.Error(), "s3cret")
	}
}

// Whoever can write the metadata decides who sees tokens.
func TestC13MetadataThatAreNotTrusted(t *testing.T) {
	const (
		endpoint = "https://as.example.com/introspect"
		canary   = "metadata-canary"
	)
	with := func(members string) page {
		return jsonPage(`{"issuer":"` + issuerURL + `",` + members + `}`)
	}
	for name, test := range map[string]struct {
		page page
		err  error
	}{
		"a slash too many":             {metadata(issuerURL+"/", endpoint), introspect.ErrMalformed},
		"another case of the host":     {metadata("https://AS.example.com/tenant", endpoint), introspect.ErrMalformed},
		"another case of the path":     {metadata("https://as.example.com/Tenant", endpoint), introspect.ErrMalformed},
		"another host":                 {metadata("https://evil.example.com/tenant", endpoint), introspect.ErrMalformed},
		"another tenant":               {metadata("https://as.example.com/other", endpoint), introspect.ErrMalformed},
		"the default port":             {metadata("https://as.example.com:443/tenant", endpoint), introspect.ErrMalformed},
		"an escape":                    {metadata("https://as.example.com/%74enant", endpoint), introspect.ErrMalformed},
		"white space":                  {metadata(issuerURL+" ", endpoint), introspect.ErrMalformed},
		"no issuer":                    {jsonPage(`{"introspection_endpoint":"` + endpoint + `"}`), introspect.ErrMalformed},
		"an issuer in a list":          {jsonPage(`{"issuer":["` + issuerURL + `"],"introspection_endpoint":"` + endpoint + `"}`), introspect.ErrMalformed},
		"an issuer in an object":       {jsonPage(`{"issuer":{"` + issuerURL + `":1},"introspection_endpoint":"` + endpoint + `"}`), introspect.ErrMalformed},
		"Issuer":                       {jsonPage(`{"Issuer":"` + issuerURL + `","introspection_endpoint":"` + endpoint + `"}`), introspect.ErrMalformed},
		"two issuers":                  {jsonPage(`{"issuer":"` + issuerURL + `","issuer":"` + issuerURL + `","introspection_endpoint":"` + endpoint + `"}`), introspect.ErrMalformed},
		"two endpoints":                {with(`"introspection_endpoint":"` + endpoint + `","introspection_endpoint":"https://evil.example.com"`), introspect.ErrMalformed},
		"two of something else":        {with(`"introspection_endpoint":"` + endpoint + `","x":[{"a":1,"a":2}]`), introspect.ErrMalformed},
		"no endpoint":                  {with(`"token_endpoint":"https://as.example.com/token"`), introspect.ErrMalformed},
		"endpoint null":                {with(`"introspection_endpoint":null`), introspect.ErrMalformed},
		"endpoint empty":               {with(`"introspection_endpoint":""`), introspect.ErrMalformed},
		"endpoint a number":            {with(`"introspection_endpoint":42`), introspect.ErrMalformed},
		"endpoint a list":              {with(`"introspection_endpoint":["` + endpoint + `"]`), introspect.ErrMalformed},
		"endpoint relative":            {with(`"introspection_endpoint":"/introspect"`), introspect.ErrMalformed},
		"endpoint without scheme":      {with(`"introspection_endpoint":"//as.example.com/introspect"`), introspect.ErrMalformed},
		"endpoint http":                {with(`"introspection_endpoint":"http://as.example.com/introspect"`), introspect.ErrMalformed},
		"endpoint http on loopback":    {with(`"introspection_endpoint":"http://127.0.0.1/introspect"`), introspect.ErrMalformed},
		"endpoint javascript":          {with(`"introspection_endpoint":"javascript:alert(1)"`), introspect.ErrMalformed},
		"endpoint file":                {with(`"introspection_endpoint":"file:///etc/passwd"`), introspect.ErrMalformed},
		"endpoint with a fragment":     {with(`"introspection_endpoint":"` + endpoint + `#x"`), introspect.ErrMalformed},
		"endpoint with credentials":    {with(`"introspection_endpoint":"https://a:metadata-canary@as.example.com"`), introspect.ErrMalformed},
		"endpoint with a line feed":    {with(`"introspection_endpoint":"https://as.example.com/\nHost: evil"`), introspect.ErrMalformed},
		"another endpoint is not safe": {with(`"introspection_endpoint":"` + endpoint + `","token_endpoint":"http://as.example.com/token"`), introspect.ErrMalformed},
		"keys are not safe":            {with(`"introspection_endpoint":"` + endpoint + `","jwks_uri":"http://as.example.com/jwks"`), introspect.ErrMalformed},
		"longer than allowed":          {with(`"introspection_endpoint":"` + endpoint + `","x":"` + strings.Repeat("x", 1<<20) + `"`), introspect.ErrMalformed},
		"nested without end":           {with(`"introspection_endpoint":"` + endpoint + `","x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000)), introspect.ErrMalformed},
		"not UTF-8":                    {with(`"introspection_endpoint":"` + endpoint + `","x":"` + "\xff" + `"`), introspect.ErrMalformed},
		"a list":                       {jsonPage(`[]`), introspect.ErrMalformed},
		"null":                         {jsonPage(`null`), introspect.ErrMalformed},
		"two documents":                {jsonPage(metadata(issuerURL, endpoint).body + `{}`), introspect.ErrMalformed},
		"half a document":              {jsonPage(`{"issuer":"` + canary), introspect.ErrMalformed},
		"nothing":                      {jsonPage(``), introspect.ErrMalformed},
		"a page":                       {page{200, "text/html", metadata(issuerURL, endpoint).body, nil}, introspect.ErrUnavailable},
		"a redirect":                   {page{302, "", "", nil}, introspect.ErrUnavailable},
		"a permanent redirect":         {page{308, "application/json", metadata(issuerURL, endpoint).body, nil}, introspect.ErrUnavailable},
		"another success":              {page{201, "application/json", metadata(issuerURL, endpoint).body, nil}, introspect.ErrUnavailable},
		"unauthorized":                 {page{401, "application/json", metadata(issuerURL, endpoint).body, nil}, introspect.ErrUnavailable},
		"an error":                     {page{500, "text/plain", canary, nil}, introspect.ErrUnavailable},
		"a connection that breaks":     {page{err: errors.New(canary)}, introspect.ErrUnavailable},
	} {
		for _, place := range []string{oauthPlace, openIDPlace} {
			t.Run(name+" at "+place, func(t *testing.T) {
				p := new(publisher)
				p.publish(place, test.page)
				_, err := newDiscovery(t, p).Metadata(t.Context())
				require.ErrorIs(t, err, test.err)
				assert.NotContains(t, err.Error(), canary)
				assert.Equal(t, []string{oauthPlace, openIDPlace}, p.asked(), "nothing else is fetched")
			})
		}
	}
}

func TestMetadataOfAnHTTPIssuer(t *testing.T) {
	const issuer = "http://as.example.com"
	p := new(publisher)
	p.publish(issuer+"/.well-known/oauth-authorization-server", metadata(issuer, issuer+"/introspect"))
	insecure := newDiscovery(t, p, func(c *introspect.DiscoveryConfig) { c.Issuer, c.InsecureHTTP = issuer, true })
	found, err := insecure.Metadata(t.Context())
	require.NoError(t, err)
	assert.Equal(t, issuer+"/introspect", found.IntrospectionEndpoint)

	const loopback = "http://127.0.0.1:8080"
	p.publish(loopback+"/.well-known/oauth-authorization-server", metadata(loopback, issuer+"/introspect"))
	_, err = newDiscovery(t, p, func(c *introspect.DiscoveryConfig) { c.Issuer = loopback }).Metadata(t.Context())
	require.ErrorIs(t, err, introspect.ErrMalformed, "C07 the token would leave the machine in the clear")
}

// A scheme is compared without regard to case (RFC 3986 section 3.1).
func TestC13AnEndpointIsHTTPSIfTheIssuerIsHoweverItIsWritten(t *testing.T) {
	p := new(publisher)
	const shouting = "HTTPS://as.example.com"
	p.publish("https://as.example.com/.well-known/oauth-authorization-server", metadata(shouting, "http://127.0.0.1/introspect"))
	_, err := newDiscovery(t, p, func(c *introspect.DiscoveryConfig) { c.Issuer = shouting }).Metadata(t.Context())
	require.ErrorIs(t, err, introspect.ErrMalformed)
}

func TestTheMetadataOfOpenIDCountWhereTheOthersNameNoEndpoint(t *testing.T) {
	p := new(publisher)
	p.publish(oauthPlace, jsonPage(`{"issuer":"`+issuerURL+`","token_endpoint":"https://as.example.com/token"}`))
	discovery := newDiscovery(t, p)
	_, err := discovery.Metadata(t.Context())
	require.ErrorIs(t, err, introspect.ErrMalformed)
	require.ErrorContains(t, err, "add 'endpoint <url>'")

	p.publish(openIDPlace, metadata(issuerURL, "https://as.example.com/introspect"))
	found, err := newDiscovery(t, p).Metadata(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "https://as.example.com/introspect", found.IntrospectionEndpoint)
}

func TestAFailedDiscoveryIsRepeatedMoreAndMoreSlowly(t *testing.T) {
	p, now := new(publisher), newClock()
	p.publish(oauthPlace, page{status: 503})
	discovery := newDiscovery(t, p, func(c *introspect.DiscoveryConfig) { c.Now = now.now })
	attempt := func() error {
		_, err := discovery.Metadata(t.Context())
		return err
	}
	require.ErrorIs(t, attempt(), introspect.ErrUnavailable)
	require.Len(t, p.asked(), 2)
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		now.advance(pause*time.Second - 1)
		for range 3 {
			require.ErrorContains(t, attempt(), "not tried again yet")
		}
		require.Empty(t, p.asked(), "%d s have not passed", pause)
		now.advance(1)
		require.ErrorIs(t, attempt(), introspect.ErrUnavailable)
		require.Len(t, p.asked(), 2, "%d s have passed", pause)
	}

	p.publish(oauthPlace, jsonPage(`{}`))
	now.advance(time.Minute)
	require.ErrorIs(t, attempt(), introspect.ErrMalformed)
	require.ErrorIs(t, attempt(), introspect.ErrMalformed, "what is wrong stays wrong until it is looked at again")
	p.publish(oauthPlace, metadata(issuerURL, "https://as.example.com/introspect"))
	require.ErrorIs(t, attempt(), introspect.ErrMalformed)
	now.advance(time.Minute)
	require.NoError(t, attempt())
}

func TestMetadataAreFetchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const first, second = "https://as.example.com/first", "https://as.example.com/second"
		p, now, known := new(publisher), newClock(), new(introspect.Discovered)
		p.publish(oauthPlace, metadata(issuerURL, first))
		change := func(c *introspect.DiscoveryConfig) { c.Now, c.Known = now.now, known }
		discovery := newDiscovery(t, p, change)
		// uses demands which endpoint is used, and how often metadata are fetched then, in the background if need be.
		uses := func(endpoint string, fetches int, why string) {
			t.Helper()
			found, err := discovery.Metadata(t.Context())
			synctest.Wait()
			require.NoError(t, err, why)
			require.Equal(t, endpoint, found.IntrospectionEndpoint, why)
			require.Len(t, p.asked(), fetches, why)
		}
		uses(first, 1, "at first")
		now.advance(time.Hour - 1)
		p.publish(oauthPlace, metadata(issuerURL, second))
		uses(first, 0, "for an hour")
		now.advance(1)
		uses(first, 1, "nobody waits for what is fetched then")
		uses(second, 0, "it is used from then on")

		p.publish(oauthPlace, metadata(issuerURL, first))
		discovery.Doubt()
		now.advance(30*time.Second - 1)
		uses(second, 0, "a call has failed, but 30 s have not passed")
		now.advance(1)
		uses(second, 1, "they have")
		uses(first, 0, "the endpoint has moved")
		now.advance(time.Hour - 1)
		uses(first, 0, "the doubt has been removed")

		p.publish(oauthPlace, metadata("https://evil.example.com", second))
		now.advance(1)
		uses(first, 2, "what is known is used")
		uses(first, 0, "as long as the server publishes nothing better")

		discovery = newDiscovery(t, p, change)
		uses(first, 0, "the next configuration knows it too")
	})
}

func TestAClientDoubtsADiscoveredEndpointThatFails(t *testing.T) {
	const first, second = "https://as.example.com/first", "https://as.example.com/second"
	p, now := new(publisher), newClock()
	p.publish(oauthPlace, metadata(issuerURL, first))
	p.publish(first+"?tenant=a", jsonPage(`{"active":true}`))
	p.publish(second+"?tenant=a", jsonPage(`{"active":true}`))
	client, err := introspect.NewClient(introspect.ClientConfig{
		Discovery: newDiscovery(t, p, func(c *introspect.DiscoveryConfig) { c.Now = now.now }),
		Auth:      introspect.NoAuth{}, Transport: p, EndpointParameters: map[string][]string{"tenant": {"a"}},
	})
	require.NoError(t, err)
	ask := func() error {
		_, err := client.Introspect(t.Context(), introspect.NewToken("t"))
		return err
	}
	require.NoError(t, ask())
	require.Equal(t, []string{oauthPlace, first + "?tenant=a"}, p.asked())

	// The endpoint moves.
	p.publish(oauthPlace, metadata(issuerURL, second))
	p.publish(first+"?tenant=a", page{status: 404})
	require.ErrorIs(t, ask(), introspect.ErrMalformed)
	require.Equal(t, []string{first + "?tenant=a"}, p.asked())
	now.advance(30 * time.Second)
	require.Eventually(t, func() bool { return ask() == nil }, 10*time.Second, time.Millisecond)
	assert.Contains(t, p.asked(), second+"?tenant=a")
}

func TestC11ConcurrentFirstRequestsFetchMetadataOnce(t *testing.T) {
	p := &publisher{gate: make(chan struct{})}
	p.publish(oauthPlace, metadata(issuerURL, "https://as.example.com/introspect"))
	discovery := newDiscovery(t, p)

	// The first is given up. The others wait on.
	hungUp, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := discovery.Metadata(hungUp)
		first <- err
	}()
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)

	late, cancelLate := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancelLate()
	_, err := discovery.Metadata(late)
	require.ErrorIs(t, err, introspect.ErrTimeout)

	results := make(chan error, 100)
	for range 100 {
		go func() {
			_, err := discovery.Metadata(context.Background())
			results <- err
		}()
	}
	close(p.gate)
	for range 100 {
		require.NoError(t, <-results)
	}
	assert.Equal(t, []string{oauthPlace}, p.asked())
}

func TestMetadataThatHang(t *testing.T) {
	p := &publisher{gate: make(chan struct{})}
	discovery := newDiscovery(t, p, func(c *introspect.DiscoveryConfig) { c.Timeout = 10 * time.Millisecond })
	_, err := discovery.Metadata(context.Background())
	require.ErrorIs(t, err, introspect.ErrTimeout, "the attempt is bounded by itself")
	_, err = discovery.Metadata(context.Background())
	require.ErrorIs(t, err, introspect.ErrUnavailable)

	client, err := introspect.NewClient(introspect.ClientConfig{
		Discovery: newDiscovery(t, p), Auth: introspect.NoAuth{}, Timeout: 10 * time.Millisecond,
	})
	require.NoError(t, err)
	_, err = client.Introspect(t.Context(), introspect.NewToken("t"))
	require.ErrorIs(t, err, introspect.ErrTimeout, "C09 the time for a call is the time for discovery too")
}

// FuzzMetadata: whatever a server publishes, only its own issuer and safe endpoints get through.
func FuzzMetadata(f *testing.F) {
	for _, seed := range []string{
		metadata(issuerURL, "https://as.example.com/introspect").body,
		metadata(issuerURL+"/", "https://as.example.com/introspect").body,
		metadata(issuerURL, "http://as.example.com/introspect").body,
		`{"issuer":"` + issuerURL + `","introspection_endpoint":"https://a/i","token_endpoint":"https://a/t","jwks_uri":"https://a/j"}`,
		`{"issuer":"` + issuerURL + `","introspection_endpoint":null}`,
		`{"issuer":"` + issuerURL + `","issuer":"x","introspection_endpoint":"https://a/i"}`,
		`{"issuer":"` + issuerURL + `","introspection_endpoint":"https://a\u0000/i"}`,
		`{"issuer":"https:\/\/as.example.com\/tenant","introspection_endpoint":"https:\/\/a"}`,
		`[]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p := new(publisher)
		p.publish(oauthPlace, jsonPage(string(body)))
		discovery, err := introspect.NewDiscovery(introspect.DiscoveryConfig{Issuer: issuerURL, Transport: p})
		require.NoError(t, err)
		found, err := discovery.Metadata(t.Context())
		if err != nil {
			require.Nil(t, found)
			require.ErrorIs(t, err, introspect.ErrMalformed)
			return
		}
		require.True(t, bytes.Contains(body, []byte("introspection_endpoint")) || bytes.Contains(body, []byte(`\u`)))
		var published map[string]any
		require.NoError(t, json.Unmarshal(body, &published))
		require.Equal(t, issuerURL, published["issuer"])
		require.Equal(t, published["introspection_endpoint"], found.IntrospectionEndpoint)
		require.NotEmpty(t, found.IntrospectionEndpoint)
		for _, endpoint := range []string{found.IntrospectionEndpoint, found.TokenEndpoint, found.JWKSURI} {
			if endpoint != "" {
				require.NoError(t, introspect.CheckURL(endpoint, false))
				require.NotEqual(t, "http:", strings.ToLower(endpoint[:5]))
			}
		}
	})
}

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// hidesTokens is what the warning about tokens in the logs asks for. It is for the default log: errors that are logged
// show the request too.
const hidesTokens = `log {
	format filter {
		request>headers>X-Api-Token delete
		request>uri query {
			delete access_token
		}
	}
}
`

// The token is found in the places that are configured, and does not reach the backend from any of them (A09 to A19, J13).
func TestPlacesOfTheToken(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	const token = "token-in-many-places"
	as.on(token, active(claims{"username": "alice"}))
	const failing = "token-of-a-failing-authority"
	as.on(failing, sends(500, "", ""))
	g.Guard(failing)
	g.Start(t, g.caddyfile(hidesTokens+as.option(""), `introspect {
	token_from header
	token_from header X-Api-Token
	token_from cookie session
	token_from query access_token
	token_from form access_token
}
handle_errors {
	rewrite * /error{uri}
	`+app.Proxy()+`}
`+app.Proxy()))

	for name, test := range map[string]struct {
		method, target string
		headers        []string
		body           string
		challenge      string // of a refusal
		uri, left      string // what the backend sees
		private        bool
	}{
		"header":               {"GET", "/a?x=1", []string{"Authorization: Bearer " + token}, "", "", "/a?x=1", "", false},
		"another header":       {"GET", "/b", []string{"X-Api-Token: " + token}, "", "", "/b", "", true},
		"cookie":               {"GET", "/c", []string{"Cookie: a=1; session=" + token + "; b=2"}, "", "", "/c", "", true},
		"A14 query":            {"GET", "/d?b=%7e&access_token=" + token + "&a=1", nil, "", "", "/d?b=%7e&a=1", "", true},
		"A16 A17 form":         {"POST", "/e", []string{"Content-Type: application/x-www-form-urlencoded"}, "b=%7e&access_token=" + token + "&a=1", "", "/e", "b=%7e&a=1", false},
		"A09 header and query": {"GET", "/f?access_token=" + token, []string{"Authorization: Bearer " + token}, "", `Bearer realm="portcullis", error="invalid_request"`, "/error/f", "", false},
		"A10 query twice":      {"GET", "/g?access_token=a&x=1&access_token=b", nil, "", `Bearer realm="portcullis", error="invalid_request"`, "/error/g?x=1", "", false},
		"A04 malformed":        {"GET", "/h?access_token=a%20b", nil, "", `Bearer realm="portcullis", error="invalid_request"`, "/error/h", "", false},
		"A12 another name":     {"GET", "/i?Access_Token=x", nil, "", `Bearer realm="portcullis"`, "/error/i?Access_Token=x", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			headers := append(slices.Clone(test.headers), fmt.Sprint("Content-Length: ", len(test.body)))
			got := g.raw(t, test.method+" "+test.target, headers, test.body)
			assert.Equal(t, test.challenge, got.Header.Get("WWW-Authenticate"))
			sights := app.Take()
			require.Len(t, sights, 1)
			seen := sights[0]
			assert.Equal(t, test.uri, seen.URI)
			assert.Equal(t, test.left, seen.Body)
			for header, values := range seen.Header {
				assert.NotContains(t, strings.Join(values, " "), token, header)
			}
			assert.Equal(t, test.challenge == "", seen.Header.Get("Remote-User") == "alice")
			assert.Equal(t, test.private, got.Header.Get("Cache-Control") == "private")
		})
	}
	assert.Len(t, as.asked(token), once, "a token is the same wherever it was")

	for name, header := range map[string]string{"query": "", "another header": "X-Api-Token: " + failing} {
		t.Run("K14 the authority fails, token in "+name, func(t *testing.T) {
			target := "/failing"
			if header == "" {
				header, target = "Harmless: x", target+"?access_token="+failing
			}
			g.raw(t, "GET "+target, []string{header}, "")
			sights := app.Take()
			require.Len(t, sights, 1)
			assert.Equal(t, "/error/failing", sights[0].URI)
		})
	}
	g.Await(t, `"status":503`)
	assert.False(t, strings.Contains(g.Output.String(), "add to the site"),
		"K14 a filter of the access log leaves the tokens in the log of errors")
}

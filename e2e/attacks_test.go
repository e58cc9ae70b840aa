package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// slowly answers after a while.
func (a *authority) slowly(while time.Duration, give answer) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(while):
			give(w, r)
		case <-a.stop:
		}
	}
}

// A thief with a revoked token asks a strict route over and over, each time before the call of the time before has ended.
func TestD20AStrictRouteKeepsNoRevokedTokenAlive(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option("", "timeout 1s", "cache {\nrevalidate 500ms\n}"), `
		introspect /strict {
			fresh 0s
		}
		introspect /lax
		`+app.Proxy()))
	as.on("token-stolen", active(claims{"exp": time.Now().Add(time.Hour).Unix()}))
	require.Equal(t, http.StatusOK, g.get(t, "/lax", "token-stolen").Status)
	as.on("token-stolen", as.slowly(200*time.Millisecond, says(claims{"active": false})))
	revoked := time.Now()

	stop := make(chan struct{})
	var thieves sync.WaitGroup
	var refused atomic.Int32
	for i := range 6 {
		thieves.Go(func() {
			<-time.After(time.Duration(i) * 33 * time.Millisecond)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if reply, err := testgateway.Try(g.request(t, t.Context(), "/strict", "token-stolen")); err == nil && reply.Status == http.StatusUnauthorized {
					refused.Add(1)
				}
			}
		})
	}
	defer func() { close(stop); thieves.Wait() }()
	// 2 x revalidate + timeout is 2 seconds.
	var last time.Duration
	for time.Since(revoked) < 6*time.Second {
		if g.get(t, "/lax", "token-stolen").Status == http.StatusOK {
			last = time.Since(revoked)
		}
		<-time.After(20 * time.Millisecond)
	}
	assert.Less(t, last, 2*time.Second, "the lax route let the token in so long after its revocation; the strict one refused it %d times", refused.Load())
}

// A thief with a revoked token fills the gateway's own queue with garbage, so that his token is never checked.
func TestD20AFloodKeepsNoRevokedTokenAlive(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option("", "timeout 1s", "max_concurrent 4", "cache {\nrevalidate 500ms\n}"), `
		introspect
		`+app.Proxy()))
	as.on("token-stolen", active(claims{"exp": time.Now().Add(time.Hour).Unix()}))
	require.Equal(t, http.StatusOK, g.get(t, "/lax", "token-stolen").Status)
	as.on("token-stolen", says(claims{"active": false}))
	as.on("/", as.slowly(50*time.Millisecond, says(claims{"active": false})))
	revoked := time.Now()

	stop := make(chan struct{})
	var thieves sync.WaitGroup
	var n atomic.Int32
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 300}}
	for range 200 {
		thieves.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				request := g.request(t, t.Context(), "/lax", fmt.Sprintf("token-garbage-%d", n.Add(1)))
				if response, err := client.Do(request); err == nil {
					response.Body.Close()
				}
			}
		})
	}
	defer func() { close(stop); thieves.Wait() }()
	var last time.Duration
	for time.Since(revoked) < 6*time.Second {
		if g.get(t, "/lax", "token-stolen").Status == http.StatusOK {
			last = time.Since(revoked)
		}
		<-time.After(20 * time.Millisecond)
	}
	assert.Less(t, last, 4*time.Second, "the token was let in so long after its revocation, with %d pieces of garbage; asked %d times", n.Load(), len(as.asked("token-stolen")))
}

// The token of a query must not reach what stands behind the gateway in any spelling of the URI.
func TestA14TheOriginalURIHasNoToken(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, strings.Replace(g.caddyfile(as.option(""), `
		introspect {
			token_from query access_token
		}
		`+"reverse_proxy "+app.Address+" {\n header_up X-Original-Uri {http.request.orig_uri}\n header_up X-Q {http.request.orig_uri.query}\n}\n"), "\tlog\n", "", 1))
	as.on("token-in-query", active(nil))
	require.Equal(t, http.StatusOK, g.get(t, "/a?access_token=token-in-query&b=1", "").Status)
	seen := app.One(t, "/a")
	assert.NotContains(t, fmt.Sprint(seen), "token-in-query")
}

// Nor where something in front of the gateway, such as tracing, has made a request of its own, so that the server never holds the
// one that was cleaned.
func TestA14TheOriginalURIOfAnErrorPageHasNoToken(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, strings.Replace(g.caddyfile(as.option(""), `
		tracing
		introspect {
			token_from query access_token
			scope admin
		}
		`+app.Proxy()+`
		handle_errors {
			reverse_proxy `+app.Address+` {
				header_up X-Original-Uri {http.request.orig_uri}
				header_up X-Original-Query {http.request.orig_uri.query}
				header_up X-Uri {http.request.uri}
			}
		}`), "\tlog\n", "", 1), "OTEL_TRACES_EXPORTER=none")
	as.on("token-in-query", active(nil))
	require.Equal(t, http.StatusOK, g.get(t, "/a?access_token=token-in-query&b=1", "").Status, "that of the error page")
	assert.NotContains(t, fmt.Sprint(app.One(t, "/a")), "token-in-query")
}

func TestA14ForwardAuthBehindTheGatewaySeesNoToken(t *testing.T) {
	t.Parallel()
	as, app, auth, g := newAuthority(t), testgateway.StartBackend(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, strings.Replace(g.caddyfile(as.option(""), `
		introspect {
			token_from query access_token
		}
		forward_auth `+auth.Address+` {
			uri /check
		}
		`+app.Proxy()), "\tlog\n", "", 1))
	as.on("token-in-query", active(nil))
	require.Equal(t, http.StatusOK, g.get(t, "/a?access_token=token-in-query&b=1", "").Status)
	seen := auth.All()
	require.NotEmpty(t, seen)
	assert.NotContains(t, fmt.Sprint(seen), "token-in-query")
}

// A route that verifies the certificate of its authority believes what an impostor has told a route that does not.
func TestC07AnswersAreNotSharedAcrossTransports(t *testing.T) {
	t.Parallel()
	impostor, app, g := tlsAuthority(t, nil), testgateway.StartBackend(t), newGateway(t)
	impostor.on("token-forged", active(claims{"username": "admin"}))
	g.Start(t, g.caddyfile(
		authorityOption("lax", impostor.URL, "transport http {\ntls_insecure_skip_verify\n}")+
			authorityOption("verifying", impostor.URL), `
		introspect /lax lax
		introspect /verifying verifying
		`+app.Proxy()))
	require.Equal(t, http.StatusServiceUnavailable, g.get(t, "/verifying", "token-forged").Status, "nobody can be trusted there")
	require.Equal(t, http.StatusOK, g.get(t, "/lax", "token-forged").Status)
	assert.Equal(t, http.StatusServiceUnavailable, g.get(t, "/verifying", "token-forged").Status)
}

// The same over a reload that repairs the trust.
func TestC07AForgedAnswerDoesNotOutliveTheRepair(t *testing.T) {
	t.Parallel()
	impostor, app, g := tlsAuthority(t, nil), testgateway.StartBackend(t), newGateway(t)
	impostor.on("token-forged", active(claims{"username": "admin", "exp": time.Now().Add(time.Hour).Unix()}))
	site := "introspect\n" + app.Proxy()
	g.Start(t, g.caddyfile(authorityOption("", impostor.URL, "transport http {\ntls_insecure_skip_verify\n}"), site))
	require.Equal(t, http.StatusOK, g.get(t, "/", "token-forged").Status)
	g.reload(t, g.caddyfile(authorityOption("", impostor.URL), site))
	assert.Equal(t, http.StatusServiceUnavailable, g.get(t, "/", "token-forged").Status)
}

// The error of the first line tells to write 'issuer {env.X}' in the block.
func TestAPlaceholderForTheIssuer(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	as.on("token-of-the-issuer", active(claims{"iss": "https://as.example.com"}))
	as.on("token-of-another", active(claims{"iss": "https://other.example.com"}))
	g.Start(t, g.caddyfile("", `introspect {
	issuer {env.ISSUER}
	endpoint {env.ENDPOINT}
	client gw {env.SECRET}
}
`+app.Proxy()), "ISSUER=https://as.example.com", "ENDPOINT="+as.URL, "SECRET=secret-of-gw-4471")
	assert.Equal(t, http.StatusOK, g.get(t, "/", "token-of-the-issuer").Status)
	assert.Equal(t, http.StatusUnauthorized, g.get(t, "/", "token-of-another").Status)
}

// A token that was revoked long ago, and has not been used since, is shown several times at once.
func TestD20ARevokedTokenShownManyTimesAtOnce(t *testing.T) {
	t.Parallel()
	as, app, g := newAuthority(t), testgateway.StartBackend(t), newGateway(t)
	g.Start(t, g.caddyfile(as.option("", "timeout 1s", "cache {\nrevalidate 200ms\n}"), "introspect\n"+app.Proxy()))
	as.on("token-stolen", active(claims{"exp": time.Now().Add(time.Hour).Unix()}))
	require.Equal(t, http.StatusOK, g.get(t, "/", "token-stolen").Status)
	as.on("token-stolen", as.slowly(100*time.Millisecond, says(claims{"active": false})))
	<-time.After(3 * time.Second) // far more than 2 x revalidate + timeout, in which nobody uses it
	var replies []<-chan *testgateway.Reply
	for range 5 {
		replies = append(replies, g.send(t, t.Context(), "/", "token-stolen"))
	}
	var statuses []int
	for _, reply := range replies {
		statuses = append(statuses, receive(t, reply).Status)
	}
	assert.NotContains(t, statuses, http.StatusOK, "%v", statuses)
}

package interop_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// The places of Debian's packages.
const (
	apacheProgram = "/usr/sbin/apache2"
	apacheModules = "/usr/lib/apache2/modules"
)

const wikiFile = `{
	authorization_server {
		issuer http://localhost:{$PORT}
		store file {$STORE}
		access_token_ttl {lifetime}
		client wiki {env.SECRET} {
			auth client_secret_basic
			grants authorization_code refresh_token
			redirect_uris http://{$WIKI}/wiki/callback http://{$WIKI}/goodbye
			scopes openid profile email orders:read
		}
		user alice {env.ALICE} {
			claim name "Alice Example"
			claim email alice@example.com
			claim email_verified true
		}
	}
}

http://localhost:{$PORT} {
	authorization_server
	introspect /orders scope orders:read
	reverse_proxy {$BACKEND}
}
`

// wiki is an application behind an Apache that signs its users in.
type wiki struct {
	url string
	app *testgateway.Backend
}

// startWiki starts the server, and Apache with mod-auth-openidc/apache2.conf.
func startWiki(t *testing.T) (*issuer, *wiki) {
	t.Helper()
	for _, file := range []string{apacheProgram, apacheModules + "/mod_auth_openidc.so"} {
		if _, err := os.Stat(file); err != nil {
			unavailable(t, "needs mod_auth_openidc: apt-get install apache2 libapache2-mod-auth-openidc", err)
		}
	}
	config, err := filepath.Abs("mod-auth-openidc/apache2.conf")
	require.NoError(t, err)
	require.FileExists(t, config) // and so a cached result is not used when it changes
	dir, address, app := t.TempDir(), testgateway.Address(t), testgateway.StartBackend(t)
	server := startIssuer(t, wikiFile, "15m", "SECRET="+strangeSecret, "WIKI="+address)
	server.Guard(strangeSecret, url.QueryEscape(strangeSecret))

	command := exec.Command(apacheProgram, "-f", config, "-DFOREGROUND")
	if os.Geteuid() == 0 {
		command.Args = append(command.Args, "-DROOT")
	}
	command.Env = []string{
		"DIR=" + dir, "ADDRESS=" + address, "MODULES=" + apacheModules, "ISSUER=" + server.url, "CLIENT_SECRET=" + strangeSecret,
		"PASSPHRASE=a passphrase of the tests", "APPLICATION=" + app.Address,
	}
	testgateway.Run(t, command).Await(t, "resuming normal operations")
	return server, &wiki{"http://" + address, app}
}

// userAgent is a browser of alice that follows redirects to the wiki, too.
func (w *wiki) userAgent(t *testing.T, server *issuer) *userAgent {
	t.Helper()
	user := server.userAgent(t)
	user.application = w.url
	return user
}

// welcomes says that alice's request reached the application, and returns the token that this was given.
func (w *wiki) welcomes(t *testing.T, user *userAgent, uri string, got *testgateway.Reply) (token string) {
	t.Helper()
	require.Equal(t, http.StatusOK, got.Status, got.Body)
	seen := w.app.Take()
	require.Len(t, seen, 1)
	assert.Equal(t, uri, seen[0].URI)
	for name, value := range map[string]string{
		"X-Remote-User":             "alice",
		"Oidc_CLAIM_iss":            user.server.url,
		"Oidc_CLAIM_sub":            "alice",
		"Oidc_CLAIM_name":           "Alice Example",
		"Oidc_CLAIM_email":          "alice@example.com",
		"Oidc_CLAIM_email_verified": "1",
	} {
		assert.Equal(t, value, seen[0].Header.Get(name), name)
	}
	token = seen[0].Header.Get("Oidc_access_token")
	require.NotEmpty(t, token)
	user.server.Guard(token)
	return token
}

// signedIn is what the module knows of the user's sign-in.
func (w *wiki) signedIn(t *testing.T, user *userAgent) object {
	t.Helper()
	got := user.open(t, w.url+"/wiki/callback?info=json")
	require.Equal(t, http.StatusOK, got.Status, got.Body)
	var known struct {
		IDToken object `json:"id_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.Body), &known), got.Body)
	return known.IDToken
}

// The module checks state, nonce, at_hash, and the signature of the ID token.
func TestModAuthOpenIDCIsAClientOfTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	server, wiki := startWiki(t)
	passes := func(t *testing.T, token string) {
		t.Helper()
		require.Equal(t, http.StatusOK, server.get(t, "/orders", token).Status)
		server.tells(t, openIDUser("wiki"))
	}
	t.Run("AS-N05 the user refuses", func(t *testing.T) {
		alice := wiki.userAgent(t, server)
		page := alice.signIn(t, alice.open(t, wiki.url+"/wiki/page"))
		got := alice.submit(t, page, url.Values{"decision": {"deny"}})
		assert.Contains(t, got.Body, "Error:")
		assert.Contains(t, alice.open(t, wiki.url+"/wiki/page").Body, `name="decision"`, "nobody is signed in to the wiki")
		assert.Empty(t, wiki.app.Take())
	})
	t.Run("AS-P02 AS-P17 signing in, refreshing, and signing out", func(t *testing.T) {
		alice, phone := wiki.userAgent(t, server), wiki.userAgent(t, server)
		token := wiki.welcomes(t, alice, "/wiki/page?revision=2", alice.allow(t, wiki.url+"/wiki/page?revision=2"))
		passes(t, token)
		said := wiki.signedIn(t, alice)
		assert.Equal(t, "wiki", said["aud"])
		assert.Equal(t, accessHash(token), said["at_hash"], "AS-P06")
		assert.NotEmpty(t, said["nonce"], "AS-P03")
		onPhone := wiki.welcomes(t, phone, "/wiki/page", phone.allow(t, wiki.url+"/wiki/page"))

		// The session of the module is enough.
		page := wiki.url + "/wiki/page"
		assert.Equal(t, token, wiki.welcomes(t, alice, "/wiki/page", alice.open(t, page)))
		back := url.Values{"refresh": {page}, "access_token": {token}}
		fresh := wiki.welcomes(t, alice, "/wiki/page", alice.open(t, wiki.url+"/wiki/callback?"+back.Encode()))
		assert.NotEqual(t, token, fresh)
		passes(t, fresh)

		goodbye := url.Values{"logout": {wiki.url + "/goodbye"}}
		got := alice.open(t, wiki.url+"/wiki/callback?"+goodbye.Encode())
		require.Equal(t, http.StatusOK, got.Status, got.Body)
		seen := wiki.app.Take()
		require.Len(t, seen, 1)
		assert.Equal(t, "/goodbye", seen[0].URI)
		for _, ended := range []string{token, fresh} {
			assert.Equal(t, http.StatusUnauthorized, server.get(t, "/orders", ended).Status)
		}
		assert.Empty(t, server.backend.Take(), "the backend must not be asked")
		assert.Contains(t, alice.open(t, page).Body, "Password")
		assert.Empty(t, wiki.app.Take())

		passes(t, onPhone)
		wiki.welcomes(t, phone, "/wiki/page", phone.open(t, page))
	})
}

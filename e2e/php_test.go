package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// scripts writes PHP scripts, each of which says its name, into a folder.
func scripts(t *testing.T, names ...string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for _, name := range names {
		file := filepath.Join(folder, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte("<?php echo '/"+name+"';"), 0o600))
	}
	return folder
}

// only returns what PHP told the one script that ran.
func only(t *testing.T, php *testgateway.PHP) testgateway.Told {
	t.Helper()
	all := php.Take(t)
	require.Len(t, all, 1, "scripts that ran")
	return all[0]
}

// PHP learns of the user what the gateway says, and nothing of the token, wherever that was.
func TestPHP(t *testing.T) {
	t.Parallel()
	php, as, g := testgateway.StartPHP(t), newAuthority(t), newGateway(t)
	const token = "token-of-alice-for-php"
	as.on(token, active(claims{
		"username": "alice", "sub": "7", "client_id": "shop", "scope": "read write", "name": "Alicé A.",
		"email": "alice@example.com", "groups": []string{"staff", "a,b"}, "tenant": "acme",
	}))
	as.on("token-of-a-client", active(claims{"sub": "admin", "client_id": "admin"}))
	g.Start(t, g.caddyfile(hidesTokens+as.option(""), `root `+scripts(t, "index.php")+`
introspect {
	token_from header
	token_from header X-Api-Token
	token_from cookie session
	token_from query access_token
	token_from form access_token
	copy_claims tenant
}
php_fastcgi `+php.Address))
	alice := map[string]string{
		"REMOTE_USER": "alice", "HTTP_REMOTE_USER": "alice", "HTTP_REMOTE_CLIENT": "shop", "HTTP_REMOTE_SCOPE": "read write",
		"HTTP_REMOTE_NAME": "Alic%C3%A9 A.", "HTTP_REMOTE_EMAIL": "alice@example.com", "HTTP_REMOTE_GROUPS": "staff,a%2Cb",
		"HTTP_X_CLAIM_TENANT": "acme",
	}
	form := "Content-Type: application/x-www-form-urlencoded"

	for name, test := range map[string]struct {
		method, target string
		headers        []string
		body           string
		uri, query     string // that PHP is told
		left           string // of the body
		told           map[string]string
	}{
		"J01 J13 header":             {"GET", "/a?x=1", []string{"Authorization: Bearer " + token}, "", "/a?x=1", "x=1", "", alice},
		"J13 another header":         {"GET", "/a", []string{"X-Api-Token: " + token}, "", "/a", "", "", alice},
		"J13 cookie":                 {"GET", "/a", []string{"Cookie: a=1; session=" + token}, "", "/a", "", "", alice},
		"A14 query":                  {"GET", "/a?b=%7e&access_token=" + token + "&a=1", nil, "", "/a?b=%7e&a=1", "b=%7e&a=1", "", alice},
		"A17 form":                   {"POST", "/a", []string{form}, "b=%7e&access_token=" + token + "&a=1", "/a", "", "b=%7e&a=1", alice},
		"D16 a client is no user":    {"GET", "/a", []string{"Authorization: Bearer token-of-a-client"}, "", "/a", "", "", map[string]string{"REMOTE_USER": "", "HTTP_REMOTE_CLIENT": "admin"}},
		"J02 a client forges a user": {"GET", "/a", []string{"Authorization: Bearer token-of-a-client", "Remote-User: root", "Remote.User: root"}, "", "/a", "", "", map[string]string{"REMOTE_USER": "", "HTTP_REMOTE_CLIENT": "admin"}},
	} {
		t.Run(name, func(t *testing.T) {
			headers := append(slices.Clone(test.headers), fmt.Sprint("Content-Length: ", len(test.body)))
			got := g.raw(t, test.method+" "+test.target, headers, test.body)
			require.Equal(t, http.StatusOK, got.Status)
			told := only(t, php)
			assert.Equal(t, test.uri, told.Server["REQUEST_URI"])
			assert.Equal(t, test.query, told.Server["QUERY_STRING"])
			assert.Equal(t, test.left, told.Body)
			assert.Equal(t, fmt.Sprint(len(test.left)), told.Server["CONTENT_LENGTH"])
			identity := make(map[string]string)
			for name, value := range told.Server {
				assert.NotContains(t, value, "token-of-", name)
				if strings.HasPrefix(name, "REMOTE_U") || strings.HasPrefix(name, "HTTP_REMOTE_") || strings.HasPrefix(name, "HTTP_X_CLAIM_") {
					identity[name] = value
				}
			}
			assert.Equal(t, test.told, identity)
		})
	}
}

// PHP folds what Caddy, asked to, lets through: that is what an application without introspect believes.
func TestForgedIdentityAtPHP(t *testing.T) {
	t.Parallel()
	php, as, g := testgateway.StartPHP(t), newAuthority(t), newGateway(t)
	g.Start(t, g.caddyfile(letThrough()+as.option(""), `root `+scripts(t, "index.php", "open.php")+`
introspect /index.php {
	optional
}
php_fastcgi `+php.Address))

	for header, name := range map[string]string{
		"Remote_User":         "HTTP_REMOTE_USER",
		"Remote.User":         "HTTP_REMOTE_USER",
		"REMOTE_USER":         "HTTP_REMOTE_USER",
		"X_Auth.Request.User": "HTTP_X_AUTH_REQUEST_USER",
		"client.cert-chain":   "HTTP_CLIENT_CERT_CHAIN",
	} {
		t.Run("J02 "+header, func(t *testing.T) {
			for path, believed := range map[string]string{"/open.php": "forged", "/index.php": ""} {
				got := g.raw(t, "GET "+path, []string{header + ": forged"}, "")
				require.Equal(t, http.StatusOK, got.Status)
				require.Equal(t, path, got.Body)
				server := only(t, php).Server
				assert.Equal(t, believed, server[name], path)
				assert.Empty(t, server["REMOTE_USER"], path)
			}
		})
	}
}

// Matchers see a path as rewrites have left it, those of introspect as those of basic_auth. A rule that lists what is
// protected therefore protects nothing behind a front controller, and one that exempts by a path that no rewrite has
// settled exempts what the application takes for another page. The rules that let nobody through are those that the
// reference demands: rewrite first, protect everything, exempt what is public.
func TestARewriteHidesAPath(t *testing.T) {
	t.Parallel()
	hash, err := bcrypt.GenerateFromPassword([]byte("a password"), bcrypt.MinCost)
	require.NoError(t, err)
	php, as, folder := testgateway.StartPHP(t), newAuthority(t), scripts(t, "index.php", "public/status.php")
	const front = "/index.php"

	for name, test := range map[string]struct {
		site   string
		passes map[string]string // what passes without a token, and the script that answers it
		stays  []string          // what does not pass
	}{
		"unsafe: a list behind try_files": {
			"try_files {path} /index.php\nintrospect /admin/*\nPHP",
			map[string]string{"/admin/users": front, "/public/../admin/users": front, "/index.php/admin/users": front},
			nil,
		},
		"unsafe: a list behind try_files, of basic_auth": {
			"try_files {path} /index.php\nbasic_auth /admin/* {\n\tadmin " + string(hash) + "\n}\nPHP",
			map[string]string{"/admin/users": front, "/public/../admin/users": front, "/index.php/admin/users": front},
			nil,
		},
		"unsafe: a list behind rewrite": {
			"rewrite /admin/* /index.php\nintrospect /admin/*\nPHP",
			map[string]string{"/admin/users": front},
			nil,
		},
		"unsafe: a list before php_fastcgi, which splits the path": {
			"introspect /admin/*\nPHP",
			map[string]string{"/index.php/admin/users": front},
			[]string{"/admin/users", "/public/../admin/users"},
		},
		"unsafe: an exemption that no rewrite has settled": {
			"@private not path /public/*\nintrospect @private\nPHP",
			map[string]string{"/admin/../public/x": front, "/public/x": front},
			[]string{"/admin/users", "/index.php/admin/users", "/public/../admin/users", "/public/..%2fadmin"},
		},
		"a list in a route, for applications that know no path info": {
			"route {\n\tintrospect /admin/*\n\ttry_files {path} /index.php\n\tPHP\n}",
			map[string]string{"/index.php/admin/users": front},
			[]string{"/admin/users", "/public/../admin/users", "//admin/users", "/ADMIN/users", "/%61dmin/users"},
		},
		"safe: rewrite, protect everything, exempt": {
			"try_files {path} {path}/index.php /index.php\n@private not path /public/*\nintrospect @private\nPHP",
			map[string]string{"/public/status.php": "/public/status.php", "/admin/../public/status.php": "/public/status.php"},
			[]string{
				"/admin/users", "/index.php/admin/users", "/public/../admin/users", "/public/..%2fadmin", "/public/x",
				"/admin/../public/x", "/public/status.php/admin", "//admin/users", "/ADMIN/users", "/%61dmin/users",
			},
		},
		"safe: protect everything": {
			"introspect\nPHP",
			nil,
			[]string{"/", "/admin/users", "/index.php/admin/users", "/admin/../public/x", "/public/status.php"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.Start(t, g.caddyfile(as.option(""), "root "+folder+"\n"+strings.ReplaceAll(test.site, "PHP", "php_fastcgi "+php.Address)))
			for target, script := range test.passes {
				got := g.raw(t, "GET "+target, nil, "")
				require.Equal(t, http.StatusOK, got.Status, target)
				assert.Equal(t, script, got.Body, target)
				assert.Equal(t, target, only(t, php).Server["REQUEST_URI"], "an application goes by the path that the client wrote")
			}
			for _, target := range test.stays {
				got := g.raw(t, "GET "+target, nil, "")
				assert.Equal(t, http.StatusUnauthorized, got.Status, target)
				assert.Equal(t, challengeNoToken, got.Challenge(t), target)
				assert.Empty(t, php.Take(t), "%s: a script ran", target)
			}
		})
	}
}

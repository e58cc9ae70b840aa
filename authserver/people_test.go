package authserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/cache"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// newPeople is a server with the clients and users of newUserServer, and with a user carol and clients of its store.
func newPeople(t *testing.T) *fixture {
	t.Helper()
	f := newUserServer(t)
	f.addUser(t, "carol", "carols "+password)
	for _, client := range []authserver.ClientDocument{
		{ID: "shop", Grants: []string{authserver.GrantAuthorizationCode, authserver.GrantRefreshToken}, RedirectURIs: []string{callback}, Scopes: []string{"read"}},
		{ID: "machine", Grants: []string{authserver.GrantClientCredentials}, Scopes: []string{"read"}},
	} {
		_, err := f.AddClient(t.Context(), authserver.ClientChange{ClientDocument: client, SecretHash: argon2idOf(t, client.ID+"-secret")})
		require.NoError(t, err)
	}
	return f
}

func (f *fixture) addUser(t *testing.T, name, password string) {
	t.Helper()
	_, err := f.AddUser(t.Context(), authserver.UserChange{
		UserDocument: authserver.UserDocument{Name: name, Claim: map[string][]string{"email": {name + "@example.com"}}},
		PasswordHash: argon2idOf(t, password),
	})
	require.NoError(t, err)
}

func (f *fixture) disableUser(t *testing.T, name string, disabled bool) {
	t.Helper()
	status, err := f.ChangeUser(t.Context(), name, func(c *authserver.UserChange) error { c.Disabled = disabled; return nil })
	require.NoError(t, err)
	assert.Equal(t, disabled, status.Disabled)
}

func (f *fixture) disableClient(t *testing.T, id string, disabled bool) {
	t.Helper()
	status, err := f.ChangeClient(t.Context(), id, func(c *authserver.ClientChange) error { c.Disabled = disabled; return nil })
	require.NoError(t, err)
	assert.Equal(t, disabled, status.Disabled)
}

// as exchanges at the token endpoint as a client whose secret is its id and "-secret".
func (f *fixture) as(t *testing.T, client string, form url.Values) (int, map[string]any) {
	t.Helper()
	response, members := f.do(t, request{path: "/oauth2/token", user: client, password: client + "-secret", form: form})
	return response.StatusCode, members
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

// held is what a user has at a client: a session, a code that nobody has exchanged, and tokens.
type held struct {
	browser         *browser
	code            string
	access, refresh string
}

// asksAgain wants the consent page, though nobody demands it.
func (f *fixture) asksAgain(t *testing.T, user, pass, why string) {
	t.Helper()
	b := f.browser()
	got := b.open(t, authorization("client_id", "shop", "scope", "read"))
	got = b.submit(t, got, "username", user, "password", pass)
	require.Equal(t, 200, got.StatusCode, why)
	assert.Contains(t, got.body, "Allow", why)
}

func (f *fixture) hold(t *testing.T, user, pass, client string) held {
	t.Helper()
	b := f.browser()
	signIn := func() string {
		got := b.open(t, authorization("client_id", client, "scope", "read", "prompt", "consent"))
		if bytes.Contains([]byte(got.body), []byte("Password")) {
			got = b.submit(t, got, "username", user, "password", pass)
		}
		return b.submit(t, got, "decision", "allow").response(t).Get("code")
	}
	status, members := f.as(t, client, exchange(signIn()))
	require.Equal(t, 200, status, members)
	h := held{b, signIn(), members["access_token"].(string), members["refresh_token"].(string)}
	require.True(t, f.active(t, h.access))
	return h
}

func (h held) signedIn(t *testing.T) bool {
	t.Helper()
	return !bytes.Contains([]byte(h.browser.open(t, authorization("scope", "read")).body), []byte("Password"))
}

// parties are the ways to be a user at a client: of the configuration, and of the store.
var parties = map[string]struct{ user, password, client string }{
	"of the configuration": {"alice", password, "web"},
	"of the store":         {"carol", "carols " + password, "shop"},
}

func TestF08WhoIsDisabledHasNothing(t *testing.T) {
	for name, who := range parties {
		t.Run("a user "+name, func(t *testing.T) {
			f := newPeople(t)
			h := f.hold(t, who.user, who.password, who.client)
			f.disableUser(t, who.user, true)
			assert.False(t, f.active(t, h.access))
			assert.False(t, h.signedIn(t))
			for _, form := range []url.Values{refreshForm(h.refresh), exchange(h.code)} {
				status, members := f.as(t, who.client, form)
				assert.Equal(t, 400, status)
				assert.Equal(t, "invalid_grant", members["error"], "F11: as for any other refusal")
			}
			got := h.browser.submit(t, h.browser.open(t, authorization()), "username", who.user, "password", who.password)
			assert.Contains(t, got.body, "The user name or the password is wrong.", "R08: nobody learns that the user is disabled")

			f.disableUser(t, who.user, false)
			assert.False(t, f.active(t, h.access), "nothing of before comes back")
			assert.False(t, h.signedIn(t))
			status, _ := f.as(t, who.client, exchange(h.code))
			assert.Equal(t, 400, status)
			assert.True(t, f.active(t, f.hold(t, who.user, who.password, who.client).access))
		})
		t.Run("a client "+name, func(t *testing.T) {
			f := newPeople(t)
			h := f.hold(t, who.user, who.password, who.client)
			f.disableClient(t, who.client, true)
			assert.False(t, f.active(t, h.access))
			for _, form := range []url.Values{refreshForm(h.refresh), exchange(h.code)} {
				status, members := f.as(t, who.client, form)
				assert.Equal(t, 401, status)
				assert.Equal(t, "invalid_client", members["error"])
			}
			assert.Contains(t, h.browser.open(t, authorization("client_id", who.client)).body, "not registered")

			f.disableClient(t, who.client, false)
			assert.False(t, f.active(t, h.access))
			for _, form := range []url.Values{refreshForm(h.refresh), exchange(h.code)} {
				status, members := f.as(t, who.client, form)
				assert.Equal(t, 400, status)
				assert.Equal(t, "invalid_grant", members["error"])
			}
			assert.True(t, f.active(t, f.hold(t, who.user, who.password, who.client).access))
		})
	}
	t.Run("across reloads and restarts", func(t *testing.T) {
		f := newPeople(t)
		f.disableUser(t, "alice", true)
		f.disableClient(t, "machine", true)
		f.configure(t, userConfig(t))
		status, err := f.UserByName(t.Context(), "alice")
		require.NoError(t, err)
		assert.True(t, status.Disabled)
		code, _ := f.as(t, "machine", grant())
		assert.Equal(t, 401, code)
	})
}

func TestP16WhoIsDeletedAndAddedAgainIsAnother(t *testing.T) {
	t.Run("a user", func(t *testing.T) {
		f := newPeople(t)
		h := f.hold(t, "carol", "carols "+password, "shop")
		require.NoError(t, f.DeleteUser(t.Context(), "carol"))
		assert.False(t, f.active(t, h.access))
		f.addUser(t, "carol", "carols "+password)
		assert.False(t, f.active(t, h.access))
		assert.False(t, h.signedIn(t))
		for _, form := range []url.Values{refreshForm(h.refresh), exchange(h.code)} {
			status, _ := f.as(t, "shop", form)
			assert.Equal(t, 400, status)
		}
		f.asksAgain(t, "carol", "carols "+password, "R12: the one before has allowed the client something")
	})
	t.Run("a client", func(t *testing.T) {
		f := newPeople(t)
		h := f.hold(t, "carol", "carols "+password, "shop")
		shop, err := f.ClientByID(t.Context(), "shop")
		require.NoError(t, err)
		require.NoError(t, f.DeleteClient(t.Context(), "shop"))
		assert.False(t, f.active(t, h.access))
		_, err = f.AddClient(t.Context(), authserver.ClientChange{ClientDocument: shop.ClientDocument, SecretHash: argon2idOf(t, "shop-secret")})
		require.NoError(t, err)
		assert.False(t, f.active(t, h.access))
		for _, form := range []url.Values{refreshForm(h.refresh), exchange(h.code)} {
			status, _ := f.as(t, "shop", form)
			assert.Equal(t, 400, status)
		}
		f.asksAgain(t, "carol", "carols "+password, "R12: the one before was allowed something")
	})
	t.Run("attack: the operator adds a user whose name somebody had who was in the configuration", func(t *testing.T) {
		f := newPeople(t)
		h := f.hold(t, "alice", password, "web")
		config := userConfig(t)
		config.Users = config.Users[1:]
		f.configure(t, config)
		require.False(t, f.active(t, h.access))
		f.addUser(t, "alice", "another "+password)
		assert.False(t, f.active(t, h.access))
		assert.False(t, h.signedIn(t))
	})
}

func TestF09APasswordThatChangesEndsTheSessions(t *testing.T) {
	f := newPeople(t)
	h := f.hold(t, "carol", "carols "+password, "shop")
	_, err := f.ChangeUser(t.Context(), "carol", func(c *authserver.UserChange) error {
		c.PasswordHash = argon2idOf(t, "a new one")
		return nil
	})
	require.NoError(t, err)
	assert.False(t, h.signedIn(t))
	sessions, _, err := f.Sessions(t.Context(), "carol", "", 10)
	require.NoError(t, err)
	assert.Empty(t, sessions)
	status, _ := f.as(t, "shop", exchange(h.code))
	assert.Equal(t, 400, status, "a code of such a session is worth nothing, either")
	assert.True(t, f.active(t, h.access), "what clients were authorized to do stays")
	require.NoError(t, f.RevokeAll(t.Context(), store.Holder{Subject: "carol"}))
	assert.False(t, f.active(t, h.access))

	after := f.hold(t, "carol", "a new one", "shop")
	_, err = f.ChangeUser(t.Context(), "carol", func(c *authserver.UserChange) error { c.Scopes = []string{"read"}; return nil })
	require.NoError(t, err)
	assert.True(t, after.signedIn(t), "another change ends nothing")
}

func TestG03ANameIsAUsersOrAClients(t *testing.T) {
	f := newPeople(t)
	client := func(id string) error {
		_, err := f.AddClient(t.Context(), authserver.ClientChange{ClientDocument: authserver.ClientDocument{ID: id, Auth: authserver.AuthNone}})
		return err
	}
	user := func(name string) error {
		_, err := f.AddUser(t.Context(), authserver.UserChange{UserDocument: authserver.UserDocument{Name: name}, PasswordHash: argon2idOf(t, "p")})
		return err
	}
	for _, taken := range []string{"alice", "web", "carol", "shop"} {
		for _, add := range []func(string) error{client, user} {
			require.ErrorIs(t, add(taken), authserver.ErrConflict, taken)
		}
	}
	for _, bad := range []string{"", ".", "..", "a\nb", "a//b", string(bytes.Repeat([]byte("x"), 257)), "\xff"} {
		for _, add := range []func(string) error{client, user} {
			require.ErrorIs(t, add(bad), authserver.ErrInvalid, bad)
		}
	}
	t.Run("fifty at once, one winner", func(t *testing.T) {
		for round := range 5 {
			var won atomic.Int64
			var together sync.WaitGroup
			for i := range 50 {
				together.Go(func() {
					err := []func(string) error{client, user}[i%2]("new" + strconv.Itoa(round))
					if err == nil {
						won.Add(1)
					} else {
						assert.ErrorIs(t, err, authserver.ErrConflict)
					}
				})
			}
			together.Wait()
			assert.EqualValues(t, 1, won.Load())
		}
	})
}

func TestAttackARevokedSessionGoesOnInItsTokens(t *testing.T) {
	f := newPeople(t)
	h := f.hold(t, "carol", "carols "+password, "shop")
	require.NoError(t, f.EndSessions(t.Context(), "carol"))
	assert.False(t, h.signedIn(t))
	assert.False(t, f.active(t, h.access))
	for _, form := range []url.Values{refreshForm(h.refresh), exchange(h.code)} {
		status, _ := f.as(t, "shop", form)
		assert.Equal(t, 400, status)
	}
}

func TestAttackAGroupThatWasTakenAwayIsRemembered(t *testing.T) {
	f := newPeople(t)
	change := func(claims map[string][]string) {
		_, err := f.ChangeUser(t.Context(), "carol", func(c *authserver.UserChange) error { c.Claim = claims; return nil })
		require.NoError(t, err)
	}
	change(map[string][]string{"groups": {"admins"}})
	h := f.hold(t, "carol", "carols "+password, "shop")
	memory, err := cache.NewMemory(1 << 20)
	require.NoError(t, err)
	life := cache.Life{DefaultTTL: time.Hour}
	gateway := f.Confirm(cache.New(f.Server, cache.NewState(memory, "embedded", ""), life, f.now))
	ask := func() any {
		answer, err := gateway.Introspect(t.Context(), introspect.NewToken(h.access))
		require.NoError(t, err)
		groups, _ := answer.Claim("groups")
		return groups
	}
	f.nanos.Add(int64(10 * time.Second))
	require.Equal(t, "admins", ask())
	f.nanos.Add(int64(10 * time.Second))
	require.Equal(t, "admins", ask())
	change(nil)
	assert.Nil(t, ask())
	f.nanos.Add(int64(10 * time.Second))
	assert.Nil(t, ask())
}

func TestAttackAGroupThatWasTakenOutOfTheConfigurationIsRemembered(t *testing.T) {
	f := newPeople(t)
	state := authserver.NewState(f.store, authserver.StateConfig{Now: f.now})
	load := func(claims map[string][]string) {
		config := userConfig(t)
		config.State, config.Users[0].Claims = state, claims
		f.configure(t, config)
	}
	load(map[string][]string{"groups": {"admins"}})
	h := f.hold(t, "alice", password, "web")
	memory, err := cache.NewMemory(1 << 20)
	require.NoError(t, err)
	remembered := cache.NewState(memory, "embedded", "")
	ask := func() any {
		f.nanos.Add(int64(10 * time.Second))
		gateway := f.Confirm(cache.New(f.Server, remembered, cache.Life{DefaultTTL: time.Hour}, f.now))
		answer, err := gateway.Introspect(t.Context(), introspect.NewToken(h.access))
		require.NoError(t, err)
		groups, _ := answer.Claim("groups")
		return groups
	}
	require.Equal(t, "admins", ask())
	load(map[string][]string{"groups": {"admins"}})
	require.Equal(t, "admins", ask())
	load(nil)
	assert.Nil(t, ask())
	assert.Nil(t, ask())
}

// encoding/json decodes a list into the memory of the one that is there.
func TestAttackAChangeThatIsRefusedChangesTheConfiguration(t *testing.T) {
	f := newPeople(t)
	_, err := f.ChangeClient(t.Context(), "web", func(c *authserver.ClientChange) error {
		return json.Unmarshal([]byte(`{"redirect_uris":["https://evil.example/cb"],"scopes":["root"],"grants":["implicit"]}`), c)
	})
	require.ErrorIs(t, err, authserver.ErrConflict)
	_, err = f.ChangeUser(t.Context(), "alice", func(c *authserver.UserChange) error {
		return json.Unmarshal([]byte(`{"scopes":["root"],"claim":{"groups":["roots"]}}`), c)
	})
	require.ErrorIs(t, err, authserver.ErrConflict)
	web, err := f.ClientByID(t.Context(), "web")
	require.NoError(t, err)
	assert.NotContains(t, web.RedirectURIs, "https://evil.example/cb")
	assert.NotContains(t, web.Scopes, "root")
	assert.NotContains(t, web.Grants, "implicit")
	alice, err := f.UserByName(t.Context(), "alice")
	require.NoError(t, err)
	assert.NotContains(t, alice.Scopes, "root")
	assert.NotContains(t, alice.Claim["groups"], "roots")
}

func TestChangingClients(t *testing.T) {
	f := newPeople(t)
	edit := func(id string, edit func(*authserver.ClientChange)) (authserver.ClientStatus, error) {
		return f.ChangeClient(t.Context(), id, func(c *authserver.ClientChange) error { edit(c); return nil })
	}
	for name, test := range map[string]struct {
		id   string
		edit func(*authserver.ClientChange)
		want error
	}{
		"unknown":                          {"nobody", func(*authserver.ClientChange) {}, authserver.ErrUnknown},
		"a user":                           {"carol", func(*authserver.ClientChange) {}, authserver.ErrUnknown},
		"of the configuration":             {"web", func(c *authserver.ClientChange) { c.Name = "Mine" }, authserver.ErrConflict},
		"of the configuration, its secret": {"web", func(c *authserver.ClientChange) { c.GenerateSecret = true }, authserver.ErrConflict},
		"the id":                           {"shop", func(c *authserver.ClientChange) { c.ID = "store" }, authserver.ErrInvalid},
		"a bad grant":                      {"shop", func(c *authserver.ClientChange) { c.Grants = []string{"implicit"} }, authserver.ErrInvalid},
		"a grant that needs an assertion issuer": {"machine", func(c *authserver.ClientChange) {
			c.Grants = []string{authserver.GrantJWTBearer}
		}, authserver.ErrInvalid},
		"a redirect URI without https": {"shop", func(c *authserver.ClientChange) { c.RedirectURIs = []string{"http://example.com/"} }, authserver.ErrInvalid},
		"a secret that is no hash":     {"shop", func(c *authserver.ClientChange) { c.SecretHash = "shop-secret" }, authserver.ErrInvalid},
		"two secrets":                  {"shop", func(c *authserver.ClientChange) { c.SecretHash = argon2idOf(t, "s"); c.GenerateSecret = true }, authserver.ErrInvalid},
		"a secret to sign with":        {"shop", func(c *authserver.ClientChange) { c.Auth = authserver.AuthSecretJWT }, authserver.ErrInvalid},
		"a secret for nobody":          {"shop", func(c *authserver.ClientChange) { c.Auth = authserver.AuthNone; c.GenerateSecret = true }, authserver.ErrInvalid},
		"keeping a secret without another": {"shop", func(c *authserver.ClientChange) {
			c.KeepSecret = 60
		}, authserver.ErrInvalid},
		"keeping a secret for years": {"shop", func(c *authserver.ClientChange) { c.GenerateSecret = true; c.KeepSecret = 1 << 40 }, authserver.ErrInvalid},
		"a private key": {"machine", func(c *authserver.ClientChange) {
			c.JWKS, _ = json.Marshal(jose.JSONWebKey{Key: clientKey})
		}, authserver.ErrInvalid},
		"keys in the clear": {"machine", func(c *authserver.ClientChange) { c.JWKSURI = "http://example.com/jwks" }, authserver.ErrInvalid},
		"too much of it":    {"shop", func(c *authserver.ClientChange) { c.Name = string(bytes.Repeat([]byte("x"), 70_000)) }, authserver.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := edit(test.id, test.edit)
			require.ErrorIs(t, err, test.want)
		})
	}
	t.Run("its scopes", func(t *testing.T) {
		_, err := edit("machine", func(c *authserver.ClientChange) { c.Scopes = []string{"write"} })
		require.NoError(t, err)
		_, members := f.as(t, "machine", grant())
		assert.Equal(t, "write", members["scope"])
	})
	t.Run("from a secret to keys", func(t *testing.T) {
		_, err := edit("machine", func(c *authserver.ClientChange) {
			c.Auth, c.JWKS = authserver.AuthPrivateKeyJWT, jwks(t, publicKey(clientKey, "k1"))
		})
		require.NoError(t, err)
		status, _ := f.as(t, "machine", grant())
		assert.Equal(t, 401, status, "the secret is gone")
		assertion := sign(t, jose.ES256, clientKey, nil, f.claims(t, "machine"))
		response, members := f.do(t, request{path: "/oauth2/token", form: assertionForm(assertion)})
		assert.Equal(t, 200, response.StatusCode, members)
	})
	t.Run("while others change it, too", func(t *testing.T) {
		var together sync.WaitGroup
		for i := range 8 {
			together.Go(func() {
				_, err := edit("shop", func(c *authserver.ClientChange) { c.Scopes = append(slices.Clone(c.Scopes), "s"+strconv.Itoa(i)) })
				assert.NoError(t, err)
			})
		}
		together.Wait()
		shop, err := f.ClientByID(t.Context(), "shop")
		require.NoError(t, err)
		assert.Len(t, shop.Scopes, 9)
	})
	t.Run("deleting one of the configuration", func(t *testing.T) {
		require.ErrorIs(t, f.DeleteClient(t.Context(), "web"), authserver.ErrConflict)
		require.ErrorIs(t, f.DeleteClient(t.Context(), "carol"), authserver.ErrUnknown)
		require.ErrorIs(t, f.DeleteUser(t.Context(), "alice"), authserver.ErrConflict)
		require.ErrorIs(t, f.DeleteUser(t.Context(), "shop"), authserver.ErrUnknown)
	})
}

func TestUsersThatAreRefused(t *testing.T) {
	f := newPeople(t)
	hash := argon2idOf(t, "p")
	for name, change := range map[string]authserver.UserChange{
		"no password":             {UserDocument: authserver.UserDocument{Name: "dora"}},
		"a password, not a hash":  {UserDocument: authserver.UserDocument{Name: "dora"}, PasswordHash: "secret"},
		"a claim of the server's": {UserDocument: authserver.UserDocument{Name: "dora", Claim: map[string][]string{"sub": {"alice"}}}, PasswordHash: hash},
		"a bad scope":             {UserDocument: authserver.UserDocument{Name: "dora", Scopes: []string{"a b"}}, PasswordHash: hash},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.AddUser(t.Context(), change)
			require.ErrorIs(t, err, authserver.ErrInvalid)
			_, err = f.UserByName(t.Context(), "dora")
			require.ErrorIs(t, err, authserver.ErrUnknown)
		})
	}
	_, err := f.ChangeUser(t.Context(), "alice", func(c *authserver.UserChange) error { c.PasswordHash = hash; return nil })
	require.ErrorIs(t, err, authserver.ErrConflict)
	_, err = f.ChangeUser(t.Context(), "carol", func(c *authserver.UserChange) error { c.Name = "dora"; return nil })
	require.ErrorIs(t, err, authserver.ErrInvalid)
}

func TestQ03SecretsOfClients(t *testing.T) {
	f := newPeople(t)
	machine := func(secret string) int {
		response, _ := f.do(t, request{path: "/oauth2/token", user: "machine", password: secret, form: grant()})
		return response.StatusCode
	}
	generate := func(keep time.Duration) string {
		status, err := f.ChangeClient(t.Context(), "machine", func(c *authserver.ClientChange) error {
			c.GenerateSecret, c.KeepSecret = true, int64(keep/time.Second)
			return nil
		})
		require.NoError(t, err)
		assert.Regexp(t, `^pcs_[A-Za-z0-9_-]{43}$`, status.Secret)
		again, err := f.ClientByID(t.Context(), "machine")
		require.NoError(t, err)
		assert.Empty(t, again.Secret, "it is shown once")
		return status.Secret
	}
	first := generate(time.Hour)
	assert.Equal(t, 200, machine(first))
	assert.Equal(t, 200, machine("machine-secret"), "the one before goes on for a while")
	f.nanos.Add(int64(time.Hour))
	assert.Equal(t, 401, machine("machine-secret"))
	second := generate(0)
	assert.Equal(t, 200, machine(second))
	assert.Equal(t, 401, machine(first), "unless nobody asked for that")

	t.Run("Q09: none of them lies in the store", func(t *testing.T) {
		directory := filepath.Dir(f.path)
		entries, err := os.ReadDir(directory)
		require.NoError(t, err)
		for _, entry := range entries {
			content, err := os.ReadFile(filepath.Join(directory, entry.Name()))
			require.NoError(t, err)
			for _, secret := range []string{first, second, "machine-secret", "carols " + password} {
				assert.False(t, bytes.Contains(content, []byte(secret)), "%s holds a secret", entry.Name())
			}
		}
	})
}

func TestWhenAClientWasUsed(t *testing.T) {
	f := newPeople(t)
	used := func() time.Time {
		status, err := f.ClientByID(t.Context(), "machine")
		require.NoError(t, err)
		return status.LastUsedAt
	}
	assert.Zero(t, used())
	for range 2 {
		status, _ := f.as(t, "machine", grant())
		require.Equal(t, 200, status)
	}
	first := used()
	assert.True(t, first.Equal(f.now()))
	f.nanos.Add(int64(time.Hour))
	f.as(t, "machine", grant())
	assert.True(t, used().Equal(first), "it is written down once a day")
	f.nanos.Add(int64(24 * time.Hour))
	f.as(t, "machine", grant())
	assert.True(t, used().Equal(f.now()))
}

func TestLists(t *testing.T) {
	f := newPeople(t)
	f.disableUser(t, "bob", true)
	for _, shadowed := range []string{"alice", "bob", "other", "own", "robot"} { // of before they were in the configuration
		require.NoError(t, f.store.PutRecord(t.Context(), store.Record{Kind: "party", Name: shadowed, Owner: "client", Value: []byte(`{"auth":"none"}`)}))
	}
	var clients, users []string
	for after, more := "", true; more; more = after != "" {
		list, next, err := f.Clients(t.Context(), after, 2)
		require.NoError(t, err)
		assert.LessOrEqual(t, len(list), 2)
		for _, client := range list {
			clients = append(clients, client.ID+" "+client.Origin)
		}
		after = next
	}
	for after, more := "", true; more; more = after != "" {
		list, next, err := f.Users(t.Context(), after, 1)
		require.NoError(t, err)
		for _, user := range list {
			users = append(users, fmt.Sprint(user.Name, " ", user.Origin, " ", user.Disabled))
		}
		after = next
	}
	assert.Equal(t, []string{
		"machine admin", "other configuration", "own configuration", "robot configuration", "rs configuration", "shop admin", "web configuration",
	}, clients)
	assert.Equal(t, []string{"alice configuration false", "bob configuration true", "carol admin false"}, users)
}

func TestTokensAndSessionsOfSomebody(t *testing.T) {
	f := newPeople(t)
	h := f.hold(t, "carol", "carols "+password, "shop")
	other := f.hold(t, "carol", "carols "+password, "web")
	tokens := func(holder store.Holder, all bool) (list []authserver.TokenStatus) {
		for cursor, more := "", true; more; more = cursor != "" {
			part, next, err := f.Tokens(t.Context(), holder, all, cursor, 1)
			require.NoError(t, err)
			list, cursor = append(list, part...), next
		}
		return list
	}
	assert.Len(t, tokens(store.Holder{Subject: "carol"}, false), 4)
	atShop := tokens(store.Holder{Subject: "carol", ClientID: "shop"}, false)
	require.Len(t, atShop, 2)
	assert.Equal(t, atShop[0].Family, atShop[1].Family)
	shown, err := json.Marshal(atShop)
	require.NoError(t, err)
	digest := introspect.DigestOf(h.access)
	assert.NotContains(t, string(shown), h.access)
	assert.NotContains(t, string(shown), fmt.Sprintf("%x", digest[:]))

	require.NoError(t, f.RevokeFamily(t.Context(), atShop[0].Family))
	assert.False(t, f.active(t, h.access))
	assert.True(t, f.active(t, other.access))
	assert.Empty(t, tokens(store.Holder{ClientID: "shop"}, false))
	assert.Len(t, tokens(store.Holder{ClientID: "shop"}, true), 2)

	t.Run("a token by its value", func(t *testing.T) {
		again := f.hold(t, "carol", "carols "+password, "shop")
		require.NoError(t, f.RevokeToken(t.Context(), again.access))
		assert.False(t, f.active(t, again.access))
		status, members := f.as(t, "shop", refreshForm(again.refresh))
		require.Equal(t, 200, status)
		require.NoError(t, f.RevokeToken(t.Context(), members["refresh_token"].(string)))
		assert.False(t, f.active(t, members["access_token"].(string)), "with a refresh token, all of its authorization")
		require.ErrorIs(t, f.RevokeToken(t.Context(), "pat_nothing"), authserver.ErrUnknown)
	})
	t.Run("sessions", func(t *testing.T) {
		list, _, err := f.Sessions(t.Context(), "carol", "", 10)
		require.NoError(t, err)
		require.Len(t, list, 3)
		ended := introspect.DigestOf(other.browser.cookies["__Host-portcullis_session"])
		require.NoError(t, f.EndSession(t.Context(), fmt.Sprintf("%x", ended[:])))
		assert.False(t, other.signedIn(t))
		assert.True(t, h.signedIn(t))
		require.NoError(t, f.EndSessions(t.Context(), "carol"))
		assert.False(t, h.signedIn(t))
	})
	t.Run("what cannot be", func(t *testing.T) {
		for name, err := range map[string]error{
			"nobody's tokens":    f.RevokeAll(t.Context(), store.Holder{}),
			"a name with a NUL":  f.RevokeAll(t.Context(), store.Holder{Subject: "a\x00"}),
			"no family":          f.RevokeFamily(t.Context(), ""),
			"nobody's sessions":  f.EndSessions(t.Context(), ""),
			"an id that is none": f.EndSession(t.Context(), "xyz"),
			"an id of another":   f.EndSession(t.Context(), "00ff"),
			"a cursor from where": func() error {
				_, _, err := f.Tokens(t.Context(), store.Holder{ClientID: "web"}, false, "?", 1)
				return err
			}(),
		} {
			require.ErrorIs(t, err, authserver.ErrInvalid, name)
		}
		require.ErrorIs(t, f.EndSession(t.Context(), fmt.Sprintf("%064x", 1)), authserver.ErrUnknown)
	})
}

// TestF08RacesOfDisabling: whatever is under way while somebody is disabled, nothing of it is active afterwards, and nothing
// comes back when he is enabled again.
func TestF08RacesOfDisabling(t *testing.T) {
	const rounds = 500
	f := newPeople(t)
	issue := func(family string) string {
		refresh := "prt_" + family
		require.NoError(t, f.store.Issue(t.Context(), store.Token{
			Digest: introspect.DigestOf(refresh), Kind: store.Refresh, Family: family, ClientID: "web", Subject: "carol", Username: "carol",
			Scope: []string{"read"}, IssuedAt: f.now(), ExpiresAt: f.now().Add(time.Hour),
		}))
		return refresh
	}
	race := func(t *testing.T, disable, enable func()) {
		won := 0
		for round := range rounds {
			refresh := issue(t.Name() + strconv.Itoa(round))
			var access string
			var together sync.WaitGroup
			together.Go(func() {
				if status, members := f.asWeb(t, refreshForm(refresh)); status == 200 {
					access = members["access_token"].(string)
				}
			})
			together.Go(disable)
			together.Wait()
			if access != "" {
				won++
				assert.False(t, f.active(t, access), "round %d", round)
			}
			enable()
			if access != "" {
				assert.False(t, f.active(t, access), "round %d, enabled again", round)
			}
			tokens, err := f.store.Tokens(t.Context(), store.Holder{Subject: "carol"}, introspect.Digest{}, 100)
			require.NoError(t, err)
			for _, token := range tokens {
				if token.Kind == store.Access {
					require.True(t, token.Revoked, "round %d: an access token that nobody got", round)
				}
			}
			f.nanos.Add(int64(2 * time.Hour))
			_, err = f.store.Sweep(t.Context(), f.now(), 100)
			require.NoError(t, err)
		}
		t.Logf("%d of %d refreshes were granted", won, rounds)
	}
	t.Run("a user and refresh", func(t *testing.T) {
		race(t, func() { f.disableUser(t, "carol", true) }, func() { f.disableUser(t, "carol", false) })
	})
	t.Run("a client and refresh", func(t *testing.T) {
		race(t, func() { f.disableClient(t, "web", true) }, func() { f.disableClient(t, "web", false) })
	})
}

func TestF08DisablingWhileTokensAreIntrospected(t *testing.T) {
	f := newPeople(t)
	for round := range 100 {
		status, members := f.as(t, "machine", grant())
		require.Equal(t, 200, status)
		token := introspect.NewToken(members["access_token"].(string))
		answer, err := f.Introspect(t.Context(), token)
		require.NoError(t, err)
		remembering := f.Confirm(source{answer: answer})
		var disabled atomic.Bool
		var together sync.WaitGroup
		for range 4 {
			together.Go(func() {
				for range 20 {
					before := disabled.Load()
					remembered, err := remembering.Introspect(t.Context(), token)
					assert.NoError(t, err)
					fresh, err := f.Introspect(t.Context(), token)
					assert.NoError(t, err)
					if before {
						assert.False(t, remembered.Active || fresh.Active, "round %d", round)
					}
				}
			})
		}
		together.Go(func() {
			f.disableClient(t, "machine", true)
			disabled.Store(true)
		})
		together.Wait()
		f.disableClient(t, "machine", false)
	}
}

func TestD16GuessingClientSecretsIsSlow(t *testing.T) {
	const good, bad = "198.51.100.7:1000", "203.0.113.9:1000"
	try := func(f *fixture, address, client, secret string) *http.Response {
		response, _ := f.do(t, request{path: "/oauth2/token", user: client, password: secret, form: grant(), address: address})
		return response
	}
	t.Run("one address guesses", func(t *testing.T) {
		f := newPeople(t)
		throttled := 0
		for i := range 50 {
			response := try(f, bad, "machine", strconv.Itoa(i))
			if response.StatusCode == http.StatusTooManyRequests {
				throttled++
				assert.NotEmpty(t, response.Header.Get("Retry-After"))
			}
		}
		assert.Equal(t, 30, throttled)
		assert.Equal(t, 429, try(f, bad, "machine", "machine-secret").StatusCode, "whoever guesses is not told when the guess is right")
		assert.Equal(t, 200, try(f, good, "machine", "machine-secret").StatusCode, "the client itself does not notice")
		f.nanos.Add(int64(10 * time.Second))
		assert.Equal(t, 200, try(f, bad, "machine", "machine-secret").StatusCode, "and nobody is locked out for good")
	})
	t.Run("one address guesses for many clients, known and unknown", func(t *testing.T) {
		f := newPeople(t)
		throttled := 0
		for i := range 200 {
			if try(f, bad, "client"+strconv.Itoa(i), "x").StatusCode == 429 {
				throttled++
			}
		}
		assert.Equal(t, 100, throttled)
	})
	t.Run("attack: all the world guesses, to lock a client out", func(t *testing.T) {
		f := newServer(t, issuer)
		require.Equal(t, 200, try(f, good, "app", "app-secret").StatusCode)
		for i := range 1100 {
			try(f, fmt.Sprintf("203.0.%d.%d:1", i/250, i%250), "app", "x")
		}
		assert.Equal(t, 200, try(f, good, "app", "app-secret").StatusCode, "where it has been before, it still can")
	})
	t.Run("what succeeds does not count, however much at once", func(t *testing.T) {
		f := newServer(t, issuer)
		var together sync.WaitGroup
		for range 200 {
			together.Go(func() { assert.Equal(t, 200, try(f, good, "app", "app-secret").StatusCode) })
		}
		together.Wait()
	})
}

func TestR09FailuresOutliveAReload(t *testing.T) {
	f := newUserServer(t)
	config := userConfig(t)
	config.State = authserver.NewState(f.store, authserver.StateConfig{Now: f.now})
	f.configure(t, config)
	for range 30 {
		f.do(t, request{path: "/oauth2/token", user: "robot", password: "x", form: grant()})
	}
	f.configure(t, config)
	response, _ := f.do(t, request{path: "/oauth2/token", user: "robot", password: "robot-secret", form: grant()})
	assert.Equal(t, 429, response.StatusCode)
}

func TestAnEditThatFailsChangesNothing(t *testing.T) {
	f := newPeople(t)
	failure := errors.New("no")
	for _, name := range []string{"alice", "carol"} {
		_, err := f.ChangeUser(context.Background(), name, func(*authserver.UserChange) error { return failure })
		require.ErrorIs(t, err, failure)
	}
	for _, id := range []string{"web", "shop"} {
		_, err := f.ChangeClient(context.Background(), id, func(*authserver.ClientChange) error { return failure })
		require.ErrorIs(t, err, failure)
	}
}

// interrupted is a store where something happens just before tokens are kept.
type interrupted struct {
	store.Store
	before func()
}

func (i *interrupted) happen() {
	if i.before != nil {
		before := i.before
		i.before = nil
		before()
	}
}

func (i *interrupted) Issue(ctx context.Context, tokens ...store.Token) error {
	i.happen()
	return i.Store.Issue(ctx, tokens...)
}

func (i *interrupted) Redeem(ctx context.Context, code introspect.Digest, tokens ...store.Token) error {
	i.happen()
	return i.Store.Redeem(ctx, code, tokens...)
}

// TestF08DisabledInTheMiddle: an exchange has found everybody enabled, and keeps its tokens after those of the disabled
// were revoked.
func TestF08DisabledInTheMiddle(t *testing.T) {
	exchanges := map[string]func(t *testing.T, f *fixture, code string) (int, map[string]any){
		"a code": func(t *testing.T, f *fixture, code string) (int, map[string]any) {
			return f.as(t, "shop", exchange(code))
		},
		"client credentials": func(t *testing.T, f *fixture, _ string) (int, map[string]any) {
			return f.as(t, "machine", grant())
		},
	}
	for name, test := range map[string]struct {
		exchange string
		during   func(t *testing.T, f *fixture)
		want     string
	}{
		"the user, with a code":            {"a code", func(t *testing.T, f *fixture) { f.disableUser(t, "carol", true) }, "invalid_grant"},
		"the client, with a code":          {"a code", func(t *testing.T, f *fixture) { f.disableClient(t, "shop", true) }, "invalid_client"},
		"the client, with its credentials": {"client credentials", func(t *testing.T, f *fixture) { f.disableClient(t, "machine", true) }, "invalid_client"},
		"deleted, with its credentials":    {"client credentials", func(t *testing.T, f *fixture) { require.NoError(t, f.DeleteClient(t.Context(), "machine")) }, "invalid_client"},
		"and enabled, with its credentials": {"client credentials", func(t *testing.T, f *fixture) {
			f.disableClient(t, "machine", true)
			f.disableClient(t, "machine", false)
		}, "invalid_client"},
		"the user, and enabled, with a code": {"a code", func(t *testing.T, f *fixture) { f.disableUser(t, "carol", true); f.disableUser(t, "carol", false) }, "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newPeople(t)
			h := f.hold(t, "carol", "carols "+password, "shop")
			state := &interrupted{Store: f.store}
			config := userConfig(t)
			config.Now = f.now
			var err error
			f.Server, err = authserver.New(config, state)
			require.NoError(t, err)
			state.before = func() { test.during(t, f) }
			status, members := exchanges[test.exchange](t, f, h.code)
			assert.GreaterOrEqual(t, status, 400)
			assert.Equal(t, test.want, members["error"])
			for _, client := range []string{"shop", "machine"} {
				tokens, err := f.store.Tokens(t.Context(), store.Holder{ClientID: client}, introspect.Digest{}, 100)
				require.NoError(t, err)
				for _, token := range tokens {
					assert.True(t, token.Revoked || token.Family == f.familyOf(t, h.access), "%s has a token that is good", client)
				}
			}
		})
	}
}

func (f *fixture) familyOf(t *testing.T, token string) string {
	t.Helper()
	record, err := f.store.Token(t.Context(), introspect.DigestOf(token))
	require.NoError(t, err)
	return record.Family
}

package postgres

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/portcullis-gateway/portcullis"
	"github.com/portcullis-gateway/portcullis/authserver/shim"
)

// adapted is the store of a Caddyfile, as JSON.
func adapted(t *testing.T, line string) (string, error) {
	t.Helper()
	result, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(
		"{\n\tauthorization_server {\n\t\tissuer https://auth.example.com\n\t\t"+line+"\n\t}\n}\n"),
		map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", err
	}
	var config struct {
		Apps struct {
			Server struct {
				Store json.RawMessage `json:"store"`
			} `json:"authorization_server"`
		} `json:"apps"`
	}
	require.NoError(t, json.Unmarshal(result, &config))
	return string(config.Apps.Server.Store), nil
}

func TestCaddyfile(t *testing.T) {
	for line, want := range map[string]string{
		"store postgres {env.DSN}":                                "{env.DSN}",
		"store postgres postgres://u:{env.PW}@db:5432/as":         "postgres://u:{env.PW}@db:5432/as",
		"store postgres `host=db password={file./run/pw} user=u`": "host=db password={file./run/pw} user=u",
		"store postgres postgres:///as":                           "postgres:///as",
		"store postgres postgres://db/as?sslrootcert=/nonexist":   "postgres://db/as?sslrootcert=/nonexist",
	} {
		t.Run(line, func(t *testing.T) {
			got, err := adapted(t, line)
			require.NoError(t, err)
			want, err := json.Marshal(map[string]string{"module": "postgres", "dsn": want})
			require.NoError(t, err)
			assert.JSONEq(t, string(want), got)
		})
	}
	for line, want := range map[string]string{
		"store postgres":                              "takes a connection string",
		`store postgres ""`:                           "takes a connection string",
		"store postgres postgres://a/b c":             "takes a connection string",
		"store postgres postgres://a/b {\n\t\tx\n\t}": "has no block",
		"store postgres canary":                       "cannot be parsed",
		"store postgres postgres://u:canary@h:x/as":   "cannot be parsed",
	} {
		t.Run("refused: "+line, func(t *testing.T) {
			_, err := adapted(t, line)
			require.ErrorContains(t, err, want)
			require.Regexp(t, "at Caddyfile:[45]$", err.Error())
			require.NotContains(t, err.Error(), "canary")
		})
	}
}

func TestLiteralPasswords(t *testing.T) {
	for dsn, want := range map[string]bool{
		"{env.DSN}": false, "{file./run/dsn}": false,
		"postgres://u:{env.PW}@h/as":                    false,
		"postgres://u:secret@h/as":                      true,
		"postgres://{env.USER}:secret@h/as":             true,
		"postgres://u:sec@ret@h/as":                     true,
		"postgresql://u:secret@a:1,b:2/as":              true,
		"postgres://u:{env.PW}@a:1,b:2/as":              false,
		"postgres://u@h/as":                             false,
		"postgres://h:5432/as":                          false,
		"postgres://u:@h/as":                            false,
		"postgres://u@h/as?password=secret":             true,
		"postgres://u@h/as?pass%77ord=secret":           true,
		"postgres://u@h/as?password={env.PW}":           false,
		"postgres://u@h/as?sslpassword=secret":          true,
		"postgres://u@h/as?a=%zz":                       true,
		"host=h user=u password=secret":                 true,
		"host=h user=u password = 'sec ret' dbname=as":  true,
		"password=secret":                               true,
		"host=h sslpassword=secret":                     true,
		"host=h user=u password='{env.PW}'":             false,
		"host=h user=u password={file./run/pw} port=1":  false,
		"host=h user=u passfile=/run/pgpass":            false,
		"host=h user={env.USER} password=sec dbname=as": true,
	} {
		assert.Equal(t, want, hasLiteralPassword(dsn), dsn)
	}
}

func provisioned(t *testing.T, dsn string) (*Module, error) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	m := &Module{DSN: dsn}
	t.Cleanup(func() { require.NoError(t, m.Cleanup()) })
	return m, m.Provision(ctx)
}

func TestReloadsShareOneStore(t *testing.T) {
	t.Setenv("PORTCULLIS_TEST_DSN", "postgres://u:canary@127.0.0.1:1/as")
	before, err := provisioned(t, "{env.PORTCULLIS_TEST_DSN}")
	require.NoError(t, err)
	after, err := provisioned(t, "postgres://u:canary@127.0.0.1:1/as")
	require.NoError(t, err)
	assert.Same(t, before.Store(), after.Store())
	rotated, err := provisioned(t, "postgres://u:canary2@127.0.0.1:1/as")
	require.NoError(t, err)
	assert.NotSame(t, before.Store(), rotated.Store())
	var place shim.StoreModule = rotated
	assert.Equal(t, before.Place(), place.Place(), "a new password is no other place")
	assert.NotContains(t, place.Place(), "canary")

	require.NoError(t, before.Cleanup())
	require.NoError(t, before.Cleanup())
	_, err = after.Store().Token(t.Context(), token("a").Digest)
	require.NotErrorIs(t, err, errClosed)
	shared := after.Store()
	require.NoError(t, after.Cleanup())
	_, err = shared.Token(t.Context(), token("a").Digest)
	require.ErrorIs(t, err, errClosed)
}

func TestProvisionRefuses(t *testing.T) {
	t.Setenv("PORTCULLIS_TEST_DSN", "canary is none")
	t.Setenv("PORTCULLIS_TEST_CA", "/nonexistent/canary.pem")
	for dsn, want := range map[string]string{
		"{env.PORTCULLIS_TEST_UNSET}":                  "PORTCULLIS_TEST_UNSET",
		"{env.PORTCULLIS_TEST_DSN}":                    "cannot be parsed",
		"{env.PORTCULLIS_TEST_DSN}{http.request.host}": "only {env.NAME}",
		"postgres://u:canary@h/as?sslmode=verify-full&sslrootcert={env.PORTCULLIS_TEST_CA}": "a file",
	} {
		_, err := provisioned(t, dsn)
		require.ErrorContains(t, err, want, dsn)
		require.NotContains(t, err.Error(), "canary")
	}
}

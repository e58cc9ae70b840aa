package authority_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/authority"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// server is an authority that says every token is active, and counts how often it is asked.
type server struct {
	*httptest.Server
	calls   atomic.Int32
	secrets chan string
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{secrets: make(chan string, 100)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		_, secret, _ := r.BasicAuth()
		s.secrets <- secret
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"active":true}`)
	}))
	t.Cleanup(s.Close)
	return s
}

// load provisions a configuration of the app, as a reload would, and returns it with what ends it.
func load(t *testing.T, authorities string) (*authority.App, func(), error) {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	require.NoError(t, err)
	// Modules are cleaned up when the context that loaded them ends.
	ctx, cancel := caddy.NewContext(ctx)
	module, err := ctx.LoadModuleByID("introspect", json.RawMessage(`{"authorities":`+authorities+`}`))
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return module.(*authority.App), cancel, nil
}

func ask(t *testing.T, a *authority.Authority) introspect.Source {
	t.Helper()
	answer, err := a.Introspect(t.Context(), introspect.NewToken("t"))
	require.NoError(t, err)
	return answer.Source
}

func named(t *testing.T, app *authority.App) *authority.Authority {
	t.Helper()
	a, err := app.Named("a")
	require.NoError(t, err)
	return a
}

func TestWhatIsRememberedSurvivesAReload(t *testing.T) {
	for name, test := range map[string]struct {
		change string // of {"endpoint":…,"client":{"id":"gw","secret":"one"}}
		source introspect.Source
	}{
		"the same":                          {`{"a":{"endpoint":%q,"client":{"id":"gw","secret":"one"}}}`, introspect.Memory},
		"another name":                      {`{"x":{"endpoint":%[1]q,"client":{"id":"x","secret":"one"}},"a":{"endpoint":%[1]q,"client":{"id":"gw","secret":"one"}}}`, introspect.Memory},
		"a rotated secret":                  {`{"a":{"endpoint":%q,"client":{"id":"gw","secret":"two"}}}`, introspect.Memory},
		"tuned times":                       {`{"a":{"endpoint":%q,"client":{"id":"gw","secret":"one"},"timeout":"1s","leeway":"1s","cache":{"ttl":"30s"}}}`, introspect.Memory},
		"D18 another client":                {`{"a":{"endpoint":%q,"client":{"id":"other","secret":"one"}}}`, introspect.Miss},
		"another endpoint of the same host": {`{"a":{"endpoint":"%s/other","client":{"id":"gw","secret":"one"}}}`, introspect.Miss},
		"a memory of its own":               {`{"a":{"endpoint":%q,"client":{"id":"gw","secret":"one"},"cache":{"memory":1048576}}}`, introspect.Miss},
		"cache off":                         {`{"a":{"endpoint":%q,"client":{"id":"gw","secret":"one"},"cache":{"off":true}}}`, introspect.Miss},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			before, end, err := load(t, fmt.Sprintf(`{"a":{"endpoint":%q,"client":{"id":"gw","secret":"one"}}}`, s.URL))
			require.NoError(t, err)
			require.Equal(t, introspect.Miss, ask(t, named(t, before)))
			require.Equal(t, introspect.Memory, ask(t, named(t, before)))

			_, _, err = load(t, fmt.Sprintf(`{"a":{"endpoint":%q,"client":{"id":"gw","secret":"one"}},"b":{"endpoint":"http://as.example.com"}}`, s.URL))
			require.Error(t, err, "a load that fails on the way")
			require.Equal(t, introspect.Memory, ask(t, named(t, before)), "takes nothing from the configuration that runs")

			after, endAfter, err := load(t, fmt.Sprintf(test.change, s.URL))
			require.NoError(t, err)
			defer endAfter()
			end()
			assert.Equal(t, test.source, ask(t, named(t, after)))
			assert.NotPanics(t, func() { ask(t, named(t, before)) }, "old requests go on past the reload")
		})
	}
}

func TestARotatedSecretIsUsedAtOnce(t *testing.T) {
	s := newServer(t)
	for _, secret := range []string{"one", "two"} {
		app, end, err := load(t, fmt.Sprintf(`{"a":{"endpoint":%q,"client":{"id":"gw","secret":%q},"cache":{"off":true}}}`, s.URL, secret))
		require.NoError(t, err)
		ask(t, named(t, app))
		assert.Equal(t, secret, <-s.secrets)
		end()
	}
}

// An authority that wants credentials raw is not asked in the wrong way again after every reload.
func TestTheEncodingOfBasicSurvivesAReload(t *testing.T) {
	s := newServer(t)
	wrong := 0
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, secret, _ := r.BasicAuth(); secret != "a+b" {
			wrong++
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"active":true}`)
	})
	config := fmt.Sprintf(`{"a":{"endpoint":%q,"client":{"id":"gw","secret":"a+b"},"cache":{"off":true}}}`, s.URL)
	var ends []func()
	for range 3 {
		app, end, err := load(t, config)
		require.NoError(t, err)
		ask(t, named(t, app))
		ends = append(ends, end)
		if len(ends) > 1 {
			ends[len(ends)-2]()
		}
	}
	ends[len(ends)-1]()
	assert.Equal(t, 1, wrong)
}

func TestWhatNobodyUsesIsForgotten(t *testing.T) {
	s := newServer(t)
	config := fmt.Sprintf(`{"a":{"endpoint":%q,"client":{"id":"gw","secret":"one"}}}`, s.URL)
	for range 2 {
		app, end, err := load(t, config)
		require.NoError(t, err)
		assert.Equal(t, introspect.Miss, ask(t, named(t, app)))
		end()
		require.NoError(t, app.Cleanup(), "cleaning up twice gives nothing back twice")
	}
}

func TestEqualAuthoritiesShareOneMemoryAndAreNamedAlike(t *testing.T) {
	s := newServer(t)
	app, end, err := load(t, `{}`)
	require.NoError(t, err)
	defer end()
	own := func(id string) *authority.Authority {
		a, err := app.Own(&authority.Config{Endpoint: s.URL, Client: &authority.Client{ID: id, Secret: "x"}})
		require.NoError(t, err)
		return a
	}
	first, second, other := own("gw"), own("gw"), own("other")
	assert.Same(t, first, second)
	assert.NotEqual(t, first.Label, other.Label)
	assert.Regexp(t, `^127\.0\.0\.1:\d+-[0-9a-f]{8}$`, first.Label)
	assert.Equal(t, introspect.Miss, ask(t, first))
	assert.Equal(t, introspect.Memory, ask(t, second))
	assert.Equal(t, introspect.Miss, ask(t, other))

	t.Setenv("PORTCULLIS_TEST_CLIENT", "gw")
	named := own("{env.PORTCULLIS_TEST_CLIENT}")
	assert.Equal(t, "gw", named.Client, "a placeholder is what it stands for")
	assert.Equal(t, first.Label, named.Label)
	assert.Equal(t, introspect.Memory, ask(t, named))
}

// What an authority tells one caller it need not tell another.
func TestCallersDoNotShareAMemory(t *testing.T) {
	s := newServer(t)
	app, end, err := load(t, `{}`)
	require.NoError(t, err)
	defer end()
	labels := make(map[string]bool)
	for name, config := range map[string]authority.Config{
		"a client":        {Client: &authority.Client{ID: "gw", Secret: "x"}},
		"a bearer":        {Bearer: "one"},
		"another bearer":  {Bearer: "two"},
		"nobody":          {ClientAuth: "none"},
		"nobody, by name": {ClientAuth: "none", Client: &authority.Client{ID: "gw"}},
	} {
		config.Endpoint = s.URL
		a, err := app.Own(&config)
		require.NoError(t, err, name)
		assert.Equal(t, introspect.Miss, ask(t, a), "D18 %s", name)
		assert.Equal(t, introspect.Memory, ask(t, a), name)
		assert.False(t, labels[a.Label], name)
		labels[a.Label] = true
	}
}

func TestDefault(t *testing.T) {
	for name, test := range map[string]struct {
		names    []string
		embedded bool
		want     string
		says     string
	}{
		"default":              {[]string{"a", "default"}, true, "default", ""},
		"the only one":         {[]string{"a"}, true, "a", ""},
		"the embedded server":  {nil, true, "", ""},
		"several":              {[]string{"a", "b"}, true, "", "name one of a, b"},
		"nothing is":           {nil, false, "", "no authority is configured"},
		"a name is no default": {[]string{"Default", "b"}, false, "", "name one of"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := authority.Default(test.names, test.embedded)
			if test.says != "" {
				require.ErrorContains(t, err, test.says)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

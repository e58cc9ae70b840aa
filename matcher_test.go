package portcullis_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// matcher provisions a matcher of a kind from its JSON.
func matcher(t *testing.T, kind, config string) (caddyhttp.RequestMatcherWithError, error) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	module, err := ctx.LoadModuleByID("http.matchers."+kind, json.RawMessage(config))
	if err != nil {
		return nil, err
	}
	return module.(caddyhttp.RequestMatcherWithError), nil
}

func TestMatchersThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct{ kind, config, says string }{
		"nothing":                         {"introspect", `{}`, "needs one of"},
		"empty lists":                     {"introspect", `{"scope":[],"claim":[]}`, "needs one of"},
		"an unknown member":               {"introspect", `{"scopes":["a"]}`, "unknown field"},
		"a bad scope":                     {"introspect", `{"any_scope":["a b"]}`, "scope"},
		"a claim without path":            {"introspect", `{"claim":[{"values":["x"]}]}`, "path is empty"},
		"a function without words":        {"expression", `"introspect()"`, "at least one argument"},
		"a function of an unknown demand": {"expression", `"introspect('audience', 'x')"`, "unrecognized demand"},
		"a function with a bad scope":     {"expression", `"introspect('scope', 'a b')"`, "scope"},
		"a function of scopes without":    {"expression", `"introspect('scope')"`, "needs an argument"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := matcher(t, test.kind, test.config)
			assert.ErrorContains(t, err, test.says)
		})
	}
}

// A request that no directive has come to is an error wherever the matcher stands, and never one that does not match.
func TestK09AMatcherBeforeTheDirective(t *testing.T) {
	for name, config := range map[string]string{
		"introspect": `{"active":true}`,
		"not":        `[{"introspect":{"scope":["a"]}}]`,
		"expression": `"!introspect('active')"`,
	} {
		t.Run(name, func(t *testing.T) {
			m, err := matcher(t, name, config)
			require.NoError(t, err)
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer t")
			matches, err := m.MatchWithError(prepare(r, httptest.NewRecorder()))
			require.ErrorContains(t, err, "no directive 'introspect' has come to")
			assert.False(t, matches)
			if handlerError, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
				assert.Equal(t, http.StatusInternalServerError, handlerError.StatusCode)
			}
		})
	}
}

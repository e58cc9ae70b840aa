package shim

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/authserver"
)

// FuzzAdminBody: whatever is sent, it is refused as 400, or is one JSON object, of which nothing is left out.
func FuzzAdminBody(f *testing.F) {
	for _, body := range []string{
		`{"id":"a","scopes":["b"],"disabled":true,"jwks":{"keys":[]}}`, `{"id":"a","ID":"b"}`, `{"id":1}`, `{"jwks":null}`, `[]`, `{} {}`,
		"{\"id\":\"\xff\"}", `{"keep_secret":1e3}`, `{"scopes":null,"name":"é\u0000"}`, `{"secret":"s"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		change := authserver.ClientChange{ClientDocument: authserver.ClientDocument{ID: "before", Scopes: []string{"before"}}}
		if err := decodeAdmin(body, &change); err != nil {
			var refusal caddy.APIError
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, http.StatusBadRequest, refusal.HTTPStatus)
			return
		}
		var members map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(body, &members))
		if _, named := members["id"]; len(members) == 0 && !named {
			assert.Equal(t, "before", change.ID)
			assert.Equal(t, []string{"before"}, change.Scopes)
		}
	})
}

func TestErrorsOfTheAdminAPI(t *testing.T) {
	other := errors.New("other")
	assert.Same(t, other, statusOf(other))
	assert.NoError(t, statusOf(nil))
	for name, test := range map[string]struct {
		body, says string
	}{
		"a number for a text":    {`{"name":1}`, `"name" must be of another type: a string`},
		"a text for a number":    {`{"keep_secret":"1h"}`, `"keep_secret" must be of another type: a whole number`},
		"a text for a truth":     {`{"trusted":"yes"}`, `"trusted" must be of another type: true or false`},
		"a text for a list":      {`{"scopes":"a"}`, `"scopes" must be of another type: an array of strings`},
		"a secret for its hash":  {`{"client_secret":"canary"}`, `there is no member "client_secret" here`},
		"something behind it":    {`{"id":"a"} x`, "one JSON object"},
		"a byte that is no text": {"{\"id\":\"\xff\"}", "one JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			err := decodeAdmin([]byte(test.body), new(authserver.ClientChange))
			require.ErrorContains(t, err, test.says)
			assert.NotContains(t, err.Error(), "canary")
		})
	}
}

package operator_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/portcullis-gateway/portcullis/internal/operator"
)

func TestCheckLiteral(t *testing.T) {
	for _, text := range []string{"", "a", "{", "{}", "{a}", "{env}", "{env.", "{$NAME}", "{environment.x}", "a{b.c}"} {
		assert.NoError(t, operator.CheckLiteral("scope", "a", text), text)
	}
	for _, text := range []string{"{env.A}", "a{env.A}b", "https://{http.request.host}/", "{file./a}", "{vars.a}", "{system.hostname}", "{time.now}", "{env.}"} {
		assert.ErrorContains(t, operator.CheckLiteral("scope", "a", text), "scope: the placeholder {", text)
	}
}

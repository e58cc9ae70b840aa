package introspect_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/introspect"
)

func TestI07AuthTime(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	for name, test := range map[string]struct {
		member string
		want   time.Time
	}{
		"an integer":     {`,"auth_time":1800000000`, at},
		"a float":        {`,"auth_time":1800000000.5`, at.Add(time.Second / 2)},
		"a text":         {`,"auth_time":"1800000000"`, at},
		"none":           {``, time.Time{}},
		"null":           {`,"auth_time":null`, time.Time{}},
		"another text":   {`,"auth_time":"yesterday"`, time.Time{}},
		"true":           {`,"auth_time":true`, time.Time{}},
		"a list":         {`,"auth_time":[1800000000]`, time.Time{}},
		"iat is another": {`,"iat":1800000000`, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := introspect.ParseAnswer([]byte(`{"active":true`+test.member+`}`), at)
			require.NoError(t, err)
			assert.True(t, test.want.Equal(answer.AuthTime()), answer.AuthTime())
		})
	}
	t.Run("an absurd one is clamped", func(t *testing.T) {
		answer, err := introspect.ParseAnswer([]byte(`{"active":true,"auth_time":1e300}`), at)
		require.NoError(t, err)
		assert.Equal(t, 9999, answer.AuthTime().UTC().Year())
	})
}

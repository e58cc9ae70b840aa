package bearer_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/bearer"
)

const (
	maxToken = 64
	good     = "mF_9.B5f-4.1JqM"
)

func authorization(lines ...string) http.Header { return http.Header{"Authorization": lines} }

// fromAuthorization takes the token from where it is taken by default.
func fromAuthorization(header http.Header, maxToken int) (bearer.Credential, error) {
	return bearer.DefaultPlaces().Take(&http.Request{Header: header}, maxToken)
}

func TestFromAuthorizationTakesTheToken(t *testing.T) {
	for _, tc := range []struct {
		name, line, scheme, token string
	}{
		{"A01 as written in RFC 6750", "Bearer " + good, bearer.SchemeBearer, good},
		{"A02 lower case", "bearer " + good, bearer.SchemeBearer, good},
		{"A02 upper case", "BEARER " + good, bearer.SchemeBearer, good},
		{"A02 mixed case", "bEaReR " + good, bearer.SchemeBearer, good},
		{"A02 DPoP", "DPoP " + good, bearer.SchemeDPoP, good},
		{"A02 DPoP lower case", "dpop " + good, bearer.SchemeDPoP, good},
		{"A02 DPoP upper case", "DPOP " + good, bearer.SchemeDPoP, good},
		{"A03 several spaces", "Bearer     " + good, bearer.SchemeBearer, good},
		{"A03 space around the value", "  Bearer " + good + "  ", bearer.SchemeBearer, good},
		{"A03 tab around the value", "\tBearer " + good + " \t", bearer.SchemeBearer, good},
		{"A04 one character", "Bearer a", bearer.SchemeBearer, "a"},
		{"A04 every symbol of token68", "Bearer -._~+/", bearer.SchemeBearer, "-._~+/"},
		{"A04 one padding", "Bearer YWI=", bearer.SchemeBearer, "YWI="},
		{"A04 two paddings", "Bearer YQ==", bearer.SchemeBearer, "YQ=="},
		{"A04 more padding than base64 knows", "Bearer a=====", bearer.SchemeBearer, "a====="},
		{"A04 a JWT", "Bearer eyJ.eyJ.c2ln", bearer.SchemeBearer, "eyJ.eyJ.c2ln"},
		{"A04 a token called like a scheme", "Bearer Bearer", bearer.SchemeBearer, "Bearer"},
		{"A21 as long as allowed", "Bearer " + strings.Repeat("a", maxToken), bearer.SchemeBearer, strings.Repeat("a", maxToken)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			credential, err := fromAuthorization(authorization(tc.line), maxToken)
			require.NoError(t, err)
			assert.Equal(t, bearer.Credential{Scheme: tc.scheme, Token: tc.token, In: bearer.InHeader}, credential)
		})
	}
}

// A token consists of the 68 characters of token68 and `=` at its end, and of nothing else.
func TestFromAuthorizationTokenGrammarByteByByte(t *testing.T) {
	const token68 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
	for c := range 256 {
		octet := string([]byte{byte(c)})
		allowed := strings.Contains(token68, octet)
		for _, tc := range []struct {
			where, token string
			allowed      bool
		}{
			{"at the start", octet + "bc", allowed || c == ' '},
			{"in the middle", "a" + octet + "c", allowed},
			{"at the end", "ab" + octet, allowed || c == '=' || c == ' ' || c == '\t'},
		} {
			credential, err := fromAuthorization(authorization("Bearer "+tc.token), maxToken)
			if tc.allowed {
				require.NoError(t, err, "A04 byte %#02x %s", c, tc.where)
				require.Equal(t, strings.Trim(tc.token, " \t"), credential.Token, "A04 byte %#02x %s", c, tc.where)
			} else {
				require.ErrorIs(t, err, bearer.ErrInvalidRequest, "A04 byte %#02x %s", c, tc.where)
			}
		}
	}
}

func TestFromAuthorizationRefuses(t *testing.T) {
	for _, tc := range []struct {
		name  string
		lines []string
		want  error
	}{
		{"A04 comma", []string{"Bearer secret1,secret2"}, bearer.ErrInvalidRequest},
		{"A04 second word", []string{"Bearer secret1 secret2"}, bearer.ErrInvalidRequest},
		{"A04 quoted", []string{`Bearer "secret1"`}, bearer.ErrInvalidRequest},
		{"A04 as a parameter", []string{"Bearer token=secret1"}, bearer.ErrInvalidRequest},
		{"A04 as a quoted parameter", []string{`Bearer token="secret1"`}, bearer.ErrInvalidRequest},
		{"A04 padding in the middle", []string{"Bearer secret=1"}, bearer.ErrInvalidRequest},
		{"A04 padding at the start", []string{"Bearer =secret1"}, bearer.ErrInvalidRequest},
		{"A04 only padding", []string{"Bearer =="}, bearer.ErrInvalidRequest},
		{"A04 not ASCII", []string{"Bearer secrét1"}, bearer.ErrInvalidRequest},
		{"A04 fullwidth letter", []string{"Bearer ａbc"}, bearer.ErrInvalidRequest},
		{"A04 invalid UTF-8", []string{"Bearer secret1\xff"}, bearer.ErrInvalidRequest},
		{"A04 percent", []string{"Bearer secret%31"}, bearer.ErrInvalidRequest},
		{"A04 NUL", []string{"Bearer secret1\x00"}, bearer.ErrInvalidRequest},
		{"A04 line feed smuggled behind the token", []string{"Bearer secret1\nX-Admin: 1"}, bearer.ErrInvalidRequest},
		{"A04 tab before the token", []string{"Bearer \tsecret1"}, bearer.ErrInvalidRequest},
		{"A04 tab for the space", []string{"Bearer\tsecret1"}, bearer.ErrInvalidRequest},
		{"A04 tab in the token", []string{"Bearer secret1\tsecret2"}, bearer.ErrInvalidRequest},
		{"A04 no-break space for the space", []string{"Bearer\u00a0secret1"}, bearer.ErrInvalidRequest},
		{"A04 DPoP comma", []string{"DPoP secret1,secret2"}, bearer.ErrInvalidRequest},
		{"A04 too long and malformed", []string{"Bearer " + strings.Repeat("a", maxToken) + ",b"}, bearer.ErrInvalidRequest},
		{"A05 scheme alone", []string{"Bearer"}, bearer.ErrInvalidRequest},
		{"A05 scheme and space", []string{"Bearer "}, bearer.ErrInvalidRequest},
		{"A05 scheme and spaces", []string{"Bearer    "}, bearer.ErrInvalidRequest},
		{"A05 scheme and tab", []string{"Bearer\t"}, bearer.ErrInvalidRequest},
		{"A05 scheme alone in lower case", []string{"bearer"}, bearer.ErrInvalidRequest},
		{"A05 DPoP alone", []string{"DPoP"}, bearer.ErrInvalidRequest},
		{"A06 two tokens", []string{"Bearer secret1", "Bearer secret2"}, bearer.ErrInvalidRequest},
		{"A06 one token twice", []string{"Bearer secret1", "Bearer secret1"}, bearer.ErrInvalidRequest},
		{"A06 Bearer and Basic", []string{"Bearer secret1", "Basic c2VjcmV0MQ=="}, bearer.ErrInvalidRequest},
		{"A06 Basic and Bearer", []string{"Basic c2VjcmV0MQ==", "Bearer secret1"}, bearer.ErrInvalidRequest},
		{"A06 Bearer and DPoP", []string{"Bearer secret1", "DPoP secret1"}, bearer.ErrInvalidRequest},
		{"A06 two of other schemes", []string{"Basic c2VjcmV0MQ==", "Basic c2VjcmV0MQ=="}, bearer.ErrInvalidRequest},
		{"A06 a token and an empty line", []string{"Bearer secret1", ""}, bearer.ErrInvalidRequest},
		{"A06 an empty line and a token", []string{"", "Bearer secret1"}, bearer.ErrInvalidRequest},
		{"A06 two empty lines", []string{"", ""}, bearer.ErrInvalidRequest},
		{"A06 three lines", []string{"Bearer secret1", "Bearer secret1", "Bearer secret1"}, bearer.ErrInvalidRequest},
		{"A06 joined by a comma", []string{"Bearer secret1, Bearer secret2"}, bearer.ErrInvalidRequest},
		{"A06 joined by a comma without space", []string{"Bearer secret1,Bearer secret2"}, bearer.ErrInvalidRequest},
		{"A07 a folded line as Go joins it", []string{"Bearer secret1 secret2"}, bearer.ErrInvalidRequest},
		{"A07 a folded line as it was sent", []string{"Bearer secret1\r\n secret2"}, bearer.ErrInvalidRequest},
		{"A08 no header", nil, bearer.ErrNoToken},
		{"A08 empty header", []string{""}, bearer.ErrNoToken},
		{"A08 blank header", []string{" \t "}, bearer.ErrNoToken},
		{"A08 Basic", []string{"Basic c2VjcmV0MQ=="}, bearer.ErrNoToken},
		{"A08 Digest", []string{`Digest username="secret1", realm="x"`}, bearer.ErrNoToken},
		{"A08 Negotiate", []string{"Negotiate c2VjcmV0MQ=="}, bearer.ErrNoToken},
		{"A08 GNAP", []string{"GNAP secret1"}, bearer.ErrNoToken},
		{"A08 no scheme", []string{"secret1"}, bearer.ErrNoToken},
		{"A08 begins like Bearer", []string{"Bearerx secret1"}, bearer.ErrNoToken},
		{"A08 begins like Bearer, without a space", []string{"Bearersecret1"}, bearer.ErrNoToken},
		{"A08 begins like Bearer, with a symbol of a scheme", []string{"Bearer-2 secret1"}, bearer.ErrNoToken},
		{"A08 a part of Bearer", []string{"Beare secret1"}, bearer.ErrNoToken},
		{"A08 begins like DPoP", []string{"DPoPs secret1"}, bearer.ErrNoToken},
		{"A08 ends like Bearer", []string{"xBearer secret1"}, bearer.ErrNoToken},
		{"A08 Bearer after another scheme", []string{"Basic Bearer secret1"}, bearer.ErrNoToken},
		{"A08 a long s is no letter of a scheme", []string{"Bearſr secret1"}, bearer.ErrNoToken},
		{"lookalike comma", []string{"Bearer,secret1"}, bearer.ErrInvalidRequest},
		{"lookalike comma and space", []string{"Bearer, secret1"}, bearer.ErrInvalidRequest},
		{"lookalike colon", []string{"Bearer: secret1"}, bearer.ErrInvalidRequest},
		{"lookalike equals sign", []string{"Bearer=secret1"}, bearer.ErrInvalidRequest},
		{"lookalike slash", []string{"bearer/secret1"}, bearer.ErrInvalidRequest},
		{"lookalike quote", []string{`Bearer"secret1"`}, bearer.ErrInvalidRequest},
		{"lookalike NUL", []string{"Bearer\x00 secret1"}, bearer.ErrInvalidRequest},
		{"lookalike DPoP comma", []string{"DPoP,secret1"}, bearer.ErrInvalidRequest},
		{"lookalike DPoP tab", []string{"dpop\tsecret1"}, bearer.ErrInvalidRequest},
		{"A21 one byte too long", []string{"Bearer secret1" + strings.Repeat("a", maxToken-6)}, bearer.ErrInvalidToken},
		{"A21 one padding too long", []string{"Bearer " + strings.Repeat("a", maxToken) + "="}, bearer.ErrInvalidToken},
		{"A21 a megabyte", []string{"Bearer " + strings.Repeat("secret1/", 1<<17)}, bearer.ErrInvalidToken},
		{"A21 DPoP too long", []string{"DPoP " + strings.Repeat("a", maxToken+1)}, bearer.ErrInvalidToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			credential, err := fromAuthorization(authorization(tc.lines...), maxToken)
			require.ErrorIs(t, err, tc.want)
			for _, other := range []error{bearer.ErrNoToken, bearer.ErrInvalidRequest, bearer.ErrInvalidToken} {
				if other != tc.want { //nolint:errorlint // the sentinels themselves are compared
					assert.NotErrorIs(t, err, other, "exactly one reason, or the answer's status is a matter of chance")
				}
			}
			assert.Zero(t, credential, "a caller that forgets the error must not get a token")
			assert.NotContains(t, err.Error(), "secret", "the error repeats what was sent")
			assert.NotContains(t, err.Error(), "c2VjcmV0", "the error repeats what was sent")
		})
	}
}

// Only the header called Authorization counts (A11, A19): everything else where a token may lie is for others to look at.
func TestFromAuthorizationLooksNowhereElse(t *testing.T) {
	_, err := fromAuthorization(http.Header{
		"Proxy-Authorization":    {"Bearer " + good},
		"X-Authorization":        {"Bearer " + good},
		"Cookie":                 {"access_token=" + good},
		"X-Forwarded-Access-Key": {good},
	}, maxToken)
	require.ErrorIs(t, err, bearer.ErrNoToken)
}

func TestFromAuthorizationLeavesTheHeaderAlone(t *testing.T) {
	header := authorization("  bearer   " + good + " ")
	_, err := fromAuthorization(header, maxToken)
	require.NoError(t, err)
	assert.Equal(t, authorization("  bearer   "+good+" "), header)
}

var (
	token68 = regexp.MustCompile(`\A[A-Za-z0-9\-._~+/]+=*\z`)
	// presented is the whole of RFC 6750 section 2.1, with the white space that RFC 9110 section 5.5 allows around it.
	presented = regexp.MustCompile(`(?i)\A[ \t]*(bearer|dpop) +([a-z0-9\-._~+/]+=*)[ \t]*\z`)
)

func TestTakeDPoP(t *testing.T) {
	for _, tc := range []struct {
		name   string
		places bearer.Places
		want   bool
	}{
		{"by default", bearer.DefaultPlaces(), true},
		{"a header with that scheme", bearer.Places{{In: bearer.InHeader, Name: "X-Token", Scheme: "dpop"}}, true},
		{"a header without a scheme", bearer.Places{{In: bearer.InHeader, Name: "X-Token"}}, false},
		{"Authorization for another scheme", bearer.Places{{In: bearer.InHeader, Scheme: "Bearer"}}, false},
		{"a cookie", bearer.Places{{In: bearer.InCookie, Name: "token"}}, false},
		{"a cookie and Authorization", bearer.Places{{In: bearer.InCookie, Name: "token"}, {In: bearer.InHeader}}, true},
	} {
		t.Run(tc.name, func(t *testing.T) { assert.Equal(t, tc.want, tc.places.TakeDPoP()) })
	}
}

func TestSchemesOfPlaces(t *testing.T) {
	both, one, proof := []string{"Bearer", "DPoP"}, []string{"Bearer"}, []string{"DPoP"}
	cookie := bearer.Place{In: bearer.InCookie, Name: "token"}
	for _, tc := range []struct {
		name   string
		places bearer.Places
		want   []string
	}{
		{"by default", bearer.DefaultPlaces(), both},
		{"a cookie", bearer.Places{cookie}, one},
		{"a header of its own", bearer.Places{{In: bearer.InHeader, Name: "X-Token"}}, one},
		{"a scheme of its own", bearer.Places{{In: bearer.InHeader, Scheme: "Token"}}, one},
		{"Authorization under Bearer alone", bearer.Places{{In: bearer.InHeader, Scheme: "bearer"}}, one},
		{"Authorization under DPoP alone", bearer.Places{{In: bearer.InHeader, Scheme: "dpop"}}, proof},
		{"Authorization under DPoP, and a cookie", bearer.Places{{In: bearer.InHeader, Scheme: "DPoP"}, cookie}, both},
	} {
		t.Run(tc.name, func(t *testing.T) { assert.Equal(t, tc.want, tc.places.Schemes()) })
	}
}

func TestG18_Schemes(t *testing.T) {
	for _, tc := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"no line", nil, nil},
		{"another scheme", []string{"Basic eDp5"}, nil},
		{"Bearer", []string{"bearer x y"}, []string{"Bearer"}},
		{"DPoP", []string{"dpop"}, []string{"DPoP"}},
		{"what was meant to be one", []string{"DPoP\tx"}, []string{"DPoP"}},
		{"a scheme that begins alike", []string{"Bearers x"}, nil},
		{"both in two lines", []string{"DPoP x", "Bearer x"}, []string{"Bearer", "DPoP"}},
		{"both in one line", []string{"DPoP x, Bearer x"}, []string{"Bearer", "DPoP"}},
	} {
		t.Run(tc.name, func(t *testing.T) { assert.Equal(t, tc.want, bearer.Schemes(tc.lines)) })
	}
}

// errorTexts are all that FromAuthorization ever says, learned from requests that present nothing of interest.
func errorTexts(t testing.TB) string {
	var texts []string
	for _, lines := range [][]string{
		{},
		{"a"},
		{"a", "b"},
		{"Bearer"},
		{"DPoP"},
		{"Bearer ,"},
		{"DPoP ,"},
		{"Bearer,"},
		{"DPoP,"},
		{"Bearer " + strings.Repeat("a", maxToken+1)},
	} {
		_, err := fromAuthorization(authorization(lines...), maxToken)
		require.Error(t, err)
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "\n")
}

func FuzzFromAuthorization(f *testing.F) {
	for _, line := range []string{
		"", " ", "Bearer", "Bearer ", "Bearer a", "bearer   a=", "BEARER a==", "DPoP a.b.c", "Bearer a=b", "Bearer =",
		"Bearer a,b", "Bearer a b", "Bearer a, Bearer b", "Bearer\ta", "Bearer \ta", "Bearer,a", "Bearerx a", "Basic YTpi",
		"\tBearer a\t", "Bearer \"a\"", "Bearer é", "Bearer \xff", "Bearer a\r\n b", "Bearer a\x00", "DPoP", "dpop,a",
		"Bearer " + strings.Repeat("a", maxToken), "Bearer " + strings.Repeat("a", maxToken+1),
	} {
		f.Add(line)
	}
	said := errorTexts(f)
	f.Fuzz(func(t *testing.T, line string) {
		credential, err := fromAuthorization(authorization(line), maxToken)
		want := presented.FindStringSubmatch(line)
		if err == nil {
			require.Regexp(t, token68, credential.Token)
			require.Contains(t, line, credential.Token)
			require.NotNil(t, want, "what passed is not what RFC 6750 describes")
			require.Equal(t, want[2], credential.Token)
			require.True(t, strings.EqualFold(want[1], credential.Scheme))
			require.LessOrEqual(t, len(credential.Token), maxToken)
			return
		}
		require.Zero(t, credential)
		switch {
		case want == nil:
			require.NotErrorIs(t, err, bearer.ErrInvalidToken, "only a well-formed token can be too long")
		default:
			require.ErrorIs(t, err, bearer.ErrInvalidToken, "a well-formed token was refused")
			require.Greater(t, len(want[2]), maxToken)
		}
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t,", r) }) {
			if len(word) > 6 && !strings.Contains(said, word) {
				require.NotContains(t, err.Error(), word, "the error repeats what was sent")
			}
		}

		_, err = fromAuthorization(authorization(line, line), maxToken)
		require.ErrorIs(t, err, bearer.ErrInvalidRequest, "A06: two lines are never one token")
	})
}

package bearer_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/bearer"
)

var everywhere = bearer.Places{
	{In: bearer.InHeader},
	{In: bearer.InHeader, Name: "X-Api-Token"},
	{In: bearer.InHeader, Name: "X-Session", Scheme: "Token"},
	{In: bearer.InCookie, Name: "session"},
	{In: bearer.InQuery, Name: "access_token"},
	{In: bearer.InForm, Name: "access_token"},
}

// sent is a request as a client may send it. The zero value is a GET of "/".
type sent struct {
	method, query string
	header        http.Header
	body          string
	chunked       bool
}

func (s sent) request(t testing.TB) *http.Request {
	t.Helper()
	method := s.method
	if method == "" {
		method = http.MethodGet
		if s.body != "" {
			method = http.MethodPost
		}
	}
	var body io.Reader
	if s.body != "" {
		body = strings.NewReader(s.body)
		if s.chunked {
			body = io.MultiReader(body)
		}
	}
	r := httptest.NewRequest(method, "/path"+s.query, body)
	if s.body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	maps.Copy(r.Header, s.header)
	return r
}

func TestTake(t *testing.T) {
	cookies := func(lines ...string) http.Header { return http.Header{"Cookie": lines} }
	typed := func(contentType string) http.Header { return http.Header{"Content-Type": {contentType}} }
	for _, tc := range []struct {
		name string
		sent sent
		in   bearer.Kind // empty: an error
		err  error
	}{
		{"nothing", sent{}, "", bearer.ErrNoToken},
		{"Authorization", sent{header: http.Header{"Authorization": {"Bearer t"}}}, bearer.InHeader, nil},
		{"A08 Basic is for somebody else", sent{header: http.Header{"Authorization": {"Basic t"}}}, "", bearer.ErrNoToken},

		{"bare header", sent{header: http.Header{"X-Api-Token": {"t"}}}, bearer.InHeader, nil},
		{"bare header, twice", sent{header: http.Header{"X-Api-Token": {"t", "t"}}}, "", bearer.ErrInvalidRequest},
		{"bare header, empty", sent{header: http.Header{"X-Api-Token": {""}}}, "", bearer.ErrInvalidRequest},
		{"bare header with a scheme", sent{header: http.Header{"X-Api-Token": {"Bearer t"}}}, "", bearer.ErrInvalidRequest},
		{"header with its scheme", sent{header: http.Header{"X-Session": {"token t"}}}, bearer.InHeader, nil},
		{"header with another scheme", sent{header: http.Header{"X-Session": {"Bearer t"}}}, "", bearer.ErrNoToken},

		{"A12 query", sent{query: "?access_token=t"}, bearer.InQuery, nil},
		{"A12 query, encoded name and value", sent{query: "?a=1&access%5Ftoken=%74"}, bearer.InQuery, nil},
		{"A12 query, another case", sent{query: "?Access_Token=t"}, "", bearer.ErrNoToken},
		{"A12 query, part of another name", sent{query: "?xaccess_token=t&access_tokenx=t"}, "", bearer.ErrNoToken},
		{"A10 query, twice", sent{query: "?access_token=t&access_token=t"}, "", bearer.ErrInvalidRequest},
		{"A10 query, twice, once encoded", sent{query: "?access_token=t&access%5ftoken=t"}, "", bearer.ErrInvalidRequest},
		{"A04 query, malformed", sent{query: "?access_token=a%20b"}, "", bearer.ErrInvalidRequest},
		{"A04 query, broken encoding", sent{query: "?access_token=%zz"}, "", bearer.ErrInvalidRequest},
		{"A05 query, empty", sent{query: "?access_token="}, "", bearer.ErrInvalidRequest},
		{"A05 query, no value", sent{query: "?access_token"}, "", bearer.ErrInvalidRequest},
		{"A15 query, behind a semicolon", sent{query: "?x=1;access_token=t"}, "", bearer.ErrNoToken},
		{"A15 query, before a semicolon", sent{query: "?access_token=t;x=1"}, "", bearer.ErrInvalidRequest},

		{"A16 form", sent{body: "access_token=t"}, bearer.InForm, nil},
		{"A16 form, charset", sent{body: "a=1&access_token=t", header: typed("Application/X-WWW-Form-Urlencoded; charset=utf-8")}, bearer.InForm, nil},
		{"A18 form, chunked", sent{body: "access_token=t", chunked: true}, bearer.InForm, nil},
		{"A16 form, PUT", sent{method: "PUT", body: "access_token=t"}, bearer.InForm, nil},
		{"A16 form, PATCH", sent{method: "PATCH", body: "access_token=t"}, bearer.InForm, nil},
		{"A16 form, GET", sent{method: "GET", body: "access_token=t"}, "", bearer.ErrNoToken},
		{"A16 form, DELETE", sent{method: "DELETE", body: "access_token=t"}, "", bearer.ErrNoToken},
		{"A16 form, text", sent{body: "access_token=t", header: typed("text/plain")}, "", bearer.ErrNoToken},
		{"A16 form, multipart", sent{body: "access_token=t", header: typed("multipart/form-data; boundary=x")}, "", bearer.ErrNoToken},
		{"A16 form, JSON", sent{body: `{"access_token":"t"}`, header: typed("application/json")}, "", bearer.ErrNoToken},
		{"A18 form, compressed", sent{body: "access_token=t", header: http.Header{"Content-Encoding": {"gzip"}}}, "", bearer.ErrNoToken},
		{"A10 form, twice", sent{body: "access_token=t&access_token=t"}, "", bearer.ErrInvalidRequest},
		{"A18 form, too large", sent{body: "access_token=t&x=" + strings.Repeat("x", 1<<20)}, "", bearer.ErrTooLarge},
		{"A18 form, too large, chunked", sent{body: "access_token=t&x=" + strings.Repeat("x", 1<<20), chunked: true}, "", bearer.ErrTooLarge},
		{"A18 form, as large as allowed", sent{body: "access_token=t&x=" + strings.Repeat("x", 1<<20-len("access_token=t&x=")), chunked: true}, bearer.InForm, nil},

		{"cookie", sent{header: cookies("a=1; session=t; b=2")}, bearer.InCookie, nil},
		{"cookie, quoted", sent{header: cookies(`session="t"`)}, bearer.InCookie, nil},
		{"cookie, empty", sent{header: cookies("session=")}, "", bearer.ErrNoToken},
		{"cookie, another case", sent{header: cookies("Session=t")}, "", bearer.ErrNoToken},
		{"cookie, twice", sent{header: cookies("session=t; session=t")}, "", bearer.ErrInvalidRequest},
		{"cookie, twice, two lines", sent{header: cookies("session=t", "session=t")}, "", bearer.ErrInvalidRequest},
		{"A04 cookie, malformed", sent{header: cookies("session=a b")}, "", bearer.ErrInvalidRequest},
		{"A19 cookie beside a header", sent{header: http.Header{"Cookie": {"session=other"}, "Authorization": {"Bearer t"}}}, bearer.InHeader, nil},
		{"A19 cookie, malformed, beside a header", sent{header: http.Header{"Cookie": {"session=a b"}, "Authorization": {"Bearer t"}}}, bearer.InHeader, nil},
		{"A19 cookie, twice, beside a header", sent{header: http.Header{"Cookie": {"session=a; session=b"}, "Authorization": {"Bearer t"}}}, bearer.InHeader, nil},
		{"A19 cookie, malformed, beside a query", sent{query: "?access_token=t", header: cookies("session=a b")}, bearer.InQuery, nil},
		{"A19 cookie, malformed, beside a header that is malformed", sent{header: http.Header{"Cookie": {"session=a b"}, "Authorization": {"Bearer a b"}}}, "", bearer.ErrInvalidRequest},
		{"A19 cookie beside a query", sent{query: "?access_token=t", header: cookies("session=other")}, bearer.InQuery, nil},

		{"A09 header and query", sent{query: "?access_token=t", header: http.Header{"Authorization": {"Bearer t"}}}, "", bearer.ErrInvalidRequest},
		{"A09 header and form", sent{body: "access_token=t", header: http.Header{"Authorization": {"Bearer t"}}}, "", bearer.ErrInvalidRequest},
		{"A09 form and query", sent{query: "?access_token=t", body: "access_token=t"}, "", bearer.ErrInvalidRequest},
		{"A09 two headers", sent{header: http.Header{"X-Api-Token": {"t"}, "Authorization": {"Bearer t"}}}, "", bearer.ErrInvalidRequest},
		{"A06 two lines", sent{header: http.Header{"Authorization": {"Bearer t", "Basic x"}}}, "", bearer.ErrInvalidRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := tc.sent.request(t)
			got, err := everywhere.Take(r, 100)
			if tc.err != nil {
				require.ErrorIs(t, err, tc.err)
				assert.Zero(t, got)
			} else {
				require.NoError(t, err)
				hidden := tc.in != bearer.InForm && tc.sent.header["Authorization"] == nil
				assert.Equal(t, bearer.Credential{Scheme: bearer.SchemeBearer, Token: "t", In: tc.in, Hidden: hidden}, got)
			}
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			assert.Equal(t, tc.sent.body, string(body), "A17: who has only looked has changed nothing")

			again, err := bearer.DefaultPlaces().Take(tc.sent.request(t), 100)
			if len(tc.sent.header["Authorization"]) == 0 {
				assert.ErrorIs(t, err, bearer.ErrNoToken, "A11: a place that is not configured is not looked at")
				assert.Zero(t, again)
			}
		})
	}
	_, err := everywhere.Take(sent{query: "?access_token=" + strings.Repeat("a", 101)}.request(t), 100)
	require.ErrorIs(t, err, bearer.ErrInvalidToken, "A21")
}

func TestClean(t *testing.T) {
	for _, tc := range []struct {
		name        string
		sent        sent
		query, body string
		header      http.Header // of those that hold tokens
	}{
		{"A14 query, the rest byte for byte", sent{query: "?b=%7e+x&access_token=t&a=&a=1;2&&c"}, "b=%7e+x&a=&a=1;2&&c", "", nil},
		{"A14 query, encoded name", sent{query: "?access%5Ftoken=t&b"}, "b", "", nil},
		{"A14 query, every one of them", sent{query: "?access_token=t&b&access_token=u"}, "b", "", nil},
		{"A14 query, alone", sent{query: "?access_token=t"}, "", "", nil},
		{"A14 query without", sent{query: "?b=%zz&c"}, "b=%zz&c", "", nil},
		{"A17 form, the rest byte for byte", sent{body: "b=%7e+x&access_token=t&c=\x00"}, "", "b=%7e+x&c=\x00", nil},
		{"A17 form, alone", sent{body: "access_token=t", chunked: true}, "", "", nil},
		{"A17 form without", sent{body: "b=1", chunked: true}, "", "b=1", nil},
		{"A17 no form", sent{body: "access_token=t", header: http.Header{"Content-Type": {"text/plain"}}}, "", "access_token=t", nil},
		{"cookie, first", sent{header: http.Header{"Cookie": {"session=t; a=1; b=2"}}}, "", "", http.Header{"Cookie": {"a=1; b=2"}}},
		{"cookie, middle", sent{header: http.Header{"Cookie": {"a=1; session=t;b=2"}}}, "", "", http.Header{"Cookie": {"a=1;b=2"}}},
		{"cookie, last", sent{header: http.Header{"Cookie": {"a=1; session=t"}}}, "", "", http.Header{"Cookie": {"a=1"}}},
		{"cookie, alone", sent{header: http.Header{"Cookie": {"session=t"}}}, "", "", http.Header{}},
		{"cookie, several lines", sent{header: http.Header{"Cookie": {"session=t", "a=1", " session = u"}}}, "", "", http.Header{"Cookie": {"a=1"}}},
		{"cookie without", sent{header: http.Header{"Cookie": {"a=\"x;  y\" "}}}, "", "", http.Header{"Cookie": {"a=\"x;  y\" "}}},
		{"J13 header", sent{header: http.Header{"Authorization": {"Bearer t"}, "X-Api-Token": {"t"}, "X-Session": {"Token t"}}}, "", "", http.Header{}},
		{"J13 malformed", sent{header: http.Header{"Authorization": {"Bearer a b"}, "X-Api-Token": {"a b"}}}, "", "", http.Header{}},
		{"J13 two lines", sent{header: http.Header{"Authorization": {"Basic a", "Bearer t"}}}, "", "", http.Header{}},
		{"Basic stays", sent{header: http.Header{"Authorization": {"Basic a"}, "X-Session": {"Other t"}}}, "", "", http.Header{"Authorization": {"Basic a"}, "X-Session": {"Other t"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := tc.sent.request(t)
			_, _ = everywhere.Take(r, 100)
			everywhere.Clean(r)
			assert.Equal(t, tc.query, r.URL.RawQuery)
			want := "/path"
			if tc.query != "" {
				want += "?" + tc.query
			}
			assert.Equal(t, want, r.RequestURI)
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			assert.Equal(t, tc.body, string(body))
			if tc.sent.body != "" && r.ContentLength >= 0 {
				assert.EqualValues(t, len(tc.body), r.ContentLength)
			}
			if length := r.Header.Get("Content-Length"); length != "" {
				assert.Equal(t, strconv.Itoa(len(tc.body)), length)
			}
			holding := http.Header{}
			for _, name := range []string{"Authorization", "Cookie", "X-Api-Token", "X-Session"} {
				if values, ok := r.Header[name]; ok {
					holding[name] = values
				}
			}
			if tc.header == nil {
				tc.header = http.Header{}
			}
			assert.Equal(t, tc.header, holding)
			_, err = everywhere.Take(r, 100)
			require.ErrorIs(t, err, bearer.ErrNoToken, "nothing is left to be taken")
			require.NoError(t, r.Body.Close())
		})
	}
}

// failing is a body that breaks off.
type failing struct{ io.Reader }

var errBroken = errors.New("broken")

func (f failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = errBroken
	}
	return n, err
}

func TestABodyThatBreaksOff(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", failing{strings.NewReader("access_token=t")})
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, err := everywhere.Take(r, 100)
	require.ErrorIs(t, err, bearer.ErrInvalidRequest)
	require.ErrorIs(t, err, errBroken, "whoever limits bodies can tell their own error")
	body, err := io.ReadAll(r.Body)
	require.ErrorIs(t, err, errBroken)
	assert.Equal(t, "access_token=t", string(body))
	everywhere.Clean(r)
	body, err = io.ReadAll(r.Body)
	require.NoError(t, err)
	assert.Empty(t, body)
}

func TestPlacesThatAreNone(t *testing.T) {
	for says, place := range map[string]bearer.Place{
		"must be header":  {In: "trailer", Name: "x"},
		"is no place":     {},
		"needs a name":    {In: bearer.InCookie},
		"form needs":      {In: bearer.InForm},
		"query needs":     {In: bearer.InQuery},
		"has no scheme":   {In: bearer.InQuery, Name: "x", Scheme: "y"},
		"cannot hold":     {In: bearer.InHeader, Name: "a b"},
		`"cookie" cannot`: {In: bearer.InHeader, Name: "cookie"},
		`"DPoP" cannot`:   {In: bearer.InHeader, Name: "DPoP"},
		"not a word":      {In: bearer.InHeader, Scheme: "a b"},
		"name of a":       {In: bearer.InCookie, Name: "a=b"},
	} {
		assert.ErrorContains(t, bearer.Places{place}.Check(), says)
	}
	require.NoError(t, everywhere.Check())
	require.ErrorContains(t, bearer.Places{{In: bearer.InHeader}, {In: bearer.InHeader, Name: "authorization", Scheme: "X"}}.Check(), "twice")
	require.ErrorContains(t, bearer.Places{{In: bearer.InForm, Name: "a"}, {In: bearer.InForm, Name: "a"}}.Check(), "twice")
	require.NoError(t, bearer.Places{{In: bearer.InForm, Name: "a"}, {In: bearer.InQuery, Name: "a"}}.Check())
	assert.True(t, bearer.Place{In: bearer.InQuery, Name: "a"}.Shows())
	assert.True(t, bearer.Place{In: bearer.InHeader, Name: "X-Token"}.Shows())
	assert.False(t, bearer.Place{In: bearer.InHeader, Scheme: "Token"}.Shows())
	assert.False(t, bearer.Place{In: bearer.InCookie, Name: "a"}.Shows())
}

// FuzzPairs: whatever a query or form looks like, what is cut out is the token and nothing else.
func FuzzPairs(f *testing.F) {
	for _, seed := range []string{"access_token=t", "a=1&access%5ftoken=%74&b", "&&=&access_token", "a;access_token=t", "%zz=1&access_token=a&access_token=b"} {
		f.Add(seed)
	}
	places := bearer.Places{{In: bearer.InForm, Name: "access_token"}}
	f.Fuzz(func(t *testing.T, pairs string) {
		if len(pairs) == 0 || len(pairs) > 1<<20 {
			return
		}
		request := func() *http.Request {
			r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader([]byte(pairs)))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			return r
		}
		isToken := func(pair string) bool {
			name, _, _ := strings.Cut(pair, "=")
			name, err := url.QueryUnescape(name)
			return err == nil && name == "access_token"
		}
		var want []string
		tokens := 0
		for pair := range strings.SplitSeq(pairs, "&") {
			if isToken(pair) {
				tokens++
				continue
			}
			want = append(want, pair)
		}
		r := request()
		got, err := places.Take(r, 1<<20)
		switch {
		case tokens == 0:
			require.ErrorIs(t, err, bearer.ErrNoToken)
		case err == nil:
			require.Equal(t, 1, tokens)
			require.NotEmpty(t, got.Token)
		default:
			require.ErrorIs(t, err, bearer.ErrInvalidRequest)
		}
		places.Clean(r)
		rest, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, strings.Join(want, "&"), string(rest))
		require.EqualValues(t, len(rest), r.ContentLength)
	})
}

func TestF09Methods(t *testing.T) {
	for _, tc := range []struct {
		name   string
		places bearer.Places
		want   []string
	}{
		{"by default", bearer.DefaultPlaces(), []string{"header"}},
		{"all", bearer.Places{{In: bearer.InForm, Name: "access_token"}, {In: bearer.InQuery, Name: "access_token"}, {In: bearer.InHeader, Name: "authorization"}}, []string{"body", "query", "header"}},
		{"other names", bearer.Places{{In: bearer.InForm, Name: "t"}, {In: bearer.InQuery, Name: "t"}, {In: bearer.InHeader, Name: "X-Token"}}, nil},
		{"another scheme", bearer.Places{{In: bearer.InHeader, Scheme: "Token"}}, nil},
		{"a cookie", bearer.Places{{In: bearer.InCookie, Name: "access_token"}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) { assert.Equal(t, tc.want, tc.places.Methods()) })
	}
}

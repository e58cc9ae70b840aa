package bearer

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxForm is the longest form that is looked through for a token, in bytes.
const maxForm = 1 << 20

// fromPairs takes the token out of form-encoded pairs (RFC 6750 sections 2.2 and 2.3).
func fromPairs(pairs, parameter string) (Credential, error) {
	var tokens []string
	for pair := range strings.SplitSeq(pairs, "&") {
		if !isNamed(pair, parameter) {
			continue
		}
		_, encoded, _ := strings.Cut(pair, "=")
		token, err := url.QueryUnescape(encoded)
		if err != nil {
			return Credential{}, fmt.Errorf("%w: the parameter for the token is not form-encoded", ErrInvalidRequest)
		}
		tokens = append(tokens, token)
	}
	switch len(tokens) {
	case 0:
		return Credential{}, ErrNoToken
	case 1:
		return credential(SchemeBearer, tokens[0])
	}
	return Credential{}, fmt.Errorf("%w: more than one parameter for the token", ErrInvalidRequest)
}

// isNamed says whether a pair has a name, which may be encoded.
func isNamed(pair, name string) bool {
	encoded, _, _ := strings.Cut(pair, "=")
	decoded, err := url.QueryUnescape(encoded)
	return err == nil && decoded == name
}

func withoutParameter(pairs, parameter string) string {
	return without(pairs, "&", func(pair string) bool { return isNamed(pair, parameter) })
}

// cleanQuery cuts a parameter out of the request's URL, in both places where a request has it.
func cleanQuery(r *http.Request, parameter string) {
	r.URL.RawQuery = withoutParameter(r.URL.RawQuery, parameter)
	path, query, found := strings.Cut(r.RequestURI, "?")
	if !found {
		return
	}
	if rest := withoutParameter(query, parameter); rest != query {
		r.RequestURI = path
		if rest != "" {
			r.RequestURI += "?" + rest
		}
	}
}

// mayHaveForm says whether a request is one of those whose body RFC 6750 section 2.2 allows to hold a token: a method
// that gives a body a meaning, and one form-encoded part that is not compressed.
func mayHaveForm(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		return false
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && mediaType == "application/x-www-form-urlencoded" &&
		r.Header.Get("Content-Encoding") == "" && r.Body != nil && r.Body != http.NoBody
}

// form is a body that has been read to look through it, and can be read again.
type form struct {
	*bytes.Reader
	pairs  string
	closer io.Closer
}

func (f *form) Close() error { return f.closer.Close() }

// readForm returns the form of a request, and leaves it there to be read again.
func readForm(r *http.Request) (*form, error) {
	if read, ok := r.Body.(*form); ok {
		return read, nil
	}
	if r.ContentLength > maxForm {
		return nil, ErrTooLarge
	}
	content, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	if err == nil && len(content) <= maxForm {
		return setForm(r, string(content), r.Body), nil
	}
	// Whoever reads it after all reads all of it, up to the same error.
	r.Body = &unread{io.MultiReader(bytes.NewReader(content), r.Body), r.Body}
	if err != nil {
		return nil, fmt.Errorf("%w: reading the form: %w", ErrInvalidRequest, err)
	}
	return nil, ErrTooLarge
}

// unread is a body that has been read in part, from its beginning.
type unread struct {
	io.Reader
	io.Closer
}

// setForm gives a request a form for a body.
func setForm(r *http.Request, pairs string, closer io.Closer) *form {
	f := &form{Reader: bytes.NewReader([]byte(pairs)), pairs: pairs, closer: closer}
	r.Body = f
	r.ContentLength = int64(len(pairs))
	r.TransferEncoding = nil
	r.Header["Content-Length"] = []string{strconv.Itoa(len(pairs))}
	return f
}

func (p Place) fromForm(r *http.Request) (Credential, error) {
	if !mayHaveForm(r) {
		return Credential{}, ErrNoToken
	}
	f, err := readForm(r)
	if err != nil {
		return Credential{}, err
	}
	return fromPairs(f.pairs, p.Name)
}

func (p Place) cleanForm(r *http.Request) {
	if !mayHaveForm(r) {
		return
	}
	f, err := readForm(r)
	if err != nil {
		// The request is refused for it. What nobody has looked through goes nowhere.
		r.Body, r.ContentLength = http.NoBody, 0
		return
	}
	if rest := withoutParameter(f.pairs, p.Name); rest != f.pairs {
		setForm(r, rest, f.closer)
	}
}

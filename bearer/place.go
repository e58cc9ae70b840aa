package bearer

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Kind is the kind of place in which a request may present a token.
type Kind string

// The kinds of place.
const (
	InHeader Kind = "header" // RFC 6750 section 2.1
	InForm   Kind = "form"   // RFC 6750 section 2.2
	InQuery  Kind = "query"  // RFC 6750 section 2.3
	InCookie Kind = "cookie"
)

// Place is one place in which a request may present a token.
type Place struct {
	// The kind of place: `header`, `cookie`, `query` or `form`.
	In Kind `json:"in,omitempty"`
	// The name of the header, cookie or parameter. Default, for a header: `Authorization`.
	Name string `json:"name,omitempty"`
	// The scheme before the token, for a header. Default, for `Authorization`: `Bearer` and `DPoP`; for another header
	// none, so that its value is the token.
	Scheme string `json:"scheme,omitempty"`
}

const authorization = "Authorization"

// Check says why a place is none.
func (p Place) Check() error {
	switch p.In {
	case InHeader:
		name := p.header()
		if !httpguts.ValidHeaderFieldName(name) || unfit[name] {
			return fmt.Errorf("header %q cannot hold a token", p.Name)
		}
		for i := range len(p.Scheme) {
			if !isTokenChar(p.Scheme[i]) {
				return fmt.Errorf("scheme %q is not a word", p.Scheme)
			}
		}
		return nil
	case InCookie, InQuery, InForm:
		switch {
		case p.Name == "":
			return fmt.Errorf("%s needs a name", p.In)
		case p.Scheme != "":
			return fmt.Errorf("%s has no scheme", p.In)
		case p.In == InCookie && !httpguts.ValidHeaderFieldName(p.Name):
			return fmt.Errorf("%q is not the name of a cookie", p.Name)
		}
		return nil
	}
	return fmt.Errorf("%q is no place for a token: it must be header, cookie, query or form", string(p.In))
}

// unfit are the headers that HTTP, or another place, needs for itself.
var unfit = map[string]bool{
	"Connection": true, "Content-Length": true, "Content-Type": true, "Cookie": true, "Dpop": true, "Host": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// header is the canonical name of the header.
func (p Place) header() string {
	if p.Name == "" {
		return authorization
	}
	return textproto.CanonicalMIMEHeaderKey(p.Name)
}

func (p Place) schemes() []string {
	switch {
	case p.Scheme != "":
		return []string{p.Scheme}
	case p.header() == authorization:
		return authorizationSchemes
	}
	return nil
}

// Shows says whether Caddy's access log, as it is by default, would show a token that is in the place.
func (p Place) Shows() bool {
	return p.In == InQuery || p.In == InHeader && p.header() != authorization
}

// hides says whether a shared cache would take the response to a token in the place for anybody's. It keeps none to a form.
func (p Place) hides() bool {
	return p.In == InQuery || p.In == InCookie || p.In == InHeader && p.header() != authorization
}

// Places are the places in which a request may present a token. They are immutable and safe for concurrent use.
type Places []Place

// DefaultPlaces is the Authorization header.
func DefaultPlaces() Places { return Places{{In: InHeader}} }

// Check says what is wrong with the places.
func (p Places) Check() error {
	for i, place := range p {
		if err := place.Check(); err != nil {
			return err
		}
		if slices.ContainsFunc(p[:i], place.overlaps) {
			return fmt.Errorf("%s %s is there twice", place.In, place.Name)
		}
	}
	return nil
}

// overlaps says whether two places are the same but for what is read in them.
func (p Place) overlaps(other Place) bool {
	if p.In == InHeader && other.In == InHeader {
		return p.header() == other.header()
	}
	return p.In == other.In && p.Name == other.Name
}

// CookieError is what is wrong with a cookie. Beside a token that was found elsewhere, nothing is.
type CookieError struct{ err error }

// Error says what is wrong.
func (e *CookieError) Error() string { return e.err.Error() }

// Unwrap returns what is wrong, as of another place.
func (e *CookieError) Unwrap() error { return e.err }

// Take finds the token of a request. A place that is not among them is not looked at. It returns ErrNoToken if there is
// none; ErrInvalidRequest if there is more than one, in one place or in several (RFC 6750 section 2), or what is there
// is not one token68; ErrInvalidToken if it is longer than maxToken bytes; ErrTooLarge; or the error of reading the
// body, whose form stays readable. A cookie, which browsers send of their own accord, counts only where there is no
// other token; what is wrong with one is a CookieError. No error text repeats what was sent.
func (p Places) Take(r *http.Request, maxToken int) (Credential, error) {
	taken, cookie := Credential{}, Credential{}
	var badCookie error
	for _, place := range p {
		found, err := place.take(r)
		found.In, found.Hidden = place.In, place.hides()
		into := &taken
		if place.In == InCookie {
			into = &cookie
		}
		switch {
		case errors.Is(err, ErrNoToken):
			continue
		case err == nil && into.Token != "":
			err = fmt.Errorf("%w: more than one token", ErrInvalidRequest)
		case err == nil:
			*into = found
			continue
		}
		if place.In != InCookie {
			return Credential{}, err
		}
		badCookie = err
	}
	if taken.Token == "" {
		taken = cookie
		if badCookie != nil {
			return Credential{}, &CookieError{badCookie}
		}
	}
	switch {
	case taken.Token == "":
		return Credential{}, ErrNoToken
	case len(taken.Token) > maxToken:
		err := fmt.Errorf("%w: longer than %d bytes", ErrInvalidToken, maxToken)
		if taken.In == InCookie {
			err = &CookieError{err}
		}
		return Credential{}, err
	}
	return taken, nil
}

func (p Place) take(r *http.Request) (Credential, error) {
	switch p.In {
	case InHeader:
		return fromHeader(r.Header[p.header()], p.schemes())
	case InCookie:
		return p.fromCookie(r)
	case InQuery:
		return fromPairs(r.URL.RawQuery, p.Name)
	case InForm:
		return p.fromForm(r)
	}
	return Credential{}, ErrNoToken
}

// Clean removes from a request what may be a token in any of the places, and leaves the rest as it is, byte for byte.
func (p Places) Clean(r *http.Request) {
	for _, place := range p {
		switch place.In {
		case InHeader:
			place.cleanHeader(r.Header)
		case InCookie:
			place.cleanCookies(r.Header)
		case InQuery:
			cleanQuery(r, place.Name)
		case InForm:
			place.cleanForm(r)
		}
	}
}

// TakeDPoP says whether a token may come under the scheme DPoP.
func (p Places) TakeDPoP() bool {
	return slices.ContainsFunc(p, func(place Place) bool {
		return place.In == InHeader && slices.ContainsFunc(place.schemes(), func(scheme string) bool {
			return strings.EqualFold(scheme, SchemeDPoP)
		})
	})
}

// Schemes lists the schemes under which a token would do, for challenges. Bearer is that of all that are not DPoP, such as a
// cookie, since a challenge needs one.
func (p Places) Schemes() []string {
	var schemes []string
	if slices.ContainsFunc(p, func(place Place) bool { return !strings.EqualFold(place.Scheme, SchemeDPoP) }) {
		schemes = append(schemes, SchemeBearer)
	}
	if p.TakeDPoP() {
		schemes = append(schemes, SchemeDPoP)
	}
	return schemes
}

// Headers lists the names of the headers in which a token may be, in canonical form.
func (p Places) Headers() []string {
	var names []string
	for _, place := range p {
		if place.In == InHeader {
			names = append(names, place.header())
		}
	}
	return names
}

// InURL says whether a token may be in the URL.
func (p Places) InURL() bool {
	return slices.ContainsFunc(p, func(place Place) bool { return place.In == InQuery })
}

// CleanTarget removes from a request's target what may be a token in any of the places.
func (p Places) CleanTarget(r *http.Request) {
	for _, place := range p {
		if place.In == InQuery {
			cleanQuery(r, place.Name)
		}
	}
}

// cleanHeader leaves credentials of another scheme, such as Basic, to the backend that they are for.
func (p Place) cleanHeader(header http.Header) {
	name, schemes := p.header(), p.schemes()
	lines := header[name]
	switch len(lines) {
	case 0:
		return
	case 1:
		if _, _, found := cutScheme(lines[0], schemes); len(schemes) > 0 && !found {
			return
		}
	}
	delete(header, name)
}

func (p Place) fromCookie(r *http.Request) (Credential, error) {
	var values []string
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			if name, value, _ := strings.Cut(part, "="); strings.TrimSpace(name) == p.Name {
				values = append(values, strings.Trim(strings.TrimSpace(value), `"`))
			}
		}
	}
	switch {
	case len(values) > 1:
		return Credential{}, fmt.Errorf("%w: more than one cookie for the token", ErrInvalidRequest)
	case len(values) == 0 || values[0] == "":
		// An application that signs somebody out often leaves an empty cookie.
		return Credential{}, ErrNoToken
	}
	return credential(SchemeBearer, values[0])
}

func (p Place) cleanCookies(header http.Header) {
	lines, ok := header["Cookie"]
	if !ok {
		return
	}
	var kept []string
	for _, line := range lines {
		rest := without(line, ";", func(part string) bool {
			name, _, _ := strings.Cut(part, "=")
			return strings.TrimSpace(name) == p.Name
		})
		if rest = strings.TrimLeft(rest, " "); rest != "" {
			kept = append(kept, rest)
		}
	}
	if len(kept) == 0 {
		delete(header, "Cookie")
		return
	}
	header["Cookie"] = kept
}

// without cuts the parts that match out of a list, together with one separator each.
func without(list, separator string, matches func(string) bool) string {
	if !slices.ContainsFunc(strings.Split(list, separator), matches) {
		return list
	}
	parts := slices.DeleteFunc(strings.Split(list, separator), matches)
	return strings.Join(parts, separator)
}

func isBearer(scheme string) bool { return strings.EqualFold(scheme, SchemeBearer) }

// Methods are those of RFC 6750 by which the places take a token, by the names of RFC 9728 section 2.
func (p Places) Methods() []string {
	var methods []string
	for _, place := range p {
		switch {
		case place.In == InHeader && place.header() == authorization && slices.ContainsFunc(place.schemes(), isBearer):
			methods = append(methods, "header")
		case place.In == InQuery && place.Name == "access_token":
			methods = append(methods, "query")
		case place.In == InForm && place.Name == "access_token":
			methods = append(methods, "body")
		}
	}
	return methods
}

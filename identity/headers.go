package identity

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// ErrUser means that the token names a user whose name no header can carry. Passing the request on without the name
// would make somebody nobody.
var ErrUser = errors.New("the user's name cannot be told to the backend")

// Preset names a set of headers in which the backend learns who came.
type Preset string

// The presets.
const (
	// Remote: Remote-User, Remote-Name, Remote-Email, Remote-Groups, Remote-Client, Remote-Scope.
	Remote Preset = "remote"
	// XForwarded: X-Forwarded-User, -Preferred-Username, -Email, -Groups.
	XForwarded Preset = "x_forwarded"
	// XAuthRequest: X-Auth-Request-User, -Preferred-Username, -Email, -Groups.
	XAuthRequest Preset = "x_auth_request"
	// None sets no header but those of copy_claims.
	None Preset = "none"
)

// Check says why a preset is none.
func (p Preset) Check() error {
	if _, ok := presets[p]; !ok && p != None {
		return fmt.Errorf("identity %q: must be remote, x_forwarded, x_auth_request or none", string(p))
	}
	return nil
}

// presetHeader is one header of a preset, and where its value comes from: a text, or a claim of any type, or what is
// written as it is. A header without any gets the user.
type presetHeader struct {
	name  string
	text  func(*introspect.Answer) string
	value func(*introspect.Answer) any
	raw   func(*introspect.Answer) string
}

var presets = map[Preset][]presetHeader{
	Remote: {
		{name: "Remote-User"},
		{name: "Remote-Name", value: claim("name")},
		{name: "Remote-Email", value: claim("email")},
		{name: "Remote-Groups", value: groups},
		{name: "Remote-Client", text: (*introspect.Answer).ClientID},
		{name: "Remote-Scope", text: (*introspect.Answer).Scope},
	},
	XForwarded: {
		{name: "X-Forwarded-User"},
		{name: "X-Forwarded-Preferred-Username", value: preferredUsername},
		{name: "X-Forwarded-Email", value: claim("email")},
		{name: "X-Forwarded-Groups", value: groups},
	},
	XAuthRequest: {
		{name: "X-Auth-Request-User"},
		{name: "X-Auth-Request-Preferred-Username", value: preferredUsername},
		{name: "X-Auth-Request-Email", value: claim("email")},
		{name: "X-Auth-Request-Groups", value: groups},
	},
}

func claim(path string) func(*introspect.Answer) any {
	return func(answer *introspect.Answer) any {
		value, _ := answer.Claim(path)
		return value
	}
}

func groups(answer *introspect.Answer) any {
	if value, ok := answer.Claim("groups"); ok && value != nil {
		return value
	}
	value, _ := answer.Claim("roles")
	return value
}

func preferredUsername(answer *introspect.Answer) any {
	if value, ok := answer.Claim("preferred_username"); ok && value != nil {
		return value
	}
	return answer.Username()
}

// Copy is one claim that is copied into a header.
type Copy struct {
	// Claim is the path of the claim in the answer.
	Claim string `json:"claim,omitempty"`
	// Header is the name of the header. Empty: X-Claim-<Claim>.
	Header string `json:"header,omitempty"`
}

// Target is the name of the header that a Copy sets.
func (c Copy) Target() string {
	if c.Header != "" {
		return http.CanonicalHeaderKey(c.Header)
	}
	name := strings.NewReplacer("_", "-", ".", "-", "/", "-", ":", "-", `\`, "").Replace(c.Claim)
	return http.CanonicalHeaderKey(claimPrefix + name)
}

// Config says what the backend learns.
type Config struct {
	// Preset is the set of headers. Default: Remote.
	Preset Preset
	// Copies are further claims.
	Copies []Copy
	// Encoding is how values are written. Default: Percent.
	Encoding Encoding
	// ClientAsUser makes a token without a user the user that is named by its client_id.
	ClientAsUser bool
	// Phantom is the header that gets the signed answer as it is, if there is one: under the scheme Bearer if that is
	// Authorization. Empty: none does.
	Phantom string
}

// Teller tells the backend who came. It is immutable and safe for concurrent use.
type Teller struct {
	headers      []presetHeader
	targets      []string
	encoding     Encoding
	clientAsUser bool
}

// NewTeller returns a Teller. It refuses header names that cannot be set, that two claims share, or that mean
// something to HTTP or the proxy.
func NewTeller(config Config) (*Teller, error) {
	preset, encoding := cmp.Or(config.Preset, Remote), cmp.Or(config.Encoding, Percent)
	if err := preset.Check(); err != nil {
		return nil, err
	}
	if err := encoding.Check(); err != nil {
		return nil, err
	}
	t := &Teller{headers: presets[preset], encoding: encoding, clientAsUser: config.ClientAsUser}
	taken := make(map[string]bool)
	for _, header := range t.headers {
		taken[foldName(header.name)] = true
	}
	for _, c := range config.Copies {
		if c.Claim == "" {
			return nil, errors.New("copy_claims: a claim has no name")
		}
		target := c.Target()
		if err := checkTarget(target); err != nil {
			return nil, fmt.Errorf("copy_claims %s: header %q %w", c.Claim, target, err)
		}
		if taken[foldName(target)] {
			return nil, fmt.Errorf("copy_claims %s: header %q is set already, by the preset or another claim", c.Claim, target)
		}
		taken[foldName(target)] = true
		t.targets = append(t.targets, target)
		// A slice of its own: the preset's is shared.
		t.headers = append(slices.Clip(t.headers), presetHeader{name: target, value: claim(c.Claim)})
	}
	return t, t.addPhantom(config.Phantom, taken)
}

// addPhantom adds the header that gets the signed answer.
func (t *Teller) addPhantom(name string, taken map[string]bool) error {
	name = http.CanonicalHeaderKey(name)
	header := presetHeader{name: name, raw: (*introspect.Answer).Signed}
	switch name {
	case "":
		return nil
	case authorization:
		header.raw = bearerSigned
	default:
		if err := checkTarget(name); err != nil {
			return fmt.Errorf("phantom_token: header %q %w", name, err)
		}
		if taken[foldName(name)] {
			return fmt.Errorf("phantom_token: header %q is set already, by the preset or a claim", name)
		}
		t.targets = append(t.targets, name)
	}
	t.headers = append(slices.Clip(t.headers), header)
	return nil
}

// bearerSigned is the signed answer under the scheme Bearer, or empty if there is none.
func bearerSigned(answer *introspect.Answer) string {
	if answer.Signed() == "" {
		return ""
	}
	return "Bearer " + answer.Signed()
}

// authorization is the header that only a signed answer may be handed on in.
const authorization = "Authorization"

// meaningful are the headers, folded, to which HTTP, Caddy or the gateway itself give a meaning of their own.
var meaningful = map[string]bool{
	"accept-encoding": true, "authorization": true, "connection": true, "content-encoding": true,
	"content-length": true, "content-type": true, "cookie": true, "dpop": true, "expect": true, "forwarded": true,
	"host": true, "keep-alive": true, "proxy-authenticate": true, "proxy-authorization": true,
	"proxy-connection": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true, "via": true,
	"x-forwarded-for": true, "x-forwarded-host": true, "x-forwarded-proto": true,
}

func checkTarget(name string) error {
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return errors.New("is not a header name")
	case len(name) > longestName:
		return fmt.Errorf("is longer than %d bytes", longestName)
	case strings.ContainsAny(name, "_."):
		return errors.New("must be spelled with '-': many servers drop or confuse names with '_' or '.'")
	case meaningful[foldName(name)]:
		return errors.New("has a meaning of its own in HTTP")
	}
	return nil
}

// Targets lists the headers that the claims of copy_claims, and the signed answer, go to.
func (t *Teller) Targets() []string { return t.targets }

// Told are the names of the headers that the gateway has set on a request, in canonical form.
type Told []string

// Tell sets the headers, each to one line, except those that are told already, and returns all that are told now and the
// user. A claim that is absent, null or empty sets none. It returns ErrUser if the user's name cannot be carried; then it
// has set nothing.
func (t *Teller) Tell(header http.Header, answer *introspect.Answer, before Told) (told Told, user string, err error) {
	if user, err = t.User(answer); err != nil {
		return before, "", err
	}
	// One piece of memory for the lines, which are of this request alone so that whoever edits a header in place edits
	// nobody else's, and for what is told.
	room := make([]string, len(before)+2*len(t.headers))
	lines, told := room[:len(t.headers)], room[len(t.headers):len(t.headers)]
	told = append(told, before...)
	for i := range t.headers {
		h := &t.headers[i]
		value, ok := user, true
		switch {
		case h.text != nil:
			value, ok = t.encoding.encodeText(h.text(answer))
		case h.value != nil:
			value, ok = t.encoding.encode(h.value(answer))
		case h.raw != nil:
			value = h.raw(answer)
		}
		if ok && value != "" && !slices.Contains(before, h.name) {
			lines[i] = value
			header[h.name] = lines[i : i+1 : i+1]
			told = append(told, h.name)
		}
	}
	return told, user, nil
}

// User names the resource owner, encoded as in a header: username, else sub; empty if the token names none. A token
// without username whose sub is absent or is its client names nobody: the client acts for itself (RFC 6749
// section 4.4), and one that is called like a user must not pass for the user (RFC 9700 section 4.15), unless
// ClientAsUser says that it does. It returns ErrUser if a header cannot carry the name.
func (t *Teller) User(answer *introspect.Answer) (string, error) {
	name := answer.Username()
	if name == "" && answer.Subject() != answer.ClientID() {
		name = answer.Subject()
	}
	if name == "" && t.clientAsUser {
		name = answer.ClientID()
	}
	encoded, ok := t.encoding.encodeText(name)
	if !ok {
		return "", ErrUser
	}
	return encoded, nil
}

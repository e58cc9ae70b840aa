// Package identity tells the backend who came, and makes sure that nobody else does.
package identity

import (
	"net/http"
	"slices"
	"strings"
)

// longestName bounds the header names that are compared. No protected name is longer (NewTeller refuses one), so a
// longer name cannot be one in another spelling.
const longestName = 128

// Protected is the set of header names that only the gateway may set. A name is in it in every spelling that some
// backend takes for it: upper or lower case, and any other sign for `-`. CGI, WSGI and PHP fold `-`, `_` and `.` into
// one, and some servers every sign. The zero value protects nothing. It is immutable and safe for concurrent use.
type Protected struct {
	names    map[string]struct{} // folded
	prefixes []string            // folded
	first    [256]bool           // the first bytes of all of them, folded
}

// claimPrefix begins the headers that copy_claims sets where no name is given.
const claimPrefix = "X-Claim-"

// NewProtected returns the set that is protected on every route: the headers of all presets, every X-Claim-*, the
// certificate headers of RFC 9440, and the given further ones, which are the targets of all copy_claims.
func NewProtected(targets []string) *Protected {
	p := &Protected{names: make(map[string]struct{})}
	for _, preset := range presets {
		for _, header := range preset {
			p.add(header.name)
		}
	}
	p.add("Client-Cert")
	p.add("Client-Cert-Chain")
	for _, name := range targets {
		p.add(name)
	}
	prefix := foldName(claimPrefix)
	p.prefixes = append(p.prefixes, prefix)
	p.first[prefix[0]] = true
	return p
}

func (p *Protected) add(name string) {
	folded := foldName(name)
	p.names[folded] = struct{}{}
	p.first[folded[0]] = true
}

// Has says whether a header name is protected, in any spelling.
func (p *Protected) Has(name string) bool {
	if name == "" || len(name) > longestName && !p.hasPrefix(name) || !p.first[fold(name[0])] {
		return false
	}
	if p.hasPrefix(name) {
		return true
	}
	var buffer [longestName]byte
	folded := buffer[:0]
	for i := 0; i < len(name); i++ {
		folded = append(folded, fold(name[i]))
	}
	_, ok := p.names[string(folded)]
	return ok
}

func (p *Protected) hasPrefix(name string) bool {
	for _, prefix := range p.prefixes {
		if len(name) >= len(prefix) && equalFold(name[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}

// equalFold compares a name with a folded one of the same length.
func equalFold(name, folded string) bool {
	for i := 0; i < len(name); i++ {
		if fold(name[i]) != folded[i] {
			return false
		}
	}
	return true
}

func foldName(name string) string {
	folded := make([]byte, len(name))
	for i := range folded {
		folded[i] = fold(name[i])
	}
	return string(folded)
}

// fold maps the bytes that backends do not tell apart in a header name to one of them.
func fold(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + ('a' - 'A')
	case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
		return c
	}
	return '-'
}

// Strip removes from a request everything that could pass for the gateway's word: the protected headers, and all
// trailers, which reach the backend when nobody can look at them any more. It also takes the protected names, and
// those that the gateway and the proxy behind it rely on, out of Connection, with which a client could have the proxy
// drop them again (RFC 9110 section 7.6.1). What the gateway itself has told already stays.
func (p *Protected) Strip(r *http.Request, told Told) {
	for name := range r.Header {
		if p.Has(name) && !slices.Contains(told, name) {
			delete(r.Header, name)
		}
	}
	r.Trailer = nil
	delete(r.Header, "Trailer")
	stripUpgrade(r.Header)
	if lines, ok := r.Header["Connection"]; ok {
		p.guardConnection(r.Header, lines)
	}
}

// stripUpgrade removes the wish to go on in another version of HTTP (RFC 9110 section 7.8). A backend that grants it
// would take further requests out of the connection, which nobody has stripped or judged. Other protocols, such as
// websocket, are upgraded to as before.
func stripUpgrade(header http.Header) {
	delete(header, "Http2-Settings")
	for _, line := range header["Upgrade"] {
		for protocol := range strings.SplitSeq(line, ",") {
			name := strings.ToLower(strings.TrimSpace(protocol))
			if strings.HasPrefix(name, "h2") || strings.HasPrefix(name, "h3") || strings.HasPrefix(name, "http") {
				delete(header, "Upgrade")
				return
			}
		}
	}
}

func (p *Protected) guardConnection(header http.Header, lines []string) {
	var kept []string
	dropped := false
	for _, line := range lines {
		for option := range strings.SplitSeq(line, ",") {
			option = strings.TrimSpace(option)
			switch {
			case option == "":
			case p.Has(option) || reliedUpon(option):
				dropped = true
			default:
				kept = append(kept, option)
			}
		}
	}
	switch {
	case !dropped:
	case len(kept) == 0:
		delete(header, "Connection")
	default:
		header["Connection"] = []string{strings.Join(kept, ", ")}
	}
}

func reliedUpon(name string) bool {
	folded := foldName(name)
	switch folded {
	case "authorization", "dpop", "cookie", "host", "forwarded":
		return true
	}
	return strings.HasPrefix(folded, "x-forwarded-")
}

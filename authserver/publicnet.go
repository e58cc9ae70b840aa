package authserver

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/portcullis-gateway/portcullis/internal/jwks"
)

// special are the networks that are nobody's, or not everybody's: those of RFC 6890 and its registries, beside what netip
// knows by itself. Addresses that hold another one are among them, since it may be one of these.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("3fff::/20"),
}

// globalV6 is where the public addresses of IPv6 are.
var globalV6 = netip.MustParsePrefix("2000::/3")

// isPublic says whether an address is one of the public Internet.
func isPublic(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	if !address.IsGlobalUnicast() || address.IsPrivate() || address.Is6() && !globalV6.Contains(address) {
		return false
	}
	for _, network := range special {
		if network.Contains(address) {
			return false
		}
	}
	return true
}

var errNotPublic = errors.New("the address is not a public one")

// publicTransport connects to public addresses only. It judges the address that it is about to connect to, so a name whose
// address changes gains nothing, and uses no proxy, which would look for the address itself.
var publicTransport = &http.Transport{
	DialContext: (&net.Dialer{
		Timeout: jwks.FetchTimeout,
		Control: func(_, address string, _ syscall.RawConn) error {
			peer, err := netip.ParseAddrPort(address)
			if err != nil || !isPublic(peer.Addr()) {
				return errNotPublic
			}
			return nil
		},
	}).DialContext,
	ForceAttemptHTTP2:   true,
	TLSHandshakeTimeout: jwks.FetchTimeout,
	IdleConnTimeout:     10 * time.Second,
	MaxIdleConns:        10,
}

// publicKeySet returns the key set of a URL that a stranger has named. It opens no connection.
func (s *Server) publicKeySet(text string) (*KeySet, error) {
	if parsed, err := url.Parse(text); err != nil || parsed.Scheme != "https" {
		return nil, errors.New("must be an https URL")
	}
	return NewRemoteKeySet(RemoteKeySet{URL: text, Transport: publicTransport, Logger: s.logger, Now: s.now})
}

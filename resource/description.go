package resource

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// Description is what a route says of the protected resource that it is a part of (RFC 9728 section 2).
type Description struct {
	// Resource is its identifier (CheckIdentifier).
	Resource string
	// AuthorizationServers are the issuers whose tokens the route takes.
	AuthorizationServers []string
	// Scopes are those that the route asks for.
	Scopes []string
	// BearerMethods are the ways of RFC 6750 in which it takes a token.
	BearerMethods []string
	// DPoPAlgorithms are those of proofs of possession, if the route takes any.
	DPoPAlgorithms []string
	// DPoPRequired says that the route takes no token that is not bound to a key.
	DPoPRequired bool
	// CertificateBound says that the route demands tokens that are bound to a certificate.
	CertificateBound bool
	// Members are what the operator adds (CheckMember).
	Members map[string][]string
}

// The members that a Description's other fields write, and that operators may write as well.
const (
	memberServers = "authorization_servers"
	memberScopes  = "scopes_supported"
)

// own are the members that nobody but the gateway writes, since it would enforce something else.
var own = []string{
	"resource", "bearer_methods_supported", "dpop_bound_access_tokens_required", "dpop_signing_alg_values_supported",
	"tls_client_certificate_bound_access_tokens",
}

// lists are the members that are arrays, whatever the number of their values.
var lists = []string{memberServers, memberScopes, "authorization_details_types_supported", "resource_signing_alg_values_supported"}

// addresses are the members that are the URL of something.
var addresses = []string{"jwks_uri", "resource_documentation", "resource_policy_uri", "resource_tos_uri"}

// CheckMember says why a member cannot be added to a document. Its name may have a language tag behind a `#`.
func CheckMember(name string, values []string) error {
	base, language, tagged := strings.Cut(name, "#")
	check := func(string) error { return nil }
	switch {
	case base == "" || tagged && language == "":
		return errors.New("the name of a member is empty")
	case slices.Contains(own, base):
		return fmt.Errorf("'%s' follows from what the route demands: the gateway writes it itself", base)
	case len(values) == 0 || slices.Contains(values, ""):
		return fmt.Errorf("'%s' needs a value", name)
	case base == memberServers:
		check = checkServer
	case slices.Contains(addresses, base):
		check = checkAddress
	case base == "resource_signing_alg_values_supported" && slices.Contains(values, "none"):
		return fmt.Errorf("'%s' must not have 'none' (RFC 9728 section 2)", name)
	}
	if len(values) > 1 && (slices.Contains(addresses, base) || base == "resource_name" || base == "signed_metadata") {
		return fmt.Errorf("'%s' takes one value", name)
	}
	for _, value := range values {
		if err := check(value); err != nil {
			return fmt.Errorf("bad %s value '%s': %w", name, value, err)
		}
	}
	return nil
}

// checkServer says why a text cannot be the identifier of an issuer (RFC 8414 section 2).
func checkServer(text string) error {
	if strings.ContainsAny(text, "?#") {
		return errors.New("an issuer has neither a query nor a fragment")
	}
	return checkAddress(text)
}

func checkAddress(text string) error {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Hostname() == "" || parsed.User != nil {
		return errors.New("must be a URL")
	}
	host := parsed.Hostname()
	if parsed.Scheme != "https" && (parsed.Scheme != "http" || host != "localhost" && !net.ParseIP(host).IsLoopback()) {
		return errors.New("must be https, or http on loopback")
	}
	return nil
}

// check says what is wrong with a description.
func (d *Description) check() error {
	if err := CheckIdentifier(d.Resource); err != nil {
		return err
	}
	for name, values := range d.Members {
		if err := CheckMember(name, values); err != nil {
			return err
		}
	}
	return CheckServers(d.AuthorizationServers, d.Members)
}

// CheckServers says that neither the authorities of a route nor the operator name an issuer: who reads a document without one
// does not know where to get a token.
func CheckServers(issuers []string, members map[string][]string) error {
	if len(issuers) == 0 && len(members[memberServers]) == 0 {
		return errors.New("resource: an authority of this route has no issuer that clients could be told: give it 'issuer <url>', " +
			"or add 'authorization_servers <url>...' to 'resource_metadata'")
	}
	return nil
}

// joined describes a resource of which two routes are parts: with what either of them takes, and what both demand.
func (d *Description) joined(other *Description) (*Description, error) {
	both := *d
	both.AuthorizationServers = union(d.AuthorizationServers, other.AuthorizationServers)
	both.Scopes = union(d.Scopes, other.Scopes)
	both.BearerMethods = union(d.BearerMethods, other.BearerMethods)
	both.DPoPAlgorithms = union(d.DPoPAlgorithms, other.DPoPAlgorithms)
	both.DPoPRequired = d.DPoPRequired && other.DPoPRequired
	both.CertificateBound = d.CertificateBound || other.CertificateBound
	both.Members = make(map[string][]string, len(d.Members)+len(other.Members))
	for _, members := range []map[string][]string{d.Members, other.Members} {
		for name, values := range members {
			if said, ok := both.Members[name]; ok && !slices.Equal(said, values) {
				return nil, fmt.Errorf("two routes say different things of its '%s'", name)
			}
			both.Members[name] = values
		}
	}
	return &both, nil
}

// union lists what is in either list, once.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, value := range b {
		if !slices.Contains(all, value) {
			all = append(all, value)
		}
	}
	return all
}

// offlineAccess is a scope of clients and not of resources, so that it is in no document.
const offlineAccess = "offline_access"

// document is the document itself. Members without a value are left out (RFC 9728 section 3.2), but for the bearer methods,
// of which none means that there are none.
func (d *Description) document() map[string]any {
	members := map[string]any{"resource": d.Resource, "bearer_methods_supported": union([]string{}, d.BearerMethods)}
	for name, values := range d.Members {
		base, _, _ := strings.Cut(name, "#")
		if len(values) > 1 || slices.Contains(lists, base) {
			members[name] = values
		} else {
			members[name] = values[0]
		}
	}
	if len(d.Members[memberServers]) == 0 {
		members[memberServers] = d.AuthorizationServers
	}
	scopes := slices.DeleteFunc(union(d.Scopes, d.Members[memberScopes]), func(scope string) bool { return scope == offlineAccess })
	delete(members, memberScopes)
	if len(scopes) > 0 {
		members[memberScopes] = scopes
	}
	if len(d.DPoPAlgorithms) > 0 {
		members["dpop_signing_alg_values_supported"] = d.DPoPAlgorithms
	}
	if d.DPoPRequired {
		members["dpop_bound_access_tokens_required"] = true
	}
	if d.CertificateBound {
		members["tls_client_certificate_bound_access_tokens"] = true
	}
	return members
}

package main

import (
	"fmt"
	"net"
	"strings"
)

// globalOptions are those of a Caddy that does nothing on its own, with an authority and further lines for it.
func globalOptions(endpoint, lines string) string {
	return fmt.Sprintf(`{
	admin off
	auto_https off
	persist_config off
	default_bind 127.0.0.1
	log default {
		level ERROR
	}
	introspect {
		endpoint %s
		client %s %s
		%s
	}
}
`, endpoint, clientID, clientSecret, lines)
}

// bareSite passes everything on.
func bareSite(address, backend string) string {
	return site(address, "reverse_proxy "+backend)
}

// protectedSite passes on what has a good token.
func protectedSite(address, backend string) string {
	return site(address, "introspect scope "+scope, "reverse_proxy "+backend)
}

// dressedSite passes everything on with the headers that a protected site would add, as written, and without the token.
func dressedSite(address, backend string) string {
	return site(address, "reverse_proxy "+backend+` {
header_up -Authorization
header_up Remote-User user0
header_up Remote-Groups buyers,staff
header_up Remote-Client orders-app
header_up Remote-Scope "`+scope+` orders:write"
}`)
}

// silentSite passes on what has a good token, and tells nobody whose it is.
func silentSite(address, backend string) string {
	return site(address, "introspect {\nscope "+scope+"\nidentity none\n}", "reverse_proxy "+backend)
}

// taciturnSite passes on what has a good token, and tells the backend the user and nothing else.
func taciturnSite(address, backend string) string {
	return site(address, "introspect {\nscope "+scope+"\nidentity none\ncopy_claims username>"+userHeader+"\n}", "reverse_proxy "+backend)
}

// checkedSite passes on what a checker lets through.
func checkedSite(address, backend, checker string) string {
	return site(address,
		"forward_auth "+checker+" {\nuri /\ncopy_headers "+userHeader+"\n}",
		"reverse_proxy "+backend+" {\nheader_up -Authorization\n}")
}

func site(address string, directives ...string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		panic(err) // every address comes from freeAddresses
	}
	return "http://:" + port + " {\n" + strings.Join(directives, "\n") + "\n}\n"
}

// Package network tells clients apart by where they are.
package network

import "net/netip"

// Of is what one person can easily have all addresses of: an IPv4 address, or the /64 of an IPv6 address. What is no address
// is a network of its own.
func Of(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, _ := ip.Prefix(64) // an IPv6 address has one
	return prefix.String()
}

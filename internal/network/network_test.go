package network_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/portcullis-gateway/portcullis/internal/network"
)

func TestOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3::4": "2001:db8:1:2::/64",
		"fe80::1%eth0": "fe80::/64", "@": "@", "": "",
	} {
		assert.Equal(t, want, network.Of(address))
	}
}

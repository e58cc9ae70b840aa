package authserver

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestM03AddressesThatAreNotPublic(t *testing.T) {
	for _, address := range []string{
		"127.0.0.1", "127.8.9.10", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1",
		"192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1",
		"fd00:ec2::254", "ff02::1", "2001:db8::1", "2002:7f00:1::", "2001::1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "fec0::1", "3fff::1",
	} {
		assert.False(t, isPublic(netip.MustParseAddr(address)), address)
	}
	for _, address := range []string{"1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "::ffff:8.8.8.8", "2606:4700::1111", "2a00:1450::1"} {
		assert.True(t, isPublic(netip.MustParseAddr(address)), address)
	}
}

// Somebody registers a client whose keys are said to be at an address that he cannot reach himself.
func TestH07M03AttackTheServerAsAWayIn(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	reached := make(chan struct{}, 10)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			reached <- struct{}{}
			conn.Close()
		}
	}()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	s, err := New(Config{Issuer: "https://auth.example.com"}, nil)
	require.NoError(t, err)
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		keys, err := s.publicKeySet("https://" + host + ":" + port + "/jwks")
		require.NoError(t, err)
		_, err = keys.set.Verify(context.Background(), func([]jose.JSONWebKey) bool { return true })
		require.ErrorIs(t, err, errNotPublic, host)
	}
	for _, place := range []string{"http://" + listener.Addr().String(), "file:///etc/passwd", "https://u:p@example.com", "https:///x", "gopher://x"} {
		_, err := s.publicKeySet(place)
		require.Error(t, err, place)
	}
	assert.Empty(t, reached)
	assert.Nil(t, publicTransport.Proxy, "a proxy would look for the address itself")
}

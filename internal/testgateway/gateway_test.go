package testgateway

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAccepting(t *testing.T) {
	const (
		header  = "goroutine profile: total 9\n"
		serving = "#\t0x1\tnet.(*TCPListener).Accept+0x2f\tnet/tcpsock.go:386\n#\t0x2\tnet/http.(*Server).Serve+0x30c\tnet/http/server.go:3463\n"
		other   = "#\t0x3\tnet/http.(*conn).serve+0x1\tnet/http/server.go:1\n"
	)
	for name, test := range map[string]struct {
		profile string
		servers int
	}{
		"none":            {header + "7 @ 0x1\n" + other + "\n", 0},
		"one":             {header + "7 @ 0x1\n" + other + "\n1 @ 0x2 0x3\n" + serving + "\n", 1},
		"several":         {header + "12 @ 0x2\n" + serving + "\n7 @ 0x1\n" + other + "\n2 @ 0x4\n# labels: {\"a\":\"1 @\"}\n" + serving, 14},
		"what they serve": {header + "3 @ 0x1\n#\t0x1\tnet/http.serverHandler.ServeHTTP+0x1\n\n", 0},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.servers, accepting(test.profile)) })
	}
}

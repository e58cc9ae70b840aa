package e2e

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// gateway is a Portcullis with a site of its own.
type gateway struct {
	*testgateway.Gateway
	address string // the address of the site
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	address := testgateway.Address(t)
	return &gateway{Gateway: testgateway.New(t), address: address}
}

// caddyfile writes a Caddyfile of further global options and the body of the site. Access logs are on, so that the
// program writes all that it ever writes.
func (g *gateway) caddyfile(global, site string) string {
	return fmt.Sprintf(`{
	admin %s
	default_bind 127.0.0.1
	metrics
%s
}
http://:%s {
	log
%s
}
`, g.Admin, global, g.address[strings.LastIndexByte(g.address, ':')+1:], site)
}

// reload loads another Caddyfile, which has to succeed.
func (g *gateway) reload(t *testing.T, caddyfile string) {
	t.Helper()
	loaded := g.Load(t, caddyfile)
	require.Equal(t, http.StatusOK, loaded.Status, loaded.Body)
}

// inFlight is how many requests the site is serving, if it has one route that all of them take.
func (g *gateway) inFlight(t *testing.T) int {
	t.Helper()
	most := 0
	for line := range strings.SplitSeq(testgateway.Get(t, "http://"+g.Admin+"/metrics").Body, "\n") {
		if strings.HasPrefix(line, "caddy_http_requests_in_flight{") {
			n, err := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:])
			assert.NoError(t, err)
			most = max(most, n)
		}
	}
	return most
}

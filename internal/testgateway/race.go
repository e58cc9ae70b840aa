package testgateway

import "strings"

// reportEdge is the line above and below a report of the race detector.
const reportEdge = "==================\n"

// The innermost frames of a race that is Caddy's own (2.11.9): now and then it starts its HTTP app before its TLS app, and a handshake
// over QUIC, which the race detector orders by nothing, reads of the TLS app what Start has written.
const (
	readByCaddy    = "  github.com/caddyserver/caddy/v2/modules/caddytls.(*TLS).CaddyModule()\n"
	writtenByCaddy = "  github.com/caddyserver/caddy/v2/modules/caddytls.(*TLS).Start()\n"
)

// withoutRaceOfCaddy takes the reports of that race out of what a program has written.
func withoutRaceOfCaddy(written string) string {
	var kept strings.Builder
	for {
		before, report, begins := strings.Cut(written, reportEdge)
		kept.WriteString(before)
		if !begins {
			return kept.String()
		}
		report, after, ends := strings.Cut(report, reportEdge)
		if !ends || !isRaceOfCaddy(report) {
			kept.WriteString(report)
		}
		written = after
	}
}

// isRaceOfCaddy tells whether the two accesses of a report, each with its innermost frame first, are those.
func isRaceOfCaddy(report string) bool {
	_, read, isRead := strings.Cut(report, "\nRead at ")
	_, write, isWrite := strings.Cut(read, "\nPrevious write at ")
	_, readBy, _ := strings.Cut(read, "\n")
	_, writtenBy, _ := strings.Cut(write, "\n")
	return isRead && isWrite && strings.HasPrefix(readBy, readByCaddy) && strings.HasPrefix(writtenBy, writtenByCaddy)
}

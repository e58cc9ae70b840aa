package introspect

import "time"

// AuthTime is when the user signed in (auth_time, RFC 9470 section 6.2). It is zero where the answer does not say, or
// not in a way that can be read.
func (a *Answer) AuthTime() time.Time {
	value, _ := a.claims.get("auth_time")
	date, err := numericDate(value, "auth_time")
	if err != nil {
		return time.Time{}
	}
	return date.time()
}

package policy

import (
	"errors"
	"slices"
	"time"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// StepUp: the token is good, and its user has to sign in again, or in a better way. RFC 9470 section 3 answers 401.
const StepUp Outcome = "step_up"

// Authentication is what is demanded of how a user has signed in (RFC 9470). The zero value demands nothing.
type Authentication struct {
	// ACR: acr has to be one of them, if there are any.
	ACR []string
	// MaxAge is how long ago that may be by auth_time, in whole seconds; 0 is for ever.
	MaxAge time.Duration
}

// Check says what is wrong with the demands themselves.
func (a Authentication) Check() error {
	switch {
	case slices.Contains(a.ACR, ""):
		return errors.New("acr: must not be empty")
	case a.MaxAge < 0 || a.MaxAge%time.Second != 0:
		return errors.New("max_age: must be a number of whole seconds, and at least one: what is younger than that nobody can prove")
	}
	return nil
}

// lacks says what an answer lacks, or nothing. What it does not tell it lacks.
func (a Authentication) lacks(answer *introspect.Answer, now time.Time, leeway time.Duration) string {
	if len(a.ACR) > 0 {
		value, _ := answer.Claim("acr")
		if acr, ok := value.(string); !ok || !slices.Contains(a.ACR, acr) {
			return "the user has not signed in as acr demands"
		}
	}
	if a.MaxAge == 0 {
		return ""
	}
	switch at := answer.AuthTime(); {
	case at.IsZero():
		return "nobody says when the user has signed in (auth_time)"
	case at.After(now.Add(leeway)):
		return "the user has signed in in the future (auth_time)"
	case now.Sub(at) > a.MaxAge:
		return "the user has signed in too long ago (auth_time)"
	}
	return ""
}

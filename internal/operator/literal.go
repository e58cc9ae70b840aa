package operator

import (
	"fmt"
	"regexp"
)

// anyPlaceholder is a placeholder of a kind that Caddy knows.
var anyPlaceholder = regexp.MustCompile(`\{(env|file|http|vars|system|time)\.[^{}]*\}`)

// CheckLiteral refuses a placeholder in the values of an option that takes them as they are written: nobody means its name.
func CheckLiteral(option string, values ...string) error {
	for _, value := range values {
		if name := anyPlaceholder.FindString(value); name != "" {
			return fmt.Errorf("%s: the placeholder %s is not resolved here, but in secrets, client ids, issuers and endpoints: "+
				"write {$NAME} for a variable of the environment", option, name)
		}
	}
	return nil
}

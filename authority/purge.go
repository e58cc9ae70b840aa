package authority

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/portcullis-gateway/portcullis/cache"
)

// Purged says what was forgotten.
type Purged struct {
	// Authorities are the labels of those of which the selected answers were forgotten.
	Authorities []string `json:"authorities"`
	// WithoutMemory are the labels of those of which nothing is remembered anyway.
	WithoutMemory []string `json:"without_memory"`
}

// Purge forgets what is selected of the authorities with a label, or of all where it is empty. When it returns, the next
// request that needs such an answer asks, and no answer that was asked for before is kept.
func (a *App) Purge(label string, selector cache.Selector) (Purged, error) {
	purged := Purged{Authorities: make([]string, 0), WithoutMemory: make([]string, 0)}
	all := a.all()
	var labels []string
	for _, authority := range all {
		labels = append(labels, authority.Label)
		switch {
		case label != "" && authority.Label != label:
		case authority.state == nil:
			authority.forget(selector)
			purged.WithoutMemory = append(purged.WithoutMemory, authority.Label)
		default:
			authority.forget(selector)
			authority.state.Sweep()
			purged.Authorities = append(purged.Authorities, authority.Label)
		}
	}
	if label != "" && !slices.Contains(labels, label) {
		if len(labels) == 0 {
			return Purged{}, errors.New("no such authority: the configuration has none")
		}
		// The name is not repeated: it may be a token in the wrong place.
		return Purged{}, fmt.Errorf("no such authority: there are %s", strings.Join(slices.Compact(labels), ", "))
	}
	purged.Authorities, purged.WithoutMemory = slices.Compact(purged.Authorities), slices.Compact(purged.WithoutMemory)
	return purged, nil
}

package authserver

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/dpop"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// State is what outlives a reload of the configuration, beside what the store keeps: what is remembered of the clients and
// users of the store, who has failed to sign in, and which proofs of possession were used. It is safe for concurrent use.
type State struct {
	directory *directory
	// logins are the attempts of users to sign in, authentications those of clients to authenticate.
	logins, authentications *throttle
	// pushes are the requests that public clients have pushed, registrations those of clients to be registered.
	pushes, registrations *limiter
	proofs                dpop.Memory
	cancel                func()

	mu sync.Mutex
	// said is what the last configurations have said of their users, by name.
	said map[string]said
}

// said is a digest of what a configuration says of a user, and since when.
type said struct {
	digest introspect.Digest
	since  time.Time
}

// sayOf notes what a configuration says of a user, and returns when it was something else last; zero: never.
func (s *State) sayOf(user *User, now time.Time) (changedAt time.Time) {
	claims, _ := json.Marshal(user.Claims) // strings can be marshaled
	digest := introspect.DigestOf(string(claims))
	s.mu.Lock()
	defer s.mu.Unlock()
	before, ok := s.said[user.Name]
	switch {
	case !ok:
		s.said[user.Name] = said{digest: digest}
	case before.digest != digest:
		s.said[user.Name] = said{digest, now}
	}
	return s.said[user.Name].since
}

// StateConfig describes a State.
type StateConfig struct {
	// Shared says that other processes use the store, of whose changes this one may hear late.
	Shared bool
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// NewState returns a State over a store. It does not use the store but to subscribe to its changes.
func NewState(from store.Store, config StateConfig) *State {
	if config.Now == nil {
		config.Now = time.Now
	}
	life := time.Duration(0)
	if config.Shared {
		life = sharedLife
	}
	s := &State{
		directory:       newDirectory(from, life, config.Now),
		logins:          newThrottle(config.Now, loginAllowances),
		authentications: newThrottle(config.Now, clientAllowances),
		pushes:          newLimiter(pushes, config.Now),
		registrations:   newLimiter(registrations, config.Now),
		proofs:          dpop.NewLocalMemory(dpop.DefaultProofs, config.Now),
		cancel:          func() {},
		said:            make(map[string]said),
	}
	if config.Shared {
		s.proofs = storedProofs{from}
	}
	if from != nil {
		s.cancel = from.Subscribe(s.directory.changed)
	}
	return s
}

// Close ends the subscription. A Server that still uses the State remembers nothing more.
func (s *State) Close() {
	s.directory.closed.Store(true)
	s.cancel()
}

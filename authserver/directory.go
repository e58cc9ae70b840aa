package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// The kinds of record that say who there is. A party is a client or a user: they share one kind, so that the store
// itself sees to it that no user has the name of a client (RFC 9700 section 4.15). What is disabled of the configuration
// has a record beside it.
const (
	partyKind = "party"
	markKind  = "disabled"
)

// The owners of the records of parties: what kind of party it is, and where it came from.
const (
	ownerClients    = "client"
	ownerRegistered = "registered"
	ownerUsers      = "user"
)

// party is a client or a user as the directory knows it: one of both, or neither where there is no such party.
type party struct {
	client *Client
	user   *User
	// generation counts how often the party was disabled and enabled. It is odd while it is disabled.
	generation uint64
	// until is when the party is gone by itself; zero: never.
	until time.Time
}

func (p *party) isDisabled() bool { return p.generation%2 == 1 }

// client returns the client with an id, or nil if there is none or it is disabled.
func (s *Server) client(ctx context.Context, id string) (*Client, error) {
	found, err := s.party(ctx, id, s.state.directory.find)
	if err != nil || found == nil {
		return nil, err
	}
	return s.limited(found.client), nil
}

// user returns the user with a name, or nil if there is none or he is disabled.
func (s *Server) user(ctx context.Context, name string) (*User, error) {
	found, err := s.party(ctx, name, s.state.directory.find)
	if err != nil || found == nil {
		return nil, err
	}
	return found.user, nil
}

// parties returns the client of a token, and its user if it names one.
func (s *Server) parties(ctx context.Context, clientID, username string) (client *Client, user *User, err error) {
	if client, err = s.client(ctx, clientID); err != nil || username == "" {
		return client, nil, err
	}
	user, err = s.user(ctx, username)
	return client, user, err
}

// lookup gets what the store knows by a record's kind and name.
type lookup func(ctx context.Context, id recordID, read reader) (*party, error)

// party returns whoever has a name and is not disabled, or nil. Whom the configuration has, the store's records do not
// replace.
func (s *Server) party(ctx context.Context, name string, find lookup) (*party, error) {
	configured := s.configured[name]
	if !isRecordName(name) {
		return configured, nil // too long a name to be kept, or to be disabled by
	}
	if configured == nil {
		found, err := find(ctx, recordID{partyKind, name}, s.readParty)
		if err != nil || found == nil || found.isDisabled() || !found.until.IsZero() && !s.now().Before(found.until) {
			return nil, err
		}
		return found, nil
	}
	mark, err := find(ctx, recordID{markKind, name}, readMark)
	switch {
	case err != nil:
		return nil, err
	case mark.isDisabled():
		return nil, nil
	case mark.generation == 0:
		return configured, nil
	}
	return configured.after(mark.generation), nil
}

// after is the party after it was disabled and enabled again.
func (p *party) after(generation uint64) *party {
	again := &party{generation: generation}
	if p.client != nil {
		client := *p.client
		client.generation = generation
		again.client = &client
	}
	if p.user != nil {
		user := *p.user
		user.generation = generation
		again.user = &user
	}
	return again
}

// configure makes parties of the clients and users of the configuration.
func (s *Server) configure() {
	s.configured = make(map[string]*party, len(s.clients)+len(s.users))
	for id, client := range s.clients {
		s.configured[id] = &party{client: client}
	}
	for name, user := range s.users {
		s.configured[name] = &party{user: user}
	}
}

// isRecordName says whether a party may be called so. Nobody looks for another one in the store.
func isRecordName(name string) bool { return name != "" && len(name) <= maxName && isText(name) }

// recordID is how a record is called.
type recordID struct{ kind, name string }

// reader makes a party of a record, or of there being none. before is what it made of an earlier version, or nil.
type reader func(record *store.Record, before *party) *party

// readParty reads the record of a client or a user. One that this server does not understand is nobody's.
func (s *Server) readParty(record *store.Record, before *party) *party {
	if record == nil {
		return nil
	}
	read := s.readClient
	if record.Owner == ownerUsers {
		read = readUser
	}
	found, err := read(record, before)
	if err != nil {
		s.logger.Error("a client or user of the store cannot be used",
			slog.String("name", record.Name), slog.String("error", err.Error()))
		return nil
	}
	return found
}

// mark is the record of what is or was disabled of the configuration.
type mark struct {
	Generation uint64 `json:"generation"`
}

func readMark(record *store.Record, _ *party) *party {
	if record == nil {
		return new(party)
	}
	var m mark
	if err := json.Unmarshal(record.Value, &m); err != nil {
		return &party{generation: 1} // whatever it says, somebody wanted it disabled
	}
	return &party{generation: m.Generation}
}

// directory remembers what the store knows of parties, so that asking at every request costs nearly nothing. It hears of
// every change in this process at once; of those of other processes it may miss one, and so what it remembers has a short
// life there. It is safe for concurrent use.
type directory struct {
	store store.Store
	now   func() time.Time
	// life is how long something is remembered without looking again; 0: until somebody says that it changed.
	life time.Duration
	// closed says that nobody tells of changes any more, and so that nothing is remembered.
	closed atomic.Bool

	mu      sync.RWMutex
	entries map[introspect.Digest]entry
	// reads are those under way that began after the last change of what they read.
	reads map[introspect.Digest]*reading

	// password and secret are those of some user and some client that check slowly: what is checked in the place of
	// those of names that nobody has.
	password, secret atomic.Pointer[Secret]
}

// entry is what is remembered of a record.
type entry struct {
	party   *party
	checked time.Time
	// changed says that it is known to be out of date.
	changed bool
	// failed says that the store could not be asked when it was time to.
	failed bool
}

// reading is one call to the store, for all who want to know the same.
type reading struct {
	done  chan struct{}
	party *party
	err   error
}

const (
	// sharedLife is how long a process may not know what another one did if it does not hear of it.
	sharedLife = 5 * time.Second
	// maxEntries bounds the memory of the directory.
	maxEntries = 4096
	// readTimeout bounds a call to the store.
	readTimeout = 10 * time.Second
)

func newDirectory(from store.Store, life time.Duration, now func() time.Time) *directory {
	return &directory{
		store: from, now: now, life: life,
		entries: make(map[introspect.Digest]entry), reads: make(map[introspect.Digest]*reading),
	}
}

// find returns what is remembered, or asks the store. While the store cannot be asked, what it said last holds, unless it
// is known to have changed.
func (d *directory) find(ctx context.Context, id recordID, read reader) (*party, error) {
	if d.closed.Load() {
		return d.ask(ctx, id, read)
	}
	key := store.RecordDigest(id.kind, id.name)
	d.mu.RLock()
	known, ok := d.entries[key]
	d.mu.RUnlock()
	if ok && !known.changed {
		age := time.Duration(0)
		if d.life > 0 {
			age = d.now().Sub(known.checked)
		}
		switch {
		case d.life == 0 || age < d.life/2:
			return known.party, nil
		case age < d.life || known.failed:
			d.begin(ctx, key, id, read)
			return known.party, nil
		}
	}
	under := d.begin(ctx, key, id, read)
	select {
	case <-under.done:
		return under.party, under.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask returns what the store says now, whatever is remembered.
func (d *directory) ask(ctx context.Context, id recordID, read reader) (*party, error) {
	record, err := d.store.Record(ctx, id.kind, id.name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return read(nil, nil), nil
	case err != nil:
		return nil, err
	}
	return read(&record, nil), nil
}

// begin starts to read a record, or joins whoever does.
func (d *directory) begin(ctx context.Context, key introspect.Digest, id recordID, read reader) *reading {
	d.mu.Lock()
	defer d.mu.Unlock()
	if under := d.reads[key]; under != nil {
		return under
	}
	under := &reading{done: make(chan struct{})}
	d.reads[key] = under
	go d.fill(context.WithoutCancel(ctx), under, key, id, read)
	return under
}

// fill reads a record, which nobody's request can end, and remembers it if there is one. Of a name that nobody has nothing
// is remembered, so that those who make names up fill no memory; but that nothing is disabled is, since only names of the
// configuration are asked for.
func (d *directory) fill(ctx context.Context, under *reading, key introspect.Digest, id recordID, read reader) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	d.mu.RLock()
	known, wasKnown := d.entries[key]
	d.mu.RUnlock()
	record, err := d.store.Record(ctx, id.kind, id.name)
	failed := err != nil && !errors.Is(err, store.ErrNotFound)
	switch {
	case failed:
		under.err = err
	case err != nil:
		under.party = read(nil, nil)
	default:
		under.party = read(&record, known.party)
		d.learn(under.party)
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	defer close(under.done)
	if d.reads[key] != under {
		return // it changed meanwhile: this is for those who asked before
	}
	delete(d.reads, key)
	switch {
	case failed && wasKnown && !known.changed:
		under.party, under.err = known.party, nil
		d.entries[key] = entry{party: known.party, checked: d.now(), failed: true}
	case failed:
	case under.party == nil:
		delete(d.entries, key)
	default:
		d.makeRoom(key)
		d.entries[key] = entry{party: under.party, checked: d.now()}
	}
}

// learn takes note of what takes long to check.
func (d *directory) learn(found *party) {
	if found != nil && found.user != nil {
		d.password.Store(found.user.Password)
	}
	if found != nil && found.client != nil && found.client.Secret != nil && found.client.Secret.slow {
		d.secret.Store(found.client.Secret)
	}
}

// makeRoom drops the one of a few entries, as the map has them at random, that was looked at longest ago, if there is no
// room for another.
func (d *directory) makeRoom(key introspect.Digest) {
	if _, ok := d.entries[key]; ok || len(d.entries) < maxEntries {
		return
	}
	var oldest introspect.Digest
	least, looked := time.Unix(math.MaxInt32, 0), 0
	for one, e := range d.entries {
		if e.checked.Before(least) {
			oldest, least = one, e.checked
		}
		if looked++; looked == 16 {
			break
		}
	}
	delete(d.entries, oldest)
}

// changed forgets what records said. Reads under way are for those who asked before.
func (d *directory) changed(revocation store.Revocation) {
	if len(revocation.Records) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range revocation.Records {
		delete(d.reads, key)
		if e, ok := d.entries[key]; ok {
			// What was made of it may serve to make the next one.
			e.changed = true
			d.entries[key] = e
		}
	}
}

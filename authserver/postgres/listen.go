package postgres

import (
	"context"
	"encoding/hex"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/introspect"
)

const (
	// channel is where the processes that share a database tell each other what they have revoked.
	channel = "portcullis_revoked"
	// heartbeat is how often the connection is tried on which they are heard, while nobody says anything.
	heartbeat = 5 * time.Second
	// overlap is how far behind the last moment at which everything was heard a new connection begins: a transaction
	// may have been under way then.
	overlap = callTimeout + statementTimeout
)

// What a message is about.
const (
	aToken  = "token"
	aFamily = "family"
	aRecord = "record"
)

// message says that a token, or a family, was revoked, or a record changed. It bears the store's name: it knows what it has done itself.
func (s *Store) message(about string, digest introspect.Digest) string {
	return s.name + " " + about + " " + hex.EncodeToString(digest[:])
}

// listener tells the subscribers of a store what other processes have revoked. Rotations are not told to other
// processes: nobody remembers a refresh token.
type listener struct {
	store *Store
	// heard is a moment up to which every revocation has been heard.
	heard time.Time
}

// run listens until the life of the store ends, on the first connection, or else on new ones.
func (l *listener) run(conn *pgx.Conn, err error) {
	ctx := l.store.life
	for {
		if err == nil {
			l.listen(ctx, conn)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryInterval):
		}
		conn, err = l.connect(ctx)
	}
}

// connect returns a new connection that hears what is revoked from now on, and tells what was revoked since it was last
// heard.
func (l *listener) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, l.store.config.ConnConfig.Copy())
	if err != nil {
		return nil, err
	}
	now := time.Now()
	err = begin(ctx, conn)
	if err == nil {
		_, err = conn.Exec(ctx, "listen "+channel)
	}
	if err == nil {
		err = l.tell(ctx, conn, `select digest from portcullis_tokens where revoked_at > clock_timestamp() - $1::interval`,
			now.Sub(l.heard)+overlap)
	}
	if err != nil {
		hangUp(conn)
		return nil, err
	}
	l.heard = now
	return conn, nil
}

// listen tells what it hears until the connection fails or ctx ends.
func (l *listener) listen(ctx context.Context, conn *pgx.Conn) {
	defer hangUp(conn)
	for ctx.Err() == nil {
		now := time.Now()
		waiting, cancel := context.WithTimeout(ctx, heartbeat)
		notification, err := conn.WaitForNotification(waiting)
		silent := waiting.Err() != nil
		cancel()
		switch {
		case err == nil:
			err = l.hear(ctx, conn, notification.Payload)
		case silent:
			err = ping(ctx, conn)
		}
		if err != nil {
			return
		}
		l.heard = now
	}
}

func ping(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	return conn.Ping(ctx)
}

// hear tells what a message of another process says. What it does not understand it leaves alone: anybody who may
// connect to the database can send a message.
func (l *listener) hear(ctx context.Context, conn *pgx.Conn, message string) error {
	words := strings.Split(message, " ")
	if len(words) != 3 || words[0] == l.store.name {
		return nil
	}
	decoded, err := hex.DecodeString(words[2])
	if err != nil || len(decoded) != len(introspect.Digest{}) {
		return nil
	}
	switch words[1] {
	case aToken:
		l.notify(introspect.Digest(decoded))
	case aFamily:
		return l.tell(ctx, conn, revokedFamilySQL, decoded)
	case aRecord:
		_ = l.store.subscribers.Notify(store.Revocation{Records: []introspect.Digest{introspect.Digest(decoded)}})
	}
	return nil
}

// tell tells the subscribers of the tokens that a query returns.
func (l *listener) tell(ctx context.Context, conn *pgx.Conn, query string, argument any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, err := conn.Query(ctx, query, argument)
	if err != nil {
		return err
	}
	revoked, err := digests(rows)
	if err != nil {
		return err
	}
	if len(revoked) > 0 {
		l.notify(revoked...)
	}
	return nil
}

// notify tells the subscribers. One that panics spoils it for nobody but itself.
func (l *listener) notify(revoked ...introspect.Digest) {
	_ = l.store.subscribers.Notify(store.Revocation{Digests: revoked})
}

// hangUp closes a connection, and waits for a server that does not answer no longer than it would for a heartbeat.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), heartbeat)
	defer cancel()
	_ = conn.Close(ctx)
}

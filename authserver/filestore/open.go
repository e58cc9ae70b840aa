package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

const (
	// lockTimeout is how long an attempt waits for another process to let go of the file.
	lockTimeout = time.Second
	// retryInterval is how long a failed attempt answers for the next one.
	retryInterval = time.Second
)

// errDamaged is what a panic of bbolt means. The file stays mapped and locked then, so it is not tried again.
var errDamaged = errors.New("the file is damaged, restore it from a backup or move it away, and restart")

// opening is one attempt at opening the file. Whoever needs the file meanwhile shares it. It runs on nobody's
// context, so that a caller who gives up does not spoil it for the others.
type opening struct {
	done chan struct{}
	// The outcome is not to be read before done is closed.
	file  *file
	err   error
	ended time.Time
}

func (o *opening) run(path string, notify func(store.Revocation) error) {
	defer close(o.done)
	db, err := open(path)
	o.ended = time.Now()
	if err != nil {
		o.err = fmt.Errorf("opening %s: %w", path, unavailable(err))
		return
	}
	o.file = &file{db: db, commits: newCommitter(db, notify)}
}

// stale says whether the attempt failed so long ago that the next caller should make a new one.
func (o *opening) stale(now time.Time) bool {
	select {
	case <-o.done:
		return o.err != nil && !errors.Is(o.err, errDamaged) && now.Sub(o.ended) >= retryInterval
	default:
		return false
	}
}

// file is the open database and the one goroutine that writes to it.
type file struct {
	db      *bolt.DB
	commits *committer
}

// close commits what is still queued and closes the database. No write may be enqueued any more.
func (f *file) close() error {
	f.commits.stop()
	return f.db.Close()
}

// open opens the database, and leaves the file unlocked if it fails with anything but errDamaged.
func open(path string) (db *bolt.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, cure(err)
	}
	if err := checkSize(path); err != nil {
		return nil, cure(err)
	}
	db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout:      lockTimeout,
		FreelistType: bolt.FreelistMapType,
		NoStatistics: true,
	})
	if err != nil {
		return nil, cure(err)
	}
	if err := prepare(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// checkSize refuses a file that was cut off: to read a page that is missing is a fault of the memory that the file is
// mapped to, and would end the process. Opening for reading alone looks at the first two pages only, which bbolt makes
// sure of.
func checkSize(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockTimeout, ReadOnly: true})
	if err != nil {
		return err
	}
	return errors.Join(db.View(func(tx *bolt.Tx) error {
		info, err := os.Stat(path)
		if err == nil && info.Size() < tx.Size() {
			err = fmt.Errorf("the file has %d bytes of at least %d, restore it from a backup or move it away",
				info.Size(), tx.Size())
		}
		return err
	}), db.Close())
}

// cure adds to an error what the operator can do about it.
func cure(err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("another process, or another store of this one, holds the lock of the file; "+
			"stop it or use another file: %w", err)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum),
		errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("the file is damaged or of another kind, restore it from a backup or move it away: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the user that this process runs as has to own the file and its directory: %w", err)
	default:
		return err
	}
}

package filestore

import (
	"errors"
	"fmt"
	"strconv"

	bolt "go.etcd.io/bbolt"
)

// version is the schema that this package reads and writes. A file of version 1 has no sessions, and one of version 2
// neither records nor holders.
const version = 3

var (
	// metaBucket holds the schema version, in decimal.
	metaBucket = []byte("meta")
	// tokensBucket holds tokens as JSON by their digests.
	tokensBucket = []byte("tokens")
	// familiesBucket holds nothing by the digest of the family followed by the digest of the token.
	familiesBucket = []byte("families")
	// codesBucket holds authorization codes as JSON by their digests.
	codesBucket = []byte("codes")
	// onceBucket holds the instant until which a value is kept by the digest of the value.
	onceBucket = []byte("once")
	// sessionsBucket holds sessions as JSON by their digests.
	sessionsBucket = []byte("sessions")
	// holdersBucket holds nothing by the digest of a holder followed by the digest of a token or a session; see holder.
	holdersBucket = []byte("holders")
	// recordsBucket holds records as JSON by their kinds, a NUL and their names.
	recordsBucket = []byte("records")
	// ownersBucket holds nothing by the digest of a kind and an owner followed by the name of a record.
	ownersBucket = []byte("owners")
	// expiryBucket says what is to be removed when; see due.
	expiryBucket = []byte("expiry")

	versionKey = []byte("version")
)

var errForeign = errors.New("the file belongs to another program, use another one")

// prepare makes sure that the file has the schema of this package. It writes to a fresh file and to one of an earlier
// version only.
func prepare(db *bolt.DB) error {
	found := 0 // fresh
	if err := db.View(func(tx *bolt.Tx) (err error) {
		if first, _ := tx.Cursor().First(); first != nil {
			found, err = readVersion(tx)
		}
		return err
	}); err != nil {
		return fmt.Errorf("reading the schema: %w", err)
	}
	if found == version {
		return nil
	}
	if err := db.Update(func(tx *bolt.Tx) error {
		if err := create(tx); err != nil || found == 0 {
			return err
		}
		return addHolders(tx)
	}); err != nil {
		return fmt.Errorf("creating the schema: %w", err)
	}
	return nil
}

func readVersion(tx *bolt.Tx) (int, error) {
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		return 0, errForeign
	}
	text := string(meta.Get(versionKey))
	found, err := strconv.Atoi(text)
	switch {
	case err != nil || found < 1:
		return 0, fmt.Errorf("%w: schema version %q", errForeign, text)
	case found > version:
		return 0, fmt.Errorf("the file has schema version %d and this program knows %d; "+
			"use a newer version of it or another file", found, version)
	default:
		return found, nil
	}
}

// create makes the buckets that are missing.
func create(tx *bolt.Tx) error {
	for _, name := range [][]byte{
		metaBucket, tokensBucket, familiesBucket, codesBucket, onceBucket, sessionsBucket,
		holdersBucket, recordsBucket, ownersBucket, expiryBucket,
	} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return fmt.Errorf("creating bucket %s: %w", name, err)
		}
	}
	return tx.Bucket(metaBucket).Put(versionKey, strconv.AppendInt(nil, version, 10))
}

package worker

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// shelf is one kind of record.
type shelf string

const (
	shelfBids      shelf = "bids"      // by auction
	shelfAsks      shelf = "asks"      // by pool and epoch
	shelfFinished  shelf = "finished"  // results that bids have promised, by auction
	shelfAttempts  shelf = "attempts"  // by lease
	shelfDurations shelf = "durations" // by action, or platform
)

// records keeps what a worker must not lose.
type records interface {
	// Put stores r under key, replacing what is there. When it returns nil the
	// record outlives a crash of the machine; when it fails it may or may not.
	Put(s shelf, key build.ID, r wire.Record) error
	// Get fills r and says whether there was a record.
	Get(s shelf, key build.ID, r wire.Record) (bool, error)
	// Delete removes records; those that are not there are no error.
	Delete(s shelf, keys ...build.ID) error
	// Each calls fn for every key with its encoding, in order of keys, until it fails.
	Each(s shelf, fn func(key build.ID, raw []byte) error) error
}

// bidRecord is a bid as it must be opened later.
type bidRecord struct {
	Build        build.ID
	Price        escrow.Credits
	FinishMillis int64
	Nonce        build.ID
	WallMillis   int64 // when it was written, to forget it some day
}

func (r *bidRecord) Code(c *wire.Coder) {
	c.Bytes32(&r.Build)
	r.Price.Code(c)
	c.I64(&r.FinishMillis)
	c.Bytes32(&r.Nonce)
	c.I64(&r.WallMillis)
}

// attemptRecord is a finished build of a lease: all that is needed to commit to
// it again, word for word, and to upload it.
type attemptRecord struct {
	Build      build.ID
	Action     build.ID
	Builder    bool
	Commitment build.ID
	Lodged     []byte
	Opening    build.Opening
	// LeaseMillis is how long the lease was given for at a time; an uploader's is
	// given for as long.
	LeaseMillis int64
	WallMillis  int64
}

func (r *attemptRecord) Code(c *wire.Coder) {
	c.Bytes32(&r.Build)
	c.Bytes32(&r.Action)
	c.Bool(&r.Builder)
	c.Bytes32(&r.Commitment)
	c.Blob(&r.Lodged, build.MaxLodgedBytes)
	r.Opening.Code(c)
	c.I64(&r.LeaseMillis)
	c.I64(&r.WallMillis)
}

func (r *attemptRecord) bytes() int64 {
	return int64(r.Opening.Summary.ManifestBytes + r.Opening.Summary.OutputBytes)
}

// durationRecord holds the newest durations of an action or a platform.
type durationRecord struct{ Millis []int64 }

func (r *durationRecord) Code(c *wire.Coder) {
	wire.List(c, &r.Millis, estimateSamples, func(c *wire.Coder, v *int64) { c.I64(v) })
}

// journal is records in a bbolt file. Each Put is one transaction, flushed to
// disk before it returns; a crash during it leaves the record as it was.
type journal struct{ db *bolt.DB }

func openJournal(path string) (*journal, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("opening the journal %s: another process holds it; is this worker running already?", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the journal %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, s := range []shelf{shelfBids, shelfAsks, shelfFinished, shelfAttempts, shelfDurations} {
			if _, err := tx.CreateBucketIfNotExists([]byte(s)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the journal %s: %w", path, err), db.Close())
	}
	return &journal{db: db}, nil
}

// Put implements records.
func (j *journal) Put(s shelf, key build.ID, r wire.Record) error {
	raw := wire.Encode(r)
	if err := j.db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte(s)).Put(key[:], raw) }); err != nil {
		return fmt.Errorf("writing %s %x to the journal: %w", s, key[:6], err)
	}
	return nil
}

// Get implements records.
func (j *journal) Get(s shelf, key build.ID, r wire.Record) (bool, error) {
	var raw []byte
	err := j.db.View(func(tx *bolt.Tx) error {
		raw = bytes.Clone(tx.Bucket([]byte(s)).Get(key[:]))
		return nil
	})
	if err == nil && raw != nil {
		err = wire.Decode(raw, r)
	}
	if err != nil {
		return false, fmt.Errorf("reading %s %x from the journal: %w", s, key[:6], err)
	}
	return raw != nil, nil
}

// Delete implements records.
func (j *journal) Delete(s shelf, keys ...build.ID) error {
	if len(keys) == 0 {
		return nil
	}
	err := j.db.Update(func(tx *bolt.Tx) error {
		for _, k := range keys {
			if err := tx.Bucket([]byte(s)).Delete(k[:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("removing %d %s from the journal: %w", len(keys), s, err)
	}
	return nil
}

// Each implements records.
func (j *journal) Each(s shelf, fn func(key build.ID, raw []byte) error) error {
	err := j.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte(s)).ForEach(func(k, v []byte) error {
			if len(k) != len(build.ID{}) {
				return fmt.Errorf("a key of %d bytes", len(k))
			}
			return fn(build.ID(k), bytes.Clone(v))
		})
	})
	if err != nil {
		return fmt.Errorf("walking the %s of the journal: %w", s, err)
	}
	return nil
}

func (j *journal) Close() error {
	if err := j.db.Close(); err != nil {
		return fmt.Errorf("closing the journal: %w", err)
	}
	return nil
}

// dated is a record that says when it was written.
type dated interface {
	wire.Record
	written() time.Time
}

func (r *bidRecord) written() time.Time      { return time.UnixMilli(r.WallMillis) }
func (r *askRecord) written() time.Time      { return time.UnixMilli(r.WallMillis) }
func (r *finishedRecord) written() time.Time { return time.UnixMilli(r.WallMillis) }

// forget removes the records of a shelf that are older than age: what they were
// kept for is over for good.
func forget[R dated](rs records, s shelf, blank func() R, now time.Time, age time.Duration) error {
	var old []build.ID
	err := rs.Each(s, func(key build.ID, raw []byte) error {
		r := blank()
		if err := wire.Decode(raw, r); err != nil {
			return err
		}
		if now.Sub(r.written()) > age {
			old = append(old, key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return rs.Delete(s, old...)
}

// forgetPromises forgets bids, asks and promised results.
func forgetPromises(rs records, now time.Time) error {
	return errors.Join(
		forget(rs, shelfBids, func() *bidRecord { return new(bidRecord) }, now, bidAge),
		forget(rs, shelfAsks, func() *askRecord { return new(askRecord) }, now, askAge),
		forget(rs, shelfFinished, func() *finishedRecord { return new(finishedRecord) }, now, bidAge),
	)
}

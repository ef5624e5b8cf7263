package duty

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

var (
	bucketBuilds = []byte("builds") // build id → canonical record
	bucketOrder  = []byte("order")  // sequence of submission, 8 bytes big-endian → build id
)

// Archive is this node's own file of settled builds, for after they have left
// the replicated state. A node that was away while thousands settled lacks some;
// its peers have them.
type Archive struct{ db *bbolt.DB }

// OpenArchive opens the file at path, or makes it.
func OpenArchive(path string) (*Archive, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("opening the archive %s: another process holds it; stop that node first", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the archive %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketBuilds, bucketOrder} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the archive %s: %w", path, err), db.Close())
	}
	return &Archive{db}, nil
}

// Close closes the file.
func (a *Archive) Close() error { return a.db.Close() }

// Put stores settled builds, all or none. A build that is there already is
// replaced by a newer version only.
func (a *Archive) Put(builds []*build.Build) error {
	err := a.db.Update(func(tx *bbolt.Tx) error {
		for _, b := range builds {
			if b.State != build.Settled {
				return fmt.Errorf("build %s is %v, only settled builds are archived", short(b.ID), b.State)
			}
			if old, err := get(tx, b.ID); err == nil && old.Version >= b.Version {
				continue
			}
			if err := tx.Bucket(bucketBuilds).Put(b.ID[:], wire.Encode(b)); err != nil {
				return err
			}
			if err := tx.Bucket(bucketOrder).Put(binary.BigEndian.AppendUint64(nil, b.Sequence), b.ID[:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("archiving %d builds: %w", len(builds), err)
	}
	return nil
}

// ErrNotArchived says that a build is not in this node's archive.
var ErrNotArchived = errors.New("build is not in this node's archive")

// Get returns an archived build, or an error that wraps ErrNotArchived.
func (a *Archive) Get(id ID) (b *build.Build, err error) {
	err = a.db.View(func(tx *bbolt.Tx) error {
		b, err = get(tx, id)
		return err
	})
	return b, err
}

func get(tx *bbolt.Tx, id ID) (*build.Build, error) {
	raw := tx.Bucket(bucketBuilds).Get(id[:])
	if raw == nil {
		return nil, fmt.Errorf("%w: %s", ErrNotArchived, short(id))
	}
	b := new(build.Build)
	if err := wire.Decode(raw, b); err != nil {
		return nil, fmt.Errorf("reading build %s from the archive: %w", short(id), err)
	}
	return b, nil
}

// Newest returns at most limit archived builds, the last submitted first.
func (a *Archive) Newest(limit int) (out []*build.Build, err error) {
	err = a.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketOrder).Cursor()
		for k, v := c.Last(); k != nil && len(out) < limit; k, v = c.Prev() {
			b, err := get(tx, ID(v))
			if err != nil {
				return err
			}
			out = append(out, b)
		}
		return nil
	})
	return out, err
}

// archiveLoop puts settled builds into the archive, those first that it finds at
// the start. What it has put it remembers, so that a look costs little.
func (d *Duties) archiveLoop(ctx context.Context) {
	put := make(map[ID]uint64) // versions
	known := func(id ID, version uint64) bool { return put[id] >= version }
	for {
		changed := d.config.Source.Changed()
		settled := d.config.Source.Settled(archiveBatch, known)
		if len(settled) > 0 {
			if err := d.config.Archive.Put(settled); err != nil {
				d.log.Error("archiving", "error", err)
			} else {
				for _, b := range settled {
					put[b.ID] = b.Version
				}
			}
		}
		if len(put) > maxRemembered {
			clear(put) // they are looked at once more, and found in the archive
		}
		if !pause(ctx, archivePause) {
			return
		}
		if len(settled) == archiveBatch {
			continue // there may be more
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

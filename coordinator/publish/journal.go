package publish

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// ID names builds, transcripts and coordinators.
type ID = build.ID

var (
	bucketEntries     = []byte("entries")     // Raft index, 8 bytes big-endian → canonical raftfsm.Entry
	bucketItems       = []byte("items")       // number of the item → canonical raftfsm.Item
	bucketTranscripts = []byte("transcripts") // digest → bytes
	bucketBuilds      = []byte("builds")      // build → where its leaves are
	bucketCertified   = []byte("certified")   // number of the item → build
	bucketEvents      = []byte("events")      // leaf → those that status lists repeat
	bucketEpochs      = []byte("epochs")      // number → canonical raftfsm.EpochItem whose entries are not written yet
	bucketMeta        = []byte("meta")
	keyPosition       = []byte("position")
	keyCosigned       = []byte("cosigned")
)

// position is how far the journal and the log have come.
type position struct {
	Index uint64 // the last entry that was taken
	Chain ID     // after it
	Items uint64 // items taken: numbers below are here, logged, or were missed
	// Logged is how many items are in the log, Leaves how many leaves they are.
	Logged, Leaves uint64
	// Key is the cluster's key for what is logged next, PKIX DER.
	Key []byte
}

// Code is the canonical encoding.
func (p *position) Code(c *wire.Coder) {
	c.U64(&p.Index)
	c.Bytes32(&p.Chain)
	c.U64(&p.Items)
	c.U64(&p.Logged)
	c.U64(&p.Leaves)
	c.Blob(&p.Key, 512)
}

// journal keeps what applied entries leave until the log has it. Take hands
// over, a writer makes it durable in batches.
type journal struct {
	db     *bbolt.DB
	update func(func(*bbolt.Tx) error) error // db's; tests have it fail

	mu      sync.Mutex
	turned  *sync.Cond // something below changed
	queue   []raftfsm.Applied
	bytes   int
	taken   uint64 // index of the last entry in queue or on disk
	written position
	err     error // of the last try to write, nil once one has succeeded
	closed  bool
	news    chan struct{} // room for one: something was written
	done    chan struct{} // the writer has ended
}

// openJournal opens the file at path, or makes it for a cluster with this key.
func openJournal(path string, clusterKey []byte) (*journal, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("opening the journal of evidence %s: another process holds it; stop that node first", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the journal of evidence %s: %w", path, err)
	}
	j := &journal{db: db, update: db.Update, written: position{Key: clusterKey}, news: make(chan struct{}, 1), done: make(chan struct{})}
	j.turned = sync.NewCond(&j.mu)
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketEntries, bucketItems, bucketTranscripts, bucketBuilds, bucketCertified, bucketEvents, bucketEpochs, bucketMeta} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		if raw := tx.Bucket(bucketMeta).Get(keyPosition); raw != nil {
			return wire.Decode(raw, &j.written)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the journal of evidence %s: %w", path, err), db.Close())
	}
	j.taken = j.written.Index
	go j.write()
	return j, nil
}

// close writes what is queued and closes the file.
func (j *journal) close() error {
	j.mu.Lock()
	j.closed = true
	j.turned.Broadcast()
	j.mu.Unlock()
	<-j.done
	return errors.Join(j.failure(), j.db.Close())
}

func (j *journal) failure() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// take accepts what one entry left, in order. Entries that are on disk already
// come again after a restart and are passed over. It waits only while more than
// maxQueuedBytes are not on disk.
func (j *journal) take(a raftfsm.Applied) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if a.Index <= j.taken {
		return
	}
	for j.bytes > maxQueuedBytes && !j.closed {
		j.turned.Wait()
	}
	j.taken = a.Index
	j.queue = append(j.queue, a)
	j.bytes += sizeOf(&a)
	j.turned.Broadcast()
}

func sizeOf(a *raftfsm.Applied) int {
	n := len(a.Record)
	for i := range a.Transcripts {
		n += len(a.Transcripts[i].Bytes)
	}
	return n
}

// durable returns once all up to the entry at index is on disk.
func (j *journal) durable(index uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.written.Index < min(index, j.taken) && j.err == nil && !j.closed {
		j.turned.Wait()
	}
	switch {
	case j.written.Index >= min(index, j.taken):
		return nil
	case j.err != nil:
		return fmt.Errorf("keeping evidence: %w", j.err)
	}
	return errors.New("keeping evidence: the node stops")
}

// position is what is on disk.
func (j *journal) position() position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.written
}

// write makes the queue durable until the journal is closed. What could not be
// written, on a full disk say, is tried again.
func (j *journal) write() {
	defer close(j.done)
	for {
		j.mu.Lock()
		for len(j.queue) == 0 && !j.closed {
			j.turned.Wait()
		}
		batch, at := j.queue, j.written
		j.queue = nil
		j.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		err := j.update(func(tx *bbolt.Tx) (err error) {
			if at, err = stored(tx, at); err != nil {
				return err
			}
			for i := range batch {
				if err := keep(tx, &batch[i], &at); err != nil {
					return fmt.Errorf("entry %d: %w", batch[i].Index, err)
				}
			}
			return tx.Bucket(bucketMeta).Put(keyPosition, wire.Encode(&at))
		})
		j.mu.Lock()
		j.err = nil
		if err != nil {
			j.err = fmt.Errorf("writing the journal of evidence: %w", err)
			j.queue = append(batch, j.queue...)
		} else {
			j.written.Index, j.written.Chain, j.written.Items = at.Index, at.Chain, at.Items
			for i := range batch {
				j.bytes -= sizeOf(&batch[i])
			}
		}
		j.turned.Broadcast()
		closed := j.closed
		j.mu.Unlock()
		j.announce()
		switch {
		case err == nil:
		case closed:
			return
		default:
			time.Sleep(retryPause)
		}
	}
}

func (j *journal) announce() {
	select {
	case j.news <- struct{}{}:
	default:
	}
}

// keep stores what one entry left. Items that the log has already are known from
// peers, but for epochs, whose entries this node writes itself if it has them all.
func keep(tx *bbolt.Tx, a *raftfsm.Applied, at *position) error {
	if err := tx.Bucket(bucketEntries).Put(number(a.Index), a.Record); err != nil {
		return err
	}
	for i := range a.Transcripts {
		if tx.Bucket(bucketBuilds).Get(a.Transcripts[i].Build[:]) != nil {
			continue // the log has it, from a peer
		}
		if err := tx.Bucket(bucketTranscripts).Put(a.Transcripts[i].Digest[:], a.Transcripts[i].Bytes); err != nil {
			return err
		}
	}
	for i := range a.Items {
		n := a.FirstItem + uint64(i)
		item := &a.Items[i]
		if e := item.Epoch; e != nil {
			if err := tx.Bucket(bucketEpochs).Put(number(e.Number), wire.Encode(e)); err != nil {
				return err
			}
		}
		if n < at.Logged {
			continue
		}
		if err := tx.Bucket(bucketItems).Put(number(n), wire.Encode(item)); err != nil {
			return err
		}
	}
	at.Index, at.Chain, at.Items = a.Index, a.Chain, a.FirstItem+uint64(len(a.Items))
	return nil
}

// stored is the position on disk, or initial where there is none: two loops
// advance it, each its part.
func stored(tx *bbolt.Tx, initial position) (at position, err error) {
	raw := tx.Bucket(bucketMeta).Get(keyPosition)
	if raw == nil {
		return initial, nil
	}
	return at, wire.Decode(raw, &at)
}

// number is a key that sorts as its number does.
func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// item returns the item with a number, if it is here.
func (j *journal) item(n uint64) (item *raftfsm.Item, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(bucketItems).Get(number(n))
		if raw == nil {
			return nil
		}
		item = new(raftfsm.Item)
		return wire.Decode(raw, item)
	})
	if err != nil {
		return nil, fmt.Errorf("reading item %d of the log: %w", n, err)
	}
	return item, nil
}

// transcript returns a transcript that is not in the log yet.
func (j *journal) transcript(digest ID) (raw []byte, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		raw = append(raw, tx.Bucket(bucketTranscripts).Get(digest[:])...)
		return nil
	})
	return raw, err
}

// logged says how far the log has come (Logged, Leaves and Key of to) by which
// leaves, and where those of builds are.
func (j *journal) logged(to position, first uint64, leaves [][]byte, builds []LoggedBuild) error {
	err := j.db.Update(func(tx *bbolt.Tx) error {
		at, err := stored(tx, position{})
		if err != nil {
			return err
		}
		if err := deleteBelow(tx.Bucket(bucketItems), to.Logged); err != nil {
			return err
		}
		if err := keepEvents(tx, first, leaves); err != nil {
			return err
		}
		for i := range builds {
			b := &builds[i]
			if err := errors.Join(
				tx.Bucket(bucketBuilds).Put(b.Build[:], wire.Encode(&b.Place)),
				tx.Bucket(bucketCertified).Put(number(b.Item), b.Build[:]),
				tx.Bucket(bucketTranscripts).Delete(b.Place.Transcript[:]),
			); err != nil {
				return err
			}
		}
		at.Logged, at.Leaves, at.Key = to.Logged, to.Leaves, to.Key
		return tx.Bucket(bucketMeta).Put(keyPosition, wire.Encode(&at))
	})
	if err != nil {
		return fmt.Errorf("writing the journal of evidence: %w", err)
	}
	j.mu.Lock()
	j.written.Logged, j.written.Leaves, j.written.Key = to.Logged, to.Leaves, to.Key
	j.mu.Unlock()
	return nil
}

// deleteBelow removes what has a smaller number than n.
func deleteBelow(b *bbolt.Bucket, n uint64) error {
	c := b.Cursor()
	for k, _ := c.First(); k != nil && binary.BigEndian.Uint64(k) < n; k, _ = c.First() {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

package inputs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gavel/cas"
	"gavel/cas/disk"
	"gavel/cas/tree"
)

// Config says how much a cache may hold. Zero fields mean the defaults.
type Config struct {
	TreeBytes int64 // of laid-out trees, in use or not
	BlobBytes int64 // of blobs; exceeded by at most a sixteenth and the trees being laid out
	Limits    tree.Limits
}

// Options say how a tree is to be laid out.
type Options struct {
	UID, GID int   // owner of everything; -1 leaves the process's own
	Epoch    int64 // modification time of everything, seconds since 1970
}

// Cache is a directory of one process:
//
//	blobs/          a disk store, shared by the trees
//	trees/NAME/root a complete tree; NAME tells root digest, options and bytes
//	building/       trees under way, and what eviction has yet to remove
//	boot            the boot during which the trees were made
//	lock            held by the process
type Cache struct {
	dir    string
	config Config
	blobs  *disk.Store
	lock   *os.File
	next   atomic.Uint64 // names in building/

	trim    sync.Mutex   // held by whoever trims blobs
	fetched atomic.Int64 // bytes since the last trim

	mu    sync.Mutex
	trees map[key]*laidOut // guarded by mu
	used  int64            // bytes of trees, building ones included; guarded by mu
}

// key names a tree and how it is laid out.
type key struct {
	root    cas.Digest
	options Options
}

// laidOut is a tree in the cache, or on its way. Its fields but ready are
// guarded by Cache.mu.
type laidOut struct {
	key   key
	ready chan struct{} // closed when made or failed
	err   error         // why it failed; set before ready is closed
	dir   string        // of the wrapper, under trees/
	bytes int64
	users int
	last  time.Time // when it was last released
}

// Open opens the cache in dir, which it makes if need be. A second process is refused.
func Open(dir string, c Config) (*Cache, error) {
	if c.TreeBytes == 0 {
		c.TreeBytes = DefaultTreeBytes
	}
	if c.BlobBytes == 0 {
		c.BlobBytes = DefaultBlobBytes
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening input cache: %w", err)
	}
	cache := &Cache{dir: dir, config: c, trees: map[key]*laidOut{}}
	if err := cache.open(); err != nil {
		if cache.lock != nil {
			cache.lock.Close()
		}
		return nil, fmt.Errorf("opening input cache %s: %w", dir, err)
	}
	return cache, nil
}

func (c *Cache) open() error {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	c.lock = lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another process uses it (give each worker a directory of its own): %w", err)
	}
	if err := c.restore(); err != nil {
		return err
	}
	c.blobs, err = disk.Open(filepath.Join(c.dir, "blobs"), disk.Options{Cache: true})
	return err
}

// Close releases the cache; what it holds stays for the next process. No tree
// may be in use.
func (c *Cache) Close() error {
	return errors.Join(c.blobs.Close(), c.lock.Close())
}

// Checkout is a tree in use.
type Checkout struct {
	Dir string // absolute; immutable: for use as a lower layer only

	release sync.Once
	done    func()
}

// Release ends the use; the directory may be gone any time after.
func (o *Checkout) Release() { o.release.Do(o.done) }

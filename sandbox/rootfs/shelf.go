package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

// Shelf is the unpacked images of one worker: directories named after the 64
// hex digits of their config digests, as sandbox/native's Config.ImageDir has
// them. It is safe for concurrent use; one process at a time may open it.
//
// Beside each directory lies a record of its size, made before it, whose
// modification time is the image's last use. A directory without a record was
// put there by a person: it is listed and served, never counted or removed.
type Shelf struct {
	dir      string
	maxBytes int64
	opts     Options
	lock     *os.File

	mu       sync.Mutex
	images   map[string]*shelved      // by name of their directories
	taking   map[string]chan struct{} // closed when the unpacking under way has ended
	reserved int64                    // what unpackings under way may need
	uses     int64                    // a clock of uses
}

// shelved is one image on the shelf; the Shelf's mu guards it.
type shelved struct {
	bytes   int64
	lastUse int64 // of Shelf.uses
	users   int
	foreign bool // a person's
}

// OpenShelf opens or makes the shelf in dir, and removes what was half-made
// there or was unpacked for other owners than opts asks for. maxBytes bounds what its images
// take of the disk; 0 is no bound. The directory is closed to other users.
func OpenShelf(dir string, maxBytes int64, opts Options) (*Shelf, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of images: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { // images hold set-user programs
		return nil, fmt.Errorf("closing the directory of images to other users: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the directory of images: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("the directory of images %s is in use; give each worker its own: %w", dir, err)
	}
	s := &Shelf{dir: dir, maxBytes: maxBytes, opts: opts, lock: lock, images: map[string]*shelved{}, taking: map[string]chan struct{}{}}
	if err := s.load(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("opening the directory of images %s: %w", dir, err)
	}
	return s, nil
}

// load makes the shelf what its directory says.
func (s *Shelf) load() error {
	if err := Sweep(s.dir); err != nil {
		return err
	}
	records, err := s.readRecords()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && isName(e.Name()) {
			s.images[e.Name()] = &shelved{foreign: true}
		}
	}
	for _, r := range records { // least recently used first
		held := s.images[r.name]
		if held == nil { // a crash came between the record and the directory
			if err := os.Remove(s.recordPath(r.name)); err != nil {
				return err
			}
			continue
		}
		if r.Owners != ownersOf(s.opts) {
			st, err := s.unshelve(r.name)
			if err != nil {
				return err
			}
			if err := st.discard(); err != nil {
				return err
			}
			continue
		}
		s.uses++
		*held = shelved{bytes: r.Bytes, lastUse: s.uses}
	}
	doomed, err := s.makeRoom(0)
	return errors.Join(err, discardAll(doomed))
}

// isName says whether name is that of an image's directory.
func isName(name string) bool { return sandbox.ValidRoot("sha256:" + name) }

func nameOf(root string) (string, error) {
	name, ok := strings.CutPrefix(root, "sha256:")
	if !ok || !isName(name) {
		return "", fmt.Errorf("%w: root %q is no image's", sandbox.ErrRefused, root)
	}
	return name, nil
}

// Roots lists the images that are unpacked, sorted.
func (s *Shelf) Roots() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var roots []string
	for name := range s.images {
		roots = append(roots, "sha256:"+name)
	}
	slices.Sort(roots)
	return roots
}

// Acquire returns the directory of an unpacked image, which stays until release
// is called. Its error wraps fs.ErrNotExist when the image is not on the shelf.
func (s *Shelf) Acquire(root string) (dir string, release func(), err error) {
	name, err := nameOf(root)
	if err != nil {
		return "", nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.images[name]
	if held == nil {
		return "", nil, fmt.Errorf("image %s is not unpacked here: %w", root, fs.ErrNotExist)
	}
	s.use(name, held)
	held.users++
	return filepath.Join(s.dir, name), sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		held.users--
	}), nil
}

// Take unpacks img unless it is here, and returns its name. Callers for one
// image unpack it once between them. Images that were used longest ago make
// room; where those in use leave none the error wraps sandbox.ErrUnavailable.
func (s *Shelf) Take(ctx context.Context, img sandbox.Image) (root string, err error) {
	root = img.Root()
	name, err := nameOf(root)
	if err != nil {
		return "", err
	}
	for {
		done, here := s.begin(name)
		if here {
			return root, nil
		}
		if done == nil {
			break
		}
		select {
		case <-done: // it may have failed for reasons of its caller, so look again
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	defer s.end(name)
	if err := s.unpack(ctx, img, name); err != nil {
		return "", err
	}
	return root, nil
}

// begin returns at once: here if the image is, else the end of another caller's
// unpacking to wait for, else nil: this caller unpacks, and calls end.
func (s *Shelf) begin(name string) (done <-chan struct{}, here bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held := s.images[name]; held != nil {
		s.use(name, held)
		return nil, true
	}
	if done := s.taking[name]; done != nil {
		return done, false
	}
	s.taking[name] = make(chan struct{})
	return nil, false
}

func (s *Shelf) end(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.taking[name])
	delete(s.taking, name)
}

// unpack makes the image's directory, within the bound all the time.
func (s *Shelf) unpack(ctx context.Context, img sandbox.Image, name string) (err error) {
	var expected int64
	for _, l := range img.Layers {
		expected += max(l.Size, 0) // a wrong one is refused by unpackStaged
	}
	reserved := expected
	if err := s.reserve(expected); err != nil {
		return err
	}
	defer func() { s.giveBack(reserved) }()
	st, err := stage(s.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.discard()) }()
	if err := unpackStaged(ctx, img, st, s.opts); err != nil {
		return err
	}
	taken, err := diskBytes(st.root())
	if err != nil {
		return fmt.Errorf("measuring image %s: %w", img.Root(), err)
	}
	// Small files take more of the disk than of an archive.
	if over := taken - expected; over > 0 {
		if err := s.reserve(over); err != nil {
			return err
		}
		reserved += over
	}
	if err := s.writeRecord(name, record{Bytes: taken, Owners: ownersOf(s.opts)}); err != nil {
		return err
	}
	if err := st.commit(filepath.Join(s.dir, name)); err != nil {
		return errors.Join(err, os.Remove(s.recordPath(name)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= reserved // from here on it is held
	reserved = 0
	held := &shelved{bytes: taken}
	s.images[name] = held
	s.use(name, held)
	return nil
}

// Close ends the use of the shelf. Its images stay for the next who opens it.
func (s *Shelf) Close() error { return s.lock.Close() }

package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"gavel/sandbox"
)

// reserve makes room for more bytes and keeps it for its caller.
func (s *Shelf) reserve(more int64) error {
	s.mu.Lock()
	doomed, err := s.makeRoom(more)
	if err == nil && s.maxBytes > 0 {
		if free := s.maxBytes - s.held() - s.reserved; more > free {
			err = fmt.Errorf("%w: the image takes %d bytes more and the directory of images has %d of its %d left beside what is in use; raise its limit or try later",
				sandbox.ErrUnavailable, more, max(free, 0), s.maxBytes)
		}
	}
	if err == nil {
		s.reserved += more
	}
	s.mu.Unlock()
	// Removing takes a while, in which others go on.
	if gone := discardAll(doomed); gone != nil && err == nil {
		s.giveBack(more)
		err = gone
	}
	return err
}

func (s *Shelf) giveBack(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= bytes
}

// held is what the shelf's own images take. The caller holds mu.
func (s *Shelf) held() (total int64) {
	for _, held := range s.images {
		total += held.bytes
	}
	return total
}

// makeRoom takes images off the shelf that were used longest ago and are not in
// use, until more bytes fit or none is left. The caller holds mu, and discards
// what is returned, also with an error.
func (s *Shelf) makeRoom(more int64) (doomed []*staging, err error) {
	if s.maxBytes <= 0 || more > s.maxBytes { // emptying the shelf would not help either
		return nil, nil
	}
	for s.held()+s.reserved+more > s.maxBytes {
		oldest := ""
		for name, held := range s.images {
			if held.users == 0 && !held.foreign && (oldest == "" || held.lastUse < s.images[oldest].lastUse) {
				oldest = name
			}
		}
		if oldest == "" {
			break
		}
		st, err := s.unshelve(oldest)
		if err != nil {
			return doomed, fmt.Errorf("making room for an image: %w", err)
		}
		doomed = append(doomed, st)
	}
	return doomed, nil
}

// unshelve takes an image's name away, so that nobody ever sees half of it, and
// returns what is then to be discarded. The caller holds mu, or is alone.
func (s *Shelf) unshelve(name string) (*staging, error) {
	st, err := stage(s.dir)
	if err != nil {
		return nil, err
	}
	err = os.Rename(filepath.Join(s.dir, name), st.root())
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a person may have removed it
		return nil, errors.Join(err, st.discard())
	}
	delete(s.images, name)
	if err := os.Remove(s.recordPath(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, st.discard())
	}
	return st, nil
}

func discardAll(doomed []*staging) error {
	var failed []error
	for _, st := range doomed {
		failed = append(failed, st.discard())
	}
	return errors.Join(failed...)
}

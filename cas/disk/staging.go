package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
)

// staging is this process's directory for unfinished uploads. A process holds a
// lock on its directory for as long as it lives, whichever way it ends, so that
// others can tell what was abandoned.
type staging struct {
	dir  string
	lock *os.File
	next atomic.Uint64
}

// openStaging makes a new directory under parent, after sweeping away those
// whose owners are gone. Both happen under one lock: a directory that was just
// made and is not yet locked must not look abandoned.
func openStaging(parent string) (*staging, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	turn, err := lockFile(filepath.Join(parent, "lock"), syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer turn.Close()
	if err := sweep(parent); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "process-")
	if err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(dir, "lock"), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		return nil, err
	}
	return &staging{dir: dir, lock: lock}, nil
}

// sweep removes directories that nobody holds.
func sweep(parent string) error {
	dirs, err := filepath.Glob(filepath.Join(parent, "process-*"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		lock, err := lockFile(filepath.Join(d, "lock"), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			continue // alive, or just closed
		}
		if err != nil {
			return err
		}
		err = os.RemoveAll(d)
		lock.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// lockFile opens path and locks it; closing it, or the end of the process, unlocks.
func lockFile(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), how)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return f, nil
}

func (s *staging) newPath() string {
	return filepath.Join(s.dir, strconv.FormatUint(s.next.Add(1), 10))
}

func (s *staging) close() error {
	return errors.Join(os.RemoveAll(s.dir), s.lock.Close())
}

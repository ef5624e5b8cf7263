package container

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// A place holds a lock and runsDir with one directory per run, on which that
// run's tmpfs is mounted. Nothing else is ever written below runsDir, so cleaning
// it up takes unmounting and rmdir, never a recursive removal that could follow a
// mount into somebody's inputs.
const (
	lockName = "lock"
	runsDir  = "runs"
)

// Place is a directory of one runner in which its runs' files are mounted.
type Place struct {
	Dir string

	group int
	lock  *os.File // held while the runner lives

	mending sync.Mutex // guards lock and the making of directories once runs are under way
}

// TakePlace makes the directory and locks it until this process ends, Release or
// Remove, and tries whether file systems can be mounted there. Its runs are open
// to root and, for passing through only, to one group.
func TakePlace(dir string, group int) (*Place, error) {
	p := &Place{Dir: dir, group: group}
	if err := p.makeDirs(); err != nil {
		return nil, err
	}
	if err := p.takeLock(); err != nil {
		return nil, err
	}
	if err := p.try(); err != nil {
		return nil, errors.Join(err, p.lock.Close())
	}
	return p, nil
}

// makeDirs makes what of the directories is not there.
func (p *Place) makeDirs() error {
	for _, d := range []string{p.Dir, filepath.Join(p.Dir, runsDir)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("making the scratch directory: %w", err)
		}
		if p.group == 0 {
			continue
		}
		if err := errors.Join(os.Chown(d, 0, p.group), os.Chmod(d, 0o710)); err != nil {
			return fmt.Errorf("opening the scratch directory to its containers: %w", err)
		}
	}
	return nil
}

// takeLock locks the file that bears the lock's name when it is locked: whoever
// had it before may have removed it in between (Remove), and then it keeps nobody out.
func (p *Place) takeLock() error {
	for {
		lock, err := os.OpenFile(filepath.Join(p.Dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, os.ErrNotExist) { // the directory was removed as well
			if err = p.makeDirs(); err == nil {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("opening the scratch directory's lock: %w", err)
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return errors.Join(fmt.Errorf("another worker uses the scratch directory %s; give each its own: %w", p.Dir, err), lock.Close())
		}
		if p.named(lock) {
			p.lock = lock
			return nil
		}
		lock.Close() // of a file that is gone
	}
}

// named says whether an open file is the one that bears the lock's name.
func (p *Place) named(lock *os.File) bool {
	if lock == nil {
		return false
	}
	open, err := lock.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(filepath.Join(p.Dir, lockName))
	return err == nil && os.SameFile(open, there)
}

// mend makes again what somebody who cleans up directories such as /run removed,
// the lock too: else a second worker could take the place.
func (p *Place) mend() error {
	p.mending.Lock()
	defer p.mending.Unlock()
	if err := p.makeDirs(); err != nil {
		return err
	}
	if p.named(p.lock) {
		return nil
	}
	gone := p.lock
	if err := p.takeLock(); err != nil {
		return err
	}
	return gone.Close()
}

func (p *Place) try() error {
	probe := p.Run("probe")
	if err := probe.Make(Tree{InputDir: "/", Bytes: 1 << 20}); err != nil {
		return err
	}
	return probe.Remove()
}

// Run is where a run's files lie; nothing is there yet.
func (p *Place) Run(run string) Scratch {
	return Scratch{Dir: filepath.Join(p.Dir, runsDir, run), place: p}
}

// Runs lists the runs of which something lies here.
func (p *Place) Runs() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(p.Dir, runsDir))
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Sweep unmounts and removes the runs of a process that was killed.
func (p *Place) Sweep() error {
	runs, err := p.Runs()
	if err != nil {
		return err
	}
	var errs []error
	for _, run := range runs {
		errs = append(errs, p.Run(run).Remove())
	}
	return errors.Join(errs...)
}

// Release lets another runner take the directory.
func (p *Place) Release() error { return p.lock.Close() }

// Remove removes the directory, in which no run may be left, and releases it.
// What it does not know it leaves, and with it the directory, and says so.
func (p *Place) Remove() error {
	errs := []error{os.RemoveAll(filepath.Join(p.Dir, cpusDir))}
	for _, path := range []string{filepath.Join(p.Dir, runsDir), filepath.Join(p.Dir, lockName), p.Dir} {
		err := os.Remove(path)
		if path == p.Dir && errors.Is(err, unix.ENOTEMPTY) && p.onlyOurs() {
			err = nil // the next is taking it: our lock's name is gone
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	// Last, so that whoever takes it next finds nothing half removed.
	return errors.Join(append(errs, p.Release())...)
}

// onlyOurs says whether nothing stands in the directory but what every runner makes there.
func (p *Place) onlyOurs() bool {
	entries, err := os.ReadDir(p.Dir)
	return err == nil && !slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return !slices.Contains([]string{lockName, runsDir, cpusDir}, e.Name())
	})
}

// NewRunID names a run as nobody else's.
func NewRunID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

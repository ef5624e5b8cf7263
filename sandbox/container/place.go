package container

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
}

// TakePlace makes the directory and locks it until this process ends or Release,
// and tries whether file systems can be mounted there. Its runs are open to root
// and, for passing through only, to one group.
func TakePlace(dir string, group int) (*Place, error) {
	for _, d := range []string{dir, filepath.Join(dir, runsDir)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("making the scratch directory: %w", err)
		}
	}
	lock, err := takeLock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("another worker uses the scratch directory %s; give each its own: %w", dir, err)
	}
	p := &Place{Dir: dir, group: group, lock: lock}
	if err := p.try(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return p, nil
}

// takeLock locks a file, and not one that Remove took away in between.
func takeLock(path string) (*os.File, error) {
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		var ours, there os.FileInfo
		if ours, err = lock.Stat(); err == nil {
			if there, err = os.Stat(path); err == nil && !os.SameFile(ours, there) {
				err = errors.New("it is being removed")
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

func (p *Place) try() error {
	probe := p.Run("probe")
	if err := probe.Make(Tree{InputDir: "/", Bytes: 1 << 20}); err != nil {
		return err
	}
	if err := probe.Remove(); err != nil {
		return err
	}
	if p.group == 0 {
		return nil
	}
	for _, d := range []string{p.Dir, filepath.Join(p.Dir, runsDir)} {
		if err := errors.Join(os.Chown(d, 0, p.group), os.Chmod(d, 0o710)); err != nil {
			return fmt.Errorf("opening the scratch directory to its containers: %w", err)
		}
	}
	return nil
}

// Run is where a run's files lie; nothing is there yet.
func (p *Place) Run(run string) Scratch {
	return Scratch{Dir: filepath.Join(p.Dir, runsDir, run), group: p.group}
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

// Remove releases the directory and takes it away. No run may be left in it; what
// else stands there, stays.
func (p *Place) Remove() error {
	err := errors.Join(os.RemoveAll(filepath.Join(p.Dir, cpusDir)), os.Remove(filepath.Join(p.Dir, runsDir)))
	if err == nil {
		err = os.Remove(filepath.Join(p.Dir, lockName)) // while it is locked: see takeLock
	}
	if err == nil {
		err = os.Remove(p.Dir)
	}
	return errors.Join(err, p.Release())
}

// NewRunID names a run as nobody else's.
func NewRunID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

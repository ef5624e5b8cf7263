package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

// Options say how images are unpacked.
type Options struct {
	// Shift is added to every user and group of an image, 0 to 65535, which gives
	// their owners on this machine. Only root changes owners: without root
	// everything belongs to this process's user, who can read and enter all of it.
	Shift int
	// Note, if set, is told in a sentence what of an image was left out.
	Note func(string)
}

// stagingPrefix names directories that hold half-made or half-removed roots.
const stagingPrefix = ".gavel-root-"

// staging is a directory of this process's own beside the final names. Whoever
// sweeps leaves it alone as long as its lock is held.
type staging struct {
	dir  string
	lock *os.File
}

// Unpack makes dir, which must not exist, the root file system of img. It
// checks every byte, and leaves nothing when it fails. After a crash Sweep of
// dir's parent removes what was made. Errors that wrap sandbox.ErrRefused are the image's own.
func Unpack(ctx context.Context, img sandbox.Image, dir string, opts Options) error {
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("unpacking an image to %s: %w", dir, fs.ErrExist)
	}
	st, err := stage(filepath.Dir(dir))
	if err != nil {
		return err
	}
	if err := unpackStaged(ctx, img, st, opts); err != nil {
		return errors.Join(err, st.discard())
	}
	return errors.Join(st.commit(dir), st.discard())
}

// stage makes a locked directory below parent, for this process's user alone:
// what an image marks set-user must not be within others' reach while it is made.
func stage(parent string) (*staging, error) {
	for {
		dir, err := os.MkdirTemp(parent, stagingPrefix)
		if err != nil {
			return nil, fmt.Errorf("making a directory to unpack an image in: %w", err)
		}
		lock, err := lockDir(dir)
		if err == nil {
			return &staging{dir, lock}, nil
		}
		// A sweep may have taken it between these two steps.
		if rmErr := os.Remove(dir); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			return nil, errors.Join(err, rmErr)
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

// lockDir opens dir and locks it against sweeps until it is closed.
func lockDir(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.Close()
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	var held, named unix.Stat_t
	if err := errors.Join(unix.Fstat(int(d.Fd()), &held), unix.Lstat(dir, &named)); err != nil || held.Ino != named.Ino {
		d.Close()
		return nil, fmt.Errorf("locking %s: it was removed: %w", dir, fs.ErrNotExist)
	}
	return d, nil
}

func (s *staging) root() string { return filepath.Join(s.dir, "root") }

// commit gives the staged root its final name. Its content is on disk by then:
// a name that survives a power failure while the files behind it do not would
// be a root that lies about its digest.
func (s *staging) commit(dir string) error {
	if err := unix.Syncfs(int(s.lock.Fd())); err != nil {
		return fmt.Errorf("writing the unpacked image to disk: %w", err)
	}
	if err := unix.Renameat2(unix.AT_FDCWD, s.root(), unix.AT_FDCWD, dir, unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("naming the unpacked image %s: %w", dir, err)
	}
	return syncDir(filepath.Dir(dir))
}

// discard removes the directory with what is in it.
func (s *staging) discard() error {
	return errors.Join(Remove(s.dir), s.lock.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Sweep removes from parent what processes that have died left of unpacking and
// removing. It leaves alone what living ones are at.
func Sweep(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return fmt.Errorf("sweeping half-made images: %w", err)
	}
	var failed []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), stagingPrefix) || !e.IsDir() {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		lock, err := lockDir(dir)
		switch {
		case err == nil:
			failed = append(failed, (&staging{dir, lock}).discard())
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, fs.ErrNotExist):
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// unpackStaged makes the root of img in st.
func unpackStaged(ctx context.Context, img sandbox.Image, st *staging, opts Options) error {
	if err := img.Validate(runtime.GOARCH); err != nil {
		return err
	}
	if opts.Shift < 0 || opts.Shift > maxShift {
		return fmt.Errorf("users of an image cannot be shifted by %d; give 0 to %d", opts.Shift, maxShift)
	}
	u, err := newUnpacker(st.root(), opts)
	if err != nil {
		return err
	}
	defer u.close()
	if err := u.image(ctx, img); err != nil {
		return err
	}
	if u.leftOut != nil && opts.Note != nil {
		opts.Note(fmt.Sprintf("%d devices, fifos or links to them of image %s were left out: a sandbox has a /dev of its own", u.leftOutCount, img.Root()))
	}
	return nil
}

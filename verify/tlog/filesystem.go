package tlog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
)

// filesystem is what a Log and a Witness do to the disk, so that tests can let
// each step fail.
type filesystem interface {
	// Store writes new files whole and returns when their content is on the disk;
	// their names need not be.
	Store(files []stored) error
	Rename(from, to string) error
	Remove(path string) error
	MakeDir(path string) error // no error if it exists
	// SyncDirs puts the names in these directories on the disk.
	SyncDirs(dirs []string) error
}

type stored struct {
	path    string
	content []byte
}

// syncsAtOnce is how many fsync calls run at a time: a journaling file system
// commits those that wait together as one.
const syncsAtOnce = 16

type osFiles struct{}

func (osFiles) Store(files []stored) error {
	return atOnce(len(files), func(i int) error {
		f, err := os.OpenFile(files[i].path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return err
		}
		_, err = f.Write(files[i].content)
		if err == nil {
			err = f.Sync()
		}
		return errors.Join(err, f.Close())
	})
}

func (osFiles) Rename(from, to string) error { return os.Rename(from, to) }
func (osFiles) Remove(path string) error     { return os.Remove(path) }

func (osFiles) MakeDir(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (osFiles) SyncDirs(dirs []string) error {
	return atOnce(len(dirs), func(i int) error {
		d, err := os.Open(dirs[i])
		if err != nil {
			return err
		}
		return errors.Join(d.Sync(), d.Close())
	})
}

// atOnce runs n tasks, several at a time, and joins their errors.
func atOnce(n int, do func(i int) error) error {
	if n == 1 {
		return do(0)
	}
	errs := make([]error, n)
	var running sync.WaitGroup
	slots := make(chan struct{}, syncsAtOnce)
	for i := range n {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			errs[i] = do(i)
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// directory writes files below one directory so that after a crash each is there
// whole or not at all.
type directory struct {
	fs   filesystem
	root string
	// durable are the directories below root whose own names are known to be on the
	// disk. One that was merely found may be left of a crash before it got there.
	durable map[string]bool
}

// incoming holds files that have no name yet; a crash leaves them there, and
// opening removes them. A try after one that failed writes over what that left.
const incoming = "incoming"

func openDirectory(root string, files filesystem) (*directory, error) {
	if err := os.MkdirAll(filepath.Join(root, incoming), 0o755); err != nil {
		return nil, err
	}
	left, err := os.ReadDir(filepath.Join(root, incoming))
	if err != nil {
		return nil, err
	}
	for _, entry := range left {
		if err := files.Remove(filepath.Join(root, incoming, entry.Name())); err != nil {
			return nil, err
		}
	}
	// The root itself may be new, too.
	return &directory{fs: files, root: root, durable: map[string]bool{}}, files.SyncDirs([]string{filepath.Dir(root), root})
}

func (d *directory) at(path string) string { return filepath.Join(d.root, filepath.FromSlash(path)) }

// write puts all files in place, durably. A crash before it returns leaves any
// subset of them in place, each whole; the order of names on the disk is open.
func (d *directory) write(files []stored) error {
	if len(files) == 0 {
		return nil
	}
	var sync []string
	temporary := make([]stored, len(files))
	for i, f := range files {
		created, err := d.ensure(filepath.Dir(f.path))
		if err != nil {
			return err
		}
		sync = append(sync, created...)
		temporary[i] = stored{d.at(incoming + "/" + strconv.Itoa(i)), f.content}
	}
	// A crash here leaves nothing, or files in incoming.
	if err := d.fs.Store(temporary); err != nil {
		return err
	}
	for i, f := range files {
		// A crash between two of these leaves some in place: each is whole, since its
		// content was on the disk before its name.
		if err := d.fs.Rename(temporary[i].path, d.at(f.path)); err != nil {
			return err
		}
		sync = append(sync, d.at(filepath.Dir(f.path)))
	}
	slices.Sort(sync)
	if err := d.fs.SyncDirs(slices.Compact(sync)); err != nil {
		return err
	}
	for _, f := range files {
		for dir := filepath.Dir(f.path); dir != "."; dir = filepath.Dir(dir) {
			d.durable[dir] = true
		}
	}
	return nil
}

// ensure makes the directory and those above it, and returns those whose names
// still have to be synced for it to be found after a crash.
func (d *directory) ensure(dir string) (sync []string, err error) {
	if dir == "." || d.durable[dir] {
		return nil, nil
	}
	if sync, err = d.ensure(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	if err := d.fs.MakeDir(d.at(dir)); err != nil {
		return nil, err
	}
	return append(sync, d.at(filepath.Dir(dir))), nil
}

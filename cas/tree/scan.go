package tree

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"syscall"

	"gavel/cas"
)

// Scan lists a local directory and digests its files, without following any
// symlink. Every directory is listed, so that empty ones count. It refuses
// devices, fifos, sockets and what else has no place in a tree, naming the path.
func Scan(ctx context.Context, dir string, o Options) ([]Entry, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("reading directory: %w", err)
	}
	defer root.Close()
	s := &scan{ctx: ctx, root: root, options: o, limits: o.Limits.orDefault()}
	if err := s.directory("."); err != nil {
		return nil, fmt.Errorf("reading %s: %w", dir, err)
	}
	if err := s.digest(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", dir, err)
	}
	sortEntries(s.entries)
	if err := CheckEntries(s.entries, s.limits); err != nil {
		return nil, fmt.Errorf("%s cannot be uploaded: %w", dir, err)
	}
	return s.entries, nil
}

type scan struct {
	ctx     context.Context
	root    *os.Root
	options Options
	limits  Limits
	entries []Entry
	infos   []fs.FileInfo // of entries, by index; dropped once digested
}

func (s *scan) directory(path string) error {
	d, err := s.root.Open(path)
	if err != nil {
		return err
	}
	names, err := d.ReadDir(-1)
	if err = errors.Join(err, d.Close(), s.ctx.Err()); err != nil {
		return err
	}
	for _, e := range names {
		below := e.Name()
		if path != "." {
			below = path + "/" + below
		} else if slices.Contains(s.options.Without, below) {
			continue
		}
		if err := s.entry(below); err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) entry(path string) error {
	if int64(len(s.entries)) >= s.limits.Entries {
		return fmt.Errorf("%w: more than %d entries", cas.ErrTooLarge, s.limits.Entries)
	}
	if _, err := checkPath(path); err != nil {
		return err // also keeps the recursion bounded
	}
	info, err := s.root.Lstat(path)
	if err != nil {
		return err
	}
	e := Entry{Path: path}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		e.Type, e.Executable = File, mode&0o100 != 0
	case mode.IsDir():
		e.Type = Dir
	case mode&fs.ModeSymlink != 0:
		e.Type = Symlink
		if e.Target, err = s.root.Readlink(path); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%q is a %s; only files, directories and symlinks can be uploaded: remove it or leave its directory out", path, kind(mode))
	}
	s.entries, s.infos = append(s.entries, e), append(s.infos, info)
	if e.Type == Dir {
		return s.directory(path)
	}
	return nil
}

func kind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "fifo"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// digest fills in the digests of all files.
func (s *scan) digest() error {
	var files []int
	p := Progress{}
	for i := range s.entries {
		if s.entries[i].Type == File {
			files = append(files, i)
			p.Bytes += s.infos[i].Size()
		}
	}
	p.Files = len(files)
	s.options.report(p)
	var mu sync.Mutex
	return cas.Parallel(s.ctx, hashers, files, func(ctx context.Context, i int) error {
		d, err := digestFile(s.root, s.entries[i].Path, s.infos[i])
		if err != nil {
			return err
		}
		s.entries[i].Digest = d // each index belongs to one call
		mu.Lock()
		defer mu.Unlock()
		p.HashedFiles++
		p.HashedBytes += d.Size
		s.options.report(p)
		return nil
	})
}

func digestFile(root *os.Root, path string, seen fs.FileInfo) (cas.Digest, error) {
	f, err := openFile(root, path, seen)
	if err != nil {
		return cas.Digest{}, err
	}
	defer f.Close()
	h := sha256.New()
	// One byte more than it had shows that it grew, and no file can grow forever.
	n, err := io.Copy(h, io.LimitReader(f, seen.Size()+1))
	if err != nil {
		return cas.Digest{}, fmt.Errorf("reading %q: %w", path, err)
	}
	if n != seen.Size() {
		return cas.Digest{}, changed(path)
	}
	return cas.OfSum([sha256.Size]byte(h.Sum(nil)), n), nil
}

// openFile opens the regular file that Lstat saw, and nothing that took its
// place: not a symlink, not a fifo that would block.
func openFile(root *os.Root, path string, seen fs.FileInfo) (*os.File, error) {
	f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	now, err := f.Stat()
	if err == nil && (!now.Mode().IsRegular() || !os.SameFile(seen, now)) {
		err = changed(path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ErrChanged is wrapped when a local file changed while it was being read.
var ErrChanged = errors.New("changed while it was being read; wait until nothing writes to it and try again")

func changed(path string) error { return fmt.Errorf("file %q %w", path, ErrChanged) }

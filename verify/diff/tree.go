package diff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Kind is what lies at a path.
type Kind uint8

// The kinds of entries. Anything else is no result of a build.
const (
	File Kind = iota + 1
	Dir
	Symlink
)

func (k Kind) String() string {
	switch k {
	case File:
		return "file"
	case Dir:
		return "directory"
	case Symlink:
		return "symlink"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Entry is one path of a tree.
type Entry struct {
	Path       string // slash-separated, below the tree's top
	Kind       Kind
	Executable bool // of files
	// Mode is the permission bits with setuid, setgid and sticky, as chmod has them; -1
	// where the tree knows no more than Executable, and always of symlinks.
	Mode   int
	Target string // of symlinks
	Size   int64  // bytes of a file
	// Digest identifies a file's content among trees that have digests, else "":
	// two equal ones need not be read.
	Digest string
	Mtime  time.Time // zero where the tree does not tell; never compared
}

// OpenFile is a file's content, to be closed.
type OpenFile interface {
	Blob
	io.Closer
}

// Tree is a tree of files.
type Tree interface {
	// Entries lists all paths but the top itself, sorted bytewise, without repeats.
	Entries(ctx context.Context) ([]Entry, error)
	// Open reads the file that Entries named.
	Open(ctx context.Context, e *Entry) (OpenFile, error)
}

// DirTree is a directory. Nothing outside of it is read: links are compared by
// their targets and never followed.
type DirTree struct{ root *os.Root }

// OpenDir opens a directory as a tree; Close it.
func OpenDir(dir string) (*DirTree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening a tree: %w", err)
	}
	return &DirTree{root}, nil
}

// Close ends the use of the tree.
func (d *DirTree) Close() error { return d.root.Close() }

// Entries implements Tree. Sockets, pipes and devices are refused.
func (d *DirTree) Entries(ctx context.Context) ([]Entry, error) {
	var out []Entry
	err := fs.WalkDir(d.root.FS(), ".", func(name string, x fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case name == ".":
			return nil
		case len(out) >= maxEntries:
			return fmt.Errorf("%w: more than %d paths", errBound, maxEntries)
		}
		info, err := x.Info()
		if err != nil {
			return err
		}
		e := Entry{Path: name, Mtime: info.ModTime(), Mode: chmodBits(info.Mode())}
		switch mode := info.Mode(); {
		case mode.IsRegular():
			e.Kind, e.Size, e.Executable = File, info.Size(), mode&0o111 != 0
		case mode.IsDir():
			e.Kind = Dir
		case mode&fs.ModeSymlink != 0:
			e.Kind, e.Mode = Symlink, -1
			if e.Target, err = d.root.Readlink(name); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s is a %v: only files, directories and links are compared", Quote(name), mode.Type())
		}
		out = append(out, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", d.root.Name(), err)
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

type diskFile struct {
	*os.File
	size int64
}

func (f *diskFile) Size() int64 { return f.size }

// Open implements Tree.
func (d *DirTree) Open(_ context.Context, e *Entry) (OpenFile, error) {
	// Whatever is there now: a pipe would wait for a writer.
	f, err := d.root.OpenFile(e.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", Quote(e.Path), err)
	}
	return regular(f)
}

// chmodBits is a mode as chmod has it.
func chmodBits(m fs.FileMode) int {
	bits := int(m.Perm())
	for i, special := range []fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if m&special != 0 {
			bits |= 0o1000 << i
		}
	}
	return bits
}

// FileTree is one file, of which content and mode count, as a tree of that name.
type FileTree struct {
	file OpenFile
	as   string
	info os.FileInfo
}

// OpenFileTree opens a file as a tree in which it is called as; Close it. Unlike
// what lies in a tree, path may be a link.
func OpenFileTree(path, as string) (*FileTree, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	content, err := regular(f)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &FileTree{content, as, info}, nil
}

// Close ends the use of the tree.
func (t *FileTree) Close() error { return t.file.Close() }

// Entries implements Tree.
func (t *FileTree) Entries(context.Context) ([]Entry, error) {
	mode := t.info.Mode()
	return []Entry{{Path: t.as, Kind: File, Size: t.file.Size(), Mtime: t.info.ModTime(), Executable: mode&0o111 != 0, Mode: chmodBits(mode)}}, nil
}

// Open implements Tree.
func (t *FileTree) Open(context.Context, *Entry) (OpenFile, error) { return kept{t.file}, nil }

// kept is closed with its tree.
type kept struct{ Blob }

func (kept) Close() error { return nil }

func regular(f *os.File) (OpenFile, error) {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", Quote(path.Base(f.Name())))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &diskFile{f, info.Size()}, nil
}

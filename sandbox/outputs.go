package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// CollectOutputs copies the declared outputs of s from work, an open directory
// that is WorkRoot as the command left it, to s.OutputDir. The command must be
// dead. Nothing is followed: a path through a symlink counts as not made, as do
// devices, fifos, sockets, links out of the tree, and more than Limits.DiskBytes
// of content (a sparse file costs nothing where it was made). Files come out as
// 0644, or 0755 if their owner could execute them; hard links become copies.
//
// missing lists outputs that were not made, in Spec order; detail says why one
// that exists was refused. err is about s.OutputDir or work itself.
func CollectOutputs(work *os.File, s Spec) (missing []string, detail string, err error) {
	c := collector{root: s.OutputDir, bytesLeft: s.Limits.WithDefaults().DiskBytes, entriesLeft: maxOutputEntries}
	base := int(work.Fd())
	defer runtime.KeepAlive(work)
	if s.WorkDir != "" {
		fd, err := openBeneath(base, s.WorkDir, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return slices.Clone(s.Outputs), fmt.Sprintf("working directory %q is gone", s.WorkDir), nil
		}
		defer unix.Close(fd)
		base = fd
	}
	// Ancestors first: an output inside another is then already there, or is
	// still copied by itself when its ancestor was refused.
	order := slices.Clone(s.Outputs)
	slices.SortFunc(order, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
	made := make(map[string]bool, len(order))
	var details []string
	for _, out := range order {
		switch err := c.collect(base, out); {
		case err == nil:
			made[out] = true
		case errors.As(err, new(refusal)):
			details = append(details, err.Error())
		case !errors.Is(err, unix.ENOENT):
			return nil, "", fmt.Errorf("collecting output %q: %w", out, err)
		}
	}
	for _, out := range s.Outputs {
		if !made[out] {
			missing = append(missing, out)
		}
	}
	return missing, strings.Join(details, "; "), nil
}

// refusal is why something the command made is not taken as an output.
type refusal struct{ path, why string }

func (r refusal) Error() string { return fmt.Sprintf("%q %s", r.path, r.why) }

// collector copies trees into root and counts what is left of the bounds.
type collector struct {
	root                   string
	bytesLeft, entriesLeft int64
}

func (c *collector) collect(base int, out string) error {
	dir, name := path.Split(out)
	parent, err := openBeneath(base, path.Clean(dir), unix.O_PATH|unix.O_DIRECTORY)
	switch {
	case errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EXDEV):
		return refusal{out, "lies behind a symlink"}
	case errors.Is(err, unix.ENOTDIR):
		return unix.ENOENT
	case errors.Is(err, unix.EACCES):
		return refusal{out, "lies in a directory that cannot be entered"}
	case err != nil:
		return err
	}
	defer unix.Close(parent)
	if err := os.MkdirAll(filepath.Join(c.root, filepath.FromSlash(dir)), 0o755); err != nil {
		return err
	}
	err = c.entry(parent, name, out, 0)
	if errors.As(err, new(refusal)) {
		if rmErr := os.RemoveAll(filepath.Join(c.root, filepath.FromSlash(out))); rmErr != nil {
			return rmErr
		}
	}
	return err
}

// entry copies one directory entry; rel is its path below the working directory.
func (c *collector) entry(parent int, name, rel string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if errors.Is(err, unix.EACCES) {
			return refusal{rel, "lies in a directory that cannot be entered"}
		}
		return err
	}
	if c.entriesLeft--; c.entriesLeft < 0 {
		return refusal{rel, fmt.Sprintf("exceeds %d output files", maxOutputEntries)}
	}
	dst := filepath.Join(c.root, filepath.FromSlash(rel))
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return c.file(parent, name, rel, dst, st.Mode)
	case unix.S_IFDIR:
		return c.directory(parent, name, rel, dst, st.Mode, depth)
	case unix.S_IFLNK:
		return c.symlink(parent, name, rel, dst)
	}
	return refusal{rel, "is " + kindOf(st.Mode) + ", not a file, directory or symlink"}
}

func kindOf(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return "a fifo"
	case unix.S_IFSOCK:
		return "a socket"
	}
	return "a device"
}

func (c *collector) file(parent int, name, rel, dst string, srcMode uint32) error {
	src, err := openReadable(parent, name, rel, srcMode, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return refusal{rel, "changed its type while it was read"}
	}
	// What was copied stays counted even if it is refused later: the bound is on work, too.
	if info.Size() > c.bytesLeft {
		return refusal{rel, "exceeds the disk limit together with the outputs before it"}
	}
	c.bytesLeft -= info.Size()
	mode := os.FileMode(0o644)
	if srcMode&0o100 != 0 {
		mode = 0o755
	}
	to, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, os.ErrExist) { // inside an output that was copied before
		return nil
	}
	if err != nil {
		return err
	}
	if _, err = io.Copy(to, io.LimitReader(src, info.Size())); err == nil {
		err = to.Chmod(mode) // whatever this process's umask is
	}
	return errors.Join(err, to.Close())
}

func (c *collector) directory(parent int, name, rel, dst string, srcMode uint32, depth int) error {
	if depth >= maxOutputDepth {
		return refusal{rel, fmt.Sprintf("is nested deeper than %d directories", maxOutputDepth)}
	}
	src, err := openReadable(parent, name, rel, srcMode, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := os.Mkdir(dst, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Chmod(dst, 0o755); err != nil {
		return err
	}
	for {
		names, err := src.Readdirnames(1024)
		for _, n := range names {
			if len(rel)+1+len(n) > maxPathBytes {
				return refusal{rel, "holds a path longer than a path may be"}
			}
			if err := c.entry(int(src.Fd()), n, rel+"/"+n, depth+1); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *collector) symlink(parent int, name, rel, dst string) error {
	buf := make([]byte, maxPathBytes+1)
	n, err := unix.Readlinkat(parent, name, buf)
	if err != nil {
		return err
	}
	target := string(buf[:n])
	if !staysInside(rel, target) {
		return refusal{rel, fmt.Sprintf("is a symlink to %q, out of the tree", target)}
	}
	if err := os.Symlink(target, dst); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// staysInside says whether a symlink at rel, whose directories are all real,
// leads nowhere above the working directory. Beyond its first names a target may
// not climb: "a/.." is the parent of whatever a links to, which words cannot tell.
func staysInside(rel, target string) bool {
	if target == "" || path.IsAbs(target) {
		return false
	}
	room := strings.Count(rel, "/")
	descended := false
	for name := range strings.SplitSeq(target, "/") {
		switch name {
		case "", ".":
		case "..":
			if room--; descended || room < 0 {
				return false
			}
		default:
			descended = true
		}
	}
	return true
}

// openReadable opens an entry of the given mode for reading. A command may have
// taken permissions away from itself, which binds this process too unless it is
// root; as the command is dead, what reading needs is simply given back.
func openReadable(parent int, name, rel string, mode uint32, flags int) (*os.File, error) {
	need := uint32(0o400)
	if flags&unix.O_DIRECTORY != 0 {
		need = 0o500
	}
	if mode&need != need {
		if err := unix.Fchmodat(parent, name, mode&0o777|need, 0); err != nil {
			return nil, refusal{rel, "cannot be read"}
		}
	}
	fd, err := openBeneath(parent, name, flags|unix.O_RDONLY|unix.O_NONBLOCK)
	if errors.Is(err, unix.EACCES) {
		return nil, refusal{rel, "cannot be read"}
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), rel), nil
}

// openBeneath opens p below dir without following any symlink or crossing a mount.
func openBeneath(dir int, p string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	for {
		fd, err := unix.Openat2(dir, p, &how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

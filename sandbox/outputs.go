package sandbox

import (
	"cmp"
	"context"
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
// that exists was refused. err is about s.OutputDir or work itself, or ctx's: when
// that ends, what was not copied yet is left, and what was is the caller's to remove.
func CollectOutputs(ctx context.Context, work *os.File, s Spec) (missing []string, detail string, err error) {
	c := collector{ctx: ctx, root: s.OutputDir, bytesLeft: s.Limits.WithDefaults().DiskBytes, entriesLeft: maxOutputEntries}
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
		case ctx.Err() != nil:
			return nil, "", ctx.Err()
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

// collector copies trees into root and counts what is left of the bounds. It
// calls the kernel itself: package os would ask of each of so many small files
// whether it can be waited for.
type collector struct {
	ctx                    context.Context // of the one call to CollectOutputs
	root                   string
	bytesLeft, entriesLeft int64
	buffer                 []byte // of copies, made with the first
}

// copyBytes is the most that is copied at once, and between two looks at the context.
const copyBytes = 1 << 20

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
	above := filepath.Join(c.root, filepath.FromSlash(dir))
	if err := os.MkdirAll(above, 0o755); err != nil {
		return err
	}
	to, err := unix.Open(above, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", above, err)
	}
	defer unix.Close(to)
	err = c.entry(parent, to, name, out, 0)
	if errors.As(err, new(refusal)) {
		if rmErr := os.RemoveAll(filepath.Join(c.root, filepath.FromSlash(out))); rmErr != nil {
			return rmErr
		}
	}
	return err
}

// entry copies one entry of the directory parent to the directory to; rel is its
// path below the working directory.
func (c *collector) entry(parent, to int, name, rel string, depth int) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
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
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return c.file(parent, to, name, rel, st.Mode)
	case unix.S_IFDIR:
		return c.directory(parent, to, name, rel, st.Mode, depth)
	case unix.S_IFLNK:
		return c.symlink(parent, to, name, rel)
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

func (c *collector) file(parent, dst int, name, rel string, srcMode uint32) error {
	src, err := openReadable(parent, name, rel, srcMode, 0)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return refusal{rel, "changed its type while it was read"}
	}
	// What was copied stays counted even if it is refused later: the bound is on work, too.
	if st.Size > c.bytesLeft {
		return refusal{rel, "exceeds the disk limit together with the outputs before it"}
	}
	c.bytesLeft -= st.Size
	mode := uint32(0o644)
	if srcMode&0o100 != 0 {
		mode = 0o755
	}
	to, err := unix.Openat(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if errors.Is(err, unix.EEXIST) { // inside an output that was copied before
		return nil
	}
	if err != nil {
		return fmt.Errorf("making %q: %w", rel, err)
	}
	if err = c.content(to, src, st.Size); err == nil {
		err = unix.Fchmod(to, mode) // whatever this process's umask is
	}
	return errors.Join(err, unix.Close(to))
}

// content copies so many bytes, or fewer if there are no more.
func (c *collector) content(to, from int, size int64) error {
	for size > 0 {
		if c.buffer == nil {
			c.buffer = make([]byte, copyBytes)
		}
		n, err := unix.Read(from, c.buffer[:min(size, copyBytes)])
		if err == unix.EINTR {
			continue
		}
		if n == 0 || err != nil {
			return err
		}
		size -= int64(n)
		for rest := c.buffer[:n]; len(rest) > 0; {
			m, err := unix.Write(to, rest)
			if err != nil && err != unix.EINTR {
				return err
			}
			rest = rest[max(m, 0):]
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) directory(parent, dst int, name, rel string, srcMode uint32, depth int) error {
	if depth >= maxOutputDepth {
		return refusal{rel, fmt.Sprintf("is nested deeper than %d directories", maxOutputDepth)}
	}
	fd, err := openReadable(parent, name, rel, srcMode, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	src := os.NewFile(uintptr(fd), rel)
	defer src.Close()
	if err := unix.Mkdirat(dst, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("making %q: %w", rel, err)
	}
	to, err := unix.Openat(dst, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %q: %w", rel, err)
	}
	defer unix.Close(to)
	if err := unix.Fchmod(to, 0o755); err != nil {
		return fmt.Errorf("opening %q: %w", rel, err)
	}
	for {
		names, err := src.Readdirnames(1024)
		for _, n := range names {
			if len(rel)+1+len(n) > maxPathBytes {
				return refusal{rel, "holds a path longer than a path may be"}
			}
			if err := c.entry(fd, to, n, rel+"/"+n, depth+1); err != nil {
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

func (c *collector) symlink(parent, to int, name, rel string) error {
	buf := make([]byte, maxPathBytes+1)
	n, err := unix.Readlinkat(parent, name, buf)
	if err != nil {
		return err
	}
	target := string(buf[:n])
	if !staysInside(rel, target) {
		return refusal{rel, fmt.Sprintf("is a symlink to %q, out of the tree", target)}
	}
	if err := unix.Symlinkat(target, to, name); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("making %q: %w", rel, err)
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
func openReadable(parent int, name, rel string, mode uint32, flags int) (int, error) {
	need := uint32(0o400)
	if flags&unix.O_DIRECTORY != 0 {
		need = 0o500
	}
	if mode&need != need {
		if err := unix.Fchmodat(parent, name, mode&0o777|need, 0); err != nil {
			return -1, refusal{rel, "cannot be read"}
		}
	}
	fd, err := openBeneath(parent, name, flags|unix.O_RDONLY|unix.O_NONBLOCK)
	if errors.Is(err, unix.EACCES) {
		return -1, refusal{rel, "cannot be read"}
	}
	return fd, err
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

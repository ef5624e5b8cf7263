package image

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/rootfs"
)

// makeRoot makes a root file system whose names come in the given order.
func makeRoot(t *testing.T, reversed bool) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	steps := []func() error{
		func() error { return os.Mkdir(filepath.Join(dir, "bin"), 0o755) },
		func() error { return os.Mkdir(filepath.Join(dir, "etc"), 0o750) },
		func() error { return os.Mkdir(filepath.Join(dir, "tmp"), 0o755) },
	}
	if reversed {
		slices.Reverse(steps)
	}
	more := []func() error{
		func() error { return os.WriteFile(filepath.Join(dir, "bin/tool"), []byte("tool"), 0o755) },
		func() error { return os.WriteFile(filepath.Join(dir, "etc/conf"), []byte("conf"), 0o640) },
		func() error { return os.WriteFile(filepath.Join(dir, "etc/a"), nil, 0o644) },
		func() error { return os.Symlink("tool", filepath.Join(dir, "bin/alias")) },
		func() error { return unix.Mkfifo(filepath.Join(dir, "etc/fifo"), 0o644) },
	}
	if reversed {
		slices.Reverse(more)
	}
	last := []func() error{
		// The first name in order, not in time, is the file; the others are links.
		func() error { return os.Link(filepath.Join(dir, "bin/tool"), filepath.Join(dir, "bin/another")) },
		func() error { return os.Chmod(filepath.Join(dir, "bin/tool"), os.ModeSetuid|0o755) },
		func() error { return os.Chmod(filepath.Join(dir, "tmp"), os.ModeSticky|0o777) },
		func() error { return unix.Setxattr(filepath.Join(dir, "etc/conf"), "user.kept", []byte("x\x00y"), 0) },
		func() error { return unix.Setxattr(filepath.Join(dir, "etc"), "user.overlay.opaque", []byte("y"), 0) },
	}
	for _, step := range slices.Concat(steps, more, last) {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	if reversed {
		at := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(dir, "etc/conf"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDirectoryIsOneImageWhereverItIs(t *testing.T) {
	var told []string
	first, err := Open(context.Background(), makeRoot(t, false), Options{TempDir: t.TempDir(), Progress: func(s string) { told = append(told, s) }})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := Open(context.Background(), "dir:"+makeRoot(t, true), Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if first.Image.Root() != second.Image.Root() {
		t.Errorf("the same tree is %s and %s", first.Image.Root(), second.Image.Root())
	}
	if last := told[len(told)-1]; !strings.Contains(last, "left out 2 devices") {
		t.Errorf("told %q", told)
	}

	r, err := first.Image.Read(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var lines []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != os.Getuid() || h.Gid != os.Getgid() || !h.ModTime.Equal(epoch) || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s: %d %d %v %q", h.Name, h.Uid, h.Gid, h.ModTime, h.Uname)
		}
		line := string(h.Typeflag) + " " + h.Name + " " + h.Linkname
		for _, record := range []string{"SCHILY.xattr.user.kept", "SCHILY.xattr.user.overlay.opaque"} {
			if v, ok := h.PAXRecords[record]; ok {
				line += " " + v
			}
		}
		lines = append(lines, line)
	}
	want := []string{"5 ./ ", "5 bin/ ", "2 bin/alias tool", "0 bin/another ", "1 bin/tool bin/another", "5 etc/ ", "0 etc/a ", "0 etc/conf  x\x00y", "5 tmp/ "}
	if !slices.Equal(lines, want) {
		t.Errorf("entries\n%q\nwant\n%q", lines, want)
	}

	root := filepath.Join(t.TempDir(), "root")
	if err := rootfs.Unpack(context.Background(), first.Image, root, rootfs.Options{}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(root, "bin/tool")); err != nil || info.Mode() != os.ModeSetuid|0o755 {
		t.Errorf("unpacked again: %v %v", info, err)
	}
	again, err := Open(context.Background(), root, Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Image.Root() != first.Image.Root() {
		t.Errorf("unpacked and packed again it is %s", again.Image.Root())
	}
}

func TestDirectoriesThatAreNoImages(t *testing.T) {
	refuses(t, "dir:"+tree{"etc/.wh.passwd": nil}.write(t, t.TempDir()), `"etc/.wh.passwd" has a name that means a removal`)
	large := t.TempDir()
	f, err := os.Create(filepath.Join(large, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(sandbox.MaxImageBytes+1), f.Close()); err != nil {
		t.Fatal(err)
	}
	refuses(t, "dir:"+large, "more than")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, "dir:"+t.TempDir(), Options{TempDir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestBootstrapWishes(t *testing.T) {
	b, err := parseBootstrap("bookworm?include=gcc,libc6-dev,g++&variant=buildd&mirror=http://deb.debian.org/debian")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"--variant=buildd", "--include=gcc,libc6-dev,g++", "bookworm", "/x", "http://deb.debian.org/debian"}
	if got := b.args("/x"); !slices.Equal(got, want) {
		t.Errorf("arguments %q, want %q", got, want)
	}
	if b, err = parseBootstrap("trixie"); err != nil || !slices.Equal(b.args("/x"), []string{"--variant=minbase", "trixie", "/x"}) {
		t.Errorf("a suite alone: %q %v", b.args("/x"), err)
	}
	for rest, want := range map[string]string{
		"":                                    "no name of a suite",
		"--help":                              "no name of a suite",
		"a/../b":                              "no name of a suite",
		"bookworm?include=":                   "no name of a package",
		"bookworm?include=--foreign":          "no name of a package",
		"bookworm?include=a,,b":               "no name of a package",
		"bookworm?variant=fakechroot":         "is not known",
		"bookworm?mirror=/debian":             "is no mirror",
		"bookworm?mirror=--verbose":           "is no mirror",
		"bookworm?variant=minbase&variant=x":  "given 2 times",
		"bookworm?includes=gcc":               `"includes" is not known`,
		"bookworm?include=gcc;variant=buildd": "what follows the ?",
	} {
		if _, err := parseBootstrap(rest); !errors.Is(err, sandbox.ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", rest, err, want)
		}
	}
}

func TestFreshRootsForgetTheirMachine(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	tree{
		"etc/machine-id": []byte("0123"), "etc/hostname": []byte("here"), "etc/resolv.conf": nil, "etc/passwd": nil, "etc/passwd-": nil,
		"var/cache/apt/pkgcache.bin": nil, "var/cache/apt/archives/a.deb": nil, "var/lib/apt/lists/x": nil, "var/log/apt/term.log": nil,
		"var/log/.hidden": nil, "var/cache/ldconfig/aux-cache": nil, "var/lib/dpkg/status": nil, "var/lib/dpkg/status-old": nil,
	}.write(t, dir)
	for name, target := range map[string]string{"tmp": filepath.Dir(outside), "var/log/link": outside} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := forgetMachine(dir); err != nil {
		t.Fatal(err)
	}
	var files []string
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, p[len(dir)+1:])
		}
		return err
	})
	if want := []string{"etc/machine-id", "etc/passwd", "tmp", "var/lib/dpkg/status"}; err != nil || !slices.Equal(files, want) {
		t.Errorf("left %q, want %q (%v)", files, want, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "etc/machine-id")); err != nil || len(b) != 0 {
		t.Errorf("machine-id %q %v", b, err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

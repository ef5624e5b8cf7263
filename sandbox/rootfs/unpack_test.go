package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

type entry = sandboxtest.Entry

func file(name, content string) entry {
	return entry{Header: tar.Header{Name: name}, Content: content}
}
func dir(name string) entry { return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeDir}} }
func symlink(name, target string) entry {
	return entry{Header: tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}}
}
func link(name, target string) entry {
	return entry{Header: tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeLink}}
}

// unpacked unpacks layers into a fresh directory, without waiting for the disk.
func unpacked(t testing.TB, opts Options, layers ...[]entry) (dir string, err error) {
	t.Helper()
	var archives [][]byte
	for _, l := range layers {
		archives = append(archives, sandboxtest.Archive(t, l...))
	}
	return unpackedImage(t, opts, sandboxtest.Image(t, archives...))
}

func unpackedImage(t testing.TB, opts Options, img sandbox.Image) (dir string, err error) {
	t.Helper()
	parent := t.TempDir()
	t.Cleanup(func() { // before the directory's own, which modes can stop
		if err := Remove(parent); err != nil {
			t.Error(err)
		}
	})
	st, err := stage(parent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.lock.Close() })
	return st.root(), unpackStaged(context.Background(), img, st, opts)
}

// listing is a tree as lines: path, kind or permission bits, and content.
func listing(t testing.TB, root string) []string {
	t.Helper()
	var lines []string
	err := filepath.Walk(root, func(p string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		switch {
		case rel == ".":
		case info.IsDir():
			lines = append(lines, rel+"/")
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			lines = append(lines, rel+" -> "+target)
		default:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			lines = append(lines, rel+" = "+string(b))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestLayers(t *testing.T) {
	long := strings.Repeat("long/", 40) + strings.Repeat("n", 200)
	for name, c := range map[string]struct {
		layers [][]entry
		want   string // lines of the listing, joined by "; "
	}{
		"nothing":                {nil, ""},
		"an empty layer":         {[][]entry{{}}, ""},
		"names from the root":    {[][]entry{{dir("./"), dir("./etc/"), file("./etc//hosts", "x")}}, "etc/; etc/hosts = x"},
		"implied parents":        {[][]entry{{file("a/b/c", "x")}}, "a/; a/b/; a/b/c = x"},
		"an upper file":          {[][]entry{{file("f", "lower")}, {file("f", "upper")}}, "f = upper"},
		"a whiteout":             {[][]entry{{file("d/f", "x"), file("d/g", "y")}, {file("d/.wh.f", "")}}, "d/; d/g = y"},
		"a whiteout of a tree":   {[][]entry{{file("d/e/f", "x"), file("g", "y")}, {file(".wh.d", "")}}, "g = y"},
		"a whiteout of nothing":  {[][]entry{{file("f", "x")}, {file(".wh.g", ""), file("no/such/.wh.h", "")}}, "f = x"},
		"whited out and made":    {[][]entry{{file("d/f", "x")}, {file(".wh.d", ""), file("d/g", "y")}}, "d/; d/g = y"},
		"made and whited out":    {[][]entry{{file("d/f", "x")}, {file("d/g", "y"), file(".wh.d", "")}}, "d/; d/g = y"},
		"its own file stays":     {[][]entry{{file("f", "x")}, {file("f", "y"), file(".wh.f", "")}}, "f = y"},
		"in the lowest layer":    {[][]entry{{file("f", "x"), file(".wh.f", ""), file(".wh..wh..opq", "")}}, "f = x"},
		"opaque before":          {[][]entry{{file("d/f", "x"), file("d/e/g", "y")}, {dir("d"), file("d/.wh..wh..opq", ""), file("d/h", "z")}}, "d/; d/h = z"},
		"opaque after":           {[][]entry{{file("d/f", "x"), file("d/e/g", "y")}, {dir("d"), file("d/e/h", "z"), file("d/.wh..wh..opq", "")}}, "d/; d/e/; d/e/h = z"},
		"an opaque root":         {[][]entry{{file("f", "x")}, {file("g", "y"), file(".wh..wh..opq", "")}}, "g = y"},
		"a linked whiteout":      {[][]entry{{file("f", "x")}, {link(".wh.f", ".wh..wh.aufs")}}, ""},
		"file for directory":     {[][]entry{{file("d/e/f", "x")}, {file("d", "y")}}, "d = y"},
		"directory for file":     {[][]entry{{file("d", "x")}, {dir("d"), file("d/e", "y")}}, "d/; d/e = y"},
		"directory for symlink":  {[][]entry{{dir("e"), symlink("d", "e")}, {dir("d"), file("d/f", "y")}}, "d/; d/f = y; e/"},
		"symlink for directory":  {[][]entry{{file("d/f", "x"), dir("e")}, {symlink("d", "e")}}, "d -> e; e/"},
		"directories merge":      {[][]entry{{file("d/f", "x")}, {dir("d"), file("d/g", "y")}}, "d/; d/f = x; d/g = y"},
		"below a symlink":        {[][]entry{{dir("usr/lib"), symlink("lib", "usr/lib")}, {file("lib/x", "y")}}, "lib -> usr/lib; usr/; usr/lib/; usr/lib/x = y"},
		"absolute names":         {[][]entry{{file("/etc/x", "y"), link("/etc/z", "/etc/x")}}, "etc/; etc/x = y; etc/z = y"},
		"below an absolute one":  {[][]entry{{dir("run"), symlink("var/run", "/run"), file("var/run/x", "y")}}, "run/; run/x = y; var/; var/run -> /run"},
		"below one that climbs":  {[][]entry{{symlink("up", "../../../.."), file("up/x", "y")}}, "up -> ../../../..; x = y"},
		"a hard link":            {[][]entry{{file("d/f", "x"), link("g", "d/f")}}, "d/; d/f = x; g = x"},
		"a link to a lower file": {[][]entry{{file("f", "x")}, {link("g", "./f")}}, "f = x; g = x"},
		"a link to a symlink":    {[][]entry{{symlink("s", "/etc/passwd"), link("g", "s")}}, "g -> /etc/passwd; s -> /etc/passwd"},
		"an upper linked file":   {[][]entry{{file("f", "x"), link("g", "f")}, {file("f", "y")}}, "f = y; g = x"},
		"symlinks verbatim":      {[][]entry{{symlink("a", "/../../x//y/"), symlink("b", "nowhere")}}, "a -> /../../x//y/; b -> nowhere"},
		"long names":             {[][]entry{{file(long, "x")}}, ""},
		"a name twice":           {[][]entry{{file("f", "x"), file("f", "y"), dir("f"), file("f/g", "z")}}, "f/; f/g = z"},
		"strange names":          {[][]entry{{file("..f", "x"), file("a\n\xff", "y"), file(".wh", "z")}}, "..f = x; .wh = z; a\n\xff = y"},
	} {
		t.Run(name, func(t *testing.T) {
			root, err := unpacked(t, Options{}, c.layers...)
			if err != nil {
				t.Fatal(err)
			}
			got := listing(t, root)
			if name == "long names" {
				if len(got) != 41 || got[40] != long+" = x" {
					t.Errorf("%d entries", len(got))
				}
			} else if joined := strings.Join(got, "; "); joined != c.want {
				t.Errorf("got  %s\nwant %s", joined, c.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		layers [][]entry
		want   string
	}{
		"climbing":                  {[][]entry{{file("../f", "")}}, `"../f" climbs`},
		"climbing inside":           {[][]entry{{file("a/../../f", "")}}, "climbs"},
		"climbing and back":         {[][]entry{{file("a/../f", "")}}, "climbs"},
		"the root as file":          {[][]entry{{file(".", "")}}, "would replace the root"},
		"the root as symlink":       {[][]entry{{symlink(".", "/")}}, "would replace the root"},
		"below a file":              {[][]entry{{file("f", ""), file("f/g", "")}}, `"f/g" cannot be made`},
		"below a dangling symlink":  {[][]entry{{symlink("s", "nowhere"), file("s/g", "")}}, "leads nowhere"},
		"below a loop":              {[][]entry{{symlink("s", "s"), file("s/g", "")}}, `"s/g" cannot be made`},
		"empty whiteout":            {[][]entry{{file("d/.wh.", "")}}, "is a whiteout of no name"},
		"whiteout of itself":        {[][]entry{{file("d/.wh..", "")}}, "is a whiteout of no name"},
		"whiteout of parent":        {[][]entry{{file("d/.wh...", "")}}, "is a whiteout of no name"},
		"whiteout of whiteout":      {[][]entry{{file("d/.wh..wh.f", "")}}, "is a whiteout of no name"},
		"below a whiteout":          {[][]entry{{file(".wh.a/b", "")}}, "lies below a whiteout"},
		"below an opaque":           {[][]entry{{file(".wh..wh..opq/b", "")}}, "lies below a whiteout"},
		"whiteout directory":        {[][]entry{{dir(".wh.a")}}, "is no plain file"},
		"whiteout below a file":     {[][]entry{{file("f", "")}, {file("f/.wh.a", "")}}, "cannot be made"},
		"link to nothing":           {[][]entry{{link("g", "f")}}, "looking at its target"},
		"link to what was removed":  {[][]entry{{file("f", "")}, {file(".wh.f", ""), link("g", "f")}}, "looking at its target"},
		"link outside":              {[][]entry{{link("g", "../f")}}, "climbs"},
		"link to absolute":          {[][]entry{{link("g", "/etc/passwd")}}, "of its target"},
		"link to itself":            {[][]entry{{file("f", ""), link("f", "./f")}}, "to itself"},
		"link to itself, otherwise": {[][]entry{{file("d/f", ""), symlink("s", "d"), link("s/f", "d/f")}}, "to itself"},
		"link through a symlink":    {[][]entry{{symlink("s", "/etc"), link("g", "s/passwd")}}, "behind a symlink"},
		"link through own symlink":  {[][]entry{{file("d/f", ""), symlink("s", "d"), link("g", "s/f")}}, "behind a symlink"},
		"link to a directory":       {[][]entry{{dir("d"), link("g", "d")}}, "neither file nor symlink"},
		"link to the root":          {[][]entry{{link("g", ".")}}, "to the root"},
		"link to what it replaces":  {[][]entry{{file("d/f", ""), link("d", "d/f")}}, "cannot be made"},
		"link without target":       {[][]entry{{link("g", "")}}, "has no name"},
		"symlink without target":    {[][]entry{{symlink("g", "")}}, "is a symlink to nothing"},
		"symlink too long":          {[][]entry{{symlink("g", strings.Repeat("x", 4096))}}, "is a symlink to nothing"},
		"too deep":                  {[][]entry{{file(strings.Repeat("d/", 256)+"f", "")}}, "nested deeper"},
		"too deep by a symlink":     {[][]entry{{dir(strings.Repeat("d/", 200)), symlink("s", strings.Repeat("d/", 200)), file("s/"+strings.Repeat("e/", 100)+"f", "")}}, "nested deeper"},
		"too long":                  {[][]entry{{file(strings.Repeat(strings.Repeat("d", 200)+"/", 21)+"f", "")}}, "longer path"},
		"too long by a symlink":     {[][]entry{{dir(strings.Repeat(strings.Repeat("d", 200)+"/", 15)), symlink("s", strings.Repeat(strings.Repeat("d", 200)+"/", 15)), dir("s/" + strings.Repeat(strings.Repeat("e", 200)+"/", 15))}}, "longer path"},
		"too long a name":           {[][]entry{{file(strings.Repeat("n", 256), "")}}, "longer name"},
		"user out of range":         {[][]entry{{entry{Header: tar.Header{Name: "f", Uid: 65536}}}}, "belongs to user 65536"},
		"group out of range":        {[][]entry{{entry{Header: tar.Header{Name: "f", Gid: 1 << 30}}}}, "group 1073741824"},
		"unknown type":              {[][]entry{{entry{Header: tar.Header{Name: "f", Typeflag: 'Z'}}}}, "which no file has"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := unpacked(t, Options{}, c.layers...)
			if !errors.Is(err, sandbox.ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want a refusal that says %q", err, c.want)
			}
		})
	}
}

func TestUnpackGivesTheNameLast(t *testing.T) {
	ctx, parent := context.Background(), t.TempDir()
	good := sandboxtest.Image(t, sandboxtest.Archive(t, file("etc/hosts", "x")))
	if err := Unpack(ctx, good, filepath.Join(parent, "good"), Options{}); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, filepath.Join(parent, "good")); strings.Join(got, "; ") != "etc/; etc/hosts = x" {
		t.Errorf("unpacked %q", got)
	}
	if err := Unpack(ctx, good, filepath.Join(parent, "good"), Options{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("over another: %v", err)
	}
	bad := sandboxtest.Image(t, sandboxtest.Archive(t, file("f", "x")))
	bad.Layers[0].Open = sandboxtest.Image(t, sandboxtest.Archive(t, file("f", "y"))).Layers[0].Open
	if err := Unpack(ctx, bad, filepath.Join(parent, "bad"), Options{}); !errors.Is(err, sandbox.ErrRefused) || !strings.Contains(err.Error(), "digest") {
		t.Errorf("a wrong digest: %v", err)
	}
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

func TestTimesAndModes(t *testing.T) {
	at := time.Unix(1_000_000_000, 5000)
	stamped := func(e entry, mode int64) entry {
		e.ModTime, e.Mode, e.Format = at, mode, tar.FormatPAX
		return e
	}
	root, err := unpacked(t, Options{},
		[]entry{stamped(dir("d"), 0o1777), stamped(file("d/f", "x"), 0o6755), stamped(symlink("d/s", "f"), 0o777), stamped(file("g", ""), 0o444)},
		[]entry{file("d/later", "y"), file("implied/f", "z")})
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]uint32{"d": unix.S_IFDIR | 0o1777, "d/f": unix.S_IFREG | 0o6755, "d/s": unix.S_IFLNK | 0o777, "g": unix.S_IFREG | 0o444} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, name), &st); err != nil {
			t.Fatal(err)
		}
		if st.Mode != mode || st.Mtim.Nano() != at.UnixNano() {
			t.Errorf("%s: mode %o time %v", name, st.Mode, time.Unix(st.Mtim.Unix()))
		}
	}
	for _, name := range []string{"", "implied"} {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil || info.Mode().Perm() != 0o755 || info.ModTime().Unix() != 0 {
			t.Errorf("implied %q: %v %v", name, info, err)
		}
	}
}

func withXattrs(e entry, pairs ...string) entry {
	e.PAXRecords = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		e.PAXRecords[paxAttribute+pairs[i]] = pairs[i+1]
	}
	return e
}

// xattrs are all of a file that may be an image's, and some that may not.
func xattrs(t testing.TB, at string) string {
	t.Helper()
	names, err := listXattrs(at)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range names {
		if name == "security.selinux" { // the machine's own policy gives it
			continue
		}
		value := make([]byte, 1024)
		n, err := unix.Getxattr(at, name, value)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, name+"="+string(value[:n]))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestExtendedAttributes(t *testing.T) {
	readOnly := file("ro", "x")
	readOnly.Mode = 0o444
	root, err := unpacked(t, Options{},
		[]entry{
			withXattrs(file("f", "x"), "user.a", "1", "user.b", "2\x003", "user.overlay.opaque", "y", "trusted.overlay.opaque", "y", "security.selinux", "unconfined", "system.posix_acl_access", "x"),
			withXattrs(dir("d"), "user.a", "1", "user.overlay.opaque", "y"), withXattrs(dir("e"), "user.a", "1"),
			withXattrs(symlink("s", "f"), "user.a", "1"), withXattrs(readOnly, "user.a", "1"),
		},
		[]entry{withXattrs(dir("d"), "user.c", "3"), file("e/f", "")})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"f": "user.a=1 user.b=2\x003", "d": "user.c=3", "e": "user.a=1", "ro": "user.a=1"} {
		if got := xattrs(t, filepath.Join(root, name)); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
}

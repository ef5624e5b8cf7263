package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gavel/cas"
	"gavel/cas/disk"
)

func newStore(t testing.TB) cas.InProcess {
	t.Helper()
	s, err := disk.Open(t.TempDir(), disk.Options{Cache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return cas.InProcess{Store: s}
}

// plant makes files "path": "content", directories "path/": "", links "path": "→target",
// executables "path*": "content".
func plant(t testing.TB, dir string, content map[string]string) {
	t.Helper()
	for path, c := range content {
		at := filepath.Join(dir, strings.TrimRight(path, "*/"))
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		mode := fs.FileMode(0o644)
		if strings.HasSuffix(path, "*") {
			mode = 0o755
		}
		target, isLink := strings.CutPrefix(c, "→")
		switch {
		case strings.HasSuffix(path, "/"):
			err = errors.Join(err, os.MkdirAll(at, 0o755))
		case isLink:
			err = errors.Join(err, os.Symlink(target, at))
		default:
			err = errors.Join(err, os.WriteFile(at, []byte(c), mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

var project = map[string]string{
	"main.c": "int main(){}", "bin/run*": "#!/bin/sh", "empty/": "", "a/b/c/deep": "deep", "a/b/c/none": "",
	"lib.so": "→lib.so.1", "lib.so.1": "elf", "a/b/up": "→../../main.c", "a-b": "sorts between a and a/b", "twin": "int main(){}",
	".git/HEAD": "ref: refs/heads/main", "dangling": "→nowhere",
}

func TestUploadThenLoadThenDownload(t *testing.T) {
	store, dir := newStore(t), t.TempDir()
	plant(t, dir, project)
	var last Progress
	root, totals, err := Upload(t.Context(), store, dir, Options{Progress: func(p Progress) { last = p }})
	if err != nil {
		t.Fatal(err)
	}
	if last.MovedBlobs != last.Blobs || last.Blobs == 0 || last.MovedBlobBytes != last.BlobBytes || last.Files != 8 {
		t.Errorf("progress ended at %+v", last)
	}
	loaded, err := Load(t.Context(), store, root, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Totals != totals {
		t.Errorf("uploaded %+v, loaded %+v", totals, loaded.Totals)
	}
	scanned, err := Scan(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var walked []Entry
	if err := loaded.Walk(func(e Entry) error { walked = append(walked, e); return nil }); err != nil {
		t.Fatal(err)
	}
	sortEntries(walked)
	if !reflect.DeepEqual(walked, scanned) {
		t.Errorf("loaded  %v\nscanned %v", walked, scanned)
	}

	copied := filepath.Join(t.TempDir(), "new", "place")
	for range 2 { // onto itself as well
		if err := Download(t.Context(), store, scanned, copied, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Scan(t.Context(), copied, Options{})
	if err != nil || !reflect.DeepEqual(again, scanned) {
		t.Errorf("downloaded %v, %v\nwant %v", again, err, scanned)
	}
	// Nothing is sent twice.
	if _, _, err := Upload(t.Context(), refusing{store}, copied, Options{}); err != nil {
		t.Errorf("uploading what is there: %v", err)
	}
}

// refusing takes no upload.
type refusing struct{ cas.InProcess }

func (r refusing) Upload(ctx context.Context, blobs []cas.Blob, done func(cas.Digest)) error {
	if len(blobs) > 0 {
		return fmt.Errorf("asked to take %d blobs", len(blobs))
	}
	return nil
}

// The root's digest is fixed by REAPI's canonical form; other clients compute the same.
func TestCanonicalVector(t *testing.T) {
	es := []Entry{
		{Path: "a", Type: File, Executable: true, Digest: cas.Of([]byte("x"))},
		{Path: "d", Type: Dir},
		{Path: "l", Type: Symlink, Target: "a"},
	}
	if err := CheckEntries(es, Limits{}); err != nil {
		t.Fatal(err)
	}
	root, lists, err := Directories(es)
	if err != nil {
		t.Fatal(err)
	}
	// By hand from the protobuf encoding: files = 1 {name 1, digest 2, executable 4},
	// directories = 2 {name 1, digest 2}, symlinks = 3 {name 1, target 2}.
	digest := func(d cas.Digest) string {
		s := "\x0a\x40" + d.Hash
		if d.Size > 0 {
			s += "\x10" + string(byte(d.Size))
		}
		return "\x12" + string(byte(len(s))) + s
	}
	field := func(tag byte, s string) string { return string([]byte{tag, byte(len(s))}) + s }
	want := field(0x0a, "\x0a\x01a"+digest(cas.Of([]byte("x")))+"\x20\x01") +
		field(0x12, "\x0a\x01d"+digest(cas.Empty)) + field(0x1a, "\x0a\x01l\x12\x01a")
	if got := string(lists[root]); got != want || root != cas.Of([]byte(want)) {
		t.Errorf("encoded %q, want %q", got, want)
	}
}

func TestScanRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		make func(dir string) error
		want string
	}{
		"fifo":              {func(d string) error { return syscall.Mkfifo(filepath.Join(d, "sub/pipe"), 0o644) }, `"sub/pipe" is a fifo`},
		"socket":            {listen, "is a socket"},
		"absolute link":     {func(d string) error { return os.Symlink("/etc/passwd", filepath.Join(d, "sub/l")) }, "absolute"},
		"escaping link":     {func(d string) error { return os.Symlink("../../x", filepath.Join(d, "sub/l")) }, "out of the tree"},
		"name not UTF-8":    {func(d string) error { return os.WriteFile(filepath.Join(d, "sub/\xff"), nil, 0o644) }, "UTF-8"},
		"too many":          {func(d string) error { return os.WriteFile(filepath.Join(d, "sub/one"), nil, 0o644) }, "more than 1 entries"},
		"target with up":    {func(d string) error { return os.Symlink("a/../b", filepath.Join(d, "sub/l")) }, "behind a name"},
		"no such directory": {func(d string) error { return os.RemoveAll(d) }, "no such file"},
	} {
		dir := t.TempDir()
		plant(t, dir, map[string]string{"sub/": ""})
		if err := c.make(dir); err != nil {
			t.Fatal(err)
		}
		o := Options{}
		if name == "too many" {
			o.Limits.Entries = 1
		}
		if _, err := Scan(t.Context(), dir, o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func listen(dir string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s")})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	return l.Close()
}

func TestUploadNoticesChanges(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"same size": func(p string) error { return os.WriteFile(p, []byte("CONTENT"), 0o644) },
		"grown":     func(p string) error { return os.WriteFile(p, []byte("content and more"), 0o644) },
		"link":      func(p string) error { return errors.Join(os.Remove(p), os.Symlink("other", p)) },
		"fifo":      func(p string) error { return errors.Join(os.Remove(p), syscall.Mkfifo(p, 0o644)) },
	} {
		dir := t.TempDir()
		plant(t, dir, map[string]string{"d/file": "content", "d/other": "content"})
		es, err := Scan(t.Context(), dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := change(filepath.Join(dir, "d/file")); err != nil {
			t.Fatal(err)
		}
		es = es[:2] // d and d/file; the twin would do as well
		store := newStore(t)
		err = UploadFiles(t.Context(), store, dir, es, Options{})
		if !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "d/file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDownloadRefusesHostileLists(t *testing.T) {
	f := func(path string) Entry { return Entry{Path: path, Type: File, Digest: cas.Empty} }
	l := func(path, target string) Entry { return Entry{Path: path, Type: Symlink, Target: target} }
	for _, c := range []struct {
		es   []Entry
		want string
	}{
		{[]Entry{f("../x")}, "not a name"},
		{[]Entry{f("/x")}, "empty"},
		{[]Entry{f("a/../../x")}, "not a name"},
		{[]Entry{f("")}, "empty"},
		{[]Entry{f("a//b")}, "empty"},
		{[]Entry{f("./a")}, "not a name"},
		{[]Entry{f("b"), f("a")}, "out of order"},
		{[]Entry{f("a"), f("a")}, "out of order"},
		{[]Entry{l("a", "b"), f("a/x")}, "no directory"},
		{[]Entry{l("a", "b"), f("a-b"), f("a/x/y")}, "no directory"},
		{[]Entry{f("a"), f("a/x")}, "no directory"},
		{[]Entry{l("a", "/etc")}, "absolute"},
		{[]Entry{l("a", "..")}, "out of the tree"},
		{[]Entry{l("a", "")}, "empty"},
		{[]Entry{{Path: "a", Type: File}}, "0 characters"},
		{[]Entry{{Path: "a", Type: 4}}, "unknown type"},
		{[]Entry{{Path: "a", Type: Dir, Executable: true}}, "no file"},
		{[]Entry{{Path: "a", Type: File, Digest: cas.Empty, Target: "x"}}, "no symlink"},
		{[]Entry{f(strings.Repeat("a/", MaxDepth) + "b")}, "nested deeper"},
		{[]Entry{{Path: "a", Type: File, Digest: cas.Digest{Hash: blob.Hash, Size: 1 << 62}}}, "too large"},
	} {
		dir := filepath.Join(t.TempDir(), "made")
		err := Download(t.Context(), newStore(t), c.es, dir, Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want one about %q", c.es, err, c.want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%v: the directory was made", c.es)
		}
	}
}

func TestDownloadNeverWritesThroughLinks(t *testing.T) {
	store, outside := newStore(t), t.TempDir()
	plant(t, outside, map[string]string{"victim": "untouched"})
	content := []byte("new")
	d := cas.Of(content)
	if err := store.Put(t.Context(), d, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	file := []Entry{{Path: "sub/file", Type: File, Digest: d}}
	for name, c := range map[string]struct {
		target, path string // a link that is already there
		wantErr      bool
	}{
		"directory is a link outside": {outside, "sub", true},
		"directory is a link inside":  {"elsewhere", "sub", true},
		"file is a link outside":      {filepath.Join(outside, "victim"), "sub/file", false},
		"file is a link inside":       {"../elsewhere/f", "sub/file", false},
	} {
		dir := t.TempDir()
		plant(t, dir, map[string]string{"elsewhere/f": "untouched", c.path: "→" + c.target})
		err := Download(t.Context(), store, file, dir, Options{})
		if (err != nil) != c.wantErr {
			t.Errorf("%s: %v", name, err)
		}
		if c.wantErr && !strings.Contains(fmt.Sprint(err), "in the way") {
			t.Errorf("%s: %v", name, err)
		}
		for _, p := range []string{filepath.Join(outside, "victim"), filepath.Join(dir, "elsewhere/f")} {
			if b, err := os.ReadFile(p); err != nil || string(b) != "untouched" {
				t.Errorf("%s: %s holds %q, %v", name, p, b, err)
			}
		}
		if _, err := os.Stat(filepath.Join(outside, "file")); err == nil {
			t.Errorf("%s: written outside", name)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "sub/file")); !c.wantErr && (err != nil || string(b) != "new") {
			t.Errorf("%s: file holds %q, %v", name, b, err)
		}
	}
}

// TestLinksStayInside builds random trees of directories and links that the
// checks accept and asks the kernel where each link leads: never outside.
func TestLinksStayInside(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	names := []string{"a", "b", "c"}
	followed := 0
	for range 150 {
		outer := t.TempDir()
		dir := filepath.Join(outer, "root")
		plant(t, outer, map[string]string{"a/a/": "", "b/b/": "", "c": "secret", "root/": ""})
		for range 12 {
			path := names[r.IntN(3)]
			for range r.IntN(4) {
				path += "/" + names[r.IntN(3)]
			}
			parent := filepath.Join(dir, filepath.Dir(path))
			if !realDirectory(dir, filepath.Dir(path)) || os.MkdirAll(parent, 0o755) != nil {
				continue
			}
			target := randomTarget(r, names)
			if r.IntN(3) == 0 {
				_ = os.Mkdir(filepath.Join(dir, path), 0o755)
			} else if checkTarget(target, strings.Count(path, "/")) == nil {
				_ = os.Symlink(target, filepath.Join(dir, path))
			}
		}
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type()&fs.ModeSymlink != 0 {
				if real, err := filepath.EvalSymlinks(path); err == nil {
					followed++
					if real != dir && !strings.HasPrefix(real, dir+"/") {
						t.Errorf("%s leads to %s", path, real)
					}
				}
			}
			return nil
		})
	}
	if followed < 20 {
		t.Errorf("only %d links led anywhere", followed)
	}
}

func randomTarget(r *rand.Rand, names []string) string {
	parts := []string{}
	for range 1 + r.IntN(5) {
		parts = append(parts, append(names, "..", "..", ".")[r.IntN(6)])
	}
	return strings.Join(parts, "/")
}

// realDirectory says whether no part of path is a link or file.
func realDirectory(dir, path string) bool {
	at := dir
	for name := range strings.SplitSeq(path, "/") {
		at = filepath.Join(at, name)
		if info, err := os.Lstat(at); err == nil && !info.IsDir() {
			return false
		}
	}
	return true
}

func TestScanLeavesOutWhatItIsTold(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".git/config", "a/.git/config", "b"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := Scan(t.Context(), dir, Options{Without: []string{".git"}})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, e := range entries {
		paths = append(paths, e.Path)
	}
	if want := []string{"a", "a/.git", "a/.git/config", "b"}; !slices.Equal(paths, want) {
		t.Errorf("scanned %q, want %q", paths, want)
	}
}

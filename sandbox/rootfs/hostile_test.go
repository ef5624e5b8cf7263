package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

// paxSparse is an archive of one PAX 1.0 sparse file that claims size bytes and
// holds content at its start. archive/tar reads these but does not write them.
func paxSparse(t testing.TB, name string, size int64, content string) []byte {
	t.Helper()
	record := func(key, value string) string {
		n := len(key) + len(value) + 3
		for len(strconv.Itoa(n))+len(key)+len(value)+3 != n {
			n = len(strconv.Itoa(n)) + len(key) + len(value) + 3
		}
		return fmt.Sprintf("%d %s=%s\n", n, key, value)
	}
	pax := record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") +
		record("GNU.sparse.name", name) + record("GNU.sparse.realsize", strconv.FormatInt(size, 10))
	sparseMap := make([]byte, 512)
	copy(sparseMap, fmt.Sprintf("1\n0\n%d\n", len(content)))
	var b bytes.Buffer
	header := func(name string, kind byte, size int) {
		block := make([]byte, 512)
		copy(block, name)
		copy(block[100:], "0000644\x000000000\x000000000\x00")
		copy(block[124:], fmt.Sprintf("%011o\x00%011o\x00", size, 0))
		copy(block[148:], "        ")
		block[156] = kind
		copy(block[257:], "ustar\x0000")
		sum := 0
		for _, c := range block {
			sum += int(c)
		}
		copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
		b.Write(block)
	}
	body := func(p []byte) {
		b.Write(p)
		b.Write(make([]byte, -len(p)&511))
	}
	header("pax", tar.TypeXHeader, len(pax))
	body([]byte(pax))
	header("sparse", tar.TypeReg, len(sparseMap)+len(content))
	body(append(sparseMap, content...))
	b.Write(make([]byte, 1024))
	return b.Bytes()
}

func TestSparseFiles(t *testing.T) {
	root, err := unpackedImage(t, Options{}, sandboxtest.Image(t, paxSparse(t, "d/holes", 100<<20, "head")))
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "d/holes"), &st); err != nil || st.Size != 100<<20 || st.Blocks*512 > 1<<20 {
		t.Errorf("%d bytes take %d of the disk (%v)", st.Size, st.Blocks*512, err)
	}
	for _, lie := range []int64{sandbox.MaxImageBytes + 1, 1<<63 - 1} {
		_, err := unpackedImage(t, Options{}, sandboxtest.Image(t, paxSparse(t, "lie", lie, "x")))
		if !errors.Is(err, sandbox.ErrRefused) || !strings.Contains(err.Error(), `"lie" brings the image beyond`) {
			t.Errorf("a claim of %d bytes: %v", lie, err)
		}
	}
}

// bounded unpacks layers with less than the usual bounds.
func bounded(t testing.TB, entries int, bytes int64, layers ...[]byte) error {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	u, err := newUnpacker(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer u.close()
	u.entries, u.bytesLeft = entries, bytes
	err = u.image(context.Background(), sandboxtest.Image(t, layers...))
	return errors.Join(err, Remove(dir))
}

func TestBounds(t *testing.T) {
	four := sandboxtest.Archive(t, file("a/b/c", "123"), file("d", "4567"))
	for name, c := range map[string]struct {
		entries int
		bytes   int64
		want    string
	}{
		"enough":           {4, 7, ""},
		"one entry less":   {3, 7, "entries an image may have"},
		"implied ones too": {1, 7, `"a/b/c" is one more than`},
		"one byte less":    {4, 6, `"d" brings the image beyond`},
	} {
		t.Run(name, func(t *testing.T) {
			err := bounded(t, c.entries, c.bytes, four)
			if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, sandbox.ErrRefused) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	if err := bounded(t, 3, 100, sandboxtest.Archive(t, file("a", ""), file("b", "")), sandboxtest.Archive(t, file(".wh.a", ""), file("b", ""))); !errors.Is(err, sandbox.ErrRefused) {
		t.Errorf("bounds start anew with each layer: %v", err)
	}
}

func TestMalformedArchives(t *testing.T) {
	whole := sandboxtest.Archive(t, file("f", strings.Repeat("x", 1000)))
	for name, layer := range map[string][]byte{
		"garbage":          []byte(strings.Repeat("garbage ", 100)),
		"cut in a header":  whole[:300],
		"cut in a file":    whole[:1000],
		"a wrong checksum": append([]byte{whole[0] + 1}, whole[1:]...),
	} {
		_, err := unpackedImage(t, Options{}, sandboxtest.Image(t, layer))
		if !errors.Is(err, sandbox.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Bytes after the archive's end count for the digest and for nothing else.
	if _, err := unpackedImage(t, Options{}, sandboxtest.Image(t, append(whole, "more"...))); err != nil {
		t.Errorf("bytes after the end: %v", err)
	}
}

// What fails on this side is not the image's fault.
func TestReadErrorsAreNotRefusals(t *testing.T) {
	broken := errors.New("the disk is broken")
	whole := sandboxtest.Archive(t, file("f", strings.Repeat("x", 100_000)))
	for _, at := range []int{0, 300, 600, 50_000, len(whole) - 600} {
		img := sandboxtest.Image(t, whole)
		img.Layers[0].Open = func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(whole[:at]), failing{broken})), nil
		}
		if _, err := unpackedImage(t, Options{}, img); !errors.Is(err, broken) || errors.Is(err, sandbox.ErrRefused) {
			t.Errorf("after %d bytes: %v", at, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestDevicesAreLeftOut(t *testing.T) {
	var notes []string
	special := func(name string, kind byte) entry {
		return entry{Header: tar.Header{Name: name, Typeflag: kind, Devmajor: 1, Devminor: 3}}
	}
	root, err := unpacked(t, Options{Note: func(n string) { notes = append(notes, n) }},
		[]entry{file("dev/x", "x"), special("dev/null", tar.TypeChar), special("dev/sda", tar.TypeBlock), special("fifo", tar.TypeFifo), link("dev/zero", "dev/null")},
		[]entry{special("dev/x", tar.TypeChar), file("dev/null", "made"), link("dev/same", "dev/null")})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(listing(t, root), "; "); got != "dev/; dev/null = made; dev/same = made" {
		t.Errorf("unpacked %s", got)
	}
	if len(notes) != 1 || !strings.HasPrefix(notes[0], "5 devices") {
		t.Errorf("notes %q", notes)
	}
}

func TestRemove(t *testing.T) {
	parent := t.TempDir()
	outside := filepath.Join(parent, "outside")
	if err := os.WriteFile(outside, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(parent, "tree")
	deep := filepath.Join(tree, strings.Repeat("d/", 200))
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, l := range [][2]string{{parent, "up"}, {outside, "file"}, {"/", "root"}} {
		if err := os.Symlink(l[0], filepath.Join(deep, l[1])); err != nil {
			t.Fatal(err)
		}
	}
	for dir := deep; len(dir) >= len(tree); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := Remove(tree); err != nil {
		t.Fatal(err)
	}
	if err := Remove(tree); err != nil {
		t.Errorf("what is not there: %v", err)
	}
	if err := os.Symlink(parent, filepath.Join(parent, "link")); err != nil {
		t.Fatal(err)
	}
	if err := Remove(filepath.Join(parent, "link")); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
		t.Errorf("left %v %v, want the file outside", entries, err)
	}
}

func TestSweepLeavesTheLivingAlone(t *testing.T) {
	parent := t.TempDir()
	living, err := stage(parent)
	if err != nil {
		t.Fatal(err)
	}
	dead, err := stage(parent)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dead.root(), "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	dead.lock.Close() // as the kernel does for a process that dies
	if err := Sweep(parent); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what the dead left is there: %v", err)
	}
	if _, err := os.Stat(living.dir); err != nil {
		t.Error(err)
	}
	if err := living.discard(); err != nil {
		t.Error(err)
	}
}

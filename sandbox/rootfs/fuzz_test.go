package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

// mended is an archive whose headers have right checksums, which mutations
// almost never hit, and whose last block is whole.
func mended(archive []byte) []byte {
	out := append(bytes.Clone(archive), make([]byte, -len(archive)&511)...)
	for at := 0; at < len(out); {
		block := out[at : at+512]
		copy(block[148:], "        ")
		sum := 0
		for _, c := range block {
			sum += int(c)
		}
		copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
		size, err := strconv.ParseInt(strings.Trim(string(block[124:136]), " \x00"), 8, 64)
		if err != nil || size < 0 || size > int64(len(out)) {
			size = 0
		}
		at += 512 + int(size+511)&^511
	}
	return out
}

func FuzzUnpack(f *testing.F) {
	add := func(lower, upper []byte) {
		f.Add(true, bytes.TrimRight(lower, "\x00"), bytes.TrimRight(upper, "\x00")) // short ones are mutated faster
		f.Add(false, lower, upper)
	}
	add(sandboxtest.Archive(f, dir("d"), symlink("s", "/../../sentinel"), file("s/f", "x")), sandboxtest.Archive(f, file("d/.wh..wh..opq", ""), link("g", "s")))
	add(sandboxtest.Archive(f, symlink("d", ".."), file("d/f", "x")), sandboxtest.Archive(f, file(".wh.d", ""), file("../sentinel", "x")))
	add(sandboxtest.Archive(f, symlink("d", "../../sentinel/kept"), link("e", "d"), file("e", "x")), paxSparse(f, "d", 1<<40, "x"))
	add(sandboxtest.Archive(f, entry{Header: tar.Header{Name: "x", PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}}}), nil)
	f.Fuzz(func(t *testing.T, mend bool, lower, upper []byte) {
		if mend {
			lower, upper = mended(lower), mended(upper)
		}
		parent := t.TempDir()
		sentinel := filepath.Join(parent, "sentinel")
		if err := os.MkdirAll(sentinel, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sentinel, "kept"), []byte("kept"), 0o644); err != nil {
			t.Fatal(err)
		}
		before := describe(t, parent)
		root := filepath.Join(parent, "root")
		u, err := newUnpacker(root, Options{})
		if err != nil {
			t.Fatal(err)
		}
		u.entries, u.bytesLeft = 1000, 1<<20
		err = u.image(context.Background(), sandboxtest.Image(t, lower, upper))
		u.close()
		if err != nil && !errors.Is(err, sandbox.ErrRefused) {
			t.Errorf("the image's own fault is not called so: %v", err)
		}
		if err := Remove(root); err != nil {
			t.Fatal(err)
		}
		if after := describe(t, parent); strings.Join(after, "\n") != strings.Join(before, "\n") {
			t.Errorf("outside the root was\n%s\nand is\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
	})
}

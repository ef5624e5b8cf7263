package native

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

// An unpacked image is shown entry by entry; this one is made of the machine's
// own static parts, and lacks every mount point.
func TestUnpackedImage(t *testing.T) {
	images := t.TempDir()
	id := strings.Repeat("ab", 32)
	writeImage(t, filepath.Join(images, id))
	r := openRunner(t, Config{ScratchDir: t.TempDir(), ImageDir: images})
	defer r.Close()
	roots, err := r.Roots(context.Background())
	if err != nil || len(roots) != 2 || roots[1] != "sha256:"+id {
		t.Fatalf("roots %v %v", roots, err)
	}
	runInside(t, r, "sha256:"+id, "", sandbox.Variation{})
	runInside(t, r, "sha256:"+id, "", sandbox.Variation{WorkRoot: "/build/a/b", Hostname: "other"})
}

// writeImage makes the tree of an image whose one program is this test.
func writeImage(t *testing.T, root string) {
	t.Helper()
	for _, d := range []string{"opt/data", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"opt/data/f": "in the image\n", "etc/hosts": "image's\n", "top": "a file\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("opt/data/f", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "opt/test"), self, 0o755); err != nil {
		t.Fatal(err)
	}
	// The test binary is dynamic where cgo is: it then needs the machine's libraries.
	for _, d := range []string{"lib", "lib64"} {
		copyLibraries(t, "/"+d, filepath.Join(root, d))
	}
}

// runInside runs TestInsideImage in an image; owners are what it shall see of them, or "".
func runInside(t *testing.T, r *Runner, root, owners string, v sandbox.Variation) {
	t.Helper()
	var log bytes.Buffer
	res, err := r.Run(context.Background(), sandbox.Spec{
		Root: root, Argv: []string{"/opt/test", "-test.run=^TestInsideImage$", "-test.v"},
		Env: []string{insideImage + "=1", ownersInside + "=" + owners}, InputDir: t.TempDir(), OutputDir: t.TempDir(), Log: &log, Variation: v,
	})
	if err != nil || res.Status != sandbox.Exited || res.ExitCode != 0 || !strings.Contains(log.String(), "PASS: TestInsideImage") {
		t.Errorf("%+v %v\n%s", res, err, log.String())
	}
}

// archive makes an image of one layer out of a tree, whose files belong to root but for the named ones.
func archive(t *testing.T, root string, owners map[string]int) sandbox.Image {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := filepath.WalkDir(root, func(p string, e os.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		link := ""
		if info.Mode()&os.ModeSymlink != 0 {
			if link, err = os.Readlink(p); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		if h.Name, err = filepath.Rel(root, p); err != nil {
			return err
		}
		h.Uid, h.Gid, h.Uname, h.Gname = owners[h.Name], owners[h.Name], "", ""
		if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		content, err := os.ReadFile(p)
		if err == nil {
			_, err = w.Write(content)
		}
		return err
	})
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return sandboxtest.Image(t, b.Bytes())
}

func TestTakenImageShowsItsOwners(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "image")
	writeImage(t, tree)
	img := archive(t, tree, map[string]int{"top": sandbox.UID, "opt/data": 1000})
	r := openRunner(t, Config{ScratchDir: t.TempDir(), ImageDir: filepath.Join(t.TempDir(), "images")})
	defer r.Close()
	root, err := r.TakeImage(context.Background(), img)
	if err != nil || root != img.Root() {
		t.Fatalf("took %s: %v", root, err)
	}
	if roots, err := r.Roots(context.Background()); err != nil || !slices.Equal(roots, []string{sandbox.HostRoot, root}) {
		t.Errorf("roots %v %v", roots, err)
	}
	owners := "/opt=0 /opt/data/f=0 /top=65534 /opt/data=1000 /=0 /tmp=0"
	if r.Describe().InputUID < 0 {
		owners = "/opt=65534 /opt/data/f=65534 /top=65534 /opt/data=65534" // one user, as the runner's notes say
		if !strings.Contains(strings.Join(r.Describe().Notes, "\n"), "files of images") {
			t.Error("no note says whose the files are")
		}
	}
	runInside(t, r, root, owners, sandbox.Variation{})
	img.Layers[0].Open = func(context.Context) (io.ReadCloser, error) { return nil, errors.New("read again") }
	if _, err := r.TakeImage(context.Background(), img); err != nil {
		t.Errorf("taken again: %v", err)
	}
}

// An image in use is not removed for another, and the next finds room after it.
func TestImagesInUseStay(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "image")
	writeImage(t, tree)
	first := archive(t, tree, nil)
	if err := os.WriteFile(filepath.Join(tree, "second"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	second := archive(t, tree, nil)
	r := openRunner(t, Config{ScratchDir: t.TempDir(), ImageDir: t.TempDir(), ImageBytes: first.Layers[0].Size * 3 / 2})
	defer r.Close()
	if _, err := r.TakeImage(context.Background(), first); err != nil {
		t.Fatal(err)
	}
	dir, release, err := r.acquire(first.Root())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.TakeImage(context.Background(), second); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("a second image beside one in use: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "top")); err != nil {
		t.Error(err)
	}
	release()
	if _, err := r.TakeImage(context.Background(), second); err != nil {
		t.Error(err)
	}
	s := sandbox.Spec{Root: first.Root(), Argv: []string{"true"}, InputDir: t.TempDir(), OutputDir: t.TempDir()}
	if _, err := r.Run(context.Background(), s); !errors.Is(err, sandbox.ErrRefused) {
		t.Errorf("running what was removed: %v", err)
	}
	without := newRunner(t)
	if _, err := without.TakeImage(context.Background(), first); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("taking an image without a shelf: %v", err)
	}
}

// insideImage tells the test binary that it is the command of TestUnpackedImage.
const insideImage = "GAVEL_TEST_INSIDE_IMAGE"

// ownersInside are path=user, separated by blanks.
const ownersInside = "GAVEL_TEST_OWNERS"

func TestInsideImage(t *testing.T) {
	if os.Getenv(insideImage) == "" {
		return // TestUnpackedImage runs it
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/opt/data/f": "in the image\n", "/link": "in the image\n", "/top": "a file\n",
		"/etc/hosts": strings.ReplaceAll(etcWritten["hosts"], sandbox.Hostname, hostname),
	} {
		if b, err := os.ReadFile(name); err != nil || string(b) != want {
			t.Errorf("%s: %q %v", name, b, err)
		}
	}
	for _, pair := range strings.Fields(os.Getenv(ownersInside)) {
		name, want, _ := strings.Cut(pair, "=")
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil || fmt.Sprint(st.Uid) != want || st.Uid != st.Gid {
			t.Errorf("%s belongs to %d:%d (%v), want %s", name, st.Uid, st.Gid, err, want)
		}
	}
	for _, name := range []string{"/usr", "/build/image", "/build/inputs", "/build/upper", "/build/cpus"} {
		if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is shown (%v)", name, err)
		}
	}
	for _, name := range []string{".", "/tmp"} {
		if err := os.WriteFile(filepath.Join(name, "x"), nil, 0o644); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile("/opt/x", nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing to the image: %v", err)
	}
}

// copyLibraries copies the dynamic linker and C library, wherever a distribution keeps them.
func copyLibraries(t *testing.T, from, to string) {
	t.Helper()
	for _, pattern := range []string{"ld-linux*", "*/ld-linux*", "*/libc.so.6", "*/libresolv.so.2", "*/libpthread.so.0"} {
		found, err := filepath.Glob(filepath.Join(from, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			rel, err := filepath.Rel(from, f)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			dst := filepath.Join(to, rel)
			if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dst, b, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
}

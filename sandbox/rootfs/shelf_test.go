package rootfs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

func openShelf(t *testing.T, dir string, maxBytes int64) *Shelf {
	t.Helper()
	s, err := OpenShelf(dir, maxBytes, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// imageOf is an image of one file whose content is name, padded to size bytes
// that are not zero.
func imageOf(t *testing.T, name string, size int) sandbox.Image {
	return sandboxtest.Image(t, sandboxtest.Archive(t, file("f", name+strings.Repeat("x", size))))
}

func take(t *testing.T, s *Shelf, img sandbox.Image) string {
	t.Helper()
	root, err := s.Take(context.Background(), img)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestShelfKeepsImagesOverRestarts(t *testing.T) {
	dir := t.TempDir()
	s := openShelf(t, dir, 0)
	root := take(t, s, imageOf(t, "a", 0))
	if again := take(t, s, imageOf(t, "a", 0)); again != root || root != imageOf(t, "a", 0).Root() {
		t.Errorf("names %s, then %s", root, again)
	}
	at, release, err := s.Acquire(root)
	if err != nil || at != filepath.Join(dir, strings.TrimPrefix(root, "sha256:")) {
		t.Fatalf("acquired %s %v", at, err)
	}
	release()
	release() // says nothing more
	if b, err := os.ReadFile(filepath.Join(at, "f")); err != nil || string(b) != "a" {
		t.Errorf("the file is %q %v", b, err)
	}
	if _, err := OpenShelf(dir, 0, Options{}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("opened twice: %v", err)
	}
	held := s.held()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What a crash leaves: half an image, and a record whose image never came.
	if err := os.MkdirAll(filepath.Join(dir, stagingPrefix+"1/root/etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	orphan := filepath.Join(dir, strings.Repeat("0", 64)+recordSuffix)
	if err := os.WriteFile(orphan, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = openShelf(t, dir, 0)
	if got := s.Roots(); !slices.Equal(got, []string{root}) || s.held() != held || held == 0 {
		t.Errorf("after a restart: roots %v, %d bytes, before %d", got, s.held(), held)
	}
	left, err := filepath.Glob(filepath.Join(dir, stagingPrefix+"*"))
	if _, statErr := os.Stat(orphan); err != nil || len(left) != 0 || !errors.Is(statErr, fs.ErrNotExist) {
		t.Errorf("left behind %v %v, %v", left, err, statErr)
	}
	if _, _, err := s.Acquire("sha256:" + strings.Repeat("1", 64)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an unknown image: %v", err)
	}
	if _, _, err := s.Acquire("sha256:../../etc"); !errors.Is(err, sandbox.ErrRefused) {
		t.Errorf("a name that is none: %v", err)
	}
}

func TestShelfMakesRoom(t *testing.T) {
	dir := t.TempDir()
	const size, room = 100 << 10, 350 << 10
	s := openShelf(t, dir, room)
	images := map[string]sandbox.Image{}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		images[name] = imageOf(t, name, size)
	}
	roots := func(names ...string) []string {
		var list []string
		for _, n := range names {
			list = append(list, images[n].Root())
		}
		slices.Sort(list)
		return list
	}
	take(t, s, images["a"])
	take(t, s, images["b"])
	_, release, err := s.Acquire(images["a"].Root())
	if err != nil {
		t.Fatal(err)
	}
	take(t, s, images["c"])
	take(t, s, images["d"]) // no room: b was used longest ago
	if got := s.Roots(); !slices.Equal(got, roots("a", "c", "d")) {
		t.Errorf("roots %v, want a, c, d of %v", got, images)
	}
	release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openShelf(t, dir, room) // remembers the order of uses
	take(t, s, images["e"])
	if got := s.Roots(); !slices.Equal(got, roots("c", "d", "e")) {
		t.Errorf("roots %v, want c, d, e", got)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 7 { // three, their records, the lock
		t.Errorf("the shelf holds %v %v", entries, err)
	}
	var releases []func()
	for _, n := range []string{"c", "d", "e"} {
		_, release, err := s.Acquire(images[n].Root())
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	if _, err := s.Take(context.Background(), images["a"]); !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("no room: %v", err)
	}
	for _, release := range releases {
		release()
	}
	if _, err := s.Take(context.Background(), imageOf(t, "huge", room)); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("larger than the shelf: %v", err)
	}
	if got := s.Roots(); !slices.Equal(got, roots("c", "d", "e")) {
		t.Errorf("what can never fit emptied the shelf to %v", got)
	}
	if s.reserved != 0 {
		t.Errorf("%d bytes stay reserved", s.reserved)
	}
	// Many small files take more of the disk than of their archive.
	var small []entry
	for i := range 60 {
		small = append(small, file("d/"+strings.Repeat("n", i+1), "x"))
	}
	take(t, s, sandboxtest.Image(t, sandboxtest.Archive(t, small...)))
	if s.held() > room {
		t.Errorf("the shelf holds %d bytes of %d", s.held(), room)
	}
}

func TestShelfUnpacksOnceForAll(t *testing.T) {
	s := openShelf(t, t.TempDir(), 0)
	img := imageOf(t, "a", 0)
	inner := img.Layers[0].Open
	var opened atomic.Int32
	img.Layers[0].Open = func(ctx context.Context) (io.ReadCloser, error) {
		if opened.Add(1) == 1 {
			return nil, errors.New("the first caller's network is down")
		}
		return inner(ctx)
	}
	var failed atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := s.Take(context.Background(), img); err != nil {
				failed.Add(1)
			}
		})
	}
	group.Wait()
	if failed.Load() != 1 || opened.Load() != 2 {
		t.Errorf("%d callers failed, the layer was opened %d times; want 1 and 2", failed.Load(), opened.Load())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Take(ctx, imageOf(t, "b", 0)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A person may put an unpacked image into the directory. It is theirs.
func TestShelfLeavesAPersonsImageAlone(t *testing.T) {
	dir, name := t.TempDir(), strings.Repeat("a", 64)
	if err := os.MkdirAll(filepath.Join(dir, name, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := openShelf(t, dir, 1)
	if got := s.Roots(); !slices.Equal(got, []string{"sha256:" + name}) || s.held() != 0 {
		t.Errorf("roots %v, %d bytes", got, s.held())
	}
	if _, err := s.Take(context.Background(), imageOf(t, "a", 0)); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("no room: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, name, "bin")); err != nil {
		t.Error(err)
	}
}

// An image whose owners are another shift's would belong to strangers inside.
func TestShelfForgetsWhatHasOtherOwners(t *testing.T) {
	dir := t.TempDir()
	s := openShelf(t, dir, 0)
	root := take(t, s, imageOf(t, "a", 0))
	if err := s.writeRecord(strings.TrimPrefix(root, "sha256:"), record{Bytes: 1, Owners: "from 7"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := openShelf(t, dir, 0).Roots(); len(got) != 0 {
		t.Errorf("roots %v", got)
	}
}

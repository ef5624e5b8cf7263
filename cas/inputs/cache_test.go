package inputs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"gavel/cas"
	"gavel/cas/disk"
	"gavel/cas/tree"
)

const epoch = 1_234_567_890

var own = Options{UID: -1, GID: -1, Epoch: epoch}

// remote is a store that counts what is fetched from it.
type remote struct {
	cas.InProcess
	fetched atomic.Int64
}

func newRemote(t testing.TB) *remote {
	t.Helper()
	s, err := disk.Open(t.TempDir(), disk.Options{Cache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &remote{InProcess: cas.InProcess{Store: s}}
}

func (r *remote) Fetch(ctx context.Context, ds []cas.Digest, sink func(cas.Digest, io.Reader) error) error {
	r.fetched.Add(int64(len(ds)))
	return r.InProcess.Fetch(ctx, ds, sink)
}

// upload stores a tree of files, "path": "content", links "path": "→target".
func (r *remote) upload(t testing.TB, content map[string]string) cas.Digest {
	t.Helper()
	dir := t.TempDir()
	for path, c := range content {
		at := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, isLink := strings.CutPrefix(c, "→"); isLink {
			err = os.Symlink(target, at)
		} else {
			err = os.WriteFile(at, []byte(c), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, _, err := tree.Upload(t.Context(), r, dir, tree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func openCache(t testing.TB, dir string, c Config) *Cache {
	t.Helper()
	cache, err := Open(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

func TestModesTimesAndOwners(t *testing.T) {
	r := newRemote(t)
	root := r.upload(t, map[string]string{"a/b/f": "x", "a/l": "→b/f", "g": "y"})
	for _, mask := range []int{0, 0o077} {
		old := syscall.Umask(mask)
		c := openCache(t, t.TempDir(), Config{})
		o := own
		if os.Getuid() == 0 {
			o.UID, o.GID = 65534, 65533
		}
		out, err := c.Materialise(t.Context(), root, r, o)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		err = filepath.WalkDir(out.Dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			want := map[fs.FileMode]fs.FileMode{0: 0o644, fs.ModeDir: fs.ModeDir | 0o755, fs.ModeSymlink: fs.ModeSymlink | 0o777}[info.Mode().Type()]
			st := info.Sys().(*syscall.Stat_t)
			if info.Mode() != want || info.ModTime().Unix() != epoch || info.ModTime().Nanosecond() != 0 {
				t.Errorf("%s: %v at %v", path, info.Mode(), info.ModTime())
			}
			if o.UID >= 0 && (st.Uid != 65534 || st.Gid != 65533) {
				t.Errorf("%s: owner %d:%d", path, st.Uid, st.Gid)
			}
			if info.Mode().IsRegular() && st.Nlink != 1 {
				t.Errorf("%s: %d hard links", path, st.Nlink)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		out.Release()
		c.Close()
	}
}

// TestRoundTrip uploads random trees and lays them out: the listings must agree.
func TestRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	r, c := newRemote(t), openCache(t, t.TempDir(), Config{})
	defer c.Close()
	for range 25 {
		dir := t.TempDir()
		grow(t, rnd, dir, 0)
		root, totals, err := tree.Upload(t.Context(), r, dir, tree.Options{})
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.Materialise(t.Context(), root, r, own)
		if err != nil {
			t.Fatal(err)
		}
		want, err := tree.Scan(t.Context(), dir, tree.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := tree.Scan(t.Context(), out.Dir, tree.Options{})
		if err != nil || !reflect.DeepEqual(got, want) || int64(len(got)) != totals.Entries {
			t.Errorf("laid out %v, %v\nuploaded %v", got, err, want)
		}
		out.Release()
	}
}

// grow fills dir with random files, directories and links.
func grow(t *testing.T, r *rand.Rand, dir string, depth int) {
	for i := range r.IntN(6) {
		path := filepath.Join(dir, fmt.Sprint([]string{"n", "-", "ü", "x y", ".", "N"}[r.IntN(6)], i))
		var err error
		switch k := r.IntN(4); {
		case k == 0 && depth < 4:
			err = os.Mkdir(path, 0o700)
			grow(t, r, path, depth+1)
		case k == 1:
			err = os.Symlink(strings.Repeat("../", r.IntN(depth+1))+"somewhere", path)
		default:
			content := make([]byte, []int{0, 1, 100, 70_000, 300_000}[r.IntN(5)])
			for j := range content {
				content[j] = byte(r.IntN(2))
			}
			err = os.WriteFile(path, content, []fs.FileMode{0o600, 0o711}[r.IntN(2)])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestBlobsAreFetchedOnce(t *testing.T) {
	r, dir := newRemote(t), t.TempDir()
	c := openCache(t, dir, Config{})
	one := r.upload(t, map[string]string{"a": "shared", "b": "first"})
	two := r.upload(t, map[string]string{"a": "shared", "b": "second"})
	hold := func(c *Cache, root cas.Digest, o Options, want int64) {
		t.Helper()
		before := r.fetched.Load()
		out, err := c.Materialise(t.Context(), root, r, o)
		if err != nil {
			t.Fatal(err)
		}
		out.Release()
		out.Release() // again is harmless
		if n := r.fetched.Load() - before; n != want {
			t.Errorf("fetched %d blobs, want %d", n, want)
		}
	}
	hold(c, one, own, 3)
	hold(c, one, own, 0)
	hold(c, two, own, 2) // its root and "second"
	hold(c, one, Options{UID: -7, GID: -1, Epoch: epoch}, 0)
	hold(c, one, Options{UID: -1, GID: -1, Epoch: 0}, 0) // laid out anew from the same blobs
	if n := len(c.trees); n != 3 {
		t.Errorf("%d trees, want 3", n)
	}
	if _, err := Open(dir, Config{}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openCache(t, dir, Config{})
	if n := len(c.trees); n != 3 || c.used == 0 {
		t.Errorf("%d trees of %d bytes after reopening, want 3", n, c.used)
	}
	hold(c, two, own, 0)
	c.Close()
	// Another boot: unsynced files may be empty, only blobs are verified.
	if err := os.WriteFile(filepath.Join(dir, "boot"), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	c = openCache(t, dir, Config{})
	if len(c.trees) != 0 || c.used != 0 {
		t.Errorf("%d trees outlived a boot", len(c.trees))
	}
	hold(c, two, own, 0)
	c.Close()
}

func TestEviction(t *testing.T) {
	r, dir := newRemote(t), t.TempDir()
	const each = 2*blockBytes + 1000 // one file of 1000 bytes
	c := openCache(t, dir, Config{TreeBytes: 3 * each, BlobBytes: 1})
	defer c.Close()
	var roots []cas.Digest
	for i := range 6 {
		roots = append(roots, r.upload(t, map[string]string{"f": strings.Repeat(fmt.Sprint(i), 1000)}))
	}
	hold := func(i int) *Checkout {
		t.Helper()
		out, err := c.Materialise(t.Context(), roots[i], r, own)
		if err != nil {
			t.Fatalf("tree %d: %v", i, err)
		}
		return out
	}
	held := func(is ...int) {
		t.Helper()
		entries, err := os.ReadDir(filepath.Join(dir, "trees"))
		if err != nil || len(entries) != len(is) || c.used != int64(len(is))*each {
			t.Errorf("%d trees of %d bytes, %v; want %v", len(entries), c.used, err, is)
		}
		for _, i := range is {
			if _, ok := c.trees[key{roots[i], own}]; !ok {
				t.Errorf("tree %d is gone", i)
			}
		}
	}
	zero := hold(0)
	hold(1).Release()
	hold(2).Release()
	hold(1).Release() // now 2 is the oldest that nobody uses
	three := hold(3)
	held(0, 1, 3)
	four := hold(4)
	held(0, 3, 4)
	if _, err := c.Materialise(t.Context(), roots[5], r, own); !errors.Is(err, cas.ErrTooLarge) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("with all in use: %v", err)
	}
	held(0, 3, 4)
	if b, err := os.ReadFile(filepath.Join(zero.Dir, "f")); err != nil || len(b) != 1000 {
		t.Errorf("a tree in use: %d bytes, %v", len(b), err)
	}
	for _, o := range []*Checkout{zero, three, four} {
		o.Release()
	}
	hold(5).Release()
	held(3, 4, 5)
	huge := r.upload(t, map[string]string{"f": strings.Repeat("h", 3*each)})
	if _, err := c.Materialise(t.Context(), huge, r, own); !errors.Is(err, cas.ErrTooLarge) || !strings.Contains(err.Error(), "larger one") {
		t.Errorf("larger than the cache: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "building")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestConcurrentUse(t *testing.T) {
	r := newRemote(t)
	const each = 2*blockBytes + 1
	c := openCache(t, t.TempDir(), Config{TreeBytes: 9 * each})
	defer c.Close()
	var roots []cas.Digest
	for i := range 12 {
		roots = append(roots, r.upload(t, map[string]string{"f": string(rune('a' + i))}))
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for k := range 40 {
				i := (w*5 + k) % len(roots)
				out, err := c.Materialise(t.Context(), roots[i], r, own)
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := os.ReadFile(filepath.Join(out.Dir, "f")); err != nil || string(b) != string(rune('a'+i)) {
					t.Errorf("tree %d holds %q, %v", i, b, err)
				}
				out.Release()
			}
		})
	}
	wg.Wait()
}

// blocking is a remote that waits for its caller to be called off.
type blocking struct{ begun chan struct{} }

func (b blocking) Fetch(ctx context.Context, _ []cas.Digest, _ func(cas.Digest, io.Reader) error) error {
	close(b.begun)
	<-ctx.Done()
	return ctx.Err()
}

// Who waits for a tree that another one lays out must not fail because that one
// was called off.
func TestWaiterOutlivesTheOneWhoWasCalledOff(t *testing.T) {
	r, c := newRemote(t), openCache(t, t.TempDir(), Config{})
	defer c.Close()
	root := r.upload(t, map[string]string{"f": "x"})
	ctx, cancel := context.WithCancel(t.Context())
	b := blocking{make(chan struct{})}
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := c.Materialise(ctx, root, b, own)
		first <- err
	}()
	<-b.begun
	go func() {
		out, err := c.Materialise(t.Context(), root, r, own)
		if err == nil {
			out.Release()
		}
		second <- err
	}()
	for waiting := false; !waiting; {
		c.mu.Lock()
		waiting = c.trees[key{root, own}].users == 2
		c.mu.Unlock()
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("waiting: %v", err)
	}
}

func TestDamagedBlobIsFetchedAgain(t *testing.T) {
	r, dir := newRemote(t), t.TempDir()
	c := openCache(t, dir, Config{})
	defer c.Close()
	for _, size := range []int{100, 1 << 20} {
		content := strings.Repeat("x", size)
		root := r.upload(t, map[string]string{"f": content})
		out, err := c.Materialise(t.Context(), root, r, own)
		if err != nil {
			t.Fatal(err)
		}
		out.Release()
		d := cas.Of([]byte(content))
		path := filepath.Join(dir, "blobs/blobs", d.Hash[:2], d.Hash)
		if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, make([]byte, size), 0o644)); err != nil {
			t.Fatal(err)
		}
		out, err = c.Materialise(t.Context(), root, r, Options{UID: -1, GID: -1, Epoch: 1})
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if b, err := os.ReadFile(filepath.Join(out.Dir, "f")); err != nil || string(b) != content {
			t.Errorf("%d bytes: damage reached a tree, %v", size, err)
		}
		out.Release()
	}
}

func TestFailuresLeaveNothing(t *testing.T) {
	r, dir := newRemote(t), t.TempDir()
	c := openCache(t, dir, Config{})
	defer c.Close()
	raw, err := (&tree.Directory{Files: []tree.FileNode{{Name: name(t, "f"), Digest: cas.Of([]byte("nowhere"))}}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Put(t.Context(), cas.Of(raw), strings.NewReader(string(raw))); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Materialise(t.Context(), cas.Of(raw), r, own); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("file that is nowhere: %v", err)
	}
	if _, err := c.Materialise(t.Context(), cas.Of([]byte("none")), r, own); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("root that is nowhere: %v", err)
	}
	if c.used != 0 || len(c.trees) != 0 {
		t.Errorf("%d bytes, %d trees are left", c.used, len(c.trees))
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "building")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func name(t *testing.T, s string) tree.Component {
	c, err := tree.NewComponent(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"gavel/cas"
)

func newStore(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = r.Read(b)
	return b
}

func get(s cas.Store, d cas.Digest, t *testing.T) ([]byte, error) {
	r, err := s.Open(t.Context(), d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// sizes straddle what is treated differently: empty, in memory, piped in one or
// several chunks, written back early.
var sizes = []int{0, 1, 1000, chunkBytes - 1, chunkBytes, chunkBytes + 1, 2*chunkBytes + 7, writebackBytes + 3*chunkBytes + 1}

func TestPutOpenMissing(t *testing.T) {
	for _, o := range []Options{{}, {Cache: true}} {
		s := newStore(t, o)
		for _, n := range sizes {
			b := randomBytes(uint64(n), n)
			d := cas.Of(b)
			if missing, err := s.Missing(t.Context(), []cas.Digest{d, d}); err != nil || len(missing) != min(n, 1) {
				t.Errorf("%d bytes: before Put missing %v, %v", n, missing, err)
			}
			if _, err := get(s, d, t); n > 0 && !errors.Is(err, cas.ErrNotFound) {
				t.Errorf("%d bytes: before Put: %v", n, err)
			}
			for range 2 { // again is harmless
				if err := s.Put(t.Context(), d, iotest.HalfReader(bytes.NewReader(b))); err != nil {
					t.Fatalf("%d bytes: %v", n, err)
				}
			}
			if missing, err := s.Missing(t.Context(), []cas.Digest{d}); err != nil || len(missing) != 0 {
				t.Errorf("%d bytes: after Put missing %v, %v", n, missing, err)
			}
			if got, err := get(s, d, t); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%d bytes: read %d, %v", n, len(got), err)
			}
			lie := cas.Digest{Hash: d.Hash, Size: d.Size + 1}
			if missing, _ := s.Missing(t.Context(), []cas.Digest{lie}); n > 0 && len(missing) != 1 {
				t.Errorf("%d bytes: held under a false size", n)
			}
			if _, err := get(s, lie, t); n > 0 && !errors.Is(err, cas.ErrNotFound) {
				t.Errorf("%d bytes: opened under a false size: %v", n, err)
			}
		}
	}
}

func TestPutRefusesLies(t *testing.T) {
	s := newStore(t, Options{})
	broken := errors.New("broken pipe")
	for _, n := range sizes[1:] {
		b := randomBytes(uint64(n), n)
		d := cas.Of(b)
		flipped := bytes.Clone(b)
		flipped[n/2] ^= 4
		for name, c := range map[string]struct {
			from io.Reader
			want error
		}{
			"flipped": {bytes.NewReader(flipped), cas.ErrDigestMismatch},
			"short":   {bytes.NewReader(b[:n-1]), cas.ErrDigestMismatch},
			"none":    {bytes.NewReader(nil), cas.ErrDigestMismatch},
			"long":    {io.MultiReader(bytes.NewReader(b), bytes.NewReader([]byte{0})), cas.ErrDigestMismatch},
			"broken":  {io.MultiReader(bytes.NewReader(b[:n-1]), iotest.ErrReader(broken)), broken},
		} {
			if err := s.Put(t.Context(), d, c.from); !errors.Is(err, c.want) {
				t.Errorf("%d bytes, %s: %v", n, name, err)
			}
			if missing, _ := s.Missing(t.Context(), []cas.Digest{d}); len(missing) != 1 {
				t.Errorf("%d bytes, %s: stored", n, name)
			}
		}
	}
	if err := s.Put(t.Context(), cas.Empty, bytes.NewReader([]byte("x"))); !errors.Is(err, cas.ErrDigestMismatch) {
		t.Errorf("content for the empty blob: %v", err)
	}
	if err := s.Put(t.Context(), cas.Digest{Hash: cas.Of([]byte("x")).Hash, Size: cas.MaxBlobBytes + 1}, bytes.NewReader(nil)); !errors.Is(err, cas.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.staging.dir, "[0-9]*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDamageIsSetAside(t *testing.T) {
	s := newStore(t, Options{})
	for _, n := range []int{100, wholeBytes + 1, 3 * chunkBytes} {
		for name, damage := range map[string]func(*os.File) error{
			"flipped last byte": func(f *os.File) error { _, err := f.WriteAt([]byte{0xFF, 0xFE}, int64(n)-2); return err },
			"zeroed":            func(f *os.File) error { _, err := f.WriteAt(make([]byte, n), 0); return err },
			"cut short":         func(f *os.File) error { return f.Truncate(int64(n) / 2) },
		} {
			b := randomBytes(uint64(n), n)
			b[n-1], b[n-2] = 1, 2
			d := cas.Of(b)
			if err := s.Put(t.Context(), d, bytes.NewReader(b)); err != nil {
				t.Fatal(err)
			}
			path := s.path(d)
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(damage(f), f.Close()); err != nil {
				t.Fatal(err)
			}
			got, err := get(s, d, t)
			if !errors.Is(err, cas.ErrNotFound) || len(got) >= n {
				t.Errorf("%d bytes, %s: read %d bytes, %v", n, name, len(got), err)
			}
			if missing, err := s.Missing(t.Context(), []cas.Digest{d}); err != nil || len(missing) != 1 {
				t.Errorf("%d bytes, %s: afterwards missing %v, %v", n, name, missing, err)
			}
			if err := s.Put(t.Context(), d, bytes.NewReader(b)); err != nil {
				t.Errorf("%d bytes, %s: healing: %v", n, name, err)
			}
			if got, err := get(s, d, t); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%d bytes, %s: not healed: %v", n, name, err)
			}
		}
	}
	if aside, _ := os.ReadDir(filepath.Join(s.dir, "damaged")); len(aside) != 3 {
		t.Errorf("%d set aside, want one for each size", len(aside))
	}
}

func TestConcurrentPuts(t *testing.T) {
	s := newStore(t, Options{Cache: true})
	blobs := make([][]byte, 8)
	for i := range blobs {
		blobs[i] = randomBytes(uint64(i), 1<<(2*i+5))
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range blobs {
				b := blobs[(i+w)%len(blobs)]
				d := cas.Of(b)
				if err := s.Put(t.Context(), d, bytes.NewReader(b)); err != nil {
					t.Error(err)
				}
				if got, err := get(s, d, t); err != nil || !bytes.Equal(got, b) {
					t.Errorf("read %d of %d bytes, %v", len(got), len(b), err)
				}
			}
		})
	}
	wg.Wait()
}

func TestStagingIsSweptWhenItsProcessIsGone(t *testing.T) {
	dir := t.TempDir()
	alive, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	dead, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Store{alive, dead} {
		if err := os.WriteFile(s.staging.newPath(), []byte("half a blob"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dead.staging.lock.Close() // what the kernel does when a process ends
	next, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if _, err := os.Stat(dead.staging.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a dead process's uploads: %v", err)
	}
	if left, _ := os.ReadDir(alive.staging.dir); len(left) != 2 {
		t.Errorf("a live process has %d files, want its lock and its upload", len(left))
	}
}

func TestTrim(t *testing.T) {
	s := newStore(t, Options{Cache: true})
	var ds []cas.Digest
	for i := range 10 {
		b := randomBytes(uint64(i), 1000)
		ds = append(ds, cas.Of(b))
		if err := s.Put(t.Context(), ds[i], bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(time.Duration(i-100) * time.Hour)
		if err := os.Chtimes(s.path(ds[i]), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := get(s, ds[0], t); err != nil { // the oldest becomes the youngest
		t.Fatal(err)
	}
	if err := s.Trim(t.Context(), 3500); err != nil {
		t.Fatal(err)
	}
	missing, err := s.Missing(t.Context(), ds)
	if err != nil || fmt.Sprint(missing) != fmt.Sprint(ds[1:8]) {
		t.Errorf("trimmed %d blobs (%v), want the 7 least recently used", len(missing), err)
	}
	if err := newStore(t, Options{}).Trim(t.Context(), 0); err == nil {
		t.Error("trimmed a store that is no cache")
	}
}

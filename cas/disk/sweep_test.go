package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gavel/cas"
)

const (
	sweepGranularity = time.Hour
	sweepAge         = 24 * time.Hour
)

func sweepStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{RecordUse: sweepGranularity})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func sweepPut(t *testing.T, s *Store, content string, age time.Duration) cas.Digest {
	t.Helper()
	d := cas.Of([]byte(content))
	if err := s.Put(t.Context(), d, bytes.NewReader([]byte(content))); err != nil {
		t.Fatal(err)
	}
	grow(t, s, d, age)
	return d
}

// grow makes a blob's last use so old.
func grow(t *testing.T, s *Store, d cas.Digest, age time.Duration) {
	t.Helper()
	at := time.Now().Add(-age)
	if err := os.Chtimes(s.path(d), at, at); err != nil {
		t.Fatal(err)
	}
}

func there(t *testing.T, s *Store, d cas.Digest) bool {
	t.Helper()
	_, err := os.Lstat(s.path(d))
	return err == nil
}

func TestSweep(t *testing.T) {
	s := sweepStore(t, t.TempDir())
	old, kept, young := sweepPut(t, s, "old", 48*time.Hour), sweepPut(t, s, "kept", 48*time.Hour), sweepPut(t, s, "young", time.Hour)
	asked, opened, again := sweepPut(t, s, "asked", 48*time.Hour), sweepPut(t, s, "opened", 48*time.Hour), sweepPut(t, s, "again", 48*time.Hour)
	if missing, err := s.Missing(t.Context(), []cas.Digest{asked}); err != nil || len(missing) > 0 {
		t.Fatal(missing, err)
	}
	r, err := s.Open(t.Context(), opened)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := s.Put(t.Context(), again, bytes.NewReader([]byte("again"))); err != nil {
		t.Fatal(err)
	}
	n, size, err := s.Sweep(t.Context(), time.Now().Add(-sweepAge), func(hash string) bool { return hash == kept.Hash })
	if err != nil || n != 1 || size != old.Size {
		t.Errorf("swept %d blobs of %d bytes, %v", n, size, err)
	}
	for name, c := range map[string]struct {
		d    cas.Digest
		want bool
	}{"old": {old, false}, "kept": {kept, true}, "young": {young, true}, "asked for": {asked, true}, "opened": {opened, true}, "stored again": {again, true}} {
		if got := there(t, s, c.d); got != c.want {
			t.Errorf("%s is there: %v", name, got)
		}
	}
	if n, _, err := s.Sweep(t.Context(), time.Now().Add(-sweepAge), func(string) bool { return false }); err != nil || n != 0 {
		t.Errorf("swept %d more, %v: what was kept was thereby used", n, err)
	}
	if left, err := os.ReadDir(filepath.Join(s.dir, sweptName)); err != nil || len(left) > 0 {
		t.Errorf("left out of sight: %v, %v", left, err)
	}
}

func TestSweepNeedsRecords(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, _, err := s.Sweep(t.Context(), time.Now(), func(string) bool { return false }); err == nil {
		t.Error("a store that records no uses was swept")
	}
}

// A crash between the two steps of a removal loses nothing: the next who opens the
// store finds the blob, be it that it was stored anew meanwhile.
func TestSweepCrash(t *testing.T) {
	dir := t.TempDir()
	s := sweepStore(t, dir)
	lost, anew := sweepPut(t, s, "lost", 48*time.Hour), sweepPut(t, s, "anew", 48*time.Hour)
	if err := os.MkdirAll(filepath.Join(dir, sweptName), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []cas.Digest{lost, anew} {
		if err := os.Rename(s.path(d), filepath.Join(dir, sweptName, d.Hash)); err != nil {
			t.Fatal(err)
		}
	}
	sweepPut(t, s, "anew", 0)
	s = sweepStore(t, dir)
	if missing, err := s.Missing(t.Context(), []cas.Digest{lost, anew}); err != nil || len(missing) > 0 {
		t.Errorf("missing %v, %v", missing, err)
	}
	if n, _, err := s.Sweep(t.Context(), time.Now().Add(-sweepAge), func(string) bool { return false }); err != nil || n != 0 {
		t.Errorf("swept %d, %v: both were asked for", n, err)
	}
}

// Whoever is told that a blob is there, keeps it, however a sweep runs beside.
func TestSweepBesideUses(t *testing.T) {
	s := sweepStore(t, t.TempDir())
	var ds []cas.Digest
	for i := range 300 {
		ds = append(ds, sweepPut(t, s, fmt.Sprint(i), 48*time.Hour))
	}
	var told []cas.Digest
	var running sync.WaitGroup
	running.Go(func() {
		for i := len(ds) - 1; i >= 0; i-- {
			missing, err := s.Missing(t.Context(), ds[i:i+1])
			if err != nil {
				t.Error(err)
			}
			if len(missing) == 0 {
				told = append(told, ds[i])
			}
		}
	})
	running.Go(func() {
		if _, _, err := s.Sweep(t.Context(), time.Now().Add(-sweepAge), func(string) bool { return false }); err != nil {
			t.Error(err)
		}
	})
	running.Wait()
	for _, d := range told {
		if !there(t, s, d) {
			t.Errorf("%s was there and is gone", d)
		}
	}
	for _, d := range ds {
		if _, err := os.Lstat(filepath.Join(s.dir, sweptName, d.Hash)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is out of sight: %v", d, err)
		}
	}
}

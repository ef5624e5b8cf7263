package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// manyFiles makes a tree of n small files and opens it.
func manyFiles(tb testing.TB, n int) *os.File {
	tb.Helper()
	work := tb.TempDir()
	for i := range n {
		dir := filepath.Join(work, "out", fmt.Sprint(i/1000))
		if i%1000 == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				tb.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("small"), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	dir, err := os.Open(work)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { dir.Close() })
	return dir
}

// ending is a context that ends when it was asked often enough.
type ending struct {
	context.Context
	left int
}

func (e *ending) Err() error {
	if e.left--; e.left < 0 {
		return context.Canceled
	}
	return nil
}

// A run that was called off went on copying a million files for minutes.
func TestCollectingStopsWithItsContext(t *testing.T) {
	dir := manyFiles(t, 100)
	for _, asked := range []int{0, 1, 50} {
		s := Spec{Outputs: []string{"out"}, OutputDir: t.TempDir()}
		if _, _, err := CollectOutputs(&ending{t.Context(), asked}, dir, s); !errors.Is(err, context.Canceled) {
			t.Errorf("ended after %d entries: %v", asked, err)
		}
		if copied, err := filepath.Glob(filepath.Join(s.OutputDir, "out", "0", "*")); err != nil || len(copied) > asked {
			t.Errorf("ended after %d entries, %d are copied (%v)", asked, len(copied), err)
		}
	}
	// In the middle of a file, too.
	if err := os.WriteFile(filepath.Join(dir.Name(), "large"), make([]byte, 8*copyBytes), 0o644); err != nil {
		t.Fatal(err)
	}
	s := Spec{Outputs: []string{"large"}, OutputDir: t.TempDir()}
	if _, _, err := CollectOutputs(&ending{t.Context(), 3}, dir, s); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(s.OutputDir, "large")); err != nil || info.Size() > 4*copyBytes {
		t.Errorf("%v, %v", info, err)
	}
}

func TestCollectingIsBoundedByEntries(t *testing.T) {
	dir := manyFiles(t, 20)
	for bound, want := range map[int64]bool{21: false, 22: true} { // the files and two directories
		c := collector{ctx: t.Context(), root: t.TempDir(), bytesLeft: 1 << 20, entriesLeft: bound}
		err := c.collect(int(dir.Fd()), "out")
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "output files") {
			t.Errorf("%d entries: %v", bound, err)
		}
		if _, err := os.Stat(filepath.Join(c.root, "out")); (err == nil) != want {
			t.Errorf("%d entries: what was copied: %v", bound, err)
		}
	}
}

// BenchmarkCollect is the time of one small file, of which a result may have hundreds of thousands.
func BenchmarkCollect(b *testing.B) {
	const files = 20_000
	dir := manyFiles(b, files)
	var took time.Duration
	for b.Loop() {
		s := Spec{Outputs: []string{"out"}, OutputDir: b.TempDir()}
		begin := time.Now()
		if missing, detail, err := CollectOutputs(b.Context(), dir, s); err != nil || len(missing) > 0 {
			b.Fatal(missing, detail, err)
		}
		took += time.Since(begin)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(took.Microseconds())/float64(b.N)/files, "µs/file")
}

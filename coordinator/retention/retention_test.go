package retention

import (
	"context"
	"errors"
	"testing"
	"time"
)

// world is a farm's store, state and log as a sweeper sees them.
type world struct {
	now                  time.Time
	needed               map[string]bool
	unknown              error
	index, items, logged uint64
	entry                uint64 // the last that the log has taken
	swept                []time.Time
	kept                 map[string]bool
	sweepFails           error
}

func (w *world) Sweep(_ context.Context, before time.Time, keep func(string) bool) (int, int64, error) {
	w.swept = append(w.swept, before)
	w.kept = map[string]bool{}
	for _, h := range []string{"a", "b"} {
		w.kept[h] = keep(h)
	}
	return 1, 10, w.sweepFails
}

func (w *world) sweeper(t *testing.T, dir string) *Sweeper {
	t.Helper()
	s, err := New(Config{
		Retain: 24 * time.Hour, Dir: dir, Store: w, Now: func() time.Time { return w.now },
		Needed:   func(context.Context) (map[string]bool, uint64, error) { return w.needed, w.index, w.unknown },
		Progress: func() (uint64, uint64, uint64) { return w.entry, w.items, w.logged },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) look(t *testing.T, s *Sweeper) time.Time {
	t.Helper()
	if _, _, err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w.swept[len(w.swept)-1]
}

// What settled before a look may go once the log has passed that look, and what
// nobody used for long enough; whichever is earlier counts.
func TestNothingGoesBeforeItIsLogged(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := &world{now: start, needed: map[string]bool{"a": true}, index: 10, entry: 8, items: 3, logged: 3}
	s := w.sweeper(t, t.TempDir())
	if before := w.look(t, s); before.After(time.Time{}) {
		t.Errorf("a node that has just come up sweeps what is older than %v", before)
	}
	if !w.kept["a"] || w.kept["b"] {
		t.Errorf("kept %v", w.kept)
	}
	w.now, w.entry, w.items, w.index = start.Add(48*time.Hour), 12, 5, 20
	if before := w.look(t, s); before.After(time.Time{}) {
		t.Errorf("the log lacks items 3 and 4, and what is older than %v is swept", before)
	}
	w.logged = 5
	w.now = start.Add(49 * time.Hour)
	w.look(t, s) // now the first look has been passed
	w.now = start.Add(50 * time.Hour)
	if before, want := w.look(t, s), start.Add(-time.Hour); !before.Equal(want) {
		t.Errorf("sweeps what is older than %v, want %v: the log stands at the first look", before, want)
	}
	w.entry, w.items, w.logged, w.index = 30, 6, 6, 30
	w.now = start.Add(80 * time.Hour)
	w.look(t, s)
	w.now = start.Add(81 * time.Hour)
	if before, want := w.look(t, s), w.now.Add(-24*time.Hour); !before.Equal(want) {
		t.Errorf("sweeps what is older than %v, want %v: all is logged", before, want)
	}
}

func TestNothingGoesWhereNothingIsKnown(t *testing.T) {
	w := &world{now: time.Now(), unknown: errors.New("no leader")}
	s := w.sweeper(t, t.TempDir())
	if _, _, err := s.Sweep(t.Context()); !errors.Is(err, w.unknown) || len(w.swept) > 0 {
		t.Errorf("swept %v, %v", w.swept, err)
	}
	w.unknown, w.sweepFails = nil, errors.New("disk")
	if _, _, err := s.Sweep(t.Context()); !errors.Is(err, w.sweepFails) || len(s.notes) > 0 {
		t.Errorf("a look that kept nothing counts: %v, %v", s.notes, err)
	}
}

func TestOneSweepsAtATime(t *testing.T) {
	dir := t.TempDir()
	w := &world{now: time.Now()}
	first, second := w.sweeper(t, dir), w.sweeper(t, dir)
	release, ok, err := first.lock()
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if _, _, err := second.Sweep(t.Context()); err != nil || len(w.swept) > 0 {
		t.Errorf("swept %v, %v", w.swept, err)
	}
	release()
	if _, _, err := second.Sweep(t.Context()); err != nil || len(w.swept) != 1 {
		t.Errorf("swept %v, %v", w.swept, err)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]time.Duration{"": Default, "forever": 0, "30d": 30 * 24 * time.Hour, "36h": 36 * time.Hour, "90m": 90 * time.Minute} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"0", "0d", "-1d", "59m", "x", "d", "1.5d", "99999999999d", "30 d"} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
	if _, err := New(Config{Retain: time.Minute}); err == nil {
		t.Error("a minute is kept")
	}
}

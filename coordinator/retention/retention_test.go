package retention

import (
	"context"
	"errors"
	"testing"
	"time"
)

// world is a farm's store and state as a sweeper sees them.
type world struct {
	now        time.Time
	needed     map[string]bool
	unknown    error
	swept      []time.Time
	kept       map[string]bool
	sweepFails error
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
		Needed: func(context.Context) (map[string]bool, error) { return w.needed, w.unknown },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What nobody used for long enough goes, unless it is needed.
func TestWhatNobodyUsedGoes(t *testing.T) {
	w := &world{now: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), needed: map[string]bool{"a": true}}
	if blobs, bytes, err := w.sweeper(t, t.TempDir()).Sweep(t.Context()); err != nil || blobs != 1 || bytes != 10 {
		t.Errorf("swept %d blobs of %d bytes, %v", blobs, bytes, err)
	}
	if want := w.now.Add(-24 * time.Hour); len(w.swept) != 1 || !w.swept[0].Equal(want) {
		t.Errorf("sweeps what is older than %v, want %v", w.swept, want)
	}
	if !w.kept["a"] || w.kept["b"] {
		t.Errorf("kept %v", w.kept)
	}
}

func TestNothingGoesWhereNothingIsKnown(t *testing.T) {
	w := &world{now: time.Now(), unknown: errors.New("no leader")}
	s := w.sweeper(t, t.TempDir())
	if _, _, err := s.Sweep(t.Context()); !errors.Is(err, w.unknown) || len(w.swept) > 0 {
		t.Errorf("swept %v, %v", w.swept, err)
	}
	w.unknown, w.sweepFails = nil, errors.New("disk")
	if _, _, err := s.Sweep(t.Context()); !errors.Is(err, w.sweepFails) {
		t.Errorf("a sweep that failed: %v", err)
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

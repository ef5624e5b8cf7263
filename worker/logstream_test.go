package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/raftfsm/build"
)

// plainLog is a log stream without encryption to a fake farm.
func plainLog(ctx context.Context, f *fakeFarm, resume bool) *logStream {
	return startLog(ctx, resume, func(_ uint64, p []byte) ([]byte, error) { return append([]byte{'.'}, p...), nil },
		func(ctx context.Context, first uint64, chunks [][]byte) (uint64, error) {
			return f.AppendLog(ctx, build.ID{}, build.ID{}, first, chunks)
		})
}

// text joins what the farm has.
func (f *fakeFarm) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, c := range f.chunks[build.ID{}] {
		b.Write(c[1:])
	}
	return b.String()
}

func (f *fakeFarm) setLog(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onLog = func() error { return err }
}

func TestLogArrivesWholeAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFarm()
		l := plainLog(t.Context(), f, false)
		var want bytes.Buffer
		for i := range 3000 {
			fmt.Fprintf(&want, "line %d %s\n", i, strings.Repeat("x", i%200))
			fmt.Fprintf(l, "line %d %s\n", i, strings.Repeat("x", i%200))
			if i%500 == 0 {
				time.Sleep(300 * time.Millisecond)
			}
		}
		l.finish(t.Context())
		if f.text() != want.String() {
			t.Errorf("%d bytes arrived of %d", len(f.text()), want.Len())
		}
		for _, c := range f.chunks[build.ID{}] {
			if len(c) > logChunkBytes+1 {
				t.Errorf("a chunk of %d bytes", len(c))
			}
		}
	})
}

// Every build that printed something just before it ended once waited here for
// lines that could not come: a tenth of a second, half of the time from the end
// of a command to its settlement.
func TestLogEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFarm()
		l := plainLog(t.Context(), f, false)
		fmt.Fprintln(l, "first")
		synctest.Wait() // it is waiting for others
		fmt.Fprintln(l, "last")
		end := time.Now()
		l.finish(t.Context())
		if waited := time.Since(end); waited != 0 || f.text() != "first\nlast\n" {
			t.Errorf("after waiting %v the farm has %q", waited, f.text())
		}
	})
}

// A cluster that is away for a moment costs nothing; one that is away for long
// costs the log, which then says so, but never the build.
func TestLogNeverHoldsUpTheBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFarm()
		l := plainLog(t.Context(), f, false)
		f.setLog(errors.New("no cluster"))
		fmt.Fprintln(l, "early")
		time.Sleep(5 * time.Second)
		f.setLog(nil)
		time.Sleep(11 * time.Second)
		if f.text() != "early\n" {
			t.Errorf("after a short absence: %q", f.text())
		}
		f.setLog(errors.New("no cluster"))
		begun := time.Now()
		flood := strings.Repeat("y", 1<<20)
		for range 8 {
			fmt.Fprint(l, flood)
		}
		if time.Since(begun) != 0 {
			t.Error("writing waited for the cluster")
		}
		time.Sleep(2 * logAway)
		f.setLog(nil)
		fmt.Fprintln(l, "late")
		time.Sleep(2 * retryMost)
		l.finish(t.Context())
		if got := f.text(); !strings.HasPrefix(got, "early\n") || !strings.Contains(got, "bytes of the log are missing here") || !strings.Contains(got, "late\n") {
			t.Errorf("after a long absence: %.200q", got)
		}
	})
}

// The end of a log delays the commitment by a bounded time only.
func TestLogFinishIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFarm()
		f.setLog(errors.New("no cluster"))
		l := plainLog(t.Context(), f, false)
		fmt.Fprintln(l, "x")
		begun := time.Now()
		l.finish(t.Context())
		if took := time.Since(begun); took > logFlush {
			t.Errorf("took %v", took)
		}
	})
}

// After a restart the log goes on behind what the farm has.
func TestLogResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFarm()
		for _, line := range []string{"one\n", "two\n"} {
			l := plainLog(t.Context(), f, line != "one\n")
			fmt.Fprint(l, line)
			l.finish(t.Context())
		}
		if f.text() != "one\ntwo\n" {
			t.Errorf("got %q", f.text())
		}
		fresh := newFakeFarm()
		l := plainLog(t.Context(), fresh, true)
		fmt.Fprint(l, "three\n")
		l.finish(t.Context())
		if fresh.text() != "three\n" {
			t.Errorf("where nothing had arrived before: %q", fresh.text())
		}
	})
}

func TestLogEndsWhereTheFarmClosesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFarm()
		l := plainLog(t.Context(), f, false)
		f.setLog(fmt.Errorf("appending: %w", status.Error(codes.FailedPrecondition, "closed")))
		fmt.Fprintln(l, "x")
		time.Sleep(time.Second)
		f.setLog(nil)
		fmt.Fprintln(l, "y")
		l.finish(t.Context())
		if f.text() != "" {
			t.Errorf("got %q", f.text())
		}
	})
}

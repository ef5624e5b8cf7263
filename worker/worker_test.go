package worker

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// A worker registers once in each life, and says hello when it was away or
// offers something else.
func TestRegistersAndSaysHello(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Stake, c.Slots = 5, 3 })
	b.loop()
	b.farm.feed <- &gavelv1.Assignments{}
	b.farm.await(t, "the registration", func() bool { return len(b.farm.of(build.TypeRegister)) == 1 })
	m := b.farm.of(build.TypeRegister)[0].(*build.Register)
	if m.Name != "w1" || m.Stake != 5 || m.Slots != 3 || build.AccountID(m.Key) != b.signer.ID || !slices.Equal(m.Platforms, []string{"host"}) {
		t.Errorf("registered %+v", m)
	}
	b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 1}
	b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 2, Absent: true}
	b.farm.await(t, "the hello", func() bool { return len(b.farm.of(build.TypeUpdate)) == 1 })
	b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 3}
	b.runner.mu.Lock()
	b.runner.roots = []string{"sha256:bb", "host"}
	b.runner.mu.Unlock()
	if err := b.w.readRoots(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.farm.await(t, "the new offer", func() bool { return len(b.farm.of(build.TypeUpdate)) == 2 })
	if u := b.farm.of(build.TypeUpdate)[1].(*build.Update); !slices.Equal(u.Platforms, []string{"host", "sha256:bb"}) || !b.w.offers("sha256:bb") || b.w.offers("sha256:aa") {
		t.Errorf("offers %v", u.Platforms)
	}
	b.restart()
	b.loop()
	b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 4}
	b.farm.await(t, "the registration of the next life", func() bool { return len(b.farm.of(build.TypeRegister)) == 2 })
}

// A whole round through the loop: bid, open, win, build, commit.
func TestLoopServesWhatIsAsked(t *testing.T) {
	b := newBench(t, nil)
	b.loop()
	a := auction("a")
	b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 1, Stake: 100_000_000, Auctions: []*gavelv1.Auction{a, {Auction: []byte("ill-formed")}}}
	b.farm.await(t, "the bid", func() bool { return len(b.farm.of(build.TypeBid)) == 1 })
	b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 2, Reveals: [][]byte{a.Auction}}
	b.farm.await(t, "the opening", func() bool { return len(b.farm.of(build.TypeReveal)) == 1 })
	b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 3, Leases: []*gavelv1.Lease{b.lease("l", true), {}}}
	b.farm.await(t, "the commitment", func() bool { return len(b.commits()) == 1 })
}

// An uploader holds a lease too: it is renewed for as long as the upload waits.
func TestUploaderKeepsItsLease(t *testing.T) {
	b := newBench(t, nil)
	o := b.serve("l", false)
	var r attemptRecord
	if _, err := b.journal.Get(shelfAttempts, id("l"), &r); err != nil {
		t.Fatal(err)
	}
	r.LeaseMillis = 30 // a tenth of a second passes in no time
	if err := b.journal.Put(shelfAttempts, id("l"), &r); err != nil {
		t.Fatal(err)
	}
	d := b.w.uploader.(*deliverer)
	var releases []func()
	for range uploadsAtOnce {
		release, err := d.slots.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	done := make(chan error, 1)
	go func() {
		done <- d.Upload(t.Context(), upload{lease: id("l"), build: id("build"), result: o.Summary.Digest()})
	}()
	b.farm.await(t, "three heartbeats", func() bool { return len(b.farm.of(build.TypeHeartbeat)) >= 3 })
	for _, release := range releases {
		release()
	}
	if err := <-done; err != nil || len(b.farm.delivered) != 1 {
		t.Errorf("delivered %d: %v", len(b.farm.delivered), err)
	}
}

// A duty is tried until it succeeds, again after a while if it is still asked
// for, never twice at once, and not at all once it is not.
func TestDuties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDuties(slog.New(slog.DiscardHandler), func() {})
		var runs, active atomic.Int64
		fail := true
		asked := []duty{{key: dutyKey{kind: dutyReveal}, run: func(ctx context.Context) error {
			if active.Add(1) > 1 {
				t.Error("two at once")
			}
			defer active.Add(-1)
			runs.Add(1)
			if !pause(ctx, time.Second) {
				return ctx.Err()
			}
			if fail {
				return errors.New("not yet")
			}
			return nil
		}}}
		follow := func(ds []duty, after time.Duration) time.Duration {
			time.Sleep(after)
			synctest.Wait()
			next := d.follow(t.Context(), ds)
			synctest.Wait()
			return next
		}
		check := func(want int64, what string) {
			t.Helper()
			if runs.Load() != want {
				t.Errorf("%s: run %d times, want %d", what, runs.Load(), want)
			}
		}
		follow(asked, 0)
		follow(asked, 500*time.Millisecond)
		check(1, "under way")
		if next := follow(asked, 600*time.Millisecond); next <= 0 || next > retryFirst {
			t.Errorf("next try in %v", next)
		}
		check(1, "failed, waits")
		fail = false
		follow(asked, retryFirst)
		check(2, "tried again")
		follow(asked, 2*time.Second)
		check(2, "done")
		follow(asked, repeatAfter)
		check(3, "still asked for")
		follow(nil, 0) // cancelled while it runs
		follow(asked, 0)
		check(4, "asked for anew")
		follow(nil, 0)
		d.wait()
		if len(d.tasks) != 0 {
			t.Errorf("%d tasks are remembered", len(d.tasks))
		}
	})
}

func TestRefusals(t *testing.T) {
	for code, final := range map[build.Code]bool{build.CodeWrongState: true, build.CodeStale: true, build.CodeBusy: false, build.CodeNotReady: false} {
		b := newBench(t, nil)
		tries := 0
		b.farm.answer = func(kind build.Type, _ wire.Record) error {
			if kind != build.TypeCommit {
				return nil
			}
			if tries++; tries <= 2 {
				return refusal(code)
			}
			return nil
		}
		if err := b.w.workshop.serve(t.Context(), b.parsed(b.lease("l", false))); err != nil {
			t.Fatal(err)
		}
		if got := tries == 1; got != final {
			t.Errorf("code %d: sent %d times", code, tries)
		}
	}
}

func TestLogFileIsSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "worker.log")
	f, log, err := openLogFile(path, 300)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		log.Info("an event of some length, to fill the file")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + ".1"} {
		if info, err := os.Stat(p); err != nil || info.Size() == 0 || info.Size() > 300 {
			t.Errorf("%s: %v, %v", p, info, err)
		}
	}
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/api/seal"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/sandbox"
	"gavel/verify/attest"
	"gavel/verify/keys"
	"gavel/worker/engine"
)

// What is committed to is what was built: the opening matches the commitment,
// opens with every coordinator's key, and carries the author's signature over a
// statement that can be derived again.
func TestCommitOpensAndIsSigned(t *testing.T) {
	for _, builder := range []bool{true, false} {
		t.Run(fmt.Sprint("builder ", builder), func(t *testing.T) {
			b := newBench(t, nil)
			l := b.parsed(b.lease("l", builder))
			if err := b.w.workshop.serve(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			if len(b.farm.of(build.TypeStart)) != 1 {
				t.Error("the farm did not hear once that the command began")
			}
			commits := b.commits()
			if len(commits) != 1 {
				t.Fatalf("%d commits", len(commits))
			}
			o := b.opening(commits[0])
			if o.Commitment(b.cluster, b.signer.ID, l.build) != commits[0].Commitment {
				t.Error("the opening does not match the commitment")
			}
			m, dir, err := b.w.kept.open(l.id)
			if err != nil {
				t.Fatal(err)
			}
			if m.Summarise() != o.Summary || len(m.Outputs) != 2 {
				t.Errorf("kept %+v", m)
			}
			if text, err := os.ReadFile(filepath.Join(dir, "bin/app")); err != nil || string(text) != "honest bytes bin/app" {
				t.Errorf("kept %q, %v", text, err)
			}
			b.checkSignature(l, m, o)
			if n := len(b.farm.chunks[l.id]); (n > 0) != builder {
				t.Errorf("%d chunks of log; only a builder has one", n)
			}
			for i, c := range b.farm.chunks[l.id] {
				if plain, err := seal.OpenLog(b.sealKeys[0], l.build, l.id, uint64(i), c); err != nil || !strings.Contains(string(plain), "built 2 outputs") {
					t.Errorf("log chunk %d: %q, %v", i, plain, err)
				}
			}
			if len(b.commits()) != 1 || b.uploads() != 0 {
				t.Error("something was uploaded before the verdict")
			}
		})
	}
}

// checkSignature derives the statement anew, from nothing the worker holds alone.
func (b *bench) checkSignature(l lease, m *build.Manifest, o *build.Opening) {
	b.t.Helper()
	a := &attester{farm: b.cluster, self: &build.Worker{ID: b.signer.ID, Name: "w1", Operator: "o1", Class: "linux/amd64"}}
	statement, err := a.statement(&job{Build: l.build, Builder: l.builder}, &product{Action: b.action, Manifest: m}, o)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := keys.Verify(b.signer.Public, attest.Payload(statement), o.Signature); err != nil {
		b.t.Errorf("statement's signature: %v", err)
	}
}

// A machine that dies in the middle of a build takes its lease up again; one that
// had finished sends word for word what it had committed to; and whatever the
// journal does, never two commitments that contradict each other are made.
func TestLeaseIsTakenUpAfterRestart(t *testing.T) {
	for name, f := range faults {
		t.Run("record "+name, func(t *testing.T) {
			b := newBench(t, nil)
			b.stop()
			b.wrap = func(r records) records {
				return &faulty{records: r, next: func(s shelf) fault {
					if s == shelfAttempts {
						return f
					}
					return fault{stored: true}
				}}
			}
			b.open()
			lost := errors.New("the machine died before the answer came")
			ctx, cancel := context.WithCancel(t.Context())
			b.farm.answer = func(kind build.Type, m wire.Record) error {
				if kind == build.TypeCommit {
					if f.fails {
						t.Error("a commitment was sent although its record failed")
					}
					cancel()
					return lost
				}
				return nil
			}
			l := b.parsed(b.lease("l", true))
			if err := b.w.workshop.serve(ctx, l); err == nil {
				t.Fatal("the lease was served although the machine died")
			}
			cancel()
			b.wrap, b.farm.answer = nil, nil
			b.restart()
			l.started = true
			if err := b.w.workshop.serve(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			runs, want := b.runner.count(), 2
			if f.stored {
				want = 1
			}
			if runs != want {
				t.Errorf("built %d times, want %d", runs, want)
			}
			commits := b.commits()
			if len(commits) != 1 {
				t.Fatalf("%d commits", len(commits))
			}
			var r attemptRecord
			if found, err := b.journal.Get(shelfAttempts, l.id, &r); !found || err != nil || r.Commitment != commits[0].Commitment {
				t.Errorf("committed to something else than is kept (%v, %v)", found, err)
			}
			if o := b.opening(commits[0]); o.Commitment(b.cluster, b.signer.ID, l.build) != commits[0].Commitment {
				t.Error("the opening does not match")
			}
		})
	}
}

// A recheck is another lease of the same build: it is built afresh.
func TestRecheckBuildsAfresh(t *testing.T) {
	b := newBench(t, nil)
	text := "first"
	b.runner.run = func(_ context.Context, s sandbox.Spec) (sandbox.Result, error) { return writeOutputs(s, text) }
	if err := b.w.workshop.serve(t.Context(), b.parsed(b.lease("l", true))); err != nil {
		t.Fatal(err)
	}
	text = "second"
	again := b.parsed(b.lease("l again", true))
	again.again = true
	if err := b.w.workshop.serve(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	c := b.commits()
	if b.opening(c[0]).Summary == b.opening(c[1]).Summary {
		t.Error("the recheck was answered from memory")
	}
}

// Two leases and one slot: the second is renewed while it waits, and is run when
// the first is done.
func TestHeartbeatsContinueWhileQueued(t *testing.T) {
	b := newBench(t, nil)
	first, second := b.parsed(b.lease("first", false)), b.parsed(b.lease("second", false))
	first.leaseMillis, second.leaseMillis = 3000, 3000
	beats := func(l lease) (n int) {
		for _, r := range b.farm.of(build.TypeHeartbeat) {
			if r.(*build.LeaseRef).Lease == l.id {
				n++
			}
		}
		return n
	}
	synctest.Test(t, func(t *testing.T) {
		w := *b.w.workshop
		w.slots = newSlots(1) // of this bubble
		w.executor = executorFunc(func(ctx context.Context, j *job) (*product, error) {
			heard := j.Begin(ctx)
			time.Sleep(10 * time.Second) // the bubble's clock
			if err := engine.ClearDir(j.outputs()); err != nil {
				return nil, err
			}
			return &product{Action: b.action, Manifest: &build.Manifest{Status: build.StatusExited}, Started: time.Now(), Finished: time.Now()}, heard()
		})
		served := make(chan error, 2)
		go func() { served <- w.serve(t.Context(), first) }()
		synctest.Wait()
		go func() { served <- w.serve(t.Context(), second) }()
		time.Sleep(9500 * time.Millisecond)
		synctest.Wait()
		if n := beats(second); n < 9 {
			t.Errorf("the queued lease was renewed %d times in 9.5 s, want once a second", n)
		}
		if n := len(b.farm.of(build.TypeStart)); n != 1 {
			t.Errorf("%d commands began with one slot", n)
		}
		if err := errors.Join(<-served, <-served); err != nil {
			t.Error(err)
		}
		after := beats(second)
		time.Sleep(time.Minute)
		synctest.Wait()
		if beats(second) != after {
			t.Error("a lease is renewed after its commitment")
		}
	})
	if n := len(b.commits()); n != 2 {
		t.Errorf("%d commits", n)
	}
}

type executorFunc func(context.Context, *job) (*product, error)

func (f executorFunc) Execute(ctx context.Context, j *job) (*product, error) { return f(ctx, j) }

// What this machine cannot build is given up, so that another need not wait.
func TestGivesUpWhatItCannotBuild(t *testing.T) {
	for name, err := range map[string]error{
		"refused":     fmt.Errorf("%w: no such image", sandbox.ErrRefused),
		"unavailable": fmt.Errorf("%w: the engine is gone", sandbox.ErrUnavailable),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.runner.run = func(context.Context, sandbox.Spec) (sandbox.Result, error) { return sandbox.Result{}, err }
			if err := b.w.workshop.serve(t.Context(), b.parsed(b.lease("l", false))); err != nil {
				t.Fatal(err)
			}
			if len(b.farm.of(build.TypeAbandon)) != 1 || len(b.commits()) != 0 {
				t.Error("the lease was not given up")
			}
			if left, _ := os.ReadDir(filepath.Join(b.dir, "work")); len(left) != 0 {
				t.Errorf("%d work directories are left", len(left))
			}
			want := 1
			if name == "unavailable" {
				want = runTries
			}
			if b.runner.count() != want {
				t.Errorf("tried %d times, want %d", b.runner.count(), want)
			}
		})
	}
}

// A lease that leaves the assignments is dropped at once; the slot is free.
func TestLeaseThatIsNoLongerAskedForIsCancelled(t *testing.T) {
	b := newBench(t, nil)
	running, killed := make(chan struct{}), make(chan struct{})
	b.runner.run = func(ctx context.Context, s sandbox.Spec) (sandbox.Result, error) {
		close(running)
		<-ctx.Done()
		close(killed)
		return sandbox.Result{}, ctx.Err()
	}
	b.loop()
	b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 10, Leases: []*gavelv1.Lease{b.lease("l", false)}}
	<-running
	// Older news of a coordinator that lags change nothing.
	b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 5}
	b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 10, Leases: []*gavelv1.Lease{b.lease("l", false)}}
	select {
	case <-killed:
		t.Fatal("cancelled by old assignments")
	default:
	}
	b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 11}
	<-killed
	b.stop()
	if len(b.commits()) != 0 {
		t.Error("committed to a build that was cancelled")
	}
}

package duty

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gavel/api/seal"
	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// register brings the bench's machines into the pool.
func (b *bench) register() {
	for i, w := range b.worker {
		b.send(w, build.TypeRegister, &build.Register{
			Key: w.pkix, Name: fmt.Sprint("w", i), Pool: "pool", Operator: "house", Machine: fmt.Sprint("m", i),
			Class: "linux", Platforms: []string{"host"}, Slots: 1,
		})
	}
}

func (b *bench) submit(validators uint32) ID {
	return b.send(b.asker, build.TypeSubmit, &build.Submit{Terms: build.Terms{
		Pool: "pool", ActionDigest: ID{1}, Platform: "host", TimeoutMillis: 60_000, Validators: validators,
		SamplePPM: 1_000_000, DeadlineMillis: 3_600_000,
	}}).Subject
}

// work starts and commits every lease that is out. lodge may spoil what is lodged
// with the coordinators.
func (b *bench) work(id ID, lodge func(a *build.Attempt, cs []build.Coordinator) []build.Coordinator) {
	b.t.Helper()
	rec := b.build(id)
	for i := range rec.Attempts {
		a := &rec.Attempts[i]
		if !a.Active() {
			continue
		}
		w := b.worker[slices.IndexFunc(b.worker, func(s *signer) bool { return s.id == a.Worker })]
		lease := a.Lease(id)
		b.send(w, build.TypeStart, &build.LeaseRef{Build: id, Lease: lease})
		manifest := build.Manifest{Status: build.StatusExited}
		o := build.Opening{Summary: manifest.Summarise(), Nonce: lease}
		commitment := o.Commitment(b.genesis.Digest(), w.id, id)
		if b.nonce != (ID{}) {
			o.Nonce = b.nonce
		}
		to := b.genesis.Coordinators
		if lodge != nil {
			to = lodge(a, slices.Clone(to))
		}
		lodged, err := seal.Lodgement(to, b.genesis.Digest(), id, lease, commitment, &o)
		if err != nil {
			b.t.Fatal(err)
		}
		b.send(w, build.TypeCommit, &build.Commit{Build: id, Lease: lease, Commitment: commitment, Lodged: lodged})
	}
}

// One build of a house pool, from the queue to the archive: every draw, opening
// and signature comes from the duties.
func TestHouseBuildToTheEnd(t *testing.T) {
	b := newBench(t, 3, 4)
	synctest.Test(t, func(t *testing.T) {
		archive, err := OpenArchive(filepath.Join(b.members[0].dir, "archive.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer archive.Close()
		b.members[0].archive = archive
		defer b.start()()
		pass(time.Second)
		b.register()
		id := b.submit(2)
		pass(time.Second)
		if s := b.build(id).State; s != build.Awarded {
			t.Fatalf("state %v, want awarded", s)
		}
		b.work(id, nil)
		pass(time.Second)
		if s := b.build(id).State; s != build.Drawn {
			t.Fatalf("state %v, want drawn", s)
		}
		b.work(id, nil)
		pass(time.Second)
		rec := b.build(id)
		if rec.State != build.Agreed {
			t.Fatalf("state %v, want agreed; refused: %v", rec.State, b.refused)
		}
		// Each was proposed once: the leader was quick enough for the others.
		if n := b.count(build.TypeBeacon); n != 2 {
			t.Errorf("%d beacon commands, want 2", n)
		}
		if n := b.count(build.TypeOpening); n != 3 {
			t.Errorf("%d openings proposed, want 3", n)
		}
		lease := rec.Attempts[rec.Uploader].Lease(id)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = b.members[2].duties.CollectStored(short, id, lease)
		if !errors.Is(err, ErrNotStored) || !strings.Contains(err.Error(), "manifest is missing") {
			t.Errorf("outputs that nobody has: got %v", err)
		}
		// One vouch of three is too few, and a wrong signature is none.
		b.store.put(lease)
		b.mu.Lock()
		b.silent[0], b.liars[1] = true, true
		b.mu.Unlock()
		short, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = b.members[2].duties.CollectStored(short, id, lease)
		if !errors.Is(err, ErrNotStored) || !errors.Is(err, wire.ErrBadSignature) {
			t.Errorf("a lying coordinator: got %v", err)
		}
		b.mu.Lock()
		b.silent[0] = false
		b.mu.Unlock()
		for range 2 { // repeating is harmless
			if err := b.members[2].duties.CollectStored(t.Context(), id, lease); err != nil {
				t.Fatal(err)
			}
		}
		if n := b.count(build.TypeStored); n != 1 {
			t.Errorf("stored was proposed %d times", n)
		}
		if s := b.build(id).State; s != build.Settled {
			t.Fatalf("state %v, want settled", s)
		}
		pass(2 * archivePause)
		if got, err := archive.Get(id); err != nil || got.State != build.Settled {
			t.Errorf("archive: %v", err)
		}
	})
}

// The leader does nothing and reaches nobody: the others' turn comes.
func TestSilentLeaderIsPassedOver(t *testing.T) {
	b := newBench(t, 3, 2)
	synctest.Test(t, func(t *testing.T) {
		stop := b.start()
		pass(time.Second)
		b.members[0].stop()
		b.mu.Lock()
		b.silent[0] = true
		b.mu.Unlock()
		b.register()
		id := b.submit(1)
		settle()
		if s := b.build(id).State; s != build.Queued {
			t.Fatalf("state %v before the others' turn", s)
		}
		pass(4 * rankDelay)
		b.work(id, nil)
		pass(4 * rankDelay)
		b.work(id, nil)
		pass(4 * rankDelay)
		if s := b.build(id).State; s != build.Agreed {
			t.Errorf("state %v, want agreed", s)
		}
		b.members[0].stop = func() {}
		stop()
	})
}

// One coordinator alone of three makes no draw; a wrong partial helps nobody and
// hinders nobody.
func TestMinorityMakesNoDraw(t *testing.T) {
	b := newBench(t, 3, 2)
	synctest.Test(t, func(t *testing.T) {
		defer b.start()()
		pass(time.Second)
		b.register()
		b.mu.Lock()
		b.silent[1], b.silent[2] = true, true
		b.mu.Unlock()
		id := b.submit(1)
		pass(time.Minute)
		if n := b.count(build.TypeBeacon); n != 0 {
			t.Fatalf("%d draws by single coordinators", n)
		}
		b.mu.Lock()
		b.forge = func(from int, p beacon.Partial) beacon.Partial {
			if from == 1 {
				p.Sig[5] ^= 1
			}
			return p
		}
		delete(b.silent, 1)
		b.mu.Unlock()
		pass(10 * time.Second)
		b.mu.Lock()
		beacons := b.counts[build.TypeBeacon]
		delete(b.silent, 2)
		b.mu.Unlock()
		// Member 2 has its own partial and that of member 1: it can combine. Nobody
		// else was helped by what it sent.
		if beacons > 1 {
			t.Errorf("%d draws", beacons)
		}
		pass(10 * time.Second)
		if s := b.build(id).State; s != build.Awarded {
			t.Errorf("state %v, want awarded", s)
		}
		if slices.ContainsFunc(b.refused, func(s string) bool { return strings.HasPrefix(s, "beacon: signature") }) {
			t.Errorf("a wrong signature was proposed: %v", b.refused)
		}
	})
}

// A validator lodges what no coordinator can open: t of them say so and it is out.
// Where it lodged rightly for some, one of those opens it.
func TestGarbledLodgement(t *testing.T) {
	stranger, err := seal.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	public := stranger.Public()
	for _, garbled := range []int{3, 1} {
		t.Run(fmt.Sprint(garbled), func(t *testing.T) {
			b := newBench(t, 3, 3)
			synctest.Test(t, func(t *testing.T) {
				defer b.start()()
				pass(time.Second)
				b.register()
				id := b.submit(1)
				pass(time.Second)
				b.work(id, nil)
				pass(time.Second)
				var seat ID
				b.work(id, func(a *build.Attempt, cs []build.Coordinator) []build.Coordinator {
					seat = a.Lease(id)
					for i := range garbled {
						cs[i].SealKey = public[:]
					}
					return cs
				})
				// Nobody vouches for what it can open itself.
				if _, err := b.members[2].duties.VouchMismatch(t.Context(), id, seat); (err != nil) != (garbled < 3) {
					t.Errorf("member 3 vouches: %v", err)
				}
				pass(5 * time.Second)
				a := b.build(id).Attempt(seat)
				want := build.AttemptOpened
				if garbled == 3 {
					want = build.AttemptMismatched
				}
				if a.State != want {
					t.Errorf("the seat is %v, want %v; refused: %v", a.State, want, b.refused)
				}
				if _, err := b.members[1].duties.VouchMismatch(t.Context(), id, seat); err == nil {
					t.Error("vouched after it was decided")
				}
			})
		})
	}
}

// What opens, but to another nonce than was committed to, counts as garbled.
func TestOpeningOfSomethingElse(t *testing.T) {
	b := newBench(t, 3, 2)
	synctest.Test(t, func(t *testing.T) {
		defer b.start()()
		pass(time.Second)
		b.register()
		id := b.submit(1)
		pass(time.Second)
		b.work(id, nil)
		pass(time.Second)
		b.nonce = ID{7}
		b.work(id, nil)
		pass(5 * time.Second)
		rec := b.build(id)
		if got := rec.Attempts[1].State; got != build.AttemptMismatched {
			t.Errorf("the seat is %v, want mismatched; refused: %v", got, b.refused)
		}
		if slices.ContainsFunc(b.refused, func(s string) bool { return strings.HasPrefix(s, "opening") }) {
			t.Errorf("an opening that does not match was proposed: %v", b.refused)
		}
	})
}

// An opened attempt is not vouched for while the verdict is out.
func TestStoredAwaitsTheVerdict(t *testing.T) {
	source := newFakeSource()
	d, b := alone(t, source, &fakeProposer{})
	rec := &build.Build{ID: ID{1}, Attempts: []build.Attempt{{Worker: ID{2}, State: build.AttemptOpened}}}
	lease := rec.Attempts[0].Lease(rec.ID)
	source.builds = []*build.Build{rec}
	b.store.put(lease)
	if _, err := d.VouchStored(t.Context(), rec.ID, lease); err == nil {
		t.Error("vouched before the verdict")
	}
	rec.Verdict = build.Agreed
	if _, err := d.VouchStored(t.Context(), rec.ID, lease); err != nil {
		t.Error(err)
	}
}

// Nothing of a lease may be vouched for before its time.
func TestVouchesOnlyWhatTheStateShows(t *testing.T) {
	b := newBench(t, 3, 2)
	synctest.Test(t, func(t *testing.T) {
		defer b.start()()
		pass(time.Second)
		b.register()
		id := b.submit(1)
		pass(time.Second)
		b.work(id, nil)
		lease := b.build(id).Attempts[0].Lease(id)
		b.store.put(lease)
		d := b.members[0].duties
		for name, try := range map[string]func() error{
			"mismatch before the seats committed": func() error { _, err := d.VouchMismatch(t.Context(), id, lease); return err },
			"mismatch of no build":                func() error { _, err := d.VouchMismatch(t.Context(), ID{9}, lease); return err },
			"stored before the verdict":           func() error { _, err := d.VouchStored(t.Context(), id, lease); return err },
			"stored of no build":                  func() error { _, err := d.VouchStored(t.Context(), ID{9}, lease); return err },
			"stored of no lease":                  func() error { _, err := d.VouchStored(t.Context(), id, ID{9}); return err },
			"collecting before the verdict":       func() error { return d.CollectStored(t.Context(), id, lease) },
		} {
			if try() == nil {
				t.Errorf("%s: vouched", name)
			}
		}
		if d.TakePartial(ID{9}, raftfsm.Demand{}, beacon.Partial{Index: 1}) == nil {
			t.Error("took a stranger's partial")
		}
		if d.TakePartial(b.members[1].id, raftfsm.Demand{}, beacon.Partial{Index: 3}) == nil {
			t.Error("took a partial in another's name")
		}
	})
}

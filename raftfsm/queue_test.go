package raftfsm

import (
	"fmt"
	"slices"
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
)

// queuesTrue holds every pool's queue against a look at all live builds.
func queuesTrue(s *State) error {
	for _, pool := range s.Pools() {
		want := &queue{allotted: map[ID][]*build.Build{}}
		for _, b := range s.live {
			if b.Terms.Pool != pool.Name {
				continue
			}
			switch p := placeOf(b); p.part {
			case partWaiting:
				want.waiting = append(want.waiting, b)
			case partAllotted:
				want.allotted[p.worker] = append(want.allotted[p.worker], b)
			case partCommitted:
				want.committed = append(want.committed, b)
			case partAuctioned:
				want.auctioned++
			}
		}
		slices.SortFunc(want.waiting, inQueue)
		slices.SortFunc(want.committed, bySubmission)
		for _, list := range want.allotted {
			slices.SortFunc(list, inQueue)
		}
		got := s.queueOf(pool.Name)
		if !slices.Equal(got.waiting, want.waiting) || !slices.Equal(got.committed, want.committed) || got.auctioned != want.auctioned || len(got.allotted) != len(want.allotted) {
			return fmt.Errorf("pool %s has a queue of %d waiting, %d committed, %d auctioned, %d workers allotted to; the builds say %d, %d, %d, %d", pool.Name,
				len(got.waiting), len(got.committed), got.auctioned, len(got.allotted), len(want.waiting), len(want.committed), want.auctioned, len(want.allotted))
		}
		for w, list := range want.allotted {
			if !slices.Equal(got.allotted[w], list) {
				return fmt.Errorf("pool %s has %d builds allotted to %x, the builds say %d", pool.Name, len(got.allotted[w]), w[:4], len(list))
			}
		}
	}
	return nil
}

// A worker that went away kept the builds that were allotted to it and had not
// begun: nobody took them until their deadline. They go to the next cheapest.
func TestAllottedBuildsLeaveAWorkerThatWentAway(t *testing.T) {
	f := batchFarm(t, auction.PricingVCG, false, 11)
	open := f.seal("pool", map[int]standing{0: {credit, 9}, 1: {2 * credit, 9}})
	var ids []ID
	for range 6 {
		ids = append(ids, f.submit(0, f.terms(build.LaneBatch)))
	}
	f.tick(300)
	open()
	f.duties()
	begun := 0
	for _, id := range ids {
		b := f.build(id)
		if f.workerIndex(b.Allotted) != 0 {
			t.Fatalf("a build is allotted to worker %d, want the cheapest", f.workerIndex(b.Allotted))
		}
		if b.State == build.Awarded {
			begun++
		}
	}
	if begun != 2 {
		t.Fatalf("%d builds began, want one for each slot", begun)
	}
	f.tick(5_000) // the leases lapse, and the worker is absent
	f.tick(1_000)
	f.duties()
	for _, id := range ids {
		if b := f.build(id); f.workerIndex(b.Allotted) != 1 {
			t.Errorf("after its worker went away a build in %v is with worker %d", b.State, f.workerIndex(b.Allotted))
		}
	}
	f.snapshotRestore(1)
	f.work(ids)
	f.tick(20_000)
	for _, id := range ids {
		if b := f.build(id); b.State != build.Settled || b.Verdict != build.Agreed || b.Payment != 10*credit { // nobody else was left: the reserve
			t.Errorf("%v, %v, paid %v", b.State, b.Verdict, b.Payment)
		}
	}
	f.same()
}

// A sealed ask held its bond for as long as the pool stayed idle, and a machine
// that died long before its epoch lost it. Who drains has it back at once, and
// who is away when the epoch opens has it back then.
func TestAskBondsAreReturnedToThoseWhoLeave(t *testing.T) {
	f := batchFarm(t, auction.PricingVCG, false, 12)
	open := f.seal("pool", map[int]standing{0: {credit, 9}})
	f.seal("pool", map[int]standing{1: {credit, 9}, 2: {credit, 9}})
	held := func(w int) bool {
		a, _ := f.state().Ledger().Account(build.AccountID(f.workers[w]))
		return a.Held != 0
	}
	if !held(0) || !held(1) || !held(2) {
		t.Fatal("an ask without a bond")
	}
	leave := func(draining bool) {
		f.must(f.command(f.workers[1], build.TypeUpdate, &build.Update{Platforms: []string{"host"}, Draining: draining}))
	}
	if leave(true); held(1) {
		t.Error("a draining worker's bond is still held")
	}
	leave(false)
	f.seal("pool", map[int]standing{1: {2 * credit, 9}}) // for the same epoch again
	if !held(1) {
		t.Error("a second ask for an epoch has no bond")
	}
	for _, r := range f.replicas {
		r.state.workers[build.AccountID(f.workers[2])].Absent = true
		r.state.touch(kindWorker, build.AccountID(f.workers[2]))
	}
	treasury := f.balance(f.state().Treasury())
	f.submit(0, f.terms(build.LaneBatch))
	f.tick(300)
	if held(2) {
		t.Error("the bond of a worker that is away is still held when the epoch opens")
	}
	open()
	f.tick(30_000) // worker 1 is there and does not open
	if got := f.balance(f.state().Treasury()) - treasury; got != 10*credit {
		t.Errorf("the treasury took %v, want the one bond of 10", got)
	}
	f.same()
}

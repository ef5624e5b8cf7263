package raftfsm

import (
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
)

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

// An allotted build could not be cancelled, and yet ran out while it waited for its
// worker: it was never paid for and counted in the clearing all the same, so that
// anybody could have the price of an epoch moved by work that was not there.
func TestAllottedBuildsDoNotRunOut(t *testing.T) {
	f := batchFarm(t, auction.PricingUniform, false, 13)
	open := f.seal("pool", map[int]standing{0: {credit, 5}, 1: {5 * credit, 10}})
	var ids []ID
	for range 10 {
		terms := f.terms(build.LaneBatch)
		terms.DeadlineMillis = f.state().Now() + 20_000 // the shortest that is taken
		ids = append(ids, f.submit(0, terms))
	}
	f.tick(300)
	open()
	f.duties()
	f.refused(build.CodeWrongState, f.command(f.requesters[0], build.TypeCancel, &build.Cancel{Build: ids[9]}))
	f.renewAll(ids)
	for range 4 {
		f.tick(4_900)
		f.renewAll(ids)
	}
	f.tick(700) // past their deadlines, and the epoch is over
	f.snapshotRestore(1)
	for _, id := range ids {
		if b := f.build(id); b.Verdict != 0 {
			t.Fatalf("an allotted build ended %v: %s", b.Verdict, b.Reason)
		}
	}
	f.work(ids)
	f.duties()
	for _, id := range ids {
		if b := f.build(id); b.State != build.Settled || b.Verdict != build.Agreed || b.Payment != 5*credit {
			t.Errorf("%v, %v, paid %v", b.State, b.Verdict, b.Payment)
		}
	}
	terms := f.terms(build.LaneBatch)
	terms.DeadlineMillis = f.state().Now() + 19_999
	f.refused(build.CodeRefused, f.command(f.requesters[0], build.TypeSubmit, &build.Submit{Terms: terms}))
	f.same()
}

// renewAll sends a heartbeat for every lease, as its worker would.
func (f *farm) renewAll(ids []ID) {
	f.t.Helper()
	for _, id := range ids {
		for _, a := range f.build(id).Attempts {
			if a.Active() {
				f.must(f.command(f.workers[f.workerIndex(a.Worker)], build.TypeHeartbeat, &build.LeaseRef{Build: id, Lease: a.Lease(id)}))
			}
		}
	}
}

// A worker that registered anew with a class that a sharing pool does not take was
// in that pool no more, and nobody looked at the builds allotted to it again.
func TestAllottedBuildsLeaveAWorkerOfAnotherClass(t *testing.T) {
	f := newFarm(t, farmOptions{lane: build.LaneSpot, workers: 8, replicas: 2, drop: 1 << 18 * credit, stake: 20_000 * credit, seed: 3})
	f.must(f.command(f.admin, build.TypePool, &build.MakePool{Pool: build.Pool{
		Name: "b", Lane: build.LaneBatch, Domain: build.DomainOperator, Class: "linux/amd64", Shares: "pool",
		Batch: build.BatchRules{EpochMillis: 10_000, Reserve: 10 * credit, Pricing: auction.PricingVCG}}}))
	open := f.seal("b", map[int]standing{0: {credit, 50}, 1: {9 * credit, 50}})
	var ids []ID
	for range 4 {
		terms := f.terms(build.LaneBatch)
		terms.Pool = "b"
		ids = append(ids, f.submit(0, terms))
	}
	f.tick(300)
	open()
	f.duties()
	k := f.workers[0]
	f.must(f.command(k, build.TypeRegister, &build.Register{Key: k, Name: "worker-1", Pool: "pool", Operator: "op-000", Machine: "m-000",
		Class: "linux/arm64", Platforms: []string{"host"}, Slots: 1}))
	f.duties()
	for _, id := range ids[1:] { // the first one has begun
		if b := f.build(id); f.workerIndex(b.Allotted) != 1 {
			t.Errorf("a build in %v is with worker %d", b.State, f.workerIndex(b.Allotted))
		}
	}
	f.same()
}

// Kinds of builds that no ask can serve were looked at by every entry, all of
// them. An entry looks at some and puts them off; all come to their turn.
func TestManyKindsOfBuilds(t *testing.T) {
	f := batchFarm(t, auction.PricingVCG, false, 14)
	f.must(f.command(f.workers[7], build.TypeUpdate, &build.Update{Platforms: []string{"host", "other"}}))
	for w := range 6 {
		f.must(f.command(f.workers[w], build.TypeUpdate, &build.Update{Platforms: []string{"host", "other"}}))
	}
	open := f.seal("pool", map[int]standing{6: {credit, 1000}}) // does not offer the other platform
	var hopeless []ID
	for n := range 100 {
		terms := f.terms(build.LaneBatch)
		terms.Platform, terms.SamplePPM = "other", 1_000_000-uint32(n)
		hopeless = append(hopeless, f.submit(0, terms))
	}
	f.tick(300)
	open()
	f.duties()
	possible := f.submit(1, f.terms(build.LaneBatch)) // last in the queue
	for range 10 {
		f.tick(1)
	}
	if b := f.build(possible); f.workerIndex(b.Allotted) != 6 {
		t.Errorf("a build that an ask can serve is %v with worker %d behind a hundred that none can", b.State, f.workerIndex(b.Allotted))
	}
	for _, id := range hopeless {
		if b := f.build(id); b.State != build.Queued || b.NotBefore <= f.state().Now() {
			t.Fatalf("a build that no ask can serve is %v and is looked at again at %d, it is %d", b.State, b.NotBefore, f.state().Now())
		}
	}
	f.same()
}

// A build that was allotted to a worker which could never begin it, because too few
// were left to validate, waited for a day after its epoch. When the epoch is over
// it is a waiting build like others, with the deadline of its terms.
func TestAllottedBuildsThatCannotBegin(t *testing.T) {
	f := batchFarm(t, auction.PricingVCG, false, 15)
	open := f.seal("pool", map[int]standing{0: {credit, 9}})
	var ids []ID
	for range 4 {
		terms := f.terms(build.LaneBatch)
		terms.DeadlineMillis = f.state().Now() + 60_000
		ids = append(ids, f.submit(0, terms))
	}
	f.tick(300)
	open()
	f.duties() // two begin, two wait for the worker
	drain := func(yes bool) {
		for w := 1; w < 8; w++ {
			f.must(f.command(f.workers[w], build.TypeUpdate, &build.Update{Platforms: []string{"host"}, Draining: yes}))
		}
	}
	drain(true)
	f.work(ids[:2])
	for _, id := range ids[2:] {
		if b := f.build(id); f.workerIndex(b.Allotted) != 0 || b.State != build.Queued {
			t.Fatalf("while its epoch runs a build is %v with worker %d", b.State, f.workerIndex(b.Allotted))
		}
	}
	for range 5 {
		f.tick(4_900)
		f.duties()
	}
	for _, id := range ids[2:] {
		if b := f.build(id); b.Allotted != (ID{}) || b.Deadline != b.Terms.DeadlineMillis {
			t.Errorf("after its epoch a build that cannot begin is with worker %d, its deadline is %d", f.workerIndex(b.Allotted), b.Deadline)
		}
	}
	f.snapshotRestore(1)
	f.tick(60_000)
	for _, id := range ids[2:] {
		if b := f.build(id); b.Verdict != build.Expired {
			t.Errorf("after its deadline a build is %v, %v", b.State, b.Verdict)
		}
	}
	drain(false)
	f.same()
}

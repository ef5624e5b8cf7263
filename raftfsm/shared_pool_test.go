package raftfsm

import (
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
)

// A pool that shares another's workers gave its builds to all of them, whatever
// operators and class it names for itself.
func TestSharedPoolTakesItsOwnOperatorsAndClass(t *testing.T) {
	f := leaseFarm(t, 80, 9)
	trusted := []string{"op-000", "op-001", "op-002", "op-003", "op-004", "op-005", "op-006"}
	f.extraPool(build.Pool{Name: "trusted", Lane: build.LaneSpot, Operators: trusted})
	f.extraPool(build.Pool{Name: "arm", Lane: build.LaneSpot, Class: "linux/arm64"})
	f.extraPool(build.Pool{Name: "linux", Lane: build.LaneSpot, Class: "linux"})
	domains := func(pool string) uint32 {
		t.Helper()
		terms := f.terms(build.LaneSpot)
		terms.Pool = pool
		id := f.submit(0, terms)
		f.auctionAll(id)
		b := f.build(id)
		if len(b.Bids) != int(b.Domains) {
			t.Errorf("pool %s: %d bid of %d", pool, len(b.Bids), b.Domains)
		}
		f.work([]ID{id})
		return b.Domains
	}
	if n := domains("trusted"); n != 7 {
		t.Errorf("a pool of 7 operators asked %d", n)
	}
	if n := domains("linux"); n != 9 {
		t.Errorf("a pool of the workers' class asked %d of 9", n)
	}
	terms := f.terms(build.LaneSpot)
	terms.Pool = "arm"
	f.refused(build.CodePlatform, f.command(f.requesters[0], build.TypeSubmit, &build.Submit{Terms: terms}))
	f.same()
}

// A worker that was leased while it had a sealed ask to open was not asked for it
// any more, and its bond was forfeit. Leased before the epoch opens, it gets its
// bond back.
func TestLeasedWorkerOpensItsAsk(t *testing.T) {
	for _, during := range []bool{false, true} {
		f := leaseFarm(t, 81, 9)
		f.extraPool(build.Pool{Name: "batch", Lane: build.LaneBatch, Batch: build.BatchRules{EpochMillis: 10_000, Reserve: 10 * credit, Pricing: auction.PricingVCG}})
		asks := map[int]standing{}
		for w := range f.workers {
			asks[w] = standing{credit, 3}
		}
		nonce := ID{9}
		k := f.market("batch")
		for w, a := range asks {
			f.must(f.command(f.workers[w], build.TypeAsk, &build.PlaceAsk{Pool: "batch", Epoch: 1,
				Commitment: build.AskCommitment(f.state().Cluster(), k.ID, 1, build.AccountID(f.workers[w]), a.price, a.capacity, nonce)}))
		}
		terms := f.terms(build.LaneBatch)
		terms.Pool = "batch"
		id := f.submit(1, terms)
		if during {
			f.tick(300)
		}
		f.must(f.command(f.admin, build.TypeCommunity, &build.Lend{Pool: "pool", Holder: build.AccountID(f.requesters[0]), Periods: 1}))
		lent := f.workerIndex(f.market("pool").Leases[0].Worker)
		duties := func() []AskDuty { return f.state().Assignments(build.AccountID(f.workers[lent])).Asks }
		if during {
			if d := duties(); len(d) != 1 || d[0].Opens != 1 || !d[0].Sealed {
				t.Fatalf("a leased worker with a sealed ask is asked for %+v", d)
			}
		} else {
			f.tick(300)
			if a := f.account(f.workers[lent]); a.Held != 0 {
				t.Fatalf("%v are held of who was leased before the epoch opened", a.Held)
			}
			delete(asks, lent)
		}
		for w, a := range asks {
			f.must(f.command(f.workers[w], build.TypeOpenAsk, &build.OpenAsk{Pool: "batch", Epoch: 1, Price: a.price, Capacity: a.capacity, Nonce: nonce}))
		}
		if d := duties(); len(d) != 0 {
			t.Errorf("a leased worker is asked for %+v", d)
		}
		if a := f.account(f.workers[lent]); a.Held != 0 {
			t.Errorf("%v are still held", a.Held)
		}
		f.duties()
		f.work([]ID{id})
		b := f.build(id)
		if b.Verdict != build.Agreed || f.balance(f.state().Treasury()) != 0 {
			t.Errorf("%v, the treasury has %v", b.Verdict, f.balance(f.state().Treasury()))
		}
		for _, a := range b.Attempts {
			if f.workerIndex(a.Worker) == lent {
				t.Error("the leased worker worked for a stranger")
			}
		}
		f.tick(10_000)
		f.same()
	}
}

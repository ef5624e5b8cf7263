package raftfsm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// standing is what a worker asks.
type standing struct {
	price    escrow.Credits
	capacity uint64
}

// seal seals asks for the pool's next epoch and returns how to open them.
func (f *farm) seal(pool string, asks map[int]standing) (open func()) {
	f.t.Helper()
	k, _ := f.state().Market(pool)
	epoch := k.Epoch.Number + 1
	nonces := map[int]ID{}
	var workers []int
	for w := range asks {
		workers = append(workers, w)
	}
	slices.Sort(workers)
	for _, w := range workers {
		var nonce ID
		seeded{f.rng}.Read(nonce[:])
		nonces[w] = nonce
		id := build.AccountID(f.workers[w])
		f.must(f.command(f.workers[w], build.TypeAsk, &build.PlaceAsk{Pool: pool, Epoch: epoch,
			Commitment: build.AskCommitment(f.state().Cluster(), k.ID, epoch, id, asks[w].price, asks[w].capacity, nonce)}))
	}
	return func() {
		f.t.Helper()
		for _, w := range workers {
			f.must(f.command(f.workers[w], build.TypeOpenAsk, &build.OpenAsk{Pool: pool, Epoch: epoch, Price: asks[w].price, Capacity: asks[w].capacity, Nonce: nonces[w]}))
		}
	}
}

// work carries out every lease and delivers what is asked for, until all builds
// have what they can get without the passing of time.
func (f *farm) work(ids []ID) {
	f.t.Helper()
	for again := true; again; {
		again = false
		for _, id := range ids {
			b, ok := f.state().Build(id)
			if !ok {
				continue
			}
			for _, a := range slices.Clone(b.Attempts) {
				if !a.Active() {
					continue
				}
				again = true
				w, lease := f.workerIndex(a.Worker), a.Lease(id)
				f.must(f.command(f.workers[w], build.TypeStart, &build.LeaseRef{Build: id, Lease: lease}))
				o := result("right", build.StatusExited)
				o.StartedWallMillis, o.FinishedWallMillis = 1_000, 1_000+2_500
				f.must(f.commitCommand(w, id, lease, o))
			}
			f.duties()
			f.open()
			if b, _ := f.state().Build(id); b.State.Delivering() {
				f.deliver(id)
				again = true
			}
		}
	}
}

func batchFarm(t *testing.T, pricing auction.Pricing, metered bool, seed uint64) *farm {
	return newFarm(t, farmOptions{lane: build.LaneBatch, workers: 8, replicas: 2, drop: 100_000 * credit, stake: 20_000 * credit, seed: seed, slots: 2,
		rules: func(p *build.Pool, _ *build.Params) {
			p.Batch = build.BatchRules{EpochMillis: 20_000, Reserve: 10 * credit, Pricing: pricing, Metered: metered}
		}})
}

// What every worker of a batch earned is what the rule says of the asks, the
// capacities and the number of builds, recomputed from outside.
func TestBatchEpochIsPricedByItsRule(t *testing.T) {
	for pricing := auction.PricingVCG; pricing <= auction.PricingFirst; pricing++ {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%v/%d", pricing, seed), func(t *testing.T) { pricedEpoch(t, pricing, seed) })
		}
	}
}

func pricedEpoch(t *testing.T, pricing auction.Pricing, seed uint64) {
	f := batchFarm(t, pricing, false, seed+50)
	rng := rand.New(rand.NewPCG(seed, 9))
	asks := map[int]standing{}
	for w := range 6 {
		asks[w] = standing{credit * escrow.Credits(1+rng.IntN(5)), uint64(1 + rng.IntN(9))} // ties abound
	}
	open := f.seal("pool", asks)
	total := uint64(0)
	for _, a := range asks {
		total += a.capacity
	}
	var ids []ID
	for range min(int(total), 18) {
		ids = append(ids, f.submit(0, f.terms(build.LaneBatch)))
	}
	if k, _ := f.state().Market("pool"); k.Epoch.State != build.EpochGathering {
		t.Fatalf("the epoch is %v, want gathering", k.Epoch.State)
	}
	f.tick(300)
	open()
	f.duties()
	f.work(ids)
	for _, id := range ids {
		if b := f.build(id); b.State != build.Pricing || b.Verdict != build.Agreed {
			t.Fatalf("before the epoch's end a build is %v, %v: %s", b.State, b.Verdict, b.Reason)
		}
	}
	f.snapshotRestore(1)
	f.tick(20_000)
	k, _ := f.state().Market("pool")
	last := k.Epoch.Last
	if last == nil || last.Number != 1 || len(last.Units) != len(ids) {
		t.Fatalf("cleared epoch: %+v", last)
	}
	var sorted []auction.Ask
	for _, a := range last.Asks {
		w := f.workerIndex(a.Worker)
		sorted = append(sorted, auction.Ask{Tie: a.Tie, Price: asks[w].price, Capacity: asks[w].capacity})
	}
	want, err := auction.ClearBatch(sorted, uint64(len(ids)), 10*credit, pricing)
	check(t, err)
	earned := map[ID]escrow.Credits{}
	builds := map[ID]uint64{}
	for _, id := range ids {
		b := f.build(id)
		if b.State != build.Settled {
			t.Fatalf("after the epoch a build is %v", b.State)
		}
		earned[b.Builder().Worker] += b.Payment
		builds[b.Builder().Worker]++
	}
	for i, a := range last.Asks {
		n := builds[a.Worker]
		if n != want.Allocation[i] {
			t.Errorf("a worker built %d, the rule gives it %d", n, want.Allocation[i])
		}
		if n > 0 && earned[a.Worker] != want.Payments[i]/escrow.Credits(n)*escrow.Credits(n) {
			t.Errorf("%d builds earned %v, the rule says %v", n, earned[a.Worker], want.Payments[i])
		}
	}
	f.same()
}

// A metered ask is paid for the median of the times that were measured.
func TestMeteredBatch(t *testing.T) {
	f := batchFarm(t, auction.PricingUniform, true, 3)
	open := f.seal("pool", map[int]standing{0: {credit, 5}, 1: {3 * credit, 5}})
	terms := f.terms(build.LaneBatch)
	terms.TimeoutMillis = 10_000
	f.refused(build.CodeRefused, f.command(f.requesters[0], build.TypeSubmit, &build.Submit{Terms: terms}))
	terms.Reserve = 100 * credit // 10 credits a core-second for 10 s
	terms.Value = auction.Constant(terms.Reserve)
	terms.Budget = terms.MinBudget(&f.genesis.Params)
	id := f.submit(0, terms)
	f.tick(300)
	open()
	f.duties()
	f.work([]ID{id})
	f.tick(20_000)
	b := f.build(id)
	if b.State != build.Settled || b.Payment != credit*5/2 { // the same worker's next unit is the lowest losing one: 1 credit for 2.5 s
		t.Errorf("state %v, paid %v", b.State, b.Payment)
	}
	f.same()
}

// A builder that goes away loses its unit to the next cheapest, and a bond is
// lost only by an ask that stays shut.
func TestBatchDefaultAndForfeit(t *testing.T) {
	f := batchFarm(t, auction.PricingVCG, false, 4)
	treasury := f.balance(f.state().Treasury())
	open := f.seal("pool", map[int]standing{0: {credit, 9}, 1: {2 * credit, 9}})
	f.seal("pool", map[int]standing{2: {credit / 2, 9}}) // never opened
	id := f.submit(0, f.terms(build.LaneBatch))
	f.tick(300)
	open()
	f.tick(30_000)
	f.duties()
	if got := f.balance(f.state().Treasury()) - treasury; got != 10*credit {
		t.Errorf("the treasury took %v, want the bond of 10", got)
	}
	b := f.build(id)
	if f.workerIndex(b.Allotted) != 0 || b.State != build.Awarded {
		t.Fatalf("allotted to worker %d, %v", f.workerIndex(b.Allotted), b.State)
	}
	f.tick(5_000) // its lease lapses
	f.tick(1_000)
	f.duties()
	b = f.build(id)
	if f.workerIndex(b.Allotted) != 1 {
		t.Fatalf("after a default the build is with worker %d, %v", f.workerIndex(b.Allotted), b.State)
	}
	f.work([]ID{id})
	f.tick(20_000)
	if b = f.build(id); b.State != build.Settled || b.Payment != 10*credit { // nobody else was left: the reserve
		t.Errorf("%v, paid %v", b.State, b.Payment)
	}
	f.same()
}

// Builds whose requester belongs to an asking operator are a lot of their own.
func TestBatchWaitsForAsksAndRefuses(t *testing.T) {
	f := batchFarm(t, auction.PricingVCG, false, 5)
	id := f.submit(0, f.terms(build.LaneBatch))
	for range 5 {
		f.tick(300)
		f.duties()
	}
	if b := f.build(id); b.State != build.Queued {
		t.Fatalf("without an ask the build is %v", b.State)
	}
	cheap := f.terms(build.LaneBatch)
	cheap.Reserve, cheap.Value = credit, auction.Constant(credit)
	f.refused(build.CodeRefused, f.command(f.requesters[0], build.TypeSubmit, &build.Submit{Terms: cheap}))
	f.refused(build.CodeStale, f.command(f.workers[0], build.TypeAsk, &build.PlaceAsk{Pool: "pool", Epoch: 9}))
	f.refused(build.CodeRefused, f.command(f.workers[0], build.TypeAsk, &build.PlaceAsk{Pool: "nowhere", Epoch: 1}))
	f.refused(build.CodeNotAllowed, f.command(f.workers[0], build.TypeOpenAsk, &build.OpenAsk{Pool: "pool", Epoch: 1, Price: 1, Capacity: 1}))
	open := f.seal("pool", map[int]standing{3: {credit, 2}})
	f.refused(build.CodeNotAllowed, f.command(f.requesters[0], build.TypeAsk, &build.PlaceAsk{Pool: "pool", Epoch: 1}))
	for k, _ := f.state().Market("pool"); k.Epoch.State != build.EpochOpening; {
		f.tick(300)
	}
	f.refused(build.CodeNoMatch, f.command(f.workers[3], build.TypeOpenAsk, &build.OpenAsk{Pool: "pool", Epoch: 1, Price: 2, Capacity: 1}))
	open()
	f.duties()
	f.work([]ID{id})
	f.tick(20_000)
	if b := f.build(id); b.State != build.Settled || b.Verdict != build.Agreed {
		t.Errorf("%v, %v", b.State, b.Verdict)
	}
	f.same()
}

// A metered pool pays by times that authors measured. They were not under the
// commitment: whoever proposed the openings could write what it liked into them.
func TestTimesCannotBeChanged(t *testing.T) {
	f := batchFarm(t, auction.PricingUniform, true, 5)
	asks := map[int]standing{}
	for w := range f.workers {
		asks[w] = standing{credit / 10, 9}
	}
	open := f.seal("pool", asks)
	terms := f.terms(build.LaneBatch)
	terms.TimeoutMillis = 1_000
	id := f.submit(0, terms)
	f.tick(300)
	open()
	f.duties()
	for again := true; again; {
		again = false
		for _, a := range slices.Clone(f.build(id).Attempts) {
			if !a.Active() {
				continue
			}
			again = true
			w, lease := f.workerIndex(a.Worker), a.Lease(id)
			f.must(f.command(f.workers[w], build.TypeStart, &build.LeaseRef{Build: id, Lease: lease}))
			o := result("right", build.StatusExited)
			o.StartedWallMillis, o.FinishedWallMillis = 1_000, 1_500
			f.must(f.commitCommand(w, id, lease, o))
		}
		f.duties()
	}
	duties := f.state().Openings()
	if len(duties) != 3 {
		t.Fatalf("%d openings are asked for", len(duties))
	}
	for _, d := range duties {
		right := f.openCommand(d)
		for _, change := range []func(*build.Opening){
			func(o *build.Opening) { o.FinishedWallMillis += 400 },
			func(o *build.Opening) { o.StartedWallMillis-- },
			func(o *build.Opening) { o.StartedWallMillis, o.FinishedWallMillis = 0, 0 },
		} {
			var m build.OpeningOf
			check(t, wire.Decode(right.Payload, &m))
			change(&m.Opening)
			f.refused(build.CodeNoMatch, f.command(nil, build.TypeOpening, &m))
		}
		f.must(right)
	}
	if v := f.build(id).Verdict; v != build.Agreed {
		t.Errorf("verdict %v", v)
	}
	f.same()
}

package raftfsm

import (
	"slices"
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// buyLease lets a bidder win periods 1 to last alone, and begin.
func (f *farm) buyLease(bidder int, last uint8, perPeriod escrow.Credits) (worker int) {
	f.t.Helper()
	f.must(f.leaseCommand(leaseBid{bidder: bidder, first: 1, last: last, perPeriod: perPeriod}))
	f.tick(20_000)
	f.duties()
	f.tick(1)
	return f.workerIndex(f.market("pool").Candle.Last.Worker)
}

// auctionAll takes a build through its auction: all bid who may.
func (f *farm) auctionAll(id ID) {
	f.t.Helper()
	f.duties()
	bids := make([]escrow.Credits, len(f.workers))
	for w := range f.workers {
		if len(f.state().Assignments(build.AccountID(f.workers[w])).Auctions) > 0 {
			bids[w] = credit + escrow.Credits(w)*credit/10
		}
	}
	f.auctioned(id, bids...)
}

// A leased worker builds and validates for its holder and for nobody else; its
// holder's builds ask nobody for a price; when the lease ends it serves all again.
func TestLeaseServesItsHolderAlone(t *testing.T) {
	f := leaseFarm(t, 5, 9)
	f.must(f.command(f.admin, build.TypeCommunity, &build.Lend{Pool: "pool", Holder: build.AccountID(f.requesters[0]), Periods: 3}))
	lent := f.workerIndex(f.market("pool").Leases[0].Worker)
	bought := f.buyLease(0, 2, 3*credit)
	mine := []int{lent, bought}
	if lent == bought || lent < 0 || bought < 0 {
		t.Fatalf("workers %v are leased", mine)
	}
	validated := map[int]bool{}
	for n := 0; n < 8 || n < 30 && !validated[lent] && !validated[bought]; n++ { // each time one in four
		before := f.account(f.requesters[0])
		id := f.submit(0, f.terms(build.LaneLease))
		b := f.build(id)
		if b.State != build.Awarded || !slices.Contains(mine, f.workerIndex(b.Builder().Worker)) || len(b.Bids) != 0 || b.Auctioneer != (ID{}) {
			t.Fatalf("the holder's build is %v, with %d bids", b.State, len(b.Bids))
		}
		f.work([]ID{id})
		b = f.build(id)
		if b.Verdict != build.Agreed || b.Payment != 0 {
			t.Fatalf("%v, paid %v", b.Verdict, b.Payment)
		}
		if cost := before.Available - f.account(f.requesters[0]).Available; cost != 2*credit {
			t.Fatalf("the holder's build cost %v, want two validators' fees", cost)
		}
		for _, a := range b.Attempts[1:] {
			validated[f.workerIndex(a.Worker)] = true
		}
		stranger := f.submit(1, f.terms(build.LaneLease))
		f.duties()
		for _, w := range mine {
			if len(f.state().Assignments(build.AccountID(f.workers[w])).Auctions) != 0 {
				t.Fatal("a leased worker is offered a stranger's auction")
			}
			f.refused(build.CodeNotAllowed, f.command(f.workers[w], build.TypeBid, &build.PlaceBid{Build: stranger, Auction: f.build(stranger).Auction(), Commitment: ID{1}}))
		}
		f.auctionAll(stranger)
		f.work([]ID{stranger})
		b = f.build(stranger)
		if b.Verdict != build.Agreed || b.Domains != 7 {
			t.Fatalf("a stranger's build among %d domains ended %v", b.Domains, b.Verdict)
		}
		for _, a := range b.Attempts {
			if slices.Contains(mine, f.workerIndex(a.Worker)) {
				t.Fatalf("leased worker %d worked for a stranger", f.workerIndex(a.Worker)+1)
			}
		}
	}
	if !validated[lent] && !validated[bought] {
		t.Error("no leased worker was drawn to validate for its holder in 30 builds")
	}
	f.tick(240_000)
	for _, w := range mine {
		if f.worker(w).LeasedTo != (ID{}) {
			t.Fatalf("worker %d is still leased", w+1)
		}
	}
	id := f.submit(0, f.terms(build.LaneLease))
	f.auctionAll(id)
	if b := f.build(id); b.State != build.Awarded || len(b.Bids) != 9 {
		t.Errorf("after the leases %d workers bid, and the build is %v", len(b.Bids), b.State)
	}
	f.same()
}

// What a worker does for others when its lease begins it finishes; what it has
// only bid for goes to the next, and its bond returns.
func TestLeaseBeginsWhileItsWorkerIsBusy(t *testing.T) {
	for seed := range uint64(6) {
		leaseOfABusyWorker(t, seed)
	}
}

func leaseOfABusyWorker(t *testing.T, seed uint64) {
	f := newFarm(t, farmOptions{lane: build.LaneLease, workers: 8, replicas: 2, drop: 10_000 * credit, stake: 1_000 * credit, seed: seed, slots: 1 + 2*uint32(seed%2),
		rules: func(_ *build.Pool, params *build.Params) { params.UnbondMillis += int64(seed) }})
	f.must(f.leaseCommand(leaseBid{bidder: 0, first: 1, last: 2, perPeriod: credit}))
	f.tick(19_000)
	running := f.submit(1, f.terms(build.LaneLease))
	f.duties()
	// The state machine's own rule says which worker the close will draw.
	s := f.state()
	draw := beacon.Randomness(cheapBeacon(beacon.Message(s.Cluster(), build.PurposeCandle, f.market("pool").ID, 1)))
	rank := func(w int) ID {
		return wire.NewHasher("lease-worker").Fixed(draw).Fixed(build.AccountID(f.workers[w])).Sum()
	}
	leased := 0
	for w := range f.workers {
		if wire.Compare32(rank(w), rank(leased)) < 0 {
			leased = w
		}
	}
	bids := make([]escrow.Credits, 8)
	for w := range bids {
		bids[w] = 5 * credit
	}
	bids[leased] = credit
	f.auctioned(running, bids...)
	bid := f.submit(1, f.terms(build.LaneLease))
	f.duties()
	if b := f.build(running); f.workerIndex(b.Builder().Worker) != leased {
		t.Fatal("another worker won")
	}
	lease := f.build(running).Builder().Lease(running)
	f.must(f.command(f.workers[leased], build.TypeStart, &build.LeaseRef{Build: running, Lease: lease}))
	var nonce ID
	auctionID := f.build(bid).Auction()
	for _, w := range []int{leased, (leased + 1) % 8} {
		f.must(f.command(f.workers[w], build.TypeBid, &build.PlaceBid{Build: bid, Auction: auctionID,
			Commitment: build.BidCommitment(s.Cluster(), auctionID, build.AccountID(f.workers[w]), credit+escrow.Credits(w), 0, ID{}, nonce)}))
	}
	f.tick(1_000)
	f.duties()
	f.tick(1)
	if got := f.workerIndex(f.market("pool").Candle.Last.Worker); got != leased || f.worker(leased).LeasedTo != build.AccountID(f.requesters[0]) {
		t.Fatalf("worker %d is leased, want %d", got+1, leased+1)
	}
	mine := f.submit(0, f.terms(build.LaneLease)) // waits where its worker has no slot left
	for _, w := range []int{leased, (leased + 1) % 8} {
		f.must(f.command(f.workers[w], build.TypeReveal, &build.Reveal{Build: bid, Auction: auctionID, Price: credit + escrow.Credits(w), Nonce: nonce}))
	}
	f.duties()
	if b := f.build(bid); b.State != build.Awarded || f.workerIndex(b.Builder().Worker) == leased {
		t.Errorf("what the leased worker had bid for is %v", b.State)
	}
	if b := f.build(mine); b.State == build.Queued != (seed%2 == 0) || b.Dispatched {
		t.Errorf("the holder's build is %v while its worker has %d slots", b.State, 1+2*(seed%2))
	}
	f.must(f.commitCommand(leased, running, lease, result("right", build.StatusExited)))
	if b := f.build(mine); b.State != build.Awarded || f.workerIndex(b.Builder().Worker) != leased {
		t.Errorf("the holder's build is %v when its worker is free", b.State)
	}
	f.work([]ID{running, bid, mine})
	for _, id := range []ID{running, bid, mine} {
		b := f.build(id)
		if b.Verdict != build.Agreed {
			t.Errorf("a build ended %v: %s", b.Verdict, b.Reason)
		}
		if id == bid && slices.ContainsFunc(b.Attempts, func(a build.Attempt) bool { return f.workerIndex(a.Worker) == leased }) {
			t.Error("the leased worker was drawn for a stranger's build that had begun before")
		}
	}
	if a := f.account(f.workers[leased]); a.Held != 0 {
		t.Errorf("%v of the leased worker's stake are still held", a.Held)
	}
	f.same()
}

// A worker was paid for a period when it began, and could go away a second later.
// It is paid when the period is over and it still takes work: for one that it left,
// or was away from the beginning, the holder gets the amount back.
func TestLeaseOfAnAbsentWorker(t *testing.T) {
	f := leaseFarm(t, 6, 9)
	w := f.buyLease(0, 4, 2*credit)
	drain := func(yes bool) {
		f.must(f.command(f.workers[w], build.TypeUpdate, &build.Update{Platforms: []string{"host"}, Draining: yes}))
	}
	had := f.account(f.workers[w]).Available
	drain(true)
	f.tick(60_000) // period 2 begins without it
	if a := f.account(f.requesters[0]); a.Held != 6*credit || a.Available != 9_994*credit || f.worker(w).LeasedTo != (ID{}) {
		t.Errorf("%v held, %v available, the worker serves %x", a.Held, a.Available, f.worker(w).LeasedTo)
	}
	id := f.submit(0, f.terms(build.LaneLease))
	f.auctionAll(id) // it waits for nobody who is not there
	f.work([]ID{id})
	drain(false)
	f.tick(60_000) // period 3
	if f.worker(w).LeasedTo != build.AccountID(f.requesters[0]) {
		t.Error("the worker came back and does not serve its holder")
	}
	if a := f.account(f.requesters[0]); a.Held != 4*credit || a.Available < 9_980*credit {
		t.Errorf("in period 3 %v held, %v available", a.Held, a.Available)
	}
	f.tick(120_000)
	if got := f.account(f.workers[w]).Available - had; got < 4*credit || len(f.market("pool").Leases) != 0 || f.account(f.requesters[0]).Held != 0 {
		t.Errorf("the worker earned %v for periods 3 and 4, %d leases are left, %v are held", got, len(f.market("pool").Leases), f.account(f.requesters[0]).Held)
	}
	f.same()
}

// Where no worker is there at the close everybody gets everything back.
func TestLeaseWithoutAWorker(t *testing.T) {
	f := leaseFarm(t, 6, 6)
	f.must(f.leaseCommand(leaseBid{bidder: 2, first: 1, last: 4, perPeriod: 9 * credit}))
	for w := range f.workers {
		f.must(f.command(f.workers[w], build.TypeUpdate, &build.Update{Platforms: []string{"host"}, Draining: true}))
	}
	f.tick(20_000)
	f.duties()
	k := f.market("pool")
	if a := f.account(f.requesters[2]); len(k.Candle.Last.Won) != 0 || len(k.Leases) != 0 || a.Held != 0 || a.Available != 10_000*credit {
		t.Errorf("%d bids won, %d leases, %v held", len(k.Candle.Last.Won), len(k.Leases), a.Held)
	}
	f.same()
}

// A leased worker that withdrew its stake could take none of its holder's builds,
// and they waited for it until they expired. What is on its way out counts for
// nothing: the build goes to the auction.
func TestLeasedWorkerWithoutStake(t *testing.T) {
	f := leaseFarm(t, 11, 9)
	w := f.buyLease(0, 4, credit)
	f.must(f.command(f.workers[w], build.TypeStake, &build.Stake{Amount: -1_000 * credit}))
	id := f.submit(0, f.terms(build.LaneLease))
	f.auctionAll(id)
	f.work([]ID{id})
	if b := f.build(id); b.Verdict != build.Agreed || b.Payment == 0 {
		t.Errorf("%v %v, paid %v: %s", b.State, b.Verdict, b.Payment, b.Reason)
	}
	f.snapshotRestore(1)
	f.submit(0, f.terms(build.LaneLease)) // both replicas count the same stake
	f.same()
}

// A worker whose least fee nobody pays was leased, and paid, and eligible for no
// build at all; and so was a winner's own, which never builds for its operator.
func TestLeaseNeedsAWorkerThatMayBuild(t *testing.T) {
	for seed := range uint64(5) {
		leaseOfTheOnlyOne(t, leaseFarm(t, 200+seed, 7))
	}
}

func leaseOfTheOnlyOne(t *testing.T, f *farm) {
	for w := range 5 {
		f.must(f.command(f.workers[w], build.TypeUpdate, &build.Update{Platforms: []string{"host"}, MinFee: 2 * credit}))
	}
	own := build.Admit{Operator: "op-005", Members: []build.Member{{Account: build.AccountID(f.workers[5]), Machine: "m-005"}, {Account: build.AccountID(f.requesters[0])}}}
	own.SortMembers()
	f.must(f.command(f.admin, build.TypeAdmit, &own))
	if w := f.buyLease(0, 2, credit); w != 6 {
		t.Errorf("worker %d is leased, want the one that may build", w+1)
	}
	f.must(f.command(f.workers[6], build.TypeUpdate, &build.Update{Platforms: []string{"host"}, MinFee: 2 * credit}))
	had := f.account(f.workers[6]).Available
	f.tick(120_000)
	if f.account(f.workers[6]).Available != had || f.account(f.requesters[0]).Held != 0 {
		t.Error("a period was paid to a worker that takes no work")
	}
	f.same()
}

// Two lease pools that share workers sold one worker twice: to two holders, one of
// whom got nothing, or to one that paid twice.
func TestLeaseIsSoldOnce(t *testing.T) {
	f := leaseFarm(t, 13, 6)
	f.extraPool(build.Pool{Name: "other", Lane: build.LaneLease, Lease: f.genesis.Pools[0].Lease})
	for i, pool := range []string{"pool", "other", "pool", "other", "other", "pool"} {
		f.must(f.command(f.requesters[i%4], build.TypeLeaseBid, &build.LeaseBid{Pool: pool, First: 4, Last: 4, PerPeriod: credit}))
		f.tick(20_000)
		f.duties()
	}
	sold := map[ID]bool{}
	for _, pool := range []string{"pool", "other"} {
		for _, r := range f.market(pool).Leases {
			if sold[r.Worker] {
				t.Error("a worker is sold twice")
			}
			sold[r.Worker] = true
		}
	}
	if len(sold) != 6 {
		t.Errorf("%d workers are sold, want all 6", len(sold))
	}
	f.same()
}

// Who is leased serves its holder in every pool that shares it, and nobody else;
// where all of a pool's idle workers are its own, the holder's builds waited there
// until they expired.
func TestLeaseReachesIntoSharedPools(t *testing.T) {
	f := leaseFarm(t, 14, 8)
	f.extraPool(build.Pool{Name: "spot", Lane: build.LaneSpot})
	in := func(pool string, t build.Terms) build.Terms { t.Pool = pool; return t }
	var mine []int
	for range 4 {
		mine = append(mine, f.buyLease(0, 4, credit))
	}
	terms := in("spot", f.terms(build.LaneSpot))
	f.refused(build.CodeTooFew, f.command(f.requesters[1], build.TypeSubmit, &build.Submit{Terms: terms})) // four are left, and six are needed
	id := f.submit(0, terms)
	f.auctionAll(id)
	if b := f.build(id); b.State != build.Awarded || b.Domains != 8 || len(b.Bids) != 8 {
		t.Fatalf("%v among %d domains with %d bids", b.State, b.Domains, len(b.Bids))
	}
	f.work([]ID{id})
	for w := range f.workers { // only its own are idle
		if !slices.Contains(mine, w) {
			f.must(f.command(f.workers[w], build.TypeUpdate, &build.Update{Platforms: []string{"host"}, Draining: true}))
		}
	}
	terms = in("spot", f.terms(build.LaneSpot))
	f.refused(build.CodeTooFew, f.command(f.requesters[0], build.TypeSubmit, &build.Submit{Terms: terms}))
	for w := range f.workers {
		f.must(f.command(f.workers[w], build.TypeUpdate, &build.Update{Platforms: []string{"host"}}))
	}
	// The other four build; with one slot each they are busy and not idle.
	var busy []ID
	for range 4 {
		b := f.submit(0, in("spot", f.terms(build.LaneSpot)))
		f.duties()
		bids := make([]escrow.Credits, 8)
		for w := range bids {
			if !slices.Contains(mine, w) && f.worker(w).Engaged == 0 {
				bids[w] = credit
			}
		}
		f.auctioned(b, bids...)
		busy = append(busy, b)
	}
	id = f.submit(0, in("spot", f.terms(build.LaneSpot)))
	f.auctionAll(id)
	if b := f.build(id); b.State != build.Awarded || !slices.Contains(mine, f.workerIndex(b.Builder().Worker)) {
		t.Errorf("the holder's build is %v while only its own workers are idle", b.State)
	}
	f.work(append(busy, id))
	f.same()
}

// A build whose leased worker fell silent and that was then auctioned paid its
// auctioneer nothing, and its winner's clock began with the lease's award, so that
// no finish was too late.
func TestAwardAfterALeaseThatFailed(t *testing.T) {
	f := leaseFarm(t, 15, 8)
	w := f.buyLease(0, 4, credit)
	terms := f.terms(build.LaneLease)
	terms.Value = auction.ValueFunction{Steps: []auction.Step{{Value: 10 * credit}, {StartMillis: 10_000, Value: 4 * credit}}}
	id := f.submit(0, terms)
	if b := f.build(id); f.workerIndex(b.Builder().Worker) != w {
		t.Fatal("another worker got the holder's build")
	}
	f.tick(5_000)
	f.tick(1_000)
	bids := prices(8)
	bids[w] = 0
	f.auctioned(id, bids...)
	b := f.build(id)
	lease := b.Builder().Lease(id)
	winner := f.workerIndex(b.Builder().Worker)
	f.must(f.command(f.workers[winner], build.TypeStart, &build.LeaseRef{Build: id, Lease: lease}))
	for range 5 { // 12 s: too late for the full value
		f.tick(2_400)
		f.must(f.command(f.workers[winner], build.TypeHeartbeat, &build.LeaseRef{Build: id, Lease: lease}))
	}
	f.must(f.commitCommand(winner, id, lease, result("right", build.StatusExited)))
	f.duties()
	auctioneer := f.build(id).Earner
	f.work([]ID{id})
	b = f.build(id)
	if want := 4*credit - b.Reference; b.Verdict != build.Agreed || b.Payment != want {
		t.Errorf("%v, paid %v, want V(12 s) − reference = %v", b.Verdict, b.Payment, want)
	}
	if !slices.ContainsFunc(f.genesis.Coordinators, func(m build.Coordinator) bool { return m.ID == auctioneer }) {
		t.Error("the auctioneer of the award earns nothing")
	}
	f.same()
}

// A lease began with the next tick: what its holder submitted before that went to
// auction.
func TestLeaseBeginsAtTheClose(t *testing.T) {
	f := leaseFarm(t, 14, 9)
	f.must(f.leaseCommand(leaseBid{bidder: 0, first: 1, last: 1, perPeriod: 2 * credit}))
	f.tick(10_000)
	f.tick(10_000)
	f.duties() // the close is drawn
	w := f.workerIndex(f.market("pool").Candle.Last.Worker)
	id := f.submit(0, f.terms(build.LaneLease))
	if b := f.build(id); b.State != build.Awarded || f.workerIndex(b.Builder().Worker) != w {
		t.Errorf("the holder's build is %v", b.State)
	}
	f.work([]ID{id})
	f.same()
}

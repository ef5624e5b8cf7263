package raftfsm

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// leaseBid is a lease bid that was taken.
type leaseBid struct {
	bidder      int // requester
	first, last uint8
	perPeriod   escrow.Credits
	at          int64
}

func (b leaseBid) total() escrow.Credits { return b.perPeriod * escrow.Credits(b.last-b.first+1) }

func (f *farm) leaseCommand(b leaseBid) build.Command {
	return f.command(f.requesters[b.bidder], build.TypeLeaseBid, &build.LeaseBid{Pool: "pool", First: b.first, Last: b.last, PerPeriod: b.perPeriod})
}

func (f *farm) market(pool string) *build.Market {
	f.t.Helper()
	k, ok := f.state().Market(pool)
	if !ok {
		f.t.Fatalf("no market of %q", pool)
	}
	return k
}

func (f *farm) account(key []byte) escrow.Account {
	f.t.Helper()
	a, ok := f.state().Ledger().Account(build.AccountID(key))
	if !ok {
		f.t.Fatal("no such account")
	}
	return a
}

func (f *farm) worker(w int) *build.Worker {
	f.t.Helper()
	out, ok := f.state().Worker(build.AccountID(f.workers[w]))
	if !ok {
		f.t.Fatalf("worker %d is gone", w+1)
	}
	return out
}

// extraPool makes a pool that shares the first one's workers.
func (f *farm) extraPool(p build.Pool) {
	f.t.Helper()
	p.Shares, p.Domain = "pool", build.DomainOperator
	f.must(f.command(f.admin, build.TypePool, &build.MakePool{Pool: p}))
}

func leaseFarm(t *testing.T, seed uint64, workers int) *farm {
	return newFarm(t, farmOptions{lane: build.LaneLease, workers: workers, replicas: 2, buyers: 4, drop: 10_000 * credit, stake: 1_000 * credit, seed: seed,
		rules: func(_ *build.Pool, params *build.Params) { params.UnbondMillis += int64(seed) }}) // another cluster, and so other beacons
}

// candleStep is the step that the market's beacon draws, by the sentences of
// docs/PROTOCOL.md section 6 and not by the code that drew it.
func (f *farm) candleStep(number uint64, samples uint64) uint32 {
	s := f.state()
	seed := beacon.Randomness(cheapBeacon(beacon.Message(s.Cluster(), build.PurposeCandle, f.market("pool").ID, number)))
	block := sha256.Sum256(binary.BigEndian.AppendUint64(seed[:], 0))
	return uint32(binary.BigEndian.Uint64(block[:]) % samples) // to reject it is a chance of 2⁻⁶⁰
}

// winningBids are the bids that a candle auction sells to when it had closed at a
// moment: by trying every set of the bids that stood then.
func winningBids(f *farm, bids []leaseBid, closedAt int64) []leaseBid {
	best := map[[2]uint8]leaseBid{}
	for _, b := range bids {
		if r := [2]uint8{b.first, b.last}; b.at < closedAt && b.perPeriod > best[r].perPeriod {
			best[r] = b
		}
	}
	var standing []leaseBid
	for _, b := range best {
		standing = append(standing, b)
	}
	serial := func(bids []leaseBid) (out []byte) {
		for _, b := range bids {
			id := build.AccountID(f.requesters[b.bidder])
			out = append(append(out, b.first, b.last), id[:]...)
		}
		return out
	}
	var won []leaseBid
	var most escrow.Credits
	for mask := 1; mask < 1<<len(standing); mask++ {
		var set []leaseBid
		var total escrow.Credits
		covered, overlap := map[uint8]bool{}, false
		for i, b := range standing {
			if mask>>i&1 == 0 {
				continue
			}
			set, total = append(set, b), total+b.total()
			for p := b.first; p <= b.last; p++ {
				overlap = overlap || covered[p]
				covered[p] = true
			}
		}
		if overlap {
			continue
		}
		slices.SortFunc(set, func(a, b leaseBid) int { return cmp.Compare(a.first, b.first) })
		if total > most || total == most && bytes.Compare(serial(set), serial(won)) < 0 {
			won, most = set, total
		}
	}
	return won
}

// The whole of a candle auction: bids in the opening and in the ending period,
// everything reserved until the close is drawn, the book as it stood at the
// drawn step decides, periods are paid when they begin.
func TestLeaseCandle(t *testing.T) {
	steps := map[uint32]bool{}
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { steps[candleAuction(t, seed)] = true })
	}
	if len(steps) < 4 {
		t.Errorf("all auctions had closed at one of the steps %v: the test does not reach the others", steps)
	}
}

func candleAuction(t *testing.T, seed uint64) uint32 {
	f := leaseFarm(t, 100+seed, 9)
	rules := f.genesis.Pools[0].Lease
	rng := rand.New(rand.NewPCG(seed, 3))
	f.tick(int64(rng.IntN(500)))
	var bids []leaseBid
	reserved := make([]escrow.Credits, len(f.requesters))
	began := int64(-1)
	checkHeld := func(when string) {
		t.Helper()
		for i, k := range f.requesters {
			if a := f.account(k); a.Held != reserved[i] || a.Available != 10_000*credit-reserved[i] {
				t.Fatalf("%s bidder %d has %v held and %v available, want %v held of 10000", when, i, a.Held, a.Available, reserved[i])
			}
		}
	}
	for began < 0 || f.state().Now() < began+rules.OpeningMillis+rules.EndingMillis-1 {
		first := uint8(1 + rng.IntN(4))
		b := leaseBid{rng.IntN(4), first, first + uint8(rng.IntN(int(5-first))), credit * escrow.Credits(4+rng.IntN(4+len(bids))) / 4, f.state().Now()}
		if out := f.send(f.leaseCommand(b))[0]; out.Code == build.Done {
			bids, reserved[b.bidder] = append(bids, b), reserved[b.bidder]+b.total()
			if began < 0 {
				began = b.at
			}
		} else if out.Code != build.CodeRefused {
			t.Fatalf("a bid is refused with %d: %s", out.Code, out.Detail)
		}
		checkHeld("during the auction")
		if rng.IntN(20) == 0 {
			f.snapshotRestore(1)
		}
		step := int64(rng.IntN(900))
		if began >= 0 { // the last moment of the ending period is met too
			step = min(step, began+rules.OpeningMillis+rules.EndingMillis-1-f.state().Now())
		}
		f.tick(step)
	}
	f.tick(1)
	k := f.market("pool")
	if k.Candle.State != build.CandleClosing {
		t.Fatalf("the auction is %v, want closing", k.Candle.State)
	}
	f.refused(build.CodeWrongState, f.leaseCommand(leaseBid{bidder: 0, first: 1, last: 1, perPeriod: 1_000 * credit}))
	f.snapshotRestore(1)
	checkHeld("before the close is drawn")

	f.duties()
	ending := began + rules.OpeningMillis
	step := f.candleStep(1, uint64(rules.Samples))
	won := winningBids(f, bids, ending+int64(step)*rules.EndingMillis/int64(rules.Samples))
	k = f.market("pool")
	if k.Candle.Last.Step != step {
		t.Fatalf("it had closed at step %d, want %d", k.Candle.Last.Step, step)
	}
	var got []leaseBid
	for _, b := range k.Candle.Last.Won {
		i := slices.IndexFunc(f.requesters, func(k []byte) bool { return build.AccountID(k) == b.Bidder })
		got = append(got, leaseBid{bidder: i, first: b.First, last: b.Last, perPeriod: b.PerPeriod})
	}
	for i := range won {
		won[i].at = 0
	}
	if !slices.Equal(got, won) {
		t.Fatalf("of %d bids, closed at step %d, %+v won, want %+v", len(bids), step, got, won)
	}
	f.paidByPeriod(won)
	f.same()
	return step
}

// paidByPeriod holds the leases of an auction that has just closed to what was
// won: each period is paid when it is over, all else was returned at the close.
func (f *farm) paidByPeriod(won []leaseBid) {
	f.t.Helper()
	k := f.market("pool")
	w := f.workerIndex(k.Candle.Last.Worker)
	had := f.account(f.workers[w]).Available
	owed := make([]escrow.Credits, len(f.requesters))
	for _, b := range won {
		owed[b.bidder] += b.total()
	}
	paid := make([]escrow.Credits, len(f.requesters))
	var earned escrow.Credits
	check := func(period uint8) {
		f.t.Helper()
		for i, key := range f.requesters {
			if a := f.account(key); a.Held != owed[i]-paid[i] || a.Available != 10_000*credit-owed[i] {
				f.t.Fatalf("in period %d bidder %d has %v held, %v available; it owed %v and paid %v", period, i, a.Held, a.Available, owed[i], paid[i])
			}
		}
		if got := f.account(f.workers[w]).Available - had; got != earned {
			f.t.Fatalf("in period %d the worker has earned %v, want %v", period, got, earned)
		}
	}
	check(0)
	f.tick(1)
	for period := uint8(1); period <= auction.MaxPeriods; period++ {
		holder := ID{}
		for _, b := range won {
			if b.first <= period && period <= b.last {
				holder = build.AccountID(f.requesters[b.bidder])
			}
		}
		check(period)
		if got := f.worker(w).LeasedTo; got != holder {
			f.t.Fatalf("in period %d the worker serves %x, want %x", period, got[:4], holder[:4])
		}
		f.snapshotRestore(1)
		f.tick(60_000)
		for _, b := range won {
			if b.first <= period && period <= b.last {
				paid[b.bidder] += b.perPeriod
				earned += b.perPeriod
			}
		}
	}
	check(auction.MaxPeriods + 1)
	if k := f.market("pool"); len(k.Leases) != 0 || f.worker(w).LeasedTo != (ID{}) {
		f.t.Fatalf("after the last period %d leases are left and the worker serves %x", len(k.Leases), f.worker(w).LeasedTo)
	}
}

// Each refusal has its code and a sentence that names what is wrong.
func TestLeaseRefusals(t *testing.T) {
	f := leaseFarm(t, 9, 6)
	f.extraPool(build.Pool{Name: "spot", Lane: build.LaneSpot})
	bid := func(first, last uint8, per escrow.Credits) *build.LeaseBid {
		return &build.LeaseBid{Pool: "pool", First: first, Last: last, PerPeriod: per}
	}
	from := func(i int, m *build.LeaseBid) build.Command { return f.command(f.requesters[i], build.TypeLeaseBid, m) }
	f.must(from(0, bid(1, 1, 3*credit)))
	for name, c := range map[string]struct {
		code build.Code
		m    build.Command
		says string
	}{
		"below the reserve":  {build.CodeRefused, from(1, bid(2, 2, credit-1)), "below the reserve of 1"},
		"zero":               {build.CodeRefused, from(1, bid(2, 2, 0)), "below the reserve"},
		"negative":           {build.CodeRefused, from(1, bid(2, 2, -credit)), "below the reserve"},
		"huge":               {build.CodeRefused, from(1, bid(1, 4, escrow.MaxCredits)), "beyond"},
		"beyond the balance": {build.CodeFunds, from(1, bid(1, 4, 2_501*credit)), "reserves 10004"},
		"not above the best": {build.CodeRefused, from(1, bid(1, 1, 3*credit)), "want at least"},
		"a gap":              {build.CodeRefused, from(0, bid(3, 4, 3*credit)), "gap"},
		"period 0":           {build.CodeRefused, from(1, bid(0, 2, 3*credit)), "want a range of 1 to 4"},
		"period 5":           {build.CodeRefused, from(1, bid(4, 5, 3*credit)), "want a range of 1 to 4"},
		"backwards":          {build.CodeRefused, from(1, bid(3, 2, 3*credit)), "want a range of 1 to 4"},
		"period 255":         {build.CodeRefused, from(1, bid(255, 255, 3*credit)), "want a range of 1 to 4"},
		"unknown pool":       {build.CodeRefused, from(1, &build.LeaseBid{Pool: "nowhere", First: 1, Last: 1, PerPeriod: credit}), "no pool"},
		"wrong lane":         {build.CodeWrongState, from(1, &build.LeaseBid{Pool: "spot", First: 1, Last: 1, PerPeriod: credit}), "sells no leases"},
		"another auction":    {build.CodeStale, from(1, &build.LeaseBid{Pool: "pool", Auction: 2, First: 1, Last: 1, PerPeriod: 9 * credit}), "auction 2"},
		"a worker":           {build.CodeNotAllowed, f.command(f.workers[0], build.TypeLeaseBid, bid(2, 2, 2*credit)), "only a requester"},
		"lent by nobody":     {build.CodeNotAllowed, f.command(f.requesters[0], build.TypeCommunity, &build.Lend{Pool: "pool", Holder: build.AccountID(f.requesters[0]), Periods: 1}), "only the admin"},
		"lent for ever":      {build.CodeMalformed, f.command(f.admin, build.TypeCommunity, &build.Lend{Pool: "pool", Holder: build.AccountID(f.requesters[0]), Periods: 5}), "1 to 4"},
		"lent for no time":   {build.CodeMalformed, f.command(f.admin, build.TypeCommunity, &build.Lend{Pool: "pool", Holder: build.AccountID(f.requesters[0])}), "1 to 4"},
		"lent to a worker":   {build.CodeUnknownAccount, f.command(f.admin, build.TypeCommunity, &build.Lend{Pool: "pool", Holder: build.AccountID(f.workers[0]), Periods: 1}), "requester"},
		"lent elsewhere":     {build.CodeWrongState, f.command(f.admin, build.TypeCommunity, &build.Lend{Pool: "spot", Holder: build.AccountID(f.requesters[0]), Periods: 1}), "no leases"},
	} {
		if got := f.refused(c.code, c.m); !strings.Contains(got, c.says) {
			t.Errorf("%s: %q does not say %q", name, got, c.says)
		}
	}
	// Touching is enough, and only what the bidder is winning counts.
	f.must(from(0, bid(2, 3, 3*credit)))
	f.must(from(1, bid(1, 1, 4*credit)))
	f.must(from(1, bid(2, 3, 4*credit)))
	f.must(from(0, bid(4, 4, 2*credit)))
	f.same()
}

// A fifth of the slots, rounded down, is lent and never sold; the rest is sold
// and never lent.
func TestLeaseCommunitySlots(t *testing.T) {
	for slots, community := range map[uint32]int{1: 0, 4: 0, 5: 1, 9: 1, 10: 2} {
		f := newFarm(t, farmOptions{lane: build.LaneLease, workers: 14, replicas: 1, drop: 10_000 * credit, stake: 100 * credit, seed: uint64(slots),
			rules: func(p *build.Pool, _ *build.Params) {
				p.Lease = build.LeaseRules{PeriodMillis: 60_000, OpeningMillis: 100, EndingMillis: 100, Samples: 10, Slots: slots, Reserve: credit}
			}})
		lend := func() build.Command {
			return f.command(f.admin, build.TypeCommunity, &build.Lend{Pool: "pool", Holder: build.AccountID(f.requesters[1]), Periods: 1})
		}
		for range community {
			f.must(lend())
		}
		f.refused(build.CodeBusy, lend())
		for range int(slots) - community {
			f.must(f.leaseCommand(leaseBid{bidder: 0, first: 1, last: 4, perPeriod: credit}))
			f.tick(200)
			f.duties()
		}
		if got := f.refused(build.CodeBusy, f.leaseCommand(leaseBid{bidder: 0, first: 1, last: 1, perPeriod: credit})); !strings.Contains(got, "are taken") {
			t.Errorf("%q", got)
		}
		if n := len(f.market("pool").Leases); n != int(slots) {
			t.Errorf("of %d slots %d are leased", slots, n)
		}
		f.tick(60_000)
		if community > 0 { // theirs is over, and may be lent again
			f.must(lend())
		}
		f.same()
	}
}

// Five hundred bids of one micro-credit more each, all of the lowest price, once
// filled an auction and kept every other bidder out.
func TestOneBidderCannotFillAnAuction(t *testing.T) {
	f := leaseFarm(t, 10, 6)
	raise := func(bidder, i int) build.Command {
		price := credit
		for range i {
			price += price / 16
		}
		return f.leaseCommand(leaseBid{bidder: bidder, first: 1, last: 1, perPeriod: price})
	}
	for i := range 32 {
		f.must(raise(0, i))
	}
	if got := f.refused(build.CodeBusy, raise(0, 32)); !strings.Contains(got, "larger steps") {
		t.Errorf("%q", got)
	}
	f.must(raise(1, 33))
	f.must(f.leaseCommand(leaseBid{bidder: 2, first: 1, last: 4, perPeriod: 2 * credit}))
	f.tick(20_000)
	f.duties()
	f.must(raise(0, 0)) // the next auction counts afresh
	f.same()
}

// The first bid of a farm whose time had not begun, in a pool without an opening,
// got the deadline 0, which is none: the auction never ended and what was
// reserved never returned.
func TestLeaseAuctionBeforeTimeBegins(t *testing.T) {
	f := newFarm(t, farmOptions{lane: build.LaneLease, workers: 6, replicas: 1, drop: 1_000 * credit, stake: 100 * credit,
		rules: func(p *build.Pool, _ *build.Params) {
			p.Lease = build.LeaseRules{PeriodMillis: 1_000, EndingMillis: 10, Samples: 10, Slots: 5}
		}})
	if f.state().Now() != 0 {
		t.Fatal("farm time has begun")
	}
	f.must(f.leaseCommand(leaseBid{bidder: 0, first: 1, last: 1, perPeriod: 1}))
	if _, ok := f.state().NextDeadline(); !ok {
		t.Fatal("nobody ticks for the auction")
	}
	f.tick(100)
	f.duties()
	f.tick(2_000)
	if a := f.account(f.requesters[0]); a.Held != 0 {
		t.Errorf("%v are still held", a.Held)
	}
	f.same()
}

// Sixteen accounts raised each other by the least amount until the auction took no
// more bids, and got the slot for the reserve. A raise is a twentieth, and when
// there are many bids, as much again: who pays more is never shut out.
func TestCandleCannotBeFilledWithSmallSteps(t *testing.T) {
	f := newFarm(t, farmOptions{lane: build.LaneLease, workers: 8, replicas: 1, buyers: 40, drop: 1 << 30 * credit, stake: 20_000 * credit, seed: 3})
	bid := func(buyer int, last uint8, price escrow.Credits) build.Outcome {
		return f.send(f.command(f.requesters[buyer], build.TypeLeaseBid, &build.LeaseBid{Pool: "pool", First: 1, Last: last, PerPeriod: price}))[0]
	}
	if out := bid(0, 4, credit); out.Code != build.Done {
		t.Fatal(out.Detail)
	}
	if out := bid(1, 4, credit+1); out.Code != build.CodeRefused {
		t.Errorf("a raise by one micro-credit: %+v", out)
	}
	price, taken := credit, 1
	for buyer := 0; taken < 512; buyer = (buyer + 1) % 39 {
		last := uint8(1 + taken%4)
		for _, b := range f.market("pool").Candle.Book.Best {
			if b.Last == last {
				price = b.PerPeriod + max(1, b.PerPeriod/20)
			}
		}
		if out := bid(buyer, last, price); out.Code == build.Done {
			taken++
		}
	}
	best := escrow.Credits(0)
	for _, b := range f.market("pool").Candle.Book.Best {
		if b.Last == 4 {
			best = b.PerPeriod
		}
	}
	if out := bid(39, 4, best+best/2); out.Code != build.CodeRefused {
		t.Errorf("a raise by half when there are many: %+v", out)
	}
	if out := bid(39, 4, 2*best); out.Code != build.Done {
		t.Errorf("who offers twice as much is shut out: %s", out.Detail)
	}
}

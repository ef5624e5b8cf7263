package worker

import (
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"testing"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// fault is what becomes of a write.
type fault struct{ fails, stored bool }

var faults = map[string]fault{
	"works": {false, true}, "fails, not stored": {true, false}, "fails, stored": {true, true},
}

var errDisk = errors.New("the disk says no")

// faulty is a journal some of whose writes fail.
type faulty struct {
	records
	mu   sync.Mutex
	next func(shelf) fault
}

func (f *faulty) Put(s shelf, key build.ID, r wire.Record) error {
	f.mu.Lock()
	what := fault{stored: true}
	if f.next != nil {
		what = f.next(s)
	}
	f.mu.Unlock()
	if what.stored {
		if err := f.records.Put(s, key, r); err != nil {
			return err
		}
	}
	if what.fails {
		return errDisk
	}
	return nil
}

func auction(name string) *gavelv1.Auction {
	auctionID, buildID, digest := id(name), id("build of "+name), id("action")
	return &gavelv1.Auction{
		Auction: auctionID[:], Build: buildID[:], ActionDigest: digest[:], Platform: "host", TimeoutMillis: 600_000,
		Reserve: int64(10 * escrow.One), Bond: int64(50 * escrow.One), OpenedMillis: 1000,
	}
}

func (b *bench) bid(a *gavelv1.Auction, busy int) error {
	b.t.Helper()
	c, err := callOf(a, 1100, 100*escrow.One, busy, b.config.Slots)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.w.bidder.bid(b.t.Context(), c)
}

// checkBids fails unless every commitment sent can be opened from the journal,
// and no auction got two different ones.
func (b *bench) checkBids(auctions ...string) {
	b.t.Helper()
	seen := make(map[build.ID]build.ID)
	for _, r := range b.farm.of(build.TypeBid) {
		m := r.(*build.PlaceBid)
		if before, ok := seen[m.Auction]; ok && before != m.Commitment {
			b.t.Fatal("two different commitments to one auction")
		}
		seen[m.Auction] = m.Commitment
	}
	for _, name := range auctions {
		if _, bid := seen[id(name)]; !bid {
			continue
		}
		before := len(b.farm.of(build.TypeReveal))
		if err := b.w.bidder.reveal(b.t.Context(), id(name)); err != nil {
			b.t.Fatal(err)
		}
		reveals := b.farm.of(build.TypeReveal)
		if len(reveals) != before+1 {
			b.t.Fatalf("the bid of %s was not opened", name)
		}
		m := reveals[before].(*build.Reveal)
		if build.BidCommitment(b.cluster, m.Auction, b.signer.ID, m.Price, m.FinishMillis, m.Result, m.Nonce) != seen[m.Auction] {
			b.t.Fatalf("the opening of %s does not match its commitment", name)
		}
	}
}

// The nonce must be on disk when the commitment leaves: whatever happens to the
// write, and whether the process dies before or after sending, the bid can be
// opened and is never replaced by another.
func TestBidIsJournaledBeforeItIsSent(t *testing.T) {
	for name, f := range faults {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, crash %v", name, crash), func(t *testing.T) {
				b := newBench(t, nil)
				b.stop()
				b.wrap = func(r records) records { return &faulty{records: r, next: func(shelf) fault { return f }} }
				b.open()
				b.farm.answer = func(kind build.Type, payload wire.Record) error {
					m, ok := payload.(*build.PlaceBid)
					if !ok {
						return nil
					}
					var r bidRecord
					found, err := b.journal.Get(shelfBids, m.Auction, &r)
					if err != nil || !found || b.w.bidder.commitment(m.Auction, &r, build.ID{}) != m.Commitment {
						t.Errorf("a commitment was sent that is not in the journal (found %v, %v)", found, err)
					}
					return nil
				}
				err := b.bid(auction("a"), 0)
				if f.fails != (err != nil) {
					t.Fatalf("bidding: %v", err)
				}
				if f.fails && len(b.farm.of(build.TypeBid)) != 0 {
					t.Fatal("a bid was sent although its record failed")
				}
				b.wrap = nil
				if crash {
					b.restart()
				} else {
					b.w.bidder.journal = b.journal
				}
				if err := b.bid(auction("a"), 0); err != nil {
					t.Fatal(err)
				}
				b.checkBids("a")
			})
		}
	}
}

// A bid that was sent just before the process died is opened by its successor.
func TestRevealAfterRestart(t *testing.T) {
	b := newBench(t, nil)
	if err := b.bid(auction("a"), 0); err != nil {
		t.Fatal(err)
	}
	b.restart()
	b.loop()
	auctionID := id("a")
	b.farm.feed <- &gavelv1.Assignments{Registered: true, Reveals: [][]byte{auctionID[:]}}
	b.farm.await(t, "the reveal", func() bool { return len(b.farm.of(build.TypeReveal)) > 0 })
	b.stop()
	b.open()
	b.checkBids("a")
}

// Random crashes, failing writes and refusals, many auctions: no commitment is
// ever lost or contradicted.
func TestBidsSurviveAnything(t *testing.T) {
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	rng := mathrand.New(mathrand.NewPCG(seed, 0))
	b := newBench(t, nil)
	b.wrap = func(r records) records {
		return &faulty{records: r, next: func(shelf) fault { return [...]fault{{false, true}, {true, false}, {true, true}}[rng.IntN(3)] }}
	}
	b.restart()
	b.farm.answer = func(kind build.Type, _ wire.Record) error {
		if kind == build.TypeBid && rng.IntN(3) == 0 {
			return errors.New("no answer")
		}
		return nil
	}
	var names []string
	for i := range 8 {
		names = append(names, fmt.Sprint("auction ", i))
	}
	for range 60 {
		if rng.IntN(6) == 0 {
			b.restart()
		}
		_ = b.bid(auction(names[rng.IntN(len(names))]), 0) // faults are the point
	}
	b.farm.answer, b.wrap = nil, nil
	b.restart()
	b.checkBids(names...)
}

func TestBidsOnlyWhatItCanServe(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*gavelv1.Auction)
		config func(*Config)
		busy   int
		why    string // empty: it bids
	}{
		"fits":             {},
		"price at reserve": {change: func(a *gavelv1.Auction) { a.Reserve = 2_000_000 }},
		"above reserve":    {change: func(a *gavelv1.Auction) { a.Reserve = 1_999_999 }, why: "exceeds the reserve"},
		"other platform":   {change: func(a *gavelv1.Auction) { a.Platform = "sha256:00" }, why: "not offered"},
		"busy":             {busy: 1, why: "slots are taken"},
		"second slot":      {busy: 1, config: func(c *Config) { c.Slots = 2 }},
		"bond too large":   {change: func(a *gavelv1.Auction) { a.Bond = int64(101 * escrow.One) }, why: "free stake"},
		"no price":         {config: func(c *Config) { c.Price = nil }, why: "no price"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, c.config)
			a := auction("a")
			if c.change != nil {
				c.change(a)
			}
			if err := b.bid(a, c.busy); err != nil {
				t.Fatal(err)
			}
			if bids := len(b.farm.of(build.TypeBid)); (bids == 1) != (c.why == "") {
				t.Fatalf("%d bids", bids)
			}
			if !strings.Contains(b.log.String(), c.why) {
				t.Errorf("the log does not say %q", c.why)
			}
		})
	}
}

func TestPricePerSecondFollowsWhatWasLearned(t *testing.T) {
	rate := Amount(100_000)
	b := newBench(t, func(c *Config) { c.Price, c.PricePerSecond = nil, &rate })
	price := func(name string) (escrow.Credits, int64) {
		t.Helper()
		if err := b.bid(auction(name), 0); err != nil {
			t.Fatal(err)
		}
		var r bidRecord
		if _, err := b.journal.Get(shelfBids, id(name), &r); err != nil {
			t.Fatal(err)
		}
		return r.Price, r.FinishMillis
	}
	if p, finish := price("unknown"); p != 3*escrow.One || finish != 100+auctionMillis+defaultEstimateMillis {
		t.Errorf("without experience: %v credits, finish %d", p, finish)
	}
	for _, ms := range []int64{9000, 1000, 5000} {
		if err := b.w.bidder.estimates.learn(id("action"), "host", ms); err != nil {
			t.Fatal(err)
		}
	}
	if p, _ := price("known"); p != escrow.One/2 {
		t.Errorf("median 5 s: %v credits", p)
	}
	other := auction("other action")
	another := id("another action")
	other.ActionDigest, other.TimeoutMillis = another[:], 2000
	if err := b.bid(other, 0); err != nil {
		t.Fatal(err)
	}
	var r bidRecord
	if _, err := b.journal.Get(shelfBids, id("other action"), &r); err != nil || r.Price != escrow.One/5 {
		t.Errorf("another action, capped by its timeout: %v credits, %v", r.Price, err)
	}
}

func TestMedianAndMemoryAreBounded(t *testing.T) {
	b := newBench(t, nil)
	e := estimator{b.journal}
	for i := range int64(40) {
		if err := e.learn(id("x"), "host", i); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := e.estimate(id("x"), "host", 1000); err != nil || got != 35 {
		t.Errorf("median of the last %d: %d, %v", estimateSamples, got, err)
	}
}

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// An open auction says until when no bid can be too late and when it ends, beside
// what farm time it is.
func TestLeaseListSaysWhenAnAuctionEnds(t *testing.T) {
	v := testView(build.Pool{Name: "ahead", Lane: build.LaneLease, Lease: build.LeaseRules{Slots: 5, Samples: 10, OpeningMillis: 20_000, EndingMillis: 30_000, PeriodMillis: 1000}})
	bid := auction.CandleBid{Bidder: someone(20), First: 4, Last: 4, PerPeriod: 5 * escrow.One}
	a := &v.market.Candle
	*a = build.Candle{Number: 1, State: build.CandleOpening, Deadline: 230_000, Bids: []build.HeldBid{{Bid: bid, At: 210_000}}, Book: auction.CandleBook{Periods: 4, Best: []auction.CandleBid{bid}}}
	wantIn(t, v.shown(), "it is 212.4 s of farm time", "4 slots are auctioned, 1 is for community projects",
		"auction 1 is opening, with 1 bid: until 230.0 s none can be too late, and it ends at 260.0 s of farm time", "period 4: alice offers 5 a period")
	raw, err := json.Marshal(v.leases())
	if err != nil {
		t.Fatal(err)
	}
	wantIn(t, string(raw), `"farm_millis":212400`, `"ending_at":230000`, `"ends_at":260000`)

	a.State, a.EndingAt, a.Deadline = build.CandleEnding, 230_000, 260_000
	wantIn(t, v.shown(), "auction 1 is ending, with 1 bid: since 230.0 s a bid may turn out to have come too late, and it ends at 260.0 s")
	a.State, a.Deadline = build.CandleClosing, 0
	wantIn(t, v.shown(), "it ended at 260.0 s of farm time, and when it had closed is being drawn")

	*a = build.Candle{Number: 1, Last: &build.CandleClose{Number: 1, EndingAt: 230_000, Bids: []build.HeldBid{{Bid: bid, At: 210_000}}, Won: []auction.CandleBid{bid}, Worker: someone(1)}}
	v.rules.Lease.Slots = 1
	text := v.shown()
	wantIn(t, text, "1 slot is auctioned, none is for community projects", "210.0 s  alice: 5 a period for period 4\n", "alice won period 4 of worker-1, at 5 a period")
	if strings.Contains(text, "auction 1 is") {
		t.Errorf("no auction is under way:\n%s", text)
	}
}

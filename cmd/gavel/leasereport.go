package main

import (
	"fmt"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// leaseReport is a lease pool's market.
type leaseReport struct {
	Pool         string              `json:"pool"`
	Auction      uint64              `json:"auction"`
	State        string              `json:"state"`
	Deadline     int64               `json:"deadline,omitempty"`
	FarmMillis   int64               `json:"farm_millis"`         // farm time now
	EndingAt     int64               `json:"ending_at,omitempty"` // of the auction under way: until then no bid can be too late
	EndsAt       int64               `json:"ends_at,omitempty"`   // until then it takes bids
	Bids         int                 `json:"bids"`
	Best         []rangeReport       `json:"best"`             // the best bid of each range
	Closed       *closedReport       `json:"closed,omitempty"` // the auction that closed last
	Reservations []reservationReport `json:"reservations"`
	Slots        uint64              `json:"slots"`
	Community    uint64              `json:"community"`
}

type rangeReport struct {
	Bidder    string `json:"bidder"`
	First     uint8  `json:"first"`
	Last      uint8  `json:"last"`
	PerPeriod int64  `json:"per_period"`
}

// closedReport is an auction that is over. It had closed when a sample of its
// ending period began, which was drawn when the period was over.
type closedReport struct {
	Auction  uint64        `json:"auction"`
	EndingAt int64         `json:"ending_at"` // farm time
	EndedAt  int64         `json:"ended_at"`  // of the ending period
	Sample   uint32        `json:"sample"`
	Samples  uint32        `json:"samples"`
	ClosedAt int64         `json:"closed_at"` // when that sample began: later bids are void
	Bids     []timedReport `json:"bids"`
	Won      []rangeReport `json:"won"`
	Worker   string        `json:"worker,omitempty"`
}

// timedReport is a bid that was taken at a farm time.
type timedReport struct {
	rangeReport
	At   int64 `json:"at"`
	Void bool  `json:"void,omitempty"` // came after the close
}

type reservationReport struct {
	Holder    string `json:"holder"`
	Worker    string `json:"worker"`
	From      int64  `json:"from"`
	Until     int64  `json:"until"`
	PerPeriod int64  `json:"per_period"`
	Running   bool   `json:"running"`
	Community bool   `json:"community,omitempty"`
}

func (v *poolView) ranges(bids []auction.CandleBid) []rangeReport {
	out := []rangeReport{}
	for _, b := range bids {
		out = append(out, rangeReport{Bidder: v.name(b.Bidder), First: b.First, Last: b.Last, PerPeriod: int64(b.PerPeriod)})
	}
	return out
}

func (v *poolView) leases() *leaseReport {
	a := &v.market.Candle
	r := &leaseReport{
		Pool: v.rules.Name, Auction: a.Number, State: a.State.String(), Deadline: a.Deadline, FarmMillis: v.now, Bids: len(a.Bids), Best: v.ranges(a.Book.Best),
		Closed: v.closed(), Reservations: []reservationReport{},
	}
	switch a.State {
	case build.CandleOpening:
		r.EndingAt, r.EndsAt = a.Deadline, a.Deadline+v.rules.Lease.EndingMillis
	case build.CandleEnding, build.CandleClosing:
		r.EndingAt, r.EndsAt = a.EndingAt, a.EndingAt+v.rules.Lease.EndingMillis
	}
	r.Community, r.Slots = auction.CommunitySlots(uint64(v.rules.Lease.Slots))
	for i := range v.market.Leases {
		x := &v.market.Leases[i]
		r.Reservations = append(r.Reservations, reservationReport{
			Holder: v.name(x.Holder), Worker: v.name(x.Worker), From: x.From, Until: x.Until, PerPeriod: int64(x.PerPeriod), Running: x.Begun > 0, Community: x.Community,
		})
	}
	return r
}

// closed lays out the auction that closed last.
func (v *poolView) closed() *closedReport {
	l, rules := v.market.Candle.Last, &v.rules.Lease
	if l == nil {
		return nil
	}
	r := &closedReport{
		Auction: l.Number, EndingAt: l.EndingAt, EndedAt: l.EndingAt + rules.EndingMillis, Sample: l.Step, Samples: rules.Samples,
		ClosedAt: l.EndingAt + int64(l.Step)*(rules.EndingMillis/int64(rules.Samples)), Won: v.ranges(l.Won), Bids: []timedReport{},
	}
	if l.Worker != (build.ID{}) {
		r.Worker = v.name(l.Worker)
	}
	for _, b := range l.Bids {
		r.Bids = append(r.Bids, timedReport{rangeReport: v.ranges([]auction.CandleBid{b.Bid})[0], At: b.At, Void: b.At >= r.ClosedAt && b.At >= l.EndingAt})
	}
	return r
}

func (r *leaseReport) write(term *terminal) {
	kept := fmt.Sprintf("%d are for community projects", r.Community)
	switch r.Community {
	case 0:
		kept = "none is for community projects"
	case 1:
		kept = "1 is for community projects"
	}
	auctioned := count(r.Slots, "slot") + " are auctioned"
	if r.Slots == 1 {
		auctioned = "1 slot is auctioned"
	}
	term.print("  pool %s: %s, %s", r.Pool, auctioned, kept)
	r.writeAuction(term)
	for _, b := range r.Best {
		term.print("    %s: %s offers %s a period", periodRange(b.First, b.Last), b.Bidder, escrow.Credits(b.PerPeriod))
	}
	if r.Closed != nil {
		r.Closed.write(term)
	}
	for _, x := range r.Reservations {
		word := "will serve"
		if x.Running {
			word = "serves"
		}
		term.print("  %s %s %s alone, from %s to %s of farm time", x.Worker, word, x.Holder, farmSeconds(x.From), farmSeconds(x.Until))
	}
}

// writeAuction says what the auction under way still takes.
func (r *leaseReport) writeAuction(term *terminal) {
	head := fmt.Sprintf("  auction %d is %s, with %s", r.Auction, r.State, count(r.Bids, "bid"))
	switch r.State {
	case build.CandleOpening.String():
		term.print("%s: until %s none can be too late, and it ends at %s of farm time", head, farmSeconds(r.EndingAt), farmSeconds(r.EndsAt))
	case build.CandleEnding.String():
		term.print("%s: since %s a bid may turn out to have come too late, and it ends at %s of farm time", head, farmSeconds(r.EndingAt), farmSeconds(r.EndsAt))
	case build.CandleClosing.String():
		term.print("%s: it ended at %s of farm time, and when it had closed is being drawn", head, farmSeconds(r.EndsAt))
	}
}

func (r *closedReport) write(term *terminal) {
	term.print("  auction %d ended at %s of farm time and had closed at %s (sample %d of %d, drawn afterwards):",
		r.Auction, farmSeconds(r.EndedAt), farmSeconds(r.ClosedAt), r.Sample+1, r.Samples)
	for _, b := range r.Bids {
		remark := ""
		if b.Void {
			remark = ", too late"
		}
		term.print("    %9s  %s: %s a period for %s%s", farmSeconds(b.At), b.Bidder, escrow.Credits(b.PerPeriod), periodRange(b.First, b.Last), remark)
	}
	for _, b := range r.Won {
		term.print("  %s won %s of %s, at %s a period", b.Bidder, periodRange(b.First, b.Last), r.Worker, escrow.Credits(b.PerPeriod))
	}
	if len(r.Won) == 0 {
		term.print("  nobody won")
	}
}

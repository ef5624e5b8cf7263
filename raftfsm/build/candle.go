package build

import (
	"slices"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/draw"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// CandleState is where a lease pool's auction stands. Numbers are append-only.
type CandleState uint8

// The states of a candle auction.
const (
	CandleIdle    CandleState = 0 // the next bid begins an auction
	CandleOpening CandleState = 1 // bids are taken and none can be too late
	CandleEnding  CandleState = 2 // bids are taken, and the auction may turn out to be over
	CandleClosing CandleState = 3 // the beacon that says when it was over is awaited
)

func (s CandleState) String() string {
	return [...]string{"idle", "opening", "ending", "closing"}[min(s, CandleClosing)]
}

// HeldBid is a bid of the auction with the amount reserved for it.
type HeldBid struct {
	Bid  auction.CandleBid
	Hold escrow.TransferID
	At   int64 // when it was taken
}

// Code is the canonical encoding.
func (b *HeldBid) Code(c *wire.Coder) {
	b.Bid.Code(c)
	c.Bytes32((*[32]byte)(&b.Hold))
	c.I64(&b.At)
}

// Sample is the auction as it stood from one step of the ending period on,
// until the next sample.
type Sample struct {
	Step uint32
	Book auction.CandleBook
}

// Code is the canonical encoding.
func (s *Sample) Code(c *wire.Coder) { c.U32(&s.Step); s.Book.Code(c) }

// Candle is a lease pool's auction: one slot for up to auction.MaxPeriods periods.
type Candle struct {
	Number   uint64 // from 1, of the auction that runs or ran last
	State    CandleState
	Deadline int64
	EndingAt int64 // when the ending period began
	Book     auction.CandleBook
	Bids     []HeldBid // all that were taken; none is released before the close
	Samples  []Sample
	// ClosedStep is the step that was drawn for the last auction, and Worker the
	// worker whose slots it sold, zero where nobody won or none was free.
	ClosedStep uint32
	Worker     ID
	Won        []auction.CandleBid
}

// maxCandleBids bounds one auction: each bid has money reserved and is kept.
const maxCandleBids = 512

// Code is the canonical encoding.
func (a *Candle) Code(c *wire.Coder) {
	c.U64(&a.Number)
	c.U8((*uint8)(&a.State))
	c.I64(&a.Deadline)
	c.I64(&a.EndingAt)
	a.Book.Code(c)
	wire.Records(c, &a.Bids, maxCandleBids)
	wire.Records(c, &a.Samples, maxSamples)
	c.U32(&a.ClosedStep)
	c.Bytes32(&a.Worker)
	wire.Records(c, &a.Won, auction.MaxPeriods)
	if c.Decoding() && c.Err() == nil && a.State > CandleClosing {
		c.Refuse("unknown state %d of a candle auction", a.State)
	}
}

func (a *Candle) demands() bool { return a.State == CandleClosing }

// BidLease takes a bid for capacity ahead of time and reserves its whole amount.
// The first begins an auction. Request names it in transfers.
func (m *Market) BidLease(e *Env, bidder, request ID, p *LeaseBid) Outcome {
	a := &m.Candle
	running := a.Number
	if a.State == CandleIdle {
		running++
	}
	switch {
	case e.Pool.Lane != LaneLease:
		return Refuse(CodeWrongState, "pool %q sells no leases: its lane is %v", e.Pool.Name, e.Pool.Lane)
	case p.Auction != 0 && p.Auction != running:
		return Refuse(CodeStale, "auction %d is not the one that takes bids, which is %d", p.Auction, running)
	case a.State == CandleClosing:
		return Refuse(CodeWrongState, "auction %d is over; when it closed is being drawn", a.Number)
	case p.PerPeriod < e.Pool.Lease.Reserve:
		return Refuse(CodeRefused, "a bid of %s credits a period is below the reserve of %s", p.PerPeriod, e.Pool.Lease.Reserve)
	case len(a.Bids) >= maxCandleBids:
		return Refuse(CodeBusy, "auction %d has %d bids, no more are taken", a.Number, maxCandleBids)
	}
	if a.State == CandleIdle {
		if out := m.slotFree(e); out.Code != Done {
			return out
		}
	}
	bid := auction.CandleBid{Bidder: bidder, First: p.First, Last: p.Last, PerPeriod: p.PerPeriod}
	book := auction.NewCandleBook(auction.MaxPeriods)
	if a.State != CandleIdle {
		book = a.Book.Clone()
	}
	if err := book.Place(bid); err != nil {
		return Refuse(CodeRefused, "%v", err)
	}
	total, err := bid.Total()
	must(err) // Place has held it in range
	hold := escrow.TransferIDOf(e.Cluster, request, 0, "lease bid", bidder, m.ID)
	if err := e.Ledger.Hold(hold, bidder, escrow.FromAvailable, total); err != nil {
		return Refuse(CodeFunds, "a bid of %s credits for %d periods reserves %s: %v", p.PerPeriod, p.Last-p.First+1, total, err)
	}
	if a.State == CandleIdle {
		*a = Candle{Number: running, State: CandleOpening, Deadline: e.Now + e.Pool.Lease.OpeningMillis}
	}
	a.Book = book
	a.Bids = append(a.Bids, HeldBid{Bid: bid, Hold: hold, At: e.Now})
	if a.State == CandleEnding {
		a.sample(e, a.step(e)+1)
	}
	return Outcome{Subject: m.ID}
}

// slotFree says whether a slot is left that is not kept for community projects.
func (m *Market) slotFree(e *Env) Outcome {
	_, slots := auction.CommunitySlots(uint64(e.Pool.Lease.Slots))
	if used := m.slotsUsed(false); used >= slots {
		return Refuse(CodeBusy, "all %d slots that pool %q leases are taken: bid again when a lease ends", slots, e.Pool.Name)
	}
	return Outcome{}
}

// slotsUsed counts the workers that are leased now or later.
func (m *Market) slotsUsed(community bool) uint64 {
	workers := map[ID]bool{}
	for i := range m.Leases {
		if m.Leases[i].Community == community {
			workers[m.Leases[i].Worker] = true
		}
	}
	return uint64(len(workers))
}

// step is the part of the ending period that farm time is in.
func (a *Candle) step(e *Env) uint32 {
	l := &e.Pool.Lease
	done := min(e.Now-a.EndingAt, l.EndingMillis-1)
	width := l.EndingMillis / int64(l.Samples) // Validate: at least 1
	return min(uint32(done/width), l.Samples-1)
}

// sample keeps the book as it stands from a step on.
func (a *Candle) sample(e *Env, step uint32) {
	if step >= e.Pool.Lease.Samples {
		return // the candle is sure to be out by then
	}
	if n := len(a.Samples); n > 0 && a.Samples[n-1].Step == step {
		a.Samples[n-1].Book = a.Book.Clone()
		return
	}
	a.Samples = append(a.Samples, Sample{Step: step, Book: a.Book.Clone()})
}

// expireCandle does what the auction's deadline demands.
func (m *Market) expireCandle(e *Env) {
	a := &m.Candle
	switch a.State {
	case CandleOpening:
		a.State, a.EndingAt, a.Deadline = CandleEnding, a.Deadline, a.Deadline+e.Pool.Lease.EndingMillis
		a.sample(e, 0)
	case CandleEnding:
		a.State, a.Deadline = CandleClosing, 0
	}
}

// at is the book as it stood at a step.
func (a *Candle) at(step uint32) auction.CandleBook {
	book := a.Samples[0].Book
	for _, s := range a.Samples {
		if s.Step <= step {
			book = s.Book
		}
	}
	return book
}

// closeCandle draws when the auction had closed. What was bid later is void; who
// won then gets its leases, of a worker drawn from the same seed, and everybody
// else gets back what was reserved, now and not before.
func (m *Market) closeCandle(e *Env, seed [32]byte) {
	a := &m.Candle
	a.ClosedStep = uint32(auction.CloseSample(seed, int(e.Pool.Lease.Samples)))
	book := a.at(a.ClosedStep)
	a.Won, _ = book.Winners()
	for _, b := range a.Bids {
		must(e.Ledger.Void(b.Hold))
		must(e.Ledger.Retire(b.Hold))
	}
	a.State, a.Worker = CandleIdle, m.leasable(e, wire.NewHasher("lease-worker").Fixed(seed).Sum())
	if a.Worker == (ID{}) {
		a.Won = nil
	}
	for _, w := range a.Won {
		r := Reservation{
			Auction: a.Number, Holder: w.Bidder, Worker: a.Worker, PerPeriod: w.PerPeriod,
			From: e.Now + int64(w.First-1)*e.Pool.Lease.PeriodMillis, Until: e.Now + int64(w.Last)*e.Pool.Lease.PeriodMillis,
		}
		for period := w.First; period <= w.Last; period++ {
			id := m.transferID(e, a.Number<<8|uint64(period), "lease", w.Bidder, a.Worker)
			must(e.Ledger.Hold(id, w.Bidder, escrow.FromAvailable, w.PerPeriod)) // released a moment ago
			r.Holds = append(r.Holds, id)
		}
		m.reserve(r)
		e.quote(QuoteLease, w.PerPeriod, uint64(w.Last-w.First+1))
	}
	a.Bids, a.Samples = nil, nil
}

// leasable draws one of the workers that are present and not leased, zero where
// there is none.
func (m *Market) leasable(e *Env, seed [32]byte) ID {
	var free []ID
	for _, w := range e.Workers() {
		taken := slices.ContainsFunc(m.Leases, func(r Reservation) bool { return r.Worker == w.ID })
		if !w.Absent && !w.Draining && w.LeasedTo == (ID{}) && !taken {
			free = append(free, w.ID)
		}
	}
	if len(free) == 0 {
		return ID{}
	}
	return free[draw.NewStream(seed).Below(uint64(len(free)))]
}

package build

import (
	"cmp"
	"slices"

	"gavel/raftfsm/auction"
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

// Candle is a lease pool's auction: one slot for up to auction.MaxPeriods periods.
type Candle struct {
	Number   uint64 // from 1, of the auction that runs or ran last
	State    CandleState
	Deadline int64
	EndingAt int64 // when the ending period began
	Book     auction.CandleBook
	Bids     []HeldBid // all that were taken, in order; none is released before the close
	// Last is the auction that closed last, kept so that anyone may close it again.
	Last *CandleClose
}

// CandleClose is an auction that is over.
type CandleClose struct {
	Number   uint64
	EndingAt int64
	DrawnAt  int64 // when its close was drawn
	Sigma    [48]byte
	Step     uint32    // the sample, from 0, that was drawn
	Bids     []HeldBid // all that were taken, in order
	Free     []ID      // the workers of which one was drawn, sorted
	Worker   ID        // whose slots were sold, zero where nobody won or none was free
	Won      []auction.CandleBid
}

// Code is the canonical encoding.
func (l *CandleClose) Code(c *wire.Coder) {
	c.U64(&l.Number)
	c.I64(&l.EndingAt)
	c.I64(&l.DrawnAt)
	wire.Fixed48(c, &l.Sigma)
	c.U32(&l.Step)
	wire.Records(c, &l.Bids, maxCandleBids)
	wire.List(c, &l.Free, MaxWorkers, func(c *wire.Coder, id *ID) { c.Bytes32(id) })
	c.Bytes32(&l.Worker)
	wire.Records(c, &l.Won, auction.MaxPeriods)
	if c.Decoding() && c.Err() == nil && (!byTime(l.Bids) || !slices.IsSortedFunc(l.Free, wire.Compare32)) {
		c.Refuse("a closed candle auction with bids or workers out of order")
	}
}

// byTime says that bids are in the order in which they can have been taken.
func byTime(bids []HeldBid) bool {
	return slices.IsSortedFunc(bids, func(a, b HeldBid) int { return cmp.Compare(a.At, b.At) })
}

// Book is the auction as it stood when the drawn sample began: the bids of before
// the ending period, and those of its earlier samples. It fails where the bids are
// none that a farm took in this order.
func (l *CandleClose) Book(r *LeaseRules) (auction.CandleBook, error) {
	book := auction.NewCandleBook(auction.MaxPeriods)
	for _, b := range l.Bids {
		if b.At >= l.EndingAt && r.SampleAt(b.At-l.EndingAt) >= l.Step {
			continue
		}
		if err := book.Place(b.Bid); err != nil {
			return book, err
		}
	}
	return book, nil
}

// SampleAt is the sample of the ending period, from 0, that holds a moment so
// many milliseconds after its begin.
func (r *LeaseRules) SampleAt(millis int64) uint32 {
	width := r.EndingMillis / int64(r.Samples) // Validate: at least 1
	return uint32(min(max(0, millis)/width, int64(r.Samples)-1))
}

// Bounds of one auction: each bid has money reserved and is kept. Small steps must
// not fill it, one bidder's or a few's together, and shut out who would pay more: a
// bid raises the best one for its range by a twentieth at least, and once there are
// manyCandleBids it doubles it, which nobody can do 54 times.
const (
	raiseParts     = 20
	manyCandleBids = 512
	maxCandleBids  = manyCandleBids + 10*54
	maxBidsEach    = 32
)

// Code is the canonical encoding.
func (a *Candle) Code(c *wire.Coder) {
	c.U64(&a.Number)
	c.U8((*uint8)(&a.State))
	c.I64(&a.Deadline)
	c.I64(&a.EndingAt)
	a.Book.Code(c)
	wire.Records(c, &a.Bids, maxCandleBids)
	closed := a.Last != nil
	c.Bool(&closed)
	if closed {
		if a.Last == nil {
			a.Last = &CandleClose{}
		}
		a.Last.Code(c)
	}
	if c.Decoding() && c.Err() == nil && (a.State > CandleClosing || !byTime(a.Bids)) {
		c.Refuse("a candle auction in state %d, or with bids out of order", a.State)
	}
}

func (a *Candle) demands() bool { return a.State == CandleClosing }

// BidLease takes a bid for capacity ahead of time and reserves its whole amount.
// The first begins an auction.
func (m *Market) BidLease(e *Env, bidder ID, p *LeaseBid) Outcome {
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
	case a.bidsOf(bidder) >= maxBidsEach:
		return Refuse(CodeBusy, "auction %d has %d bids of this account, no more of its are taken: bid in larger steps", a.Number, maxBidsEach)
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
	if out := a.raises(&book, bid); out.Code != Done {
		return out
	}
	if err := book.Place(bid); err != nil {
		return Refuse(CodeRefused, "%v", err)
	}
	total, err := bid.Total()
	must(err) // Place has held it in range
	hold := m.transferID(e, running<<32|uint64(len(a.Bids)), "lease bid", bidder, m.ID)
	if account, _ := e.Ledger.Account(bidder); account.Available < total {
		return Refuse(CodeFunds, "a bid of %s credits for each of %d periods reserves %s, the balance is %s", p.PerPeriod, p.Last-p.First+1, total, account.Available)
	}
	must(e.Ledger.Hold(hold, bidder, escrow.FromAvailable, total))
	if a.State == CandleIdle {
		*a = Candle{Number: running, State: CandleOpening, Deadline: max(1, e.Now+e.Pool.Lease.OpeningMillis), Last: a.Last} // 0 is no deadline
	}
	a.Book = book
	a.Bids = append(a.Bids, HeldBid{Bid: bid, Hold: hold, At: e.Now})
	return Outcome{Subject: m.ID}
}

// raises holds a bid to the least step above the best one for its range.
func (a *Candle) raises(book *auction.CandleBook, bid auction.CandleBid) Outcome {
	for _, best := range book.Best {
		if best.First != bid.First || best.Last != bid.Last {
			continue
		}
		step := max(1, best.PerPeriod/raiseParts)
		if len(a.Bids) >= manyCandleBids {
			step = best.PerPeriod
		}
		if bid.PerPeriod < best.PerPeriod+step { // in range: amounts are at most MaxCredits/MaxPeriods
			return Refuse(CodeRefused, "a bid of %s a period: the best for periods %d to %d is %s, want at least %s", bid.PerPeriod, bid.First, bid.Last, best.PerPeriod, best.PerPeriod+step)
		}
	}
	return Outcome{}
}

// bidsOf counts a bidder's bids.
func (a *Candle) bidsOf(bidder ID) (n int) {
	for i := range a.Bids {
		if a.Bids[i].Bid.Bidder == bidder {
			n++
		}
	}
	return n
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

// expireCandle does what the auction's deadline demands.
func (m *Market) expireCandle(e *Env) {
	a := &m.Candle
	switch a.State {
	case CandleOpening:
		a.State, a.EndingAt, a.Deadline = CandleEnding, a.Deadline, a.Deadline+e.Pool.Lease.EndingMillis
	case CandleEnding:
		a.State, a.Deadline = CandleClosing, 0
	}
}

// closeCandle draws when the auction had closed. What was bid later is void; who
// won then gets its leases, of a worker drawn from the same seed, and everybody
// else gets back what was reserved, now and not before.
func (m *Market) closeCandle(e *Env, sigma [48]byte, seed [32]byte) {
	a := &m.Candle
	l := &CandleClose{Number: a.Number, EndingAt: a.EndingAt, DrawnAt: e.Now, Sigma: sigma, Bids: a.Bids}
	l.Step = uint32(auction.CloseSample(seed, int(e.Pool.Lease.Samples)))
	for _, b := range a.Bids {
		must(e.Ledger.Void(b.Hold))
		must(e.Ledger.Retire(b.Hold))
	}
	book, err := l.Book(&e.Pool.Lease)
	must(err)
	l.Won, _ = book.Winners()
	if l.Free = m.leasable(e, l.Won); len(l.Free) == 0 {
		l.Won = nil
	}
	if len(l.Won) > 0 {
		l.Worker = DrawnWorker(seed, l.Free)
	}
	for _, w := range l.Won {
		r := Reservation{
			Auction: a.Number, Holder: w.Bidder, Worker: l.Worker, PerPeriod: w.PerPeriod,
			From: e.Now + int64(w.First-1)*e.Pool.Lease.PeriodMillis, Until: e.Now + int64(w.Last)*e.Pool.Lease.PeriodMillis,
		}
		for period := w.First; period <= w.Last; period++ {
			id := m.transferID(e, a.Number<<8|uint64(period), "lease", w.Bidder, l.Worker)
			must(e.Ledger.Hold(id, w.Bidder, escrow.FromAvailable, w.PerPeriod)) // released a moment ago
			r.Holds = append(r.Holds, id)
		}
		if r.From <= e.Now { // not at the next tick: what its holder submits meanwhile is its worker's
			m.begin(e, &r, e.Worker(r.Worker))
		}
		m.reserve(r)
		e.quote(QuoteLease, w.PerPeriod, uint64(w.Last-w.First+1))
	}
	*a = Candle{Number: a.Number, Last: l}
}

// DrawnWorker is the worker that a lease is of: the one of lowest
// H("lease-worker" ‖ seed ‖ worker) among those that are free, at least one.
// Whoever sees the signature before it is applied can take its own worker out of
// the draw, and changes no other's place in it.
func DrawnWorker(seed [32]byte, free []ID) ID {
	rank := func(worker ID) ID { return wire.NewHasher("lease-worker").Fixed(seed).Fixed(worker).Sum() }
	return slices.MinFunc(free, func(a, b ID) int { return wire.Compare32(rank(a), rank(b)) })
}

// leasable are the workers that take work, are leased to nobody now or later in
// any pool, and are of no winner's own operator, for which they never build; sorted.
func (m *Market) leasable(e *Env, winners []auction.CandleBid) []ID {
	reserved, own := e.Reserved(), map[string]bool{}
	for _, b := range winners {
		own[e.Operator(b.Bidder)] = true
	}
	var free []ID
	for _, w := range e.Workers() {
		if e.takesWork(w) && !reserved[w.ID] && !own[w.Operator] {
			free = append(free, w.ID)
		}
	}
	return free
}

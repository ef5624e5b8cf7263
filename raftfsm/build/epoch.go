package build

import (
	"slices"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// EpochState is where a batch pool's epoch stands. Numbers are append-only.
type EpochState uint8

// The states of an epoch.
const (
	EpochIdle      EpochState = 0 // no work waits; asks for the next are taken
	EpochGathering EpochState = 1 // work waits; late asks are given a moment
	EpochOpening   EpochState = 2 // asks are sealed to none any more: they are opened
	EpochTied      EpochState = 3 // opened; the beacon that orders equal prices is awaited
	EpochRunning   EpochState = 4 // work is allotted, cheapest first
)

func (s EpochState) String() string {
	return [...]string{"idle", "gathering", "opening", "tied", "running"}[min(s, EpochRunning)]
}

// Unit is a build that an epoch allotted.
type Unit struct {
	Build ID
	Ask   uint32 // index in Asks
	Lot   uint32 // index in Lots
}

func findUnit(units []Unit, build ID) (int, bool) {
	return slices.BinarySearchFunc(units, build, func(u Unit, id ID) int { return wire.Compare32(u.Build, id) })
}

func codeUnit(c *wire.Coder, u *Unit) {
	c.Bytes32(&u.Build)
	c.U32(&u.Ask)
	c.U32(&u.Lot)
}

// Lot is a set of asks that could serve the same builds: who offers their
// platform and is not their requester's operator's. Units of one lot are alike
// and priced together.
type Lot struct {
	Asks  []uint32         // indices in Asks, ascending
	Paid  []escrow.Credits // what the clearing pays each of Asks in all, in the same order
	Units uint64
}

// Code is the canonical encoding.
func (l *Lot) Code(c *wire.Coder) {
	wire.List(c, &l.Asks, MaxWorkers, func(c *wire.Coder, v *uint32) { c.U32(v) })
	wire.List(c, &l.Paid, MaxWorkers, func(c *wire.Coder, v *escrow.Credits) { v.Code(c) })
	c.U64(&l.Units)
}

// Epoch is one clearing of a batch pool.
type Epoch struct {
	Number   uint64 // from 1, of the last one opened
	Bonds    uint64 // held for asks so far: their number tells them apart
	State    EpochState
	OpenedAt int64
	Deadline int64
	Sigma    [48]byte // the signature that ordered equal prices
	Next     []Ask    // sealed for epoch Number+1, sorted by worker
	Asks     []Ask    // of epoch Number, sorted by worker
	Lots     []Lot
	Units    []Unit // sorted by build
	// ladders are the asks of each lot with capacity left; derived, and rebuilt
	// when they are next needed.
	ladders []*auction.Standing
	// Last is the epoch that was cleared last, kept so that anyone may recompute it.
	Last *Clearing
}

// Clearing is a cleared epoch.
type Clearing struct {
	Number   uint64
	ClosedAt int64
	Sigma    [48]byte
	Reserve  escrow.Credits
	Asks     []Ask
	Lots     []Lot
	Units    []Unit
}

// AsksOpen says that asks of the running epoch are open to the coordinators and
// its price is not fixed: nobody else may read them yet.
func (m *Market) AsksOpen() bool {
	l := &m.Epoch
	if l.Last != nil && l.Last.Number >= l.Number {
		return false
	}
	return slices.ContainsFunc(l.Asks, func(a Ask) bool { return a.Opened })
}

// Code is the canonical encoding.
func (l *Clearing) Code(c *wire.Coder) {
	c.U64(&l.Number)
	c.I64(&l.ClosedAt)
	wire.Fixed48(c, &l.Sigma)
	l.Reserve.Code(c)
	wire.Records(c, &l.Asks, MaxWorkers)
	wire.Records(c, &l.Lots, maxLots)
	wire.List(c, &l.Units, maxUnits, codeUnit)
	if c.Decoding() && c.Err() == nil && (l.Reserve < 0 || !l.Coherent()) {
		c.Refuse("a clearing whose asks or units are out of order, or whose lots or units name asks that it has not")
	}
}

// Coherent says that asks and units are in order, that lots and units refer to
// what there is, and that what asks gave and lots took is what the units say.
func (l *Clearing) Coherent() bool { return coherent(l.Asks, l.Lots, l.Units, true) }

func coherent(asks []Ask, lots []Lot, units []Unit, paid bool) bool {
	if !inOrder(asks) {
		return false
	}
	given, sold := make([]uint64, len(asks)), make([]uint64, len(lots))
	for i := range lots {
		lot := &lots[i]
		if paid && len(lot.Paid) != len(lot.Asks) {
			return false
		}
		for j, at := range lot.Asks {
			if int64(at) >= int64(len(asks)) || j > 0 && lot.Asks[j-1] >= at {
				return false
			}
		}
	}
	for i, u := range units {
		if int64(u.Lot) >= int64(len(lots)) || i > 0 && wire.Compare32(units[i-1].Build, u.Build) >= 0 {
			return false
		}
		if _, found := slices.BinarySearch(lots[u.Lot].Asks, u.Ask); !found {
			return false
		}
		given[u.Ask]++
		sold[u.Lot]++
	}
	for i := range asks {
		if a := &asks[i]; a.Given != given[i] || a.Given > a.Capacity {
			return false
		}
	}
	for i := range lots {
		if lots[i].Units != sold[i] || paid && sold[i] == 0 && slices.ContainsFunc(lots[i].Paid, func(c escrow.Credits) bool { return c != 0 }) {
			return false
		}
	}
	return true
}

// inOrder says that asks are sorted by worker, none twice.
func inOrder(asks []Ask) bool {
	for i := range asks {
		if i > 0 && wire.Compare32(asks[i-1].Worker, asks[i].Worker) >= 0 {
			return false
		}
	}
	return true
}

// Bounds of an epoch.
const (
	maxUnits    = 8192    // more builds wait for the next epoch
	maxLots     = 64      // kinds of builds by who may serve them; more wait too
	MaxCapacity = 1 << 32 // units of one ask
)

// codeHead codes what is not in lists.
func (p *Epoch) codeHead(c *wire.Coder) {
	c.U64(&p.Number)
	c.U64(&p.Bonds)
	c.U8((*uint8)(&p.State))
	c.I64(&p.OpenedAt)
	c.I64(&p.Deadline)
	wire.Fixed48(c, &p.Sigma)
}

// Code is the canonical encoding.
func (p *Epoch) Code(c *wire.Coder) {
	p.codeHead(c)
	wire.Records(c, &p.Next, MaxWorkers)
	wire.Records(c, &p.Asks, MaxWorkers)
	wire.Records(c, &p.Lots, maxLots)
	wire.List(c, &p.Units, maxUnits, codeUnit)
	cleared := p.Last != nil
	c.Bool(&cleared)
	if cleared {
		if p.Last == nil {
			p.Last = &Clearing{}
		}
		p.Last.Code(c)
	}
	switch {
	case !c.Decoding() || c.Err() != nil:
	case p.State > EpochRunning:
		c.Refuse("unknown epoch state %d", p.State)
	case !inOrder(p.Next) || !coherent(p.Asks, p.Lots, p.Units, false):
		c.Refuse("an epoch whose asks or units are out of order, or whose lots or units name asks that it has not")
	}
}

// TieOf is what equal prices are ordered by: H("tie" ‖ σ ‖ operator).
func TieOf(sigma [48]byte, operator ID) ID {
	return wire.NewHasher("tie").Var(sigma[:]).Fixed(operator).Sum()
}

// tied orders equal prices by a signature that nobody knew when asks were
// sealed, and begins the epoch.
func (p *Epoch) tied(e *Env, sigma [48]byte) {
	for i := range p.Asks {
		a := &p.Asks[i]
		var operator string
		if w := e.Peek(a.Worker); w != nil {
			operator = w.Operator
		}
		a.Operator = wire.NewHasher("operator").Text(operator).Sum()
		a.Tie = TieOf(sigma, a.Operator)
	}
	p.Sigma = sigma
	p.State, p.OpenedAt, p.Deadline = EpochRunning, e.Now, e.Now+e.Pool.Batch.EpochMillis
}

// expire does what the epoch's deadline demands.
func (p *Epoch) expire(e *Env) {
	p.Deadline = 0
	switch p.State {
	case EpochGathering:
		if len(p.Next) == 0 {
			p.State = EpochIdle // Dispatch gathers again while work waits
			return
		}
		p.Number++
		p.Asks, p.Next = p.Next, nil
		if p.dropGone(e); len(p.Asks) == 0 {
			p.State = EpochIdle
			return
		}
		p.State, p.Deadline = EpochOpening, e.Now+e.Params.RevealMillis
	case EpochOpening:
		p.opened(e)
	case EpochRunning:
		p.clear(e)
	}
}

// clear fixes the epoch's prices: each lot is cleared by the pool's rule among
// its asks, with what capacity other lots have left them.
func (p *Epoch) clear(e *Env) {
	given := make([][]uint64, len(p.Lots)) // by lot and ask
	for i := range given {
		given[i] = make([]uint64, len(p.Asks))
	}
	for _, u := range p.Units {
		given[u.Lot][u.Ask]++
	}
	rates := make([][]escrow.Credits, len(p.Lots))
	for i := range p.Lots {
		rates[i] = p.clearLot(e, &p.Lots[i], given[i])
	}
	number, units := p.Number, p.Units
	p.Last = &Clearing{Number: p.Number, ClosedAt: e.Now, Sigma: p.Sigma, Reserve: e.Pool.Batch.Reserve, Asks: p.Asks, Lots: p.Lots, Units: p.Units}
	p.State, p.Asks, p.Lots, p.Units, p.ladders = EpochIdle, nil, nil, nil, nil
	for _, u := range units {
		b := e.Build(u.Build)
		if b == nil || b.Epoch != number {
			continue
		}
		b.Priced, b.Share = true, rates[u.Lot][u.Ask]
		if b.State == Pricing {
			b.settle(e)
		}
	}
}

// clearLot clears one lot and returns what a unit of each ask is paid: a
// worker's payment is split equally over its units, rounded down.
func (p *Epoch) clearLot(e *Env, lot *Lot, given []uint64) []escrow.Credits {
	rates := make([]escrow.Credits, len(p.Asks))
	lot.Paid = make([]escrow.Credits, len(lot.Asks))
	if lot.Units == 0 {
		return rates
	}
	var asks []auction.Ask
	var takes []int // positions in lot.Asks of those with capacity
	best := maxAmount
	for j, i := range lot.Asks {
		a := &p.Asks[i]
		if left := a.capacityLeft(given[i]); left > 0 {
			asks, takes = append(asks, auction.Ask{Tie: a.Tie, Price: a.Price, Capacity: left}), append(takes, j)
			best = min(best, a.Price)
		}
	}
	outcome, err := auction.ClearBatch(asks, lot.Units, e.Pool.Batch.Reserve, e.Pool.Batch.Pricing)
	must(err)
	var total escrow.Credits
	for n, j := range takes {
		i := lot.Asks[j]
		if outcome.Allocation[n] != given[i] {
			panic("build: broken invariant: an epoch allotted otherwise than it is cleared")
		}
		lot.Paid[j] = outcome.Payments[n]
		total += outcome.Payments[n] // each unit at most the reserve, and maxUnits of them
		if given[i] > 0 {
			rates[i] = outcome.Payments[n] / escrow.Credits(given[i])
		}
	}
	e.quote(QuoteBestBid, best, lot.Units)
	e.quote(QuotePaid, total/escrow.Credits(lot.Units), lot.Units)
	return rates
}

// capacityLeft is what an ask could give a lot to which it gave so many units.
func (a *Ask) capacityLeft(given uint64) uint64 {
	if a.Closed {
		return given
	}
	return given + a.Capacity - a.Given
}

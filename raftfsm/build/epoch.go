package build

import (
	"slices"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/draw"
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

// Ask is a worker's standing offer for one epoch.
type Ask struct {
	Worker     ID
	Commitment ID
	Bond       escrow.TransferID // the pool's reserve, returned when the ask is opened
	Opened     bool
	Price      escrow.Credits // a unit's: an action's, metered a core-second's
	Capacity   uint64         // units it takes in the epoch
	Tie        ID             // H("tie" ‖ σ ‖ operator): lower is served first at equal prices
	Given      uint64         // units allotted to it
	Closed     bool           // takes no more: its worker went away, or broke its word
}

// Code is the canonical encoding.
func (a *Ask) Code(c *wire.Coder) {
	c.Bytes32(&a.Worker)
	c.Bytes32(&a.Commitment)
	c.Bytes32((*[32]byte)(&a.Bond))
	c.Bool(&a.Opened)
	a.Price.Code(c)
	c.U64(&a.Capacity)
	c.Bytes32(&a.Tie)
	c.U64(&a.Given)
	c.Bool(&a.Closed)
}

// Unit is a build that an epoch allotted.
type Unit struct {
	Build ID
	Ask   uint32 // index in Asks
	Lot   uint32 // index in Lots
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
	State    EpochState
	OpenedAt int64
	Deadline int64
	Next     []Ask // sealed for epoch Number+1, sorted by worker
	Asks     []Ask // of epoch Number, sorted by worker
	Lots     []Lot
	Units    []Unit // in the order they were allotted
	// Last is the epoch that was cleared last, kept so that anyone may recompute it.
	Last *Clearing
}

// Clearing is a cleared epoch.
type Clearing struct {
	Number   uint64
	ClosedAt int64
	Reserve  escrow.Credits
	Asks     []Ask
	Lots     []Lot
	Units    []Unit
}

// Code is the canonical encoding.
func (l *Clearing) Code(c *wire.Coder) {
	c.U64(&l.Number)
	c.I64(&l.ClosedAt)
	l.Reserve.Code(c)
	wire.Records(c, &l.Asks, MaxWorkers)
	wire.Records(c, &l.Lots, maxLots)
	wire.List(c, &l.Units, maxUnits, codeUnit)
}

// Bounds of an epoch.
const (
	maxUnits    = 8192    // more builds wait for the next epoch
	maxLots     = 64      // kinds of builds by who may serve them; more wait too
	maxCapacity = 1 << 32 // of one ask
)

// Code is the canonical encoding.
func (p *Epoch) Code(c *wire.Coder) {
	c.U64(&p.Number)
	c.U8((*uint8)(&p.State))
	c.I64(&p.OpenedAt)
	c.I64(&p.Deadline)
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
	if c.Decoding() && c.Err() == nil && p.State > EpochRunning {
		c.Refuse("unknown epoch state %d", p.State)
	}
}

func findAsk(asks []Ask, worker ID) (int, bool) {
	return slices.BinarySearchFunc(asks, worker, func(a Ask, id ID) int { return wire.Compare32(a.Worker, id) })
}

// bond holds the pool's reserve of a worker's stake until its ask is opened:
// equal for all, it says nothing about the price, and keeping an ask shut costs it.
func (m *Market) bond(e *Env, epoch uint64, worker ID) (escrow.TransferID, Outcome) {
	id := m.transferID(e, epoch, "ask bond", worker, e.Treasury)
	if err := e.Ledger.Hold(id, worker, escrow.FromStake, e.Pool.Batch.Reserve); err != nil {
		return id, Refuse(CodeStakeShort, "an ask in pool %q needs a bond of %s credits of free stake: %v", e.Pool.Name, e.Pool.Batch.Reserve, err)
	}
	return id, Outcome{}
}

// Ask takes a sealed ask for the next epoch.
func (m *Market) Ask(e *Env, worker *Worker, p *PlaceAsk) Outcome {
	switch {
	case e.Pool.Lane != LaneBatch:
		return Refuse(CodeWrongState, "pool %q takes no standing asks: its lane is %v", e.Pool.Name, e.Pool.Lane)
	case !worker.In(e.Pool):
		return Refuse(CodeNotAllowed, "this worker does not serve pool %q", e.Pool.Name)
	case p.Epoch != m.Epoch.Number+1:
		return Refuse(CodeStale, "asks are taken for epoch %d", m.Epoch.Number+1)
	}
	i, found := findAsk(m.Epoch.Next, worker.ID)
	if found {
		m.Epoch.Next[i].Commitment = p.Commitment
		return Outcome{Subject: m.ID}
	}
	if len(m.Epoch.Next) >= MaxWorkers {
		return Refuse(CodeBusy, "epoch %d has %d asks, no more are taken", p.Epoch, MaxWorkers)
	}
	bond, out := m.bond(e, p.Epoch, worker.ID)
	if out.Code != Done {
		return out
	}
	m.Epoch.Next = slices.Insert(m.Epoch.Next, i, Ask{Worker: worker.ID, Commitment: p.Commitment, Bond: bond})
	return Outcome{Subject: m.ID}
}

// OpenAsk takes what a sealed ask hid. One that does not match is refused; the
// bond is lost if nothing better comes before the deadline.
func (m *Market) OpenAsk(e *Env, worker *Worker, p *OpenAsk) Outcome {
	i, found := findAsk(m.Epoch.Asks, worker.ID)
	if !found || p.Epoch != m.Epoch.Number {
		return Refuse(CodeNotAllowed, "this worker sealed no ask for epoch %d", p.Epoch)
	}
	a := &m.Epoch.Asks[i]
	if AskCommitment(e.Cluster, m.ID, p.Epoch, worker.ID, p.Price, p.Capacity, p.Nonce) != a.Commitment {
		return Refuse(CodeNoMatch, "the opening does not match the sealed ask")
	}
	if a.Opened {
		return Outcome{Subject: m.ID}
	}
	if m.Epoch.State != EpochOpening {
		return Refuse(CodeStale, "the time to open asks is over")
	}
	if p.Price < 0 || p.Price > maxAmount || p.Capacity < 1 || p.Capacity > maxCapacity {
		return Refuse(CodeMalformed, "an ask of %s credits for %d units: want a price of at least 0 and 1 to %d units", p.Price, p.Capacity, maxCapacity)
	}
	a.Opened, a.Price, a.Capacity = true, p.Price, p.Capacity
	must(e.Ledger.Void(a.Bond))
	must(e.Ledger.Retire(a.Bond))
	a.Bond = escrow.TransferID{}
	if !slices.ContainsFunc(m.Epoch.Asks, func(a Ask) bool { return !a.Opened }) {
		m.Epoch.opened(e)
	}
	return Outcome{Subject: m.ID}
}

// opened ends the opening: who kept its ask shut forfeits the bond.
func (p *Epoch) opened(e *Env) {
	p.Deadline = 0
	var open []Ask
	for i := range p.Asks {
		a := p.Asks[i]
		if a.Opened {
			open = append(open, a)
			continue
		}
		must(e.Ledger.Post(a.Bond, []escrow.Part{{To: e.Treasury, Amount: e.Pool.Batch.Reserve, Purpose: "forfeit"}}))
		must(e.Ledger.Retire(a.Bond))
	}
	if p.Asks = open; len(open) == 0 {
		p.State = EpochIdle
		return
	}
	p.State = EpochTied
}

// tied orders equal prices by a signature that nobody knew when asks were
// sealed, and begins the epoch.
func (p *Epoch) tied(e *Env, sigma [48]byte) {
	for i := range p.Asks {
		a := &p.Asks[i]
		var operator string
		if w := e.Worker(a.Worker); w != nil {
			operator = w.Operator
		}
		key := wire.NewHasher("operator").Text(operator).Sum()
		a.Tie = wire.NewHasher("tie").Var(sigma[:]).Fixed(key).Sum()
	}
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
		p.State, p.Deadline = EpochOpening, e.Now+e.Params.RevealMillis
	case EpochOpening:
		p.opened(e)
	case EpochRunning:
		p.clear(e)
	}
}

// Place allots waiting builds, given in queue order, to the cheapest asks with
// capacity left, and lets those whose worker has a slot free begin. Prices
// follow at the epoch's end.
func (m *Market) Place(e *Env, waiting []*Build) {
	p := &m.Epoch
	fresh := slices.DeleteFunc(slices.Clone(waiting), func(b *Build) bool { return b.Allotted != ID{} })
	if p.State == EpochIdle && len(fresh) > 0 {
		e.Touch()
		p.State, p.Deadline = EpochGathering, e.Now+e.Params.BiddingMillis
	}
	if p.State == EpochRunning {
		for i, b := range fresh {
			if m.allot(e, b) {
				b.chargeBehind(fresh[i+1:])
			}
		}
	}
	for _, b := range waiting {
		if b.Allotted == (ID{}) {
			continue
		}
		if w := e.Worker(b.Allotted); w != nil && w.Idle() {
			b.begin(e)
		}
	}
}

// begin gives an allotted build to its worker.
func (b *Build) begin(e *Env) {
	if b.appoint(e, b.Allotted, b.Price) {
		e.Build(b.ID)
	}
}

// allot gives a build to the cheapest ask that may serve it and has capacity left.
func (m *Market) allot(e *Env, b *Build) bool {
	p := &m.Epoch
	if len(p.Units) >= maxUnits {
		return false
	}
	f, out := e.Field(&b.Terms, b.Requester, b.Operator, e.wholeStake)
	if out.Code != Done {
		return false
	}
	e.Touch()
	p.closeGone(e)
	lot, ok := p.lot(f.Eligible)
	if !ok {
		return false
	}
	best := -1
	for _, i := range p.Lots[lot].Asks {
		a := &p.Asks[i]
		if a.Closed || a.Given >= a.Capacity || a.Price > e.Pool.Batch.Reserve {
			continue
		}
		if best < 0 || a.cheaper(&p.Asks[best]) {
			best = int(i)
		}
	}
	if best < 0 {
		return false
	}
	a := &p.Asks[best]
	a.Given++
	p.Lots[lot].Units++
	p.Units = append(p.Units, Unit{Build: b.ID, Ask: uint32(best), Lot: uint32(lot)})
	b.Allotted, b.Epoch, b.Price = a.Worker, p.Number, a.Price
	e.Build(b.ID)
	return true
}

// cheaper orders asks: by price, then by tie, then by worker.
func (a *Ask) cheaper(o *Ask) bool {
	if a.Price != o.Price {
		return a.Price < o.Price
	}
	if c := wire.Compare32(a.Tie, o.Tie); c != 0 {
		return c < 0
	}
	return wire.Compare32(a.Worker, o.Worker) < 0
}

// closeGone closes the asks of workers that went away or were leased.
func (p *Epoch) closeGone(e *Env) {
	for i := range p.Asks {
		if w := e.Worker(p.Asks[i].Worker); w == nil || w.Absent || w.Draining || w.LeasedTo != (ID{}) {
			p.Asks[i].Closed = true
		}
	}
}

// lot finds or makes the lot of the asks among eligible workers. Closed ones
// belong to every lot: they may have served it before.
func (p *Epoch) lot(eligible []Candidate) (int, bool) {
	able := map[ID]bool{}
	for _, c := range eligible {
		able[c.Worker] = true
	}
	var asks []uint32
	for i := range p.Asks {
		if able[p.Asks[i].Worker] || p.Asks[i].Closed {
			asks = append(asks, uint32(i))
		}
	}
	for i := range p.Lots {
		if slices.Equal(p.Lots[i].Asks, asks) {
			return i, true
		}
	}
	if len(p.Lots) >= maxLots {
		return 0, false
	}
	p.Lots = append(p.Lots, Lot{Asks: asks})
	return len(p.Lots) - 1, true
}

// unplace takes a unit back from a worker that let its build down: it gets no
// more of this epoch, and the build goes to the next cheapest. After the epoch
// its price stands, and the build waits for another.
func (m *Market) unplace(e *Env, b *Build, worker ID) {
	e.Touch()
	p := &m.Epoch
	if b.Epoch != p.Number || p.State != EpochRunning {
		return
	}
	for i, u := range p.Units {
		if u.Build == b.ID {
			p.Asks[u.Ask].Given--
			p.Asks[u.Ask].Closed = true
			p.Lots[u.Lot].Units--
			p.Units = slices.Delete(p.Units, i, i+1)
			return
		}
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
	p.Last = &Clearing{Number: p.Number, ClosedAt: e.Now, Reserve: e.Pool.Batch.Reserve, Asks: p.Asks, Lots: p.Lots, Units: p.Units}
	p.State, p.Asks, p.Lots, p.Units = EpochIdle, nil, nil, nil
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
	for n, j := range takes {
		i := lot.Asks[j]
		if outcome.Allocation[n] != given[i] {
			panic("build: broken invariant: an epoch allotted otherwise than it is cleared")
		}
		lot.Paid[j] = outcome.Payments[n]
		if given[i] > 0 {
			rates[i] = outcome.Payments[n] / escrow.Credits(given[i])
		}
	}
	e.quote(QuoteBestBid, best, lot.Units)
	return rates
}

// capacityLeft is what an ask could give a lot to which it gave so many units.
func (a *Ask) capacityLeft(given uint64) uint64 {
	if a.Closed {
		return given
	}
	return given + a.Capacity - a.Given
}

// awaitsPrice says that the build's payment depends on an epoch that runs.
func (b *Build) awaitsPrice() bool {
	return b.Allotted != (ID{}) && b.Posted && !b.Priced && b.Builder() != nil
}

// metered is what a build earns at a rate: the rate itself, or in a metered pool
// the rate times the core-seconds it took, rounded down and never more than R.
func (b *Build) metered(e *Env, rate escrow.Credits) escrow.Credits {
	if !b.Posted || e.Pool.Lane != LaneBatch || !e.Pool.Batch.Metered {
		return rate
	}
	cost, err := rate.MulDivFloor(b.medianMillis(), 1000)
	if err != nil {
		return b.Terms.Reserve
	}
	return min(cost, b.Terms.Reserve)
}

// medianMillis is the median of the times that winner and validators measured
// for their own first builds, the lower one of an even number, within the timeout.
func (b *Build) medianMillis() int64 {
	var times []int64
	for _, a := range b.parties() {
		if a.State == AttemptOpened {
			times = append(times, min(max(0, a.Opening.FinishedWallMillis-a.Opening.StartedWallMillis), b.Terms.TimeoutMillis))
		}
	}
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[(len(times)-1)/2]
}

// Seal fixes which committed builds the next shared signature draws for.
func (m *Market) Seal(e *Env, committed []*Build) {
	if m.Sealing {
		return
	}
	for _, b := range committed {
		if b.State != Committed || b.Seal != 0 {
			continue
		}
		if !m.Sealing {
			e.Touch()
			m.Sealing = true
			m.Seals++
		}
		b.Seal = m.Seals
		e.Build(b.ID)
	}
}

// unseal makes the draws of the builds of the last seal.
func (m *Market) unseal(e *Env, randomness [32]byte) {
	m.Sealing = false
	for _, b := range e.Live() {
		if b.State != Committed || b.Seal != m.Seals {
			continue
		}
		if b.Terms.SamplePPM < draw.PPM {
			b.sample(SealSeed(randomness, b.ID, PurposeSample))
		}
		if b.State == Committed {
			b.drawSeats(e, SealSeed(randomness, b.ID, PurposeSeats))
		}
		e.Build(b.ID)
	}
}

// SealSeed is what a batch build's draws follow from:
// H("seal" ‖ randomness ‖ build ‖ purpose).
func SealSeed(randomness [32]byte, build ID, purpose string) [32]byte {
	return wire.NewHasher("seal").Fixed(randomness).Fixed(build).Text(purpose).Sum()
}

// SealedBy says whether a worker's ask for the next epoch is in.
func (p *Epoch) SealedBy(worker ID) bool {
	_, found := findAsk(p.Next, worker)
	return found
}

// MustOpen says whether a worker's sealed ask waits to be opened.
func (p *Epoch) MustOpen(worker ID) bool {
	i, found := findAsk(p.Asks, worker)
	return found && p.State == EpochOpening && !p.Asks[i].Opened
}

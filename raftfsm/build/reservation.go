package build

import (
	"slices"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Reservation is a lease: from From until Until a worker builds and validates
// for its holder alone.
type Reservation struct {
	Auction     uint64 // that sold it, 0 for a community lease
	Holder      ID
	Worker      ID
	From, Until int64 // farm milliseconds
	PerPeriod   escrow.Credits
	Holds       []escrow.TransferID // one a period, paid when it begins; none for a community lease
	Begun       uint32              // periods that have begun
	Community   bool
}

// maxReservations bounds a pool's leases: four a slot, and more slots than a pool has.
const maxReservations = 4 * maxSlots

// Code is the canonical encoding.
func (r *Reservation) Code(c *wire.Coder) {
	c.U64(&r.Auction)
	c.Bytes32(&r.Holder)
	c.Bytes32(&r.Worker)
	c.I64(&r.From)
	c.I64(&r.Until)
	r.PerPeriod.Code(c)
	wire.List(c, &r.Holds, auction.MaxPeriods, func(c *wire.Coder, id *escrow.TransferID) { c.Bytes32((*[32]byte)(id)) })
	c.U32(&r.Begun)
	c.Bool(&r.Community)
	if c.Decoding() && c.Err() == nil && (r.Until < r.From || r.Begun > uint32(max(1, len(r.Holds))) || r.Community != (len(r.Holds) == 0)) {
		c.Refuse("a lease of %d periods of which %d have begun, from %d until %d", len(r.Holds), r.Begun, r.From, r.Until)
	}
}

// deadline is when the next period begins, or the lease ends. A community lease
// is one period.
func (r *Reservation) deadline() int64 {
	switch periods := uint32(max(1, len(r.Holds))); {
	case r.Begun == 0:
		return r.From
	case r.Begun < periods:
		return r.From + (r.Until-r.From)/int64(periods)*int64(r.Begun)
	}
	return r.Until
}

// reserve keeps leases in order of their start: one that ends is then found
// before the one that follows it.
func (m *Market) reserve(r Reservation) {
	at := len(m.Leases)
	for at > 0 && m.Leases[at-1].From > r.From {
		at--
	}
	m.Leases = slices.Insert(m.Leases, at, r)
}

// expireLeases begins the period or ends the lease that is due.
func (m *Market) expireLeases(e *Env) {
	for i := range m.Leases {
		r := &m.Leases[i]
		if r.deadline() > e.Now {
			continue
		}
		w := e.Worker(r.Worker)
		r.pay(e, w)
		if r.Begun == uint32(max(1, len(r.Holds))) {
			if w != nil && w.LeasedTo == r.Holder {
				w.LeasedTo = ID{}
			}
			m.Leases = slices.Delete(m.Leases, i, i+1)
			return
		}
		m.begin(e, r, w)
		return
	}
}

// pay ends the period that runs, if one has begun: its worker is paid if it has
// served the holder and still takes work, else the holder gets the amount back.
func (r *Reservation) pay(e *Env, w *Worker) {
	if r.Begun == 0 || len(r.Holds) == 0 {
		return
	}
	hold := r.Holds[r.Begun-1]
	if w != nil && e.takesWork(w) && w.LeasedTo == r.Holder {
		must(e.Ledger.Post(hold, []escrow.Part{{To: r.Worker, Amount: r.PerPeriod, Purpose: "lease"}}))
	} else {
		must(e.Ledger.Void(hold))
	}
	must(e.Ledger.Retire(hold))
}

// begin begins a period: its worker serves the holder alone, if it takes work.
func (m *Market) begin(e *Env, r *Reservation, w *Worker) {
	r.Begun++
	switch there := w != nil && e.takesWork(w) && w.Serves(r.Holder); {
	case there:
		w.LeasedTo = r.Holder
	case w != nil && w.LeasedTo == r.Holder:
		w.LeasedTo = ID{}
	}
}

// Leased lets the waiting builds of holders go to the workers they have leased.
// It returns the builds that go on to the auction, in the same order: those of
// others, and of holders none of whose leased workers could serve them.
func (m *Market) Leased(e *Env, waiting []*Build) []*Build {
	serving := m.serving(e)
	if len(serving) == 0 {
		return waiting
	}
	var rest []*Build
	able := map[kind][]*Worker{} // of the holder's, those that may serve a kind
	for _, b := range waiting {
		mine := serving[b.Requester]
		if len(mine) == 0 {
			rest = append(rest, b)
			continue
		}
		k := kindOf(b)
		if _, known := able[k]; !known {
			if len(able) == maxKinds {
				continue // its turn comes with a later entry
			}
			able[k] = e.ableOf(b, mine)
		}
		if mine = able[k]; len(mine) == 0 {
			rest = append(rest, b)
			continue
		}
		for _, w := range mine {
			if !w.Idle() {
				continue
			}
			if begun, _ := b.appoint(e, w.ID, 0); begun {
				b.PriorityCharge = 0 // it stood in nobody's way
				e.Build(b.ID)
				break
			}
		}
	}
	return rest
}

// serving are the workers that serve holders alone now, by holder.
func (m *Market) serving(e *Env) map[ID][]*Worker {
	out := map[ID][]*Worker{}
	for i := range m.Leases {
		r := &m.Leases[i]
		if w := e.Peek(r.Worker); r.Begun > 0 && w != nil && w.LeasedTo == r.Holder {
			out[r.Holder] = append(out[r.Holder], w)
		}
	}
	return out
}

// ableOf are those of a holder's workers that are eligible for a build, once what
// they do now is done. The build waits for these and for no other.
func (e *Env) ableOf(b *Build, mine []*Worker) []*Worker {
	f := e.kindField(b)
	if !f.ok {
		return nil
	}
	var able []*Worker
	for _, w := range mine {
		if _, ok := f.has(w.ID); ok {
			able = append(able, w)
		}
	}
	return able
}

// Lend gives a community slot to a holder, from now on and for no price.
func (m *Market) Lend(e *Env, p *Lend) Outcome {
	if e.Pool.Lane != LaneLease {
		return Refuse(CodeWrongState, "pool %q has no leases: its lane is %v", e.Pool.Name, e.Pool.Lane)
	}
	if p.Periods < 1 || p.Periods > auction.MaxPeriods {
		return Refuse(CodeMalformed, "a lease of %d periods, want 1 to %d", p.Periods, auction.MaxPeriods)
	}
	if a, ok := e.Ledger.Account(p.Holder); !ok || a.Role != escrow.Requester {
		return Refuse(CodeUnknownAccount, "a community lease goes to a requester's account, and there is no such")
	}
	community, _ := auction.CommunitySlots(uint64(e.Pool.Lease.Slots))
	if used := m.slotsUsed(true); used >= community {
		return Refuse(CodeBusy, "%d of the %d slots that pool %q keeps for community projects are lent", used, community, e.Pool.Name)
	}
	free := m.leasable(e, []auction.CandleBid{{Bidder: p.Holder}})
	if len(free) == 0 {
		return Refuse(CodeBusy, "no worker of pool %q is free to be lent", e.Pool.Name)
	}
	// Nobody gains by which one it is, so farm time is random enough.
	worker := DrawnWorker(wire.NewHasher("lend").Fixed(m.ID).I64(e.Now).Sum(), free)
	r := Reservation{Holder: p.Holder, Worker: worker, From: e.Now, Until: e.Now + int64(p.Periods)*e.Pool.Lease.PeriodMillis, Community: true}
	m.reserve(r)
	i := slices.IndexFunc(m.Leases, func(x Reservation) bool { return x.Worker == worker })
	m.begin(e, &m.Leases[i], e.Worker(worker))
	return Outcome{Subject: m.ID}
}

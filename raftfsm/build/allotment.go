package build

import (
	"slices"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// kind is what decides who may serve a build: builds of one kind have one field.
type kind struct {
	platform, operator string
	requester          ID
	validators, sample uint32
	reserve, risk      escrow.Credits
}

func kindOf(b *Build) kind {
	t := &b.Terms
	return kind{
		platform: t.Platform, operator: b.Operator, requester: b.Requester, validators: t.Validators, sample: t.SamplePPM,
		reserve: t.Reserve, risk: t.ValueAtRisk,
	}
}

// maxKinds bounds the kinds of builds that one entry looks at: each costs
// O(workers). Builds that no ask can take any more are put off for a while, so that
// the next entry comes to others.
const (
	maxKinds     = 16
	retriesApart = 10 // of the usual pauses: only a worker that comes or goes changes it before the next epoch
)

// Allot gives waiting builds, in queue order, to the cheapest asks with capacity
// left; prices follow at the epoch's end. Where no epoch runs they begin one. In
// an entry each build costs O(log asks), each kind of build O(workers).
func (m *Market) Allot(e *Env, waiting []*Build) {
	p := &m.Epoch
	waiting = slices.DeleteFunc(waiting, func(b *Build) bool { return b.NotBefore > e.Now })
	if len(waiting) == 0 {
		return
	}
	if p.State == EpochIdle {
		e.Touch()
		p.State, p.Deadline = EpochGathering, e.Now+e.Params.BiddingMillis
	}
	if p.State != EpochRunning {
		return
	}
	p.closeGone(e)
	left := p.capacityLeft()
	lots := map[kind]int{}
	for i, b := range waiting {
		if left == 0 || len(p.Units) >= maxUnits {
			return
		}
		k := kindOf(b)
		lot, known := lots[k]
		if !known {
			if len(lots) == maxKinds {
				continue
			}
			lot = p.lotOf(e, b)
			lots[k] = lot
		}
		if lot >= 0 && p.give(e, b, lot) {
			left--
			b.chargeBehind(waiting[i+1 : min(i+2, len(waiting))]) // the queue's order puts the highest extra first
			continue
		}
		b.NotBefore = max(e.Now+1, min(p.Deadline, e.Now+retriesApart*e.Params.RetryMillis))
		e.Build(b.ID)
	}
}

// capacityLeft is what all open asks still take.
func (p *Epoch) capacityLeft() (units uint64) {
	for i := range p.Asks {
		if a := &p.Asks[i]; !a.Closed {
			units += a.Capacity - a.Given // at most MaxWorkers · MaxCapacity
		}
	}
	return units
}

// closeGone closes the asks of workers that went away or were leased.
func (p *Epoch) closeGone(e *Env) {
	for i := range p.Asks {
		if a := &p.Asks[i]; !a.Closed && e.gone(e.Peek(a.Worker), ID{}) {
			p.close(e, i)
		}
	}
}

// gone says that a worker cannot take what its ask promised a requester (zero:
// to anybody).
func (e *Env) gone(w *Worker, requester ID) bool {
	return w == nil || !w.In(e.Pool) || w.Absent || w.Draining || !w.Serves(requester)
}

// close ends an ask: it takes no more.
func (p *Epoch) close(e *Env, ask int) {
	a := &p.Asks[ask]
	e.TouchPart(PartAsk, a.Worker)
	a.Closed = true
	for _, l := range p.ladders {
		l.Remove(a.Worker)
	}
}

// lotOf is the lot of the asks that may serve a build, −1 where there is none.
func (p *Epoch) lotOf(e *Env, b *Build) int {
	f := e.kindField(b)
	if !f.ok {
		return -1
	}
	if lot, ok := p.lot(e, f.Eligible); ok {
		return lot
	}
	return -1
}

// lot finds or makes the lot of the asks among eligible workers. Closed ones
// belong to every lot: they may have served it before.
func (p *Epoch) lot(e *Env, eligible []Candidate) (int, bool) {
	able := map[ID]bool{}
	for _, c := range eligible {
		able[c.Worker] = true
	}
	var asks []uint32
	open := false
	for i := range p.Asks {
		if able[p.Asks[i].Worker] || p.Asks[i].Closed {
			asks, open = append(asks, uint32(i)), open || !p.Asks[i].Closed
		}
	}
	if !open {
		return 0, false
	}
	for i := range p.Lots {
		if slices.Equal(p.Lots[i].Asks, asks) {
			return i, true
		}
	}
	if len(p.Lots) >= maxLots {
		return 0, false
	}
	e.TouchPart(PartLot, lotID(len(p.Lots)))
	p.Lots = append(p.Lots, Lot{Asks: asks})
	return len(p.Lots) - 1, true
}

// ladder holds the asks of a lot that have capacity left, cheapest first.
func (p *Epoch) ladder(e *Env, lot int) *auction.Standing {
	for at := len(p.ladders); at <= lot; at++ {
		var entries []auction.Entry
		for _, i := range p.Lots[at].Asks {
			if a := &p.Asks[i]; !a.Closed && a.Given < a.Capacity && a.Price <= e.Pool.Batch.Reserve {
				entries = append(entries, auction.Entry{ID: a.Worker, Tie: a.Tie, Price: a.Price, Units: a.Capacity - a.Given})
			}
		}
		standing, err := auction.NewStanding(entries)
		must(err) // asks are by worker, and in range when they were opened
		p.ladders = append(p.ladders, standing)
	}
	return p.ladders[lot]
}

// give allots a build to the cheapest ask of its lot.
func (p *Epoch) give(e *Env, b *Build, lot int) bool {
	best, ok := p.ladder(e, lot).First()
	if !ok {
		return false
	}
	i, found := findAsk(p.Asks, best.ID)
	if !found {
		panic("build: broken invariant: an ask stands that was not made")
	}
	a := &p.Asks[i]
	e.TouchPart(PartAsk, a.Worker)
	e.TouchPart(PartLot, lotID(lot))
	e.TouchPart(PartUnit, b.ID)
	for _, l := range p.ladders {
		if _, ok := l.Get(a.Worker); ok {
			must(l.Reduce(a.Worker, 1))
		}
	}
	a.Given++
	p.Lots[lot].Units++
	at, _ := findUnit(p.Units, b.ID)
	p.Units = slices.Insert(p.Units, at, Unit{Build: b.ID, Ask: uint32(i), Lot: uint32(lot)})
	b.Allotted, b.Epoch, b.Price = a.Worker, p.Number, a.Price
	// It is awarded: a deadline of its own, which could make it run out unpaid and
	// counted, holds no longer. This one is for a worker that never has S free.
	b.Deadline = p.Deadline + e.Params.MaxDeadlineMillis
	e.Build(b.ID)
	return true
}

// Begin lets allotted builds, given by worker in queue order, begin where their
// worker has a slot and S free. What was allotted to a worker that went away or
// may not serve it any more goes back to the queue, for the next cheapest; and so
// does, once its epoch is over, what a worker without other work cannot begin,
// because stake or validators are wanting.
func (m *Market) Begin(e *Env, allotted map[ID][]*Build) {
	for _, id := range wire.SortedKeys(allotted, wire.Compare32) {
		w, refused := e.Peek(id), map[kind]bool{}
		for _, b := range allotted[id] {
			away := e.gone(w, b.Requester)
			if !away && !w.Idle() {
				if w.LeasedTo == (ID{}) {
					break // and all the others of this worker wait like this one
				}
				continue
			}
			k := kindOf(b)
			if !away && refused[k] {
				continue
			}
			begun, able := false, !away
			if able {
				begun, able = b.appoint(e, id, b.Price)
			}
			switch {
			case begun:
				e.Build(b.ID)
			case able && (w.Engaged > 0 || m.runs(b)): // another time
				refused[k] = true
			default:
				m.unplace(e, b)
				b.withdraw(e)
			}
		}
	}
}

// runs says that the epoch in which a build was allotted is not over.
func (m *Market) runs(b *Build) bool {
	return m.Epoch.State == EpochRunning && m.Epoch.Number == b.Epoch
}

// withdraw takes a build that has not begun from its ask.
func (b *Build) withdraw(e *Env) {
	b.Allotted, b.Epoch, b.Price, b.Priced, b.Share, b.PriorityCharge = ID{}, 0, 0, false, 0, 0
	b.Deadline = b.Terms.DeadlineMillis
	e.Build(b.ID)
}

// unplace takes a unit back from a worker that let its build down: it gets no
// more of this epoch, and the build goes to the next cheapest. After the epoch
// its price stands, and the build waits for another.
func (m *Market) unplace(e *Env, b *Build) {
	p := &m.Epoch
	if !m.runs(b) {
		return
	}
	i, found := findUnit(p.Units, b.ID)
	if !found {
		return
	}
	u := p.Units[i]
	p.Asks[u.Ask].Given--
	p.close(e, int(u.Ask))
	e.TouchPart(PartLot, lotID(int(u.Lot)))
	e.TouchPart(PartUnit, b.ID)
	p.Lots[u.Lot].Units--
	p.Units = slices.Delete(p.Units, i, i+1)
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

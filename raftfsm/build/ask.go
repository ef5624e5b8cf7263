package build

import (
	"slices"

	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Ask is a worker's standing offer for one epoch.
type Ask struct {
	Worker     ID
	Commitment ID
	Bond       escrow.TransferID // the pool's reserve, returned when the ask is opened
	Opened     bool
	Nonce      ID             // of the opening
	Price      escrow.Credits // a unit's: an action's, metered a core-second's
	Capacity   uint64         // units it takes in the epoch
	Operator   ID             // its worker's: H("operator" ‖ name)
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
	c.Bytes32(&a.Nonce)
	a.Price.Code(c)
	c.U64(&a.Capacity)
	c.Bytes32(&a.Operator)
	c.Bytes32(&a.Tie)
	c.U64(&a.Given)
	c.Bool(&a.Closed)
}

func findAsk(asks []Ask, worker ID) (int, bool) {
	return slices.BinarySearchFunc(asks, worker, func(a Ask, id ID) int { return wire.Compare32(a.Worker, id) })
}

// bond holds the pool's reserve of a worker's stake until its ask is opened:
// equal for all, it says nothing about the price, and keeping an ask shut costs it.
func (m *Market) bond(e *Env, worker ID) (escrow.TransferID, Outcome) {
	id := m.transferID(e, m.Epoch.Bonds+1, "ask bond", worker, e.Treasury)
	if a, _ := e.Ledger.Account(worker); a.Stake < e.Pool.Batch.Reserve {
		return id, Refuse(CodeStakeShort, "an ask in pool %q needs a bond of %s credits, the free stake is %s", e.Pool.Name, e.Pool.Batch.Reserve, a.Stake)
	}
	must(e.Ledger.Hold(id, worker, escrow.FromStake, e.Pool.Batch.Reserve))
	m.Epoch.Bonds++
	return id, Outcome{}
}

// Ask takes a sealed ask for the next epoch.
func (m *Market) Ask(e *Env, worker *Worker, p *PlaceAsk) Outcome {
	switch {
	case e.Pool.Lane != LaneBatch:
		return Refuse(CodeWrongState, "pool %q takes no standing asks: its lane is %v", e.Pool.Name, e.Pool.Lane)
	case !worker.In(e.Pool):
		return Refuse(CodeNotAllowed, "this worker does not serve pool %q", e.Pool.Name)
	case e.gone(worker, ID{}):
		return Refuse(CodeNotAllowed, "a worker that drains or is leased asks for nothing")
	case p.Epoch != m.Epoch.Number+1:
		return Refuse(CodeStale, "asks are taken for epoch %d", m.Epoch.Number+1)
	}
	i, found := findAsk(m.Epoch.Next, worker.ID)
	if found {
		m.Epoch.Next[i].Commitment = p.Commitment
		e.TouchPart(PartNext, worker.ID)
		return Outcome{Subject: m.ID}
	}
	if len(m.Epoch.Next) >= MaxWorkers {
		return Refuse(CodeBusy, "epoch %d has %d asks, no more are taken", p.Epoch, MaxWorkers)
	}
	bond, out := m.bond(e, worker.ID)
	if out.Code != Done {
		return out
	}
	m.Epoch.Next = slices.Insert(m.Epoch.Next, i, Ask{Worker: worker.ID, Commitment: p.Commitment, Bond: bond})
	e.TouchPart(PartNext, worker.ID)
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
	if p.Price < 0 || p.Price > maxAmount || p.Capacity < 1 || p.Capacity > MaxCapacity {
		return Refuse(CodeMalformed, "an ask of %s credits for %d units: want a price of at least 0 and 1 to %d units", p.Price, p.Capacity, MaxCapacity)
	}
	e.TouchPart(PartAsk, worker.ID)
	a.Opened, a.Nonce, a.Price, a.Capacity = true, p.Nonce, p.Price, p.Capacity
	must(e.Ledger.Void(a.Bond))
	must(e.Ledger.Retire(a.Bond))
	a.Bond = escrow.TransferID{}
	if !slices.ContainsFunc(m.Epoch.Asks, func(a Ask) bool { return !a.Opened }) {
		m.remake(e, func() { m.Epoch.opened(e) })
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

// Withdraw takes a worker's ask for the next epoch back, and returns its bond.
func (m *Market) Withdraw(e *Env, worker ID) {
	p := &m.Epoch
	if i, found := findAsk(p.Next, worker); found {
		e.TouchPart(PartNext, worker)
		must(e.Ledger.Void(p.Next[i].Bond))
		must(e.Ledger.Retire(p.Next[i].Bond))
		p.Next = slices.Delete(p.Next, i, i+1)
	}
}

// dropGone returns the bonds of those who went away before they could be asked to
// open: nobody has learned anything yet, and a machine that died long before its
// ask was needed has broken no word.
func (p *Epoch) dropGone(e *Env) {
	p.Asks = slices.DeleteFunc(p.Asks, func(a Ask) bool {
		if !e.gone(e.Peek(a.Worker), ID{}) {
			return false
		}
		must(e.Ledger.Void(a.Bond))
		must(e.Ledger.Retire(a.Bond))
		return true
	})
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

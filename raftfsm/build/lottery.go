package build

import (
	"slices"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// TicketHolder is how many tickets an account has that are not drawn.
type TicketHolder struct {
	Owner   ID
	Tickets uint64
	// Holds are the amounts reserved for them where the winner pays, one a ticket.
	Holds []escrow.TransferID
}

// Code is the canonical encoding.
func (h *TicketHolder) Code(c *wire.Coder) {
	c.Bytes32(&h.Owner)
	c.U64(&h.Tickets)
	wire.List(c, &h.Holds, maxHeldTickets, func(c *wire.Coder, id *escrow.TransferID) { c.Bytes32((*[32]byte)(id)) })
	if held := uint64(len(h.Holds)); c.Decoding() && c.Err() == nil && held != 0 && held != h.Tickets {
		c.Refuse("%d tickets with %d amounts reserved", h.Tickets, held)
	}
}

// Slot is a place to build that a drawn ticket has won.
type Slot struct {
	Number uint64 // of the slot, from 1
	Draw   uint64 // that drew its ticket
	Owner  ID
	Build  ID // zero until a build takes it
}

// Code is the canonical encoding.
func (s *Slot) Code(c *wire.Coder) {
	c.U64(&s.Number)
	c.U64(&s.Draw)
	c.Bytes32(&s.Owner)
	c.Bytes32(&s.Build)
}

// TicketDraw is a draw with all that it takes to make it again.
type TicketDraw struct {
	Number   uint64
	Sigma    [48]byte          // the beacon's signature; its SHA-256 is the seed
	Holdings []auction.Holding // sorted by owner
	Wanted   uint32            // slots that were to be filled: fewer are where tickets ran out
	Owners   []ID              // of the slots it filled, in order
}

func codeHoldings(c *wire.Coder, holdings *[]auction.Holding) {
	wire.List(c, holdings, maxHolders, func(c *wire.Coder, h *auction.Holding) {
		c.Bytes32(&h.Owner)
		c.U64(&h.Tickets)
		c.U64(&h.Most)
	})
	if !c.Decoding() || c.Err() != nil {
		return
	}
	for i, h := range *holdings {
		if h.Tickets == 0 || i > 0 && wire.Compare32((*holdings)[i-1].Owner, h.Owner) >= 0 {
			c.Refuse("a draw whose holders are out of order, or hold no ticket")
			return
		}
	}
}

// Code is the canonical encoding.
func (d *TicketDraw) Code(c *wire.Coder) {
	c.U64(&d.Number)
	wire.Fixed48(c, &d.Sigma)
	codeHoldings(c, &d.Holdings)
	c.U32(&d.Wanted)
	wire.List(c, &d.Owners, maxLookahead+1, func(c *wire.Coder, id *ID) { c.Bytes32(id) })
}

// Lottery is a lottery pool's tickets.
type Lottery struct {
	Draws    uint64
	Awaiting bool              // the signature of draw number Draws
	Pending  []auction.Holding // who takes part in it, fixed when it was asked for
	Wanted   uint32            // slots it is to fill
	Deadline int64             // until which the first slot waits for a build of its owner's
	Slots    uint64
	Sold     uint64         // tickets so far; it numbers their transfers
	Holders  []TicketHolder // sorted by owner
	Upcoming []Slot         // drawn, in order
	Taken    []Slot         // the last that builds took
	Drawn    []TicketDraw   // the last
}

// Bounds of a lottery.
const (
	maxHolders     = 1024 // accounts with tickets
	maxPurchase    = 1000 // tickets at once
	maxHeldTickets = 4096 // of a pool, where each has an amount reserved
	maxHeldEach    = 512  // of one owner: a reservation costs nothing, and none may keep all others out
	maxTaken       = 64
	maxDrawn       = 8
)

// Code is the canonical encoding.
func (l *Lottery) Code(c *wire.Coder) {
	c.U64(&l.Draws)
	c.Bool(&l.Awaiting)
	codeHoldings(c, &l.Pending)
	c.U32(&l.Wanted)
	c.I64(&l.Deadline)
	c.U64(&l.Slots)
	c.U64(&l.Sold)
	wire.Records(c, &l.Holders, maxHolders)
	wire.Records(c, &l.Upcoming, maxLookahead+1)
	wire.Records(c, &l.Taken, maxTaken)
	wire.Records(c, &l.Drawn, maxDrawn)
	if !c.Decoding() || c.Err() != nil {
		return
	}
	if l.Awaiting != (len(l.Pending) > 0) {
		c.Refuse("a lottery that awaits a draw of nobody's tickets, or does not and has some in it")
		return
	}
	for _, h := range l.Pending {
		if i, ok := l.holder(h.Owner); !ok || l.Holders[i].Tickets < h.Tickets {
			c.Refuse("a lottery whose draw has tickets that nobody holds")
			return
		}
	}
	for i := range l.Holders {
		if h := &l.Holders[i]; h.Tickets == 0 || i > 0 && wire.Compare32(l.Holders[i-1].Owner, h.Owner) >= 0 {
			c.Refuse("a lottery whose holders are out of order, or hold no ticket")
			return
		}
	}
}

func (l *Lottery) demands() bool { return l.Awaiting }

// Buy sells tickets at the pool's price. Where all pay the price goes to the
// treasury at once; where the winner pays it is reserved and goes there when the
// ticket is drawn. A draw whose signature may be known already is fixed: what is
// bought meanwhile takes part in the next.
func (m *Market) Buy(e *Env, owner ID, p *BuyTickets) Outcome {
	l, rules := &m.Lottery, &e.Pool.Lottery
	if e.Pool.Lane != LaneLottery {
		return Refuse(CodeWrongState, "pool %q sells no tickets: its lane is %v", e.Pool.Name, e.Pool.Lane)
	}
	if p.Count < 1 || p.Count > maxPurchase {
		return Refuse(CodeMalformed, "%d tickets, want 1 to %d at once", p.Count, maxPurchase)
	}
	i, found := l.holder(owner)
	if !found && len(l.Holders) >= maxHolders {
		return Refuse(CodeBusy, "%d accounts hold tickets, no more are sold until some are drawn", maxHolders)
	}
	if out := l.room(owner, p.Count, rules.Rule); out.Code != Done {
		return out
	}
	cost, err := auction.TicketCost(rules.Price, p.Count)
	if err != nil {
		return Refuse(CodeRefused, "%v", err)
	}
	if a, _ := e.Ledger.Account(owner); a.Available < cost {
		return Refuse(CodeFunds, "%d tickets cost %s credits, the balance is %s", p.Count, cost, a.Available)
	}
	if !found {
		l.Holders = slices.Insert(l.Holders, i, TicketHolder{Owner: owner})
	}
	h := &l.Holders[i]
	if rules.Rule == auction.TicketAllPay {
		id := m.transferID(e, l.Sold, "tickets", owner, e.Treasury)
		must(e.Ledger.Transfer(id, owner, e.Treasury, cost))
		must(e.Ledger.Retire(id))
	} else {
		for n := range p.Count {
			id := m.transferID(e, l.Sold+n, "ticket", owner, e.Treasury)
			must(e.Ledger.Hold(id, owner, escrow.FromAvailable, rules.Price))
			h.Holds = append(h.Holds, id)
		}
	}
	l.Sold += p.Count
	h.Tickets += p.Count
	e.quote(QuoteTickets, rules.Price, p.Count)
	return Outcome{Subject: m.ID}
}

// room says whether so many more tickets of an owner can be kept.
func (l *Lottery) room(owner ID, count uint64, rule auction.TicketRule) Outcome {
	tickets, held, own := count, count, count
	for i := range l.Holders {
		h := &l.Holders[i]
		tickets += h.Tickets
		held += uint64(len(h.Holds))
		if h.Owner == owner {
			own += uint64(len(h.Holds))
		}
	}
	switch {
	case tickets > auction.MaxTickets:
		return Refuse(CodeBusy, "%d tickets wait, no more are sold until some are drawn", uint64(auction.MaxTickets))
	case rule == auction.TicketAllPay:
		return Outcome{}
	case own > maxHeldEach:
		return Refuse(CodeBusy, "at most %d tickets of an account have amounts reserved at once", maxHeldEach)
	case held > maxHeldTickets:
		return Refuse(CodeBusy, "%d tickets have amounts reserved, no more are sold until some are drawn", maxHeldTickets)
	}
	return Outcome{}
}

// Admitted returns the waiting builds that may go on now, at most places of
// them, in order: those that have a slot and still wait for a machine, then the
// oldest of each owner whose ticket holds the next slot.
func (m *Market) Admitted(e *Env, waiting []*Build, places int) []*Build {
	l := &m.Lottery
	var out []*Build
	byOwner := map[ID][]*Build{} // those that want a slot
	for _, b := range waiting {
		if b.Slot == 0 {
			byOwner[b.Requester] = append(byOwner[b.Requester], b)
		} else if len(out) < places {
			out = append(out, b)
		}
	}
	for len(out) < places && len(l.Upcoming) > 0 {
		own := byOwner[l.Upcoming[0].Owner]
		if len(own) == 0 {
			break
		}
		b := own[0]
		byOwner[b.Requester] = own[1:]
		m.take(e, b)
		out = append(out, b)
	}
	m.await(e, byOwner)
	return out
}

// take gives the first slot to a build.
func (m *Market) take(e *Env, b *Build) {
	l := &m.Lottery
	e.Touch()
	s := l.Upcoming[0]
	l.Upcoming, l.Deadline = l.Upcoming[1:], 0
	s.Build, b.Slot = b.ID, s.Number
	e.Build(b.ID)
	l.Taken = append(l.Taken, s)
	if n := len(l.Taken) - maxTaken; n > 0 {
		l.Taken = l.Taken[n:]
	}
}

// upcomingOf counts the slots that an owner has ahead.
func (l *Lottery) upcomingOf(owner ID) (n int) {
	for i := range l.Upcoming {
		if l.Upcoming[i].Owner == owner {
			n++
		}
	}
	return n
}

// entrants are the holders who have builds that wait for a slot and none ahead for
// them, each for as many slots as that: nobody's ticket is drawn for nothing, and
// who has none makes nobody's be drawn.
func (l *Lottery) entrants(waiting map[ID][]*Build) []auction.Holding {
	var out []auction.Holding
	for i := range l.Holders {
		h := &l.Holders[i]
		if wants := len(waiting[h.Owner]) - l.upcomingOf(h.Owner); wants > 0 {
			out = append(out, auction.Holding{Owner: h.Owner, Tickets: h.Tickets, Most: uint64(wants)})
		}
	}
	return out
}

// others says whether anybody else waits who could use the first slot, or the
// time it takes.
func (l *Lottery) others(waiting map[ID][]*Build) bool {
	for _, s := range l.Upcoming[1:] {
		if s.Owner != l.Upcoming[0].Owner && len(waiting[s.Owner]) > 0 {
			return true
		}
	}
	return len(l.entrants(waiting)) > 0
}

// await asks for a draw where slots are wanted, and fixes who takes part in it; and
// it gives the first slot's owner a while to use it where only others wait.
func (m *Market) await(e *Env, waiting map[ID][]*Build) {
	l := &m.Lottery
	if !l.Awaiting && len(l.Upcoming) <= int(e.Pool.Lottery.Lookahead) {
		if in := l.entrants(waiting); len(in) > 0 {
			e.Touch()
			l.Awaiting, l.Pending, l.Wanted = true, in, 1+e.Pool.Lottery.Lookahead-uint32(len(l.Upcoming))
			l.Draws++
		}
	}
	if len(l.Upcoming) > 0 && l.Deadline == 0 && len(waiting[l.Upcoming[0].Owner]) == 0 && l.others(waiting) {
		e.Touch()
		l.Deadline = e.Now + e.Pool.Lottery.SlotMillis
	}
}

// drawTickets fills the slots ahead; each takes a ticket out. Where the winner
// pays it pays now, whether it will use its slot or not: else who holds tickets
// could keep others waiting for nothing.
func (m *Market) drawTickets(e *Env, sigma [48]byte, seed [32]byte) {
	l := &m.Lottery
	d := TicketDraw{Number: l.Draws, Sigma: sigma, Holdings: l.Pending, Wanted: l.Wanted}
	l.Awaiting, l.Pending, l.Wanted = false, nil, 0
	places, err := auction.DrawTickets(seed, d.Holdings, int(d.Wanted))
	must(err)
	for _, at := range places {
		owner := d.Holdings[at].Owner
		i, _ := l.holder(owner) // tickets do not leave but by draws
		h := &l.Holders[i]
		l.Slots++
		h.Tickets--
		if len(h.Holds) > 0 {
			must(e.Ledger.Post(h.Holds[0], []escrow.Part{{To: e.Treasury, Amount: e.Pool.Lottery.Price, Purpose: "ticket"}}))
			must(e.Ledger.Retire(h.Holds[0]))
			h.Holds = h.Holds[1:]
		}
		l.Upcoming = append(l.Upcoming, Slot{Number: l.Slots, Draw: l.Draws, Owner: owner})
		d.Owners = append(d.Owners, owner)
	}
	l.Holders = slices.DeleteFunc(l.Holders, func(h TicketHolder) bool { return h.Tickets == 0 })
	l.Drawn = append(l.Drawn, d)
	if n := len(l.Drawn) - maxDrawn; n > 0 {
		l.Drawn = l.Drawn[n:]
	}
}

// holder finds an account's tickets.
func (l *Lottery) holder(owner ID) (int, bool) {
	return slices.BinarySearchFunc(l.Holders, owner, func(h TicketHolder, id ID) int { return wire.Compare32(h.Owner, id) })
}

// expireLottery passes the first slot on if its owner has nothing to build while
// others wait. The ticket is gone, and paid.
func (m *Market) expireLottery(e *Env) {
	l := &m.Lottery
	l.Deadline = 0
	if len(l.Upcoming) == 0 {
		return
	}
	waiting := map[ID][]*Build{}
	for _, b := range e.Waiting() {
		if b.Slot == 0 {
			waiting[b.Requester] = append(waiting[b.Requester], b)
		}
	}
	if len(waiting[l.Upcoming[0].Owner]) > 0 || !l.others(waiting) {
		return // where that changes, await begins again
	}
	l.Upcoming = l.Upcoming[1:]
}

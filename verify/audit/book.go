package audit

import (
	"fmt"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// purse is what the naive ledger knows of an account: a movement does not say
// whether what it holds back was stake, so both are free.
type purse struct{ Free, Held escrow.Credits }

// Code is the canonical encoding.
func (p *purse) Code(c *wire.Coder) { p.Free.Code(c); p.Held.Code(c) }

// book is a second ledger, of additions and subtractions alone, made of nothing
// but the movements that the log shows: a fault of the state machine's own would
// show here.
type book struct {
	purses         map[raftfsm.ID]purse
	pending        map[escrow.TransferID]escrow.Credits
	minted, burned escrow.Credits
}

// newBook has the drop of every founding account in it.
func newBook(g *raftfsm.Genesis) *book {
	b := &book{purses: map[raftfsm.ID]purse{}, pending: map[escrow.TransferID]escrow.Credits{}}
	found := func(key []byte) {
		id := build.AccountID(key)
		p := b.purses[id]
		p.Free += g.Drop
		b.purses[id] = p
		b.minted += g.Drop
	}
	for i := range g.Coordinators {
		found(g.Coordinators[i].Key)
	}
	for i := range g.Founders {
		found(g.Founders[i].Key)
	}
	return b
}

// record books an entry's movements and holds them to its balances. The faults
// are sentences by field.
func (b *book) record(e *raftfsm.Entry, fault func(field, want, got string)) {
	moved := map[raftfsm.ID]bool{}
	for i := range e.Movements {
		m := &e.Movements[i]
		if why := b.book(m, moved); why != "" {
			fault(fmt.Sprintf("entry %d movement %d (%v)", e.Index, i, m.Kind), "one that double entry allows", why)
		}
	}
	for i := range e.Balances {
		x := &e.Balances[i]
		p := b.purses[x.Account]
		delete(moved, x.Account)
		free, err := x.Available.Add(x.Stake)
		switch {
		case x.Available < 0 || x.Held < 0 || x.Stake < 0 || err != nil:
			fault(b.field(e, x.Account), "nothing below zero", fmt.Sprintf("%v available, %v held, %v stake", x.Available, x.Held, x.Stake))
		case free != p.Free || x.Held != p.Held:
			fault(b.field(e, x.Account), fmt.Sprintf("%v free, %v held by the movements", p.Free, p.Held), fmt.Sprintf("%v free, %v held", free, x.Held))
		case x.Gone && p != purse{}:
			fault(b.field(e, x.Account), "an account that is closed empty", fmt.Sprintf("%v free, %v held", p.Free, p.Held))
		}
		if x.Gone {
			delete(b.purses, x.Account)
		}
	}
	for id := range moved { // any order: an honest entry has none, and one is enough
		fault(b.field(e, id), "its balance, since its money moved", "absent")
		return
	}
}

func (b *book) field(e *raftfsm.Entry, id raftfsm.ID) string {
	return fmt.Sprintf("entry %d balance of %x", e.Index, id[:8])
}

// book carries out one movement and says what is wrong with it.
func (b *book) book(m *escrow.Movement, moved map[raftfsm.ID]bool) string {
	if m.Amount < 0 || !m.Amount.Valid() {
		return fmt.Sprintf("an amount of %v", m.Amount)
	}
	why := ""
	put := func(id raftfsm.ID, free, held escrow.Credits) {
		p := b.purses[id]
		p.Free, p.Held = p.Free+free, p.Held+held
		b.purses[id] = p
		moved[id] = true
		if p.Free < 0 || p.Held < 0 || !p.Free.Valid() || !p.Held.Valid() {
			why = fmt.Sprintf("%x is left with %v free and %v held", id[:8], p.Free, p.Held)
		}
	}
	switch m.Kind {
	case escrow.Minted:
		put(m.To, m.Amount, 0)
		b.minted += m.Amount
	case escrow.BurnedUp:
		put(m.From, -m.Amount, 0)
		b.burned += m.Amount
	case escrow.Moved:
		put(m.From, -m.Amount, 0)
		put(m.To, m.Amount, 0)
	case escrow.Deposited, escrow.Withdrawn:
		if m.From != m.To {
			return "stake that passes to somebody else"
		}
		put(m.From, 0, 0)
	case escrow.HeldBack:
		if _, twice := b.pending[m.ID]; twice {
			return "a transfer that is held back already"
		}
		b.pending[m.ID] = m.Amount
		put(m.From, -m.Amount, m.Amount)
	case escrow.Posted:
		if why := b.release(m, false); why != "" {
			return why
		}
		put(m.From, 0, -m.Amount)
		put(m.To, m.Amount, 0)
	case escrow.Returned:
		if why := b.release(m, true); why != "" {
			return why
		}
		put(m.From, m.Amount, -m.Amount)
	default:
		return "an unknown kind"
	}
	return why
}

// release takes from a pending transfer; the return ends it and leaves nothing.
func (b *book) release(m *escrow.Movement, last bool) string {
	held, ok := b.pending[m.ID]
	if !ok {
		return "a transfer that nothing is held back for"
	}
	held -= m.Amount
	switch {
	case held < 0 || last && held != 0:
		return fmt.Sprintf("parts that differ by %v from what was held back", held)
	case last:
		delete(b.pending, m.ID)
	default:
		b.pending[m.ID] = held
	}
	return ""
}

// sum holds the whole to what was minted and not burned.
func (b *book) sum() string {
	var total escrow.Credits
	for _, p := range b.purses { // a sum has no order
		total += p.Free + p.Held
	}
	if total != b.minted-b.burned {
		return fmt.Sprintf("%v in all accounts, %v was minted and not burned", total, b.minted-b.burned)
	}
	return ""
}

// Code is the canonical encoding.
func (b *book) Code(c *wire.Coder) {
	wire.SortedMap(c, &b.purses, 1<<24, wire.Compare32, (*wire.Coder).Bytes32, func(c *wire.Coder, p *purse) { p.Code(c) })
	wire.SortedMap(c, &b.pending, 1<<24, func(x, y escrow.TransferID) int { return wire.Compare32(x, y) },
		func(c *wire.Coder, id *escrow.TransferID) { c.Bytes32((*[32]byte)(id)) }, func(c *wire.Coder, v *escrow.Credits) { v.Code(c) })
	b.minted.Code(c)
	b.burned.Code(c)
}

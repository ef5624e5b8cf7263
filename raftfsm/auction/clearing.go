package auction

import (
	"fmt"

	"gavel/raftfsm/escrow"
)

// Win is a bid that sells.
type Win struct {
	Entry      Entry
	Allocation uint64         // units it sells, at least 1
	Payment    escrow.Credits // for all of them together
}

// Clearing is a purchase from standing bids.
type Clearing struct {
	Wins   []Win          // in the order of sale
	Units  uint64         // bought; fewer than asked for where no more are offered within the reserve
	Strike escrow.Credits // price of the last of them, 0 where nothing is sold
}

// sale is a clearing under way: what the rules need beside the wins.
type sale struct {
	ladder  *ladder
	wins    []Win
	asked   uint64
	bought  uint64
	offered uint64 // within the reserve
	cost    wide   // at the winners' own prices
	after   escrow.Credits
	reserve escrow.Credits
}

// clear finds the winners in one walk and prices each of them.
func (l *ladder) clear(units uint64, reserve escrow.Credits, pricing Pricing) (Clearing, error) {
	s := sale{ladder: l, asked: units, after: reserve, reserve: reserve}
	l.ascend(func(e *Entry) bool {
		if e.Price > reserve {
			return false
		}
		if s.bought == units { // the first loser
			s.after = e.Price
			return false
		}
		take := min(units-s.bought, e.Units)
		s.wins = append(s.wins, Win{Entry: *e, Allocation: take})
		s.bought += take
		s.cost = s.cost.plus(product(e.Price, take))
		return true
	})
	if pricing == PricingVCG {
		_, s.offered = l.within(reserve)
	}
	for i := range s.wins {
		paid, err := s.payment(i, pricing)
		if err != nil {
			return Clearing{}, fmt.Errorf("paying %d units of %x: %w", s.wins[i].Allocation, s.wins[i].Entry.ID[:4], err)
		}
		s.wins[i].Payment = paid
	}
	out := Clearing{Wins: s.wins, Units: s.bought}
	if n := len(s.wins); n > 0 {
		out.Strike = s.wins[n-1].Entry.Price
	}
	return out, nil
}

// payment is what win i is paid.
func (s *sale) payment(i int, pricing Pricing) (escrow.Credits, error) {
	w, last := &s.wins[i], len(s.wins)-1
	switch pricing {
	case PricingVCG:
		return s.clarke(w)
	case PricingUniform:
		return product(s.next(last), w.Allocation).credits()
	case PricingUniformLast:
		return product(s.wins[last].Entry.Price, w.Allocation).credits()
	case PricingGSP:
		return product(w.Entry.Price, w.Allocation-1).plus(product(s.next(i), 1)).credits()
	}
	return product(w.Entry.Price, w.Allocation).credits()
}

// next is the price of the unit that follows win i's last one in order, the
// bidder's own included, or else the reserve.
func (s *sale) next(i int) escrow.Credits {
	switch w := &s.wins[i]; {
	case w.Allocation < w.Entry.Units:
		return w.Entry.Price
	case i+1 < len(s.wins):
		return s.wins[i+1].Entry.Price
	}
	return s.after
}

// clarke is what the others would cost without w less what they cost with it,
// where a unit that nobody supplies costs the reserve. Without w the others sell
// the cheapest asked units of theirs: w, which is among the cheapest asked units,
// is wholly among the cheapest asked + w.Entry.Units.
func (s *sale) clarke(w *Win) (escrow.Credits, error) {
	reach := min(s.asked+w.Entry.Units, s.offered)
	_, cost, _ := s.ladder.prefix(reach)
	without := cost.minus(product(w.Entry.Price, w.Entry.Units)).
		plus(product(s.reserve, s.asked-(reach-w.Entry.Units)))
	with := s.cost.minus(product(w.Entry.Price, w.Allocation)).
		plus(product(s.reserve, s.asked-s.bought))
	return without.minus(with).credits()
}

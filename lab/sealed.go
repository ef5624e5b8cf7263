package lab

import "math"

// sale is a single unit sold to the highest value at a price.
type sale struct {
	winner int // its place
	price  float64
	sold   bool
}

// sellTop gives the unit to the highest value, the lowest place among equals, at
// the second highest value or the reserve.
func sellTop(g *Game) sale {
	order := ranked(g.Values, false)
	s := sale{winner: order[0], price: math.Max(g.Reserve, at(g.Values, order, 1, 0))}
	s.sold = g.Values[s.winner] >= g.Reserve
	return s
}

func (s sale) outcome(g *Game) *Outcome {
	out := newOutcome(len(g.Values))
	copy(out.Bids, g.Values)
	if s.sold {
		out.Allocations[s.winner], out.Payments[s.winner] = 1, s.price
		out.Utilities[s.winner] = g.Values[s.winner] - s.price
	} else {
		out.Note = "nobody reaches the reserve: it stays unsold"
	}
	return out
}

// solveHighestPays: the highest bid wins and pays itself. Knowing all values the
// top bidder bids what the second can pay, and wins the tie (Bertrand's
// competition: the limit of bidding a little more).
func solveHighestPays(g *Game) (*Outcome, error) {
	s := sellTop(g)
	out := s.outcome(g)
	if s.sold {
		out.Bids[s.winner] = s.price
		out.Note = "the winner bids an epsilon more than the second value; the lowest place wins among equal values"
	}
	return out, nil
}

// solveSecondPrice: bidding one's value is dominant (Vickrey, J. Finance 1961).
func solveSecondPrice(g *Game) (*Outcome, error) { return sellTop(g).outcome(g), nil }

// solveSecondPriceBurn: where the money goes afterwards changes no bid.
func solveSecondPriceBurn(g *Game) (*Outcome, error) {
	s := sellTop(g)
	out := s.outcome(g)
	if s.sold {
		out.Note = "revenue is burned: bids are as in second-price, whoever holds credits gains alike, and the seller, who gets none of it, gains nothing by shill bids"
	}
	return out, nil
}

// solveSecondPriceSmooth: each of the n bidders gets back price/n, so a loser
// likes a high price. Truth is no equilibrium: facing it, the second would bid
// just below the top value. Every common price p from the second value to the
// top one, bid by both, is one: raising it costs the second p − v ≥ 0, and the
// winner does not do better by losing. The lowest is returned, which is also what
// it is where the parts go to others than the bidders. A winner gets a part too,
// so a reserve r keeps out only values below r·(1 − 1/n).
func solveSecondPriceSmooth(g *Game) (*Outcome, error) {
	s := sellTop(g)
	part := s.price / float64(len(g.Values))
	s.sold = g.Values[s.winner] >= g.Reserve*(1-1/float64(len(g.Values)))
	out := s.outcome(g)
	if !s.sold {
		return out, nil
	}
	out.Bids[s.winner] = s.price
	for i := range out.Utilities {
		out.Utilities[i] += part
	}
	out.Note = "revenue is returned in equal parts to the bidders, which utilities include and payments do not; truthful bids are no equilibrium, since a loser gains by raising the price: this is the lowest of the equilibrium prices, which reach up to the top value; more names get more parts"
	return out, nil
}

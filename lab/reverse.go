package lab

// purchase is who sells in an efficient reverse auction of like units.
type purchase struct {
	winners []int   // cheapest first
	price   float64 // the lowest cost that is not needed, or the reserve
}

// buyCheapest takes the cheapest costs that are at or below the reserve.
func buyCheapest(g *Game) purchase {
	order := ranked(g.Values, true)
	for len(order) > 0 && g.Values[order[len(order)-1]] > g.Reserve {
		order = order[:len(order)-1]
	}
	return purchase{winners: order[:min(g.Units, len(order))], price: at(g.Values, order, g.Units, g.Reserve)}
}

// outcome pays every winner the price. All five rules of the farm do so in the
// equilibria below, by other bids: where suppliers have one unit each, payments
// differ between rules only by what bidders do not know.
func (p purchase) outcome(g *Game) *Outcome {
	out := newOutcome(len(g.Values))
	copy(out.Bids, g.Values)
	for _, i := range p.winners {
		out.Allocations[i], out.Payments[i] = 1, p.price
		out.Utilities[i] = p.price - g.Values[i]
	}
	if len(p.winners) == 0 {
		out.Note = "nobody is at or below the reserve: nothing is bought"
	}
	return out
}

// solveLowestTruthful: with one unit each, a supplier's bid never sets its own
// price under vickrey, vcg or uniform, so asking one's cost is dominant
// (Vickrey, J. Finance 1961).
func solveLowestTruthful(g *Game) (*Outcome, error) { return buyCheapest(g).outcome(g), nil }

// solveLowestLast: the last winner sets everybody's price and raises it to the
// lowest losing cost; the others' bids below it change nothing.
func solveLowestLast(g *Game) (*Outcome, error) {
	p := buyCheapest(g)
	out := p.outcome(g)
	if n := len(p.winners); n > 0 {
		out.Bids[p.winners[n-1]] = p.price
		out.Note = "the last winner bids an epsilon less than the lowest losing cost, or the reserve"
	}
	return out, nil
}

// solveLowestShaded: paid its own price (first) or the next in order (gsp), every
// winner asks all that keeps it below the lowest losing cost; under gsp being
// cheapest is paid least, so nobody wants to be.
func solveLowestShaded(g *Game) (*Outcome, error) {
	p := buyCheapest(g)
	out := p.outcome(g)
	for _, i := range p.winners {
		out.Bids[i] = p.price
	}
	if len(p.winners) > 0 {
		out.Note = "every winner bids an epsilon less than the lowest losing cost, or the reserve; other equilibria pay the same"
	}
	return out, nil
}

package lab

// weight is what slot j from 0 is worth beside a whole one.
func weight(g *Game, j int) float64 {
	if len(g.Weights) == 0 {
		return 1
	}
	return g.Weights[j]
}

func checkWeights(g *Game) error {
	if len(g.Weights) == 0 {
		return nil
	}
	if len(g.Weights) != g.Units {
		return refuse("%d weights for %d slots, want one each", len(g.Weights), g.Units)
	}
	last := 1.0
	for j, w := range g.Weights {
		if !(w >= MinAmount && w <= last) {
			return refuse("weight %d is %v, want %v to %v, falling", j, w, MinAmount, last)
		}
		last = w
	}
	return nil
}

// solveSlots: the j-th highest bid gets slot j and pays the next bid, as in
// auction.SellSlots. The locally envy-free equilibrium that bidders like best
// pays for slot j what its holder takes from those below,
// Pⱼ = Σ_{k≥j} (wₖ − wₖ₊₁)·vₖ₊₁ (Edelman, Ostrovsky, Schwarz, AER 2007), here for
// bids that are not multiplied by the weight: so bidder j+1 bids Pⱼ, the first
// its whole value. Where nobody is left a slot costs 0.
func solveSlots(g *Game) (*Outcome, error) {
	if err := checkWeights(g); err != nil {
		return nil, err
	}
	out := newOutcome(len(g.Values))
	order := ranked(g.Values, false)
	slots := min(g.Units, len(order))
	price, below := 0.0, 0.0 // below is the weight of the next slot
	for j := len(order) - 1; j >= slots; j-- {
		out.Bids[order[j]] = weight(g, g.Units-1) * g.Values[order[j]]
	}
	for j := slots - 1; j >= 0; j-- {
		i, w := order[j], weight(g, j)
		price += (w - below) * at(g.Values, order, j+1, 0)
		below = w
		out.Allocations[i], out.Payments[i] = w, price
		out.Utilities[i] = g.Values[i]*w - price
		if j+1 < len(order) {
			out.Bids[order[j+1]] = price
		}
	}
	out.Bids[order[0]] = weight(g, 0) * g.Values[order[0]]
	out.Note = "the equilibrium that bidders like best, where nobody envies the slot above; others pay more"
	return out, nil
}

package lab

import "math"

// accounts sum up one round.
type accounts struct {
	revenue, efficiency, fairness, gini float64
	utility                             float64 // the deviator's
}

// play clears the offers and sums up who got what. A shill's unit is worth
// nothing and its payment is none.
func (s *session) play(r *round, offers []offer, t *trades) (accounts, error) {
	t.reset(len(offers))
	if err := s.market.clear(s, offers, r.seed, t); err != nil {
		return accounts{}, err
	}
	got, chances, paid := make([]float64, s.Bidders), make([]float64, s.Bidders), make([]float64, s.Bidders)
	for i := range offers {
		if owner := offers[i].owner; owner != shill {
			got[owner] += t.got[i]
			chances[owner] += t.chance[i]
			paid[owner] += t.paid[i]
		}
	}
	a := accounts{efficiency: 1, fairness: GeometricMean(chances), gini: Gini(chances)}
	surplus := 0.0
	for i, v := range r.values {
		own := v*math.Min(got[i], 1) - paid[i] // a buyer has no use for a second slot
		if s.market.reverse {
			own = paid[i] - v*got[i]
			surplus += (s.Reserve - v) * got[i]
		} else {
			surplus += v * math.Min(got[i], 1)
		}
		a.revenue += paid[i]
		if i < max(1, s.Ring) {
			a.utility += own
		}
	}
	if best := s.bestSurplus(r); best > 0 {
		a.efficiency = math.Min(1, surplus/best)
	}
	if s.Shills > 0 && s.Ring == 0 && s.Sybils == 0 && s.Shade == 0 {
		a.utility = s.otherSide(got, a.revenue)
	}
	a.utility = exact(a.utility)
	return a, nil
}

// exact takes a float's rounding off an amount, to a thousandth of the farm's
// unit: else a gain of 0 has an interval beside 0.
func exact(x float64) float64 { return math.Round(x*nanoCredits) / nanoCredits }

const nanoCredits = 1e9

// otherSide is what who runs the auction makes of it: a seller its revenue, a
// buyer its reserve for each unit, less what it pays.
func (s *session) otherSide(got []float64, paid float64) float64 {
	if !s.market.reverse {
		return paid
	}
	worth := 0.0
	for _, n := range got {
		worth += s.Reserve * n
	}
	return worth - paid
}

// bestSurplus is what the units are worth to those who make most of them.
func (s *session) bestSurplus(r *round) float64 {
	best, left := 0.0, s.Units
	for _, i := range ranked(r.values, s.market.reverse) {
		n := min(left, s.Capacity)
		left -= n
		worth := r.values[i]
		if s.market.reverse {
			worth = math.Max(0, s.Reserve-worth)
		}
		best += worth * float64(n)
	}
	return best
}

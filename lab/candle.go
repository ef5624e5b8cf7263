package lab

import "math"

// Candle is a bidder's problem while a candle burns: it bids Rival + α·Value, and
// the more above its rival, the less likely that the close is drawn before it led.
// The model is that of the parachain allocation document, of n bidders with a
// value V against the highest rival Vmax.
type Candle struct {
	Bidders int     `json:"bidders"` // n, itself included
	Value   float64 `json:"value"`   // V
	Rival   float64 `json:"rival"`   // Vmax
}

// Validate refuses what is no such problem, wrapping ErrInput.
func (c Candle) Validate() error {
	switch {
	case c.Bidders < 2 || c.Bidders > MaxBidders:
		return refuse("%d bidders, want 2 to %d", c.Bidders, MaxBidders)
	case !(c.Value >= MinAmount && c.Value <= MaxAmount):
		return refuse("a value of %v, want %v to %v", c.Value, MinAmount, MaxAmount)
	case !(c.Rival >= 0 && c.Rival <= MaxAmount):
		return refuse("a rival's value of %v, want 0 to %v", c.Rival, MaxAmount)
	}
	return nil
}

// Chance is the chance to win, 1 − 1/(αn) + 1/n. It is one for α from 1/(n+1) to 1,
// and no less than 0, which a difference of those three terms would miss by rounding.
func (c Candle) Chance(alpha float64) float64 {
	n := float64(c.Bidders)
	return math.Max(0, (alpha*(n+1)-1)/(alpha*n))
}

// Utility is what to expect, Chance·(V − Vmax − αV): 0 without a chance.
func (c Candle) Utility(alpha float64) float64 {
	chance := c.Chance(alpha)
	if chance == 0 {
		return 0 // and not −0
	}
	return chance * (c.Value - c.Rival - alpha*c.Value)
}

// Hopeless says whether no bid that can win earns anything: then the best is not
// to bid.
func (c Candle) Hopeless() bool { return (c.Value-c.Rival)/c.Value <= c.never() }

// never is the largest α that never wins.
func (c Candle) never() float64 { return 1 / float64(c.Bidders+1) }

// Document is the α the document advises, 1/√(n−1). It leaves V and Vmax out of
// account and so is not the best.
func (c Candle) Document() float64 { return 1 / math.Sqrt(float64(c.Bidders-1)) }

// Best is the α that maximises Utility where Chance is a chance, and what it
// earns. With D = V − Vmax,
//
//	Utility = (1 + 1/n)·D + V/n − (1 + 1/n)·V·α − D/(αn)
//
// is concave in α > 0 for D > 0, with its maximum at α = √(D / (V·(n+1))). Where
// that is at most 1/(n+1), because D·(n+1) ≤ V, it is Hopeless: then it is 1/(n+1),
// which never wins, and 0.
func (c Candle) Best() (alpha, utility float64) {
	if c.Hopeless() {
		return c.never(), 0
	}
	alpha = math.Sqrt((c.Value - c.Rival) / c.Value * c.never())
	return alpha, c.Utility(alpha)
}

package lab

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// ErrInput is what every refusal is, by errors.Is: the caller's game or experiment
// is at fault.
var ErrInput = errors.New("not a valid experiment")

// refusal is ErrInput in a sentence that a person can do something about.
type refusal struct{ sentence string }

func (r *refusal) Error() string        { return r.sentence }
func (r *refusal) Is(target error) bool { return target == ErrInput }

func refuse(format string, args ...any) error {
	return &refusal{fmt.Sprintf(format, args...)}
}

// Game is what a mechanism is played over. A mechanism refuses a reserve, units
// or weights it has no use for, because it would not be the same game with them;
// Alpha and Price belong to one mechanism each and the others ignore them.
type Game struct {
	Values  []float64 `json:"values"`            // buyers' values, > 0; sellers' costs, ≥ 0, where the mechanism is reverse
	Reserve float64   `json:"reserve,omitempty"` // reverse: the most that is paid for a unit, > 0; forward: the least price, 0 is none
	Units   int       `json:"units,omitempty"`   // units or slots; 0 is 1. Nobody has or takes more than one
	Alpha   float64   `json:"alpha,omitempty"`   // Tullock's exponent; 0 is 1
	Price   float64   `json:"price,omitempty"`   // of a lottery ticket; 0 is a hundredth of the highest value
	Weights []float64 `json:"weights,omitempty"` // gsp-slots: what a slot is worth beside a whole one, falling; none: all the same
}

// Outcome is an equilibrium; lists are by place in Values, and hold expected
// values where it is mixed.
type Outcome struct {
	Mechanism   string    `json:"mechanism"`
	Bids        []float64 `json:"bids"`        // money; in lotteries tickets
	Allocations []float64 `json:"allocations"` // share of a unit, or chance of winning; units in multi-unit mechanisms
	Payments    []float64 `json:"payments"`    // expected, to the seller; reverse: to each seller
	Utilities   []float64 `json:"utilities"`
	Revenue     float64   `json:"revenue"`          // forward: what bidders pay in all; reverse: what the buyer pays in all
	Efficiency  float64   `json:"efficiency"`       // realised surplus over the best possible, 0..1; 1 where there is none to realise
	Fairness    float64   `json:"fairness"`         // geometric mean of allocations
	Gini        float64   `json:"gini"`             // of allocations, 0 equal .. (n−1)/n one has all
	Entropy     float64   `json:"entropy"`          // of allocations, over log n: 0 one has all .. 1 equal
	Pure        bool      `json:"pure_equilibrium"` // nobody randomises
	SybilProof  bool      `json:"sybil_proof"`      // taking several names never gains, also to who has several units
	Note        string    `json:"note,omitempty"`   // what was assumed, and what else might be played
}

// Solve finds the equilibrium of a mechanism, by its name in Mechanisms, under
// complete information. Errors wrap ErrInput.
func Solve(mechanism string, g Game) (*Outcome, error) {
	m, err := solvable(mechanism)
	if err != nil {
		return nil, fmt.Errorf("solving %q: %w", mechanism, err)
	}
	if err := m.check(&g); err != nil {
		return nil, fmt.Errorf("solving %s: %w", m.Name, err)
	}
	out, err := m.solve(&g)
	if err != nil {
		return nil, fmt.Errorf("solving %s: %w", m.Name, err)
	}
	out.Mechanism = m.Name
	out.SybilProof = m.sybilProof(&g)
	out.measure(&g, m.Reverse)
	return out, nil
}

// solvable looks a mechanism up.
func solvable(name string) (*member, error) {
	var names []string
	for i := range family {
		m := &family[i]
		switch {
		case m.Name == name && m.solve == nil:
			return nil, refuse("it has no single equilibrium; %s", m.instead)
		case m.Name == name:
			return m, nil
		case m.solve != nil:
			names = append(names, m.Name)
		}
	}
	return nil, refuse("no such mechanism, want one of %s", strings.Join(names, ", "))
}

// check refuses what the mechanism cannot be played over, and fills in defaults.
func (m *member) check(g *Game) error {
	if g.Units == 0 {
		g.Units = 1
	}
	if err := checkValues(g.Values, m.Reverse); err != nil {
		return err
	}
	switch {
	case g.Reserve != 0 && !(g.Reserve >= MinAmount && g.Reserve <= MaxAmount):
		return refuse("a reserve of %v, want %v to %v", g.Reserve, MinAmount, MaxAmount)
	case m.Reverse && g.Reserve == 0:
		return refuse("no reserve; say the most that is paid for a unit")
	case !m.Reverse && g.Reserve != 0 && !m.reserve:
		return refuse("a reserve of %v, but it knows no least price; leave it 0", g.Reserve)
	case g.Units < 1 || g.Units > MaxBidders:
		return refuse("%d units, want 1 to %d", g.Units, MaxBidders)
	case g.Units > 1 && !m.units:
		return refuse("%d units, but it allocates one; take %s", g.Units, alternatives(unitRules(m.Reverse)))
	case len(g.Weights) > 0 && m.Name != "gsp-slots":
		return refuse("weights are of gsp-slots only; leave them out")
	}
	return nil
}

// checkValues refuses lists that are empty, too long or no amounts.
func checkValues(values []float64, costs bool) error {
	if len(values) < 1 || len(values) > MaxBidders {
		return refuse("%d values, want 1 to %d", len(values), MaxBidders)
	}
	for i, v := range values {
		switch {
		case costs && v == 0:
		case !(v >= MinAmount && v <= MaxAmount): // NaN fails it too
			return refuse("value %d is %v, want %v to %v", i, v, MinAmount, MaxAmount)
		}
	}
	return nil
}

// newOutcome is an outcome of n bidders who do nothing yet.
func newOutcome(n int) *Outcome {
	return &Outcome{Bids: make([]float64, n), Allocations: make([]float64, n), Payments: make([]float64, n), Utilities: make([]float64, n), Pure: true}
}

// measure sums an outcome up.
func (o *Outcome) measure(g *Game, reverse bool) {
	o.Revenue = 0
	surplus := 0.0
	for i, x := range o.Allocations {
		o.Revenue += o.Payments[i]
		if reverse {
			surplus += (g.Reserve - g.Values[i]) * x
		} else {
			surplus += g.Values[i] * x
		}
	}
	o.Efficiency = 1
	if best := bestSurplus(g, reverse); best > 0 {
		o.Efficiency = math.Min(1, surplus/best)
	}
	o.Fairness = GeometricMean(o.Allocations)
	o.Gini = Gini(o.Allocations)
	o.Entropy = Entropy(o.Allocations)
}

// bestSurplus is what the units are worth to those who make most of them; a
// forward seller values nothing, a buyer values a unit at its reserve.
func bestSurplus(g *Game, reverse bool) float64 {
	best := 0.0
	for j, i := range ranked(g.Values, reverse) {
		if j >= g.Units {
			break
		}
		if reverse {
			best += math.Max(0, g.Reserve-g.Values[i])
		} else {
			best += g.Values[i] * weight(g, j)
		}
	}
	return best
}

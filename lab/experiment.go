package lab

import (
	"slices"
	"strings"
)

// Experiment is a Monte Carlo run of a rule of the farm. Values, or costs, are
// drawn anew each round and known to their owner alone. Honest play is telling
// one's value or cost, except under first-price, where it is the symmetric
// equilibrium of the distribution, and in contests and lotteries, where it is the
// equilibrium of the values drawn. Against it somebody deviates: the first Ring
// bidders, or bidder 0 by Sybils and Shade, or, with Shills alone, the other side.
type Experiment struct {
	Mechanism    string  `json:"mechanism"`          // one of SimulatedMechanisms
	Distribution string  `json:"distribution"`       // one of Distributions
	Bidders      int     `json:"bidders"`            // shills and sybil names not counted
	Units        int     `json:"units,omitempty"`    // units or slots; 0 is 1
	Capacity     int     `json:"capacity,omitempty"` // units each bidder can supply; 0 is 1; only where units of a reverse auction are many
	Reserve      float64 `json:"reserve,omitempty"`  // as in Game; of a lottery the ticket's price, 0 is a hundredth of the median value
	Rounds       int     `json:"rounds"`
	Seed         uint64  `json:"seed"`

	// Ring bidders collude, 0 for none: the best of them bids, and where bids are
	// equilibria answers the outsiders' as best it can; the others do not bid, or
	// ask the reserve.
	Ring int `json:"ring,omitempty"`
	// Sybils is how many more names the deviator, bidder 0 or the ring's best, bids
	// under. What it does with them is chosen by a pilot from a few strategies;
	// Report.Strategy says which. It splits its capacity, its bid in a contest and
	// its tickets, and where one unit is traded the names bid beside it.
	Sybils int `json:"sybils,omitempty"`
	// Shills are false bids of the other side: the seller's, or where the mechanism
	// is reverse the buyer's, with a capacity like anybody's. The j-th of s bids
	// the value at the quantile j/(s+1) of the distribution; in contests and
	// lotteries, which others take for a real value, what that bids in equilibrium.
	// A unit that a shill gets is not traded, and pays nobody.
	Shills int `json:"shills,omitempty"`
	// Shade makes the deviator bid value·(1−Shade), in reverse cost·(1+Shade), and
	// in contests and lotteries so much less than in equilibrium.
	Shade float64 `json:"shade,omitempty"`
}

// Report is what came of an experiment. A round's fairness and Gini are of its
// allocations by bidder: chances where the unit is drawn for.
type Report struct {
	Experiment
	Revenue       Estimate `json:"revenue"` // what real bidders pay, or are paid, with the deviation
	Efficiency    Estimate `json:"efficiency"`
	Fairness      Estimate `json:"fairness"`
	Gini          Estimate `json:"gini"`
	HonestRevenue Estimate `json:"honest_revenue"` // same draws, nobody deviating
	Utility       Estimate `json:"utility"`        // the deviator's: bidder 0's, the ring's in all, or, with Shills alone, the shilling side's
	HonestUtility Estimate `json:"honest_utility"` // same draws, nobody deviating
	Gain          Estimate `json:"gain"`           // their difference, round by round: does the deviation pay?
	Strategy      string   `json:"strategy"`       // what the deviator did
}

// SimulatedMechanisms lists the rules that Simulate runs.
func SimulatedMechanisms() []string {
	names := make([]string, len(markets))
	for i := range markets {
		names[i] = markets[i].name
	}
	return names
}

// names is how many bid at most, shills and sybils included.
func (e *Experiment) names() int { return e.Bidders + e.Sybils + e.Shills }

// validate refuses what cannot be run, and fills in defaults.
func (e *Experiment) validate() (*market, *distribution, error) {
	m := slices.IndexFunc(markets, func(m market) bool { return m.name == e.Mechanism })
	if m < 0 {
		return nil, nil, refuse("nothing simulates %q, want one of %s", e.Mechanism, strings.Join(SimulatedMechanisms(), ", "))
	}
	d := slices.IndexFunc(distributions, func(d distribution) bool { return d.name == e.Distribution })
	if d < 0 {
		return nil, nil, refuse("no distribution %q, want one of %s", e.Distribution, strings.Join(Distributions(), ", "))
	}
	if e.Units == 0 {
		e.Units = 1
	}
	if e.Capacity == 0 {
		e.Capacity = 1
	}
	if err := e.checkSizes(); err != nil {
		return nil, nil, err
	}
	return &markets[m], &distributions[d], e.checkFit(&markets[m])
}

// checkSizes holds numbers to their ranges.
func (e *Experiment) checkSizes() error {
	for _, c := range []struct {
		what           string
		is, low, upper int
	}{
		{"bidders", e.Bidders, 1, MaxBidders},
		{"units", e.Units, 1, MaxBidders},
		{"units of capacity", e.Capacity, 1, MaxCapacity},
		{"rounds", e.Rounds, MinRounds, MaxRounds},
		{"sybil names", e.Sybils, 0, MaxBidders},
		{"shills", e.Shills, 0, MaxBidders},
	} {
		if c.is < c.low || c.is > c.upper {
			return refuse("%d %s, want %d to %d", c.is, c.what, c.low, c.upper)
		}
	}
	switch {
	case e.Rounds*e.names() > MaxDraws:
		return refuse("%d rounds of %d names, want at most %d in all; run fewer rounds", e.Rounds, e.names(), MaxDraws)
	case e.Ring != 0 && (e.Ring < 2 || e.Ring > e.Bidders):
		return refuse("a ring of %d, want 0 for none or 2 to %d, all bidders", e.Ring, e.Bidders)
	case e.Reserve != 0 && !(e.Reserve >= MinAmount && e.Reserve <= MaxAmount):
		return refuse("a reserve of %v, want %v to %v", e.Reserve, MinAmount, MaxAmount)
	}
	return nil
}

// checkFit refuses what the rule has no use for.
func (e *Experiment) checkFit(m *market) error {
	most := 1.0 // a bid of 0
	if m.reverse {
		most = MaxShade
	}
	switch {
	case m.reverse && e.Reserve == 0:
		return refuse("no reserve; say the most that is paid for a unit")
	case e.Reserve != 0 && !m.reserve:
		return refuse("a reserve of %v, but %s knows no least price; leave it 0", e.Reserve, m.name)
	case e.Units > 1 && !m.units:
		return refuse("%d units, but %s allocates one; take %s", e.Units, m.name, alternatives(unitRules(m.reverse)))
	case e.Capacity > 1 && !m.capacity:
		return refuse("a capacity of %d, but under %s nobody has more than one unit", e.Capacity, m.name)
	case m.capacity && e.Sybils >= e.Capacity:
		return refuse("%d names with a capacity of %d; each must have a unit to deliver, so want fewer names or more capacity", e.Sybils+1, e.Capacity)
	case !(e.Shade >= 0 && e.Shade <= most):
		return refuse("a shade of %v, want 0 to %v", e.Shade, most)
	}
	return nil
}

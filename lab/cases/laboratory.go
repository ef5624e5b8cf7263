package cases

import (
	"math"
	"strings"

	"gavel/lab"
	"gavel/raftfsm/wire"
)

// needed is a number that a laboratory case must give.
func needed(x *float64, name string) (float64, error) {
	if x == nil {
		return 0, refuse("malformed", "%s is missing: want a number", name)
	}
	return *x, nil
}

// otherwise is a number that a laboratory case may give.
func otherwise(x *float64, by float64) float64 {
	if x == nil {
		return by
	}
	return *x
}

// either is a number that has two names, of which a case may give one.
func either(x *float64, name string, y *float64, alias string, by float64) (float64, error) {
	if x != nil && y != nil {
		return 0, refuse("duplicate", "%s and %s are the same: want one of them", name, alias)
	}
	return otherwise(x, otherwise(y, by)), nil
}

// finite refuses a result that numbers of 64 bits cannot hold.
func finite(r Result) (Result, error) {
	for _, field := range wire.SortedKeys(r, compareText) {
		list, isList := r[field].([]float64)
		if x, ok := r[field].(float64); ok {
			list = []float64{x}
		}
		for _, x := range list {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				return nil, refuse("overflow", "%s is beyond what a float can hold: want smaller numbers", field)
			}
		}
		if isList && list == nil {
			r[field] = []float64{}
		}
	}
	return r, nil
}

// labPool shares a pool by improvement. What is not given is the document's
// example: 100,000 reserved for improvements that sum to 10, one of them 0.01.
func labPool(c *Case) (Result, error) {
	pool, err := either(c.Pool, "pool", c.Reserved, "reserved", 100_000)
	if err != nil {
		return nil, err
	}
	own, err := either(c.Own, "own", c.Improvement, "improvement", 0.01)
	if err != nil {
		return nil, err
	}
	share, err := lab.PoolShare(pool, otherwise(c.Improvements, 10), own)
	if err != nil {
		return nil, err
	}
	return finite(Result{"share": share})
}

// labCandle is the chance and the utility of a bidding strategy while a candle
// burns. Without an alpha it is the document's.
func labCandle(c *Case) (Result, error) {
	v, err := needed(c.V, "V")
	if err != nil {
		return nil, err
	}
	rival, err := needed(c.VMax, "Vmax")
	if err != nil {
		return nil, err
	}
	candle := lab.Candle{Bidders: c.Many, Value: v, Rival: rival}
	if err := candle.Validate(); err != nil {
		return nil, err
	}
	document := candle.Document()
	alpha := otherwise(c.Alpha, document)
	if least := 1 / float64(c.Many+1); !(alpha >= least && alpha <= 1) {
		return nil, refuse("out-of-range", "alpha is %v: want 1/(n+1) = %v to 1, where pr is a chance", alpha, least)
	}
	best, most := candle.Best()
	return finite(Result{"pr": candle.Chance(alpha), "eu": candle.Utility(alpha), "alpha_document": document, "alpha_best": best, "eu_best": most})
}

// labTullock shares by bids to the power of alpha, 1 where there is none; of
// values it is the contest's equilibrium.
func labTullock(c *Case) (Result, error) {
	if c.Bids == nil && c.Values != nil {
		return labSolve(c)
	}
	shares, err := lab.Shares(c.Bids, otherwise(c.Alpha, 1))
	if err != nil {
		return nil, err
	}
	return finite(Result{"allocations": shares})
}

// labCollusion is what bidders earn who agree to bid next to nothing.
func labCollusion(c *Case) (Result, error) {
	eps, err := needed(c.Eps, "eps")
	if err != nil {
		return nil, err
	}
	utilities, err := lab.Collude(c.Values, eps)
	if err != nil {
		return nil, err
	}
	return finite(Result{"utilities": utilities})
}

// equilibria are the rules of the mechanisms that know their equilibrium without
// more than values; Tullock's is told apart, since it takes bids as well.
func equilibria() []string {
	var names []string
	for _, m := range lab.Mechanisms() {
		if rule := labPrefix + m.Name; m.Solvable && !m.Reverse && rule != "lab-tullock" {
			names = append(names, rule)
		}
	}
	return names
}

// labPrefix is what the laboratory's rules begin with.
const labPrefix = "lab-"

// labSolve is a mechanism's equilibrium.
func labSolve(c *Case) (Result, error) {
	if c.Alpha != nil && !(*c.Alpha > 0) { // the laboratory takes 0 for absent
		return nil, refuse("out-of-range", "alpha is %v: want more than 0", *c.Alpha)
	}
	g := lab.Game{Values: c.Values, Alpha: otherwise(c.Alpha, 1)}
	o, err := lab.Solve(strings.TrimPrefix(c.Rule, labPrefix), g)
	if err != nil {
		return nil, err
	}
	r := Result{
		"bids": o.Bids, "allocations": o.Allocations, "payments": o.Payments, "utilities": o.Utilities,
		"revenue": o.Revenue, "efficiency": o.Efficiency, "fairness": o.Fairness, "gini": o.Gini, "entropy": o.Entropy,
		"pure_equilibrium": o.Pure, "sybil_proof": o.SybilProof,
	}
	if o.Note != "" {
		r["note"] = o.Note
	}
	return finite(r)
}

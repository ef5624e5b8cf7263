package lab

import "math"

// distribution draws values by its quantile function.
type distribution struct {
	name     string
	quantile func(u float64) float64 // of u in [0, 1)
}

// distributions have a finite variance, which confidence intervals need.
var distributions = []distribution{
	{"uniform", func(u float64) float64 { return u }},                                           // on [0, 1]
	{"exponential", func(u float64) float64 { return -math.Log1p(-u) }},                         // of mean 1
	{"lognormal", func(u float64) float64 { return math.Exp(math.Sqrt2 * math.Erfinv(2*u-1)) }}, // of median 1, σ = 1
	{"pareto", func(u float64) float64 { return math.Pow(1-u, -1.0/3) }},                        // from 1, with shape 3
}

// Distributions lists what values can be drawn from: uniform on [0, 1],
// exponential of mean 1, lognormal of median 1 and σ = 1, Pareto from 1 with
// shape 3.
func Distributions() []string {
	names := make([]string, len(distributions))
	for i := range distributions {
		names[i] = distributions[i].name
	}
	return names
}

// value is an amount the farm can name: whole micro-credits, at least one.
func (d *distribution) value(u float64) float64 {
	return math.Max(1, math.Round(d.quantile(u)/MinAmount)) * MinAmount
}

// shading is the symmetric equilibrium of a sealed first-price auction,
// β(v) = E[max(Y, r) | Y ≤ v], Y the highest of the others' values, r the reserve
// (Krishna, Auction Theory, 2.3), as a table over the quantile u of v.
type shading struct {
	reserve float64
	bids    []float64
}

const (
	shadingNodes  = 512 // of the table
	shadingPoints = 256 // of each integral
)

// newShading tabulates it against so many others. Nodes crowd near u = 1, where
// values of long tails are far apart.
func newShading(d *distribution, others int, reserve float64) *shading {
	s := &shading{reserve: reserve, bids: make([]float64, shadingNodes+1)}
	var points [shadingPoints]float64 // Y's quantile t, given Y ≤ v, is the value's u·t^(1/others)
	for j := range points {
		points[j] = math.Pow((float64(j)+0.5)/shadingPoints, 1/float64(others))
	}
	for k := range s.bids {
		left, sum := 1-float64(k)/shadingNodes, 0.0
		for _, p := range points {
			highest := reserve
			if others > 0 {
				highest = d.quantile((1 - left*left) * p)
			}
			sum += math.Max(highest, reserve)
		}
		s.bids[k] = sum / shadingPoints
	}
	return s
}

// bid is β(v) for v at quantile u; below the reserve it does not matter.
func (s *shading) bid(v, u float64) float64 {
	if v < s.reserve {
		return 0
	}
	k := (1 - math.Sqrt(1-u)) * shadingNodes
	i := min(int(k), shadingNodes-1)
	return math.Min(v, s.bids[i]+(k-float64(i))*(s.bids[i+1]-s.bids[i]))
}

package lab

import (
	"fmt"
	"math"
	"strings"
)

// strategy is what a deviator's further names do beside its first, which makes
// its own bid.
type strategy struct {
	text    string
	factor  float64 // of that bid
	reserve bool    // ask the reserve instead
}

var (
	strategiesOne = []strategy{{factor: 1}} // without sybils, and in contests, which split one bid

	strategiesForward = []strategy{
		{text: "the others bidding the same", factor: 1},
		{text: "the others bidding nine tenths of it", factor: 0.9},
		{text: "the others bidding half of it", factor: 0.5},
	}
	strategiesReverse = []strategy{
		{text: "the others asking the same", factor: 1},
		{text: "the others asking a fiftieth more", factor: 1.02},
		{text: "the others asking a tenth more", factor: 1.1},
		{text: "the others asking a quarter more", factor: 1.25},
		{text: "the others asking half more", factor: 1.5},
		{text: "the others asking twice as much", factor: 2},
		{text: "the others asking the reserve", reserve: true},
	}
)

// strategies are what a pilot chooses from.
func (s *session) strategies() []strategy {
	switch {
	case s.Sybils == 0 || s.market.contest != nil:
		return strategiesOne
	case s.market.reverse:
		return strategiesReverse
	}
	return strategiesForward
}

// describe says in words what the deviator did.
func (s *session) describe(with strategy) string {
	var parts []string
	who := "bidder 0"
	if s.Ring > 0 {
		who = "the ring's best"
		idle := "do not bid"
		if s.market.reverse {
			idle = "ask the reserve"
		}
		parts = append(parts, fmt.Sprintf("of the first %d bidders the best bids, the others %s", s.Ring, idle))
	}
	switch {
	case s.Shade > 0 && s.market.reverse:
		parts = append(parts, fmt.Sprintf("%s asks its cost and %.4g %% more", who, 100*s.Shade))
	case s.Shade > 0 && s.market.contest != nil:
		parts = append(parts, fmt.Sprintf("%s bids %.4g %% less than its best answer", who, 100*s.Shade))
	case s.Shade > 0:
		parts = append(parts, fmt.Sprintf("%s bids its value less %.4g %%", who, 100*s.Shade))
	}
	switch names := s.Sybils + 1; {
	case s.Sybils == 0:
	case s.market.contest != nil:
		parts = append(parts, fmt.Sprintf("%s %s %d names", who, s.market.contest.over, names))
	case s.market.capacity:
		parts = append(parts, fmt.Sprintf("%s splits its capacity over %d names, %s", who, names, with.text))
	default:
		parts = append(parts, fmt.Sprintf("%s bids under %d names, %s", who, names, with.text))
	}
	if s.Shills > 0 {
		side := "seller"
		if s.market.reverse {
			side = "buyer"
		}
		parts = append(parts, fmt.Sprintf("the %s places %d false bids at quantiles of the distribution", side, s.Shills))
	}
	if len(parts) == 0 {
		return "nobody deviates"
	}
	return strings.Join(parts, "; ")
}

// honest are the offers of one round without a deviation.
func (s *session) honest(r *round) []offer {
	offers := make([]offer, 0, s.Bidders)
	for i, bid := range s.bids(r, r.values) {
		offers = append(offers, offer{owner: i, price: bid, units: s.Capacity})
	}
	return offers
}

// bids are honest bids of values, the first of which are the round's; the rest
// are shills' in a contest, which the others take for real.
func (s *session) bids(r *round, values []float64) []float64 {
	if s.market.contest != nil {
		return s.market.contest.bids(s, values)
	}
	if !s.market.shaded {
		return values
	}
	bids := make([]float64, len(values))
	for i, v := range values {
		bids[i] = s.honestly.bid(v, r.quantiles[i])
	}
	return bids
}

// deviant are the offers of one round with the deviation.
func (s *session) deviant(r *round, with strategy) []offer {
	values := r.values
	if s.market.contest != nil {
		values = append(values[:len(values):len(values)], s.falseValues...)
	}
	bids := s.bids(r, values)
	leader := s.leader(r)
	offers := make([]offer, 0, s.names())
	for i := range s.Bidders {
		switch {
		case i == leader:
			offers = s.disguised(offers, leader, s.serious(r, bids, leader), with)
		case i >= s.Ring:
			offers = append(offers, offer{owner: i, price: bids[i], units: s.Capacity})
		case s.market.reverse:
			offers = append(offers, offer{owner: i, price: s.Reserve, units: s.Capacity})
		}
	}
	for j, v := range s.falseValues {
		if s.market.contest != nil {
			v = bids[s.Bidders+j]
		}
		offers = append(offers, offer{owner: shill, price: v, units: s.Capacity})
	}
	return offers
}

// leader is the deviator: bidder 0, or the best of the ring.
func (s *session) leader(r *round) int {
	best := 0
	for i := 1; i < s.Ring; i++ {
		if v := r.values[i]; v != r.values[best] && (v < r.values[best]) == s.market.reverse {
			best = i
		}
	}
	return best
}

// serious is the deviator's own bid.
func (s *session) serious(r *round, bids []float64, leader int) float64 {
	v := r.values[leader]
	switch {
	case s.market.contest != nil:
		bid := bids[leader]
		if s.Ring > 0 {
			others := 0.0
			for _, b := range bids[s.Ring:] {
				others += b
			}
			bid = s.market.contest.respond(s, v, others)
		}
		bid *= 1 - s.Shade
		if s.ticket > 0 {
			bid = math.Floor(bid)
		}
		return bid
	case s.market.reverse:
		return v * (1 + s.Shade)
	case s.Shade > 0:
		return v * (1 - s.Shade)
	case s.market.shaded && s.Ring > 0:
		return s.colluding.bid(v, r.quantiles[leader])
	}
	return bids[leader]
}

// disguised adds the deviator's bid under all its names.
func (s *session) disguised(offers []offer, owner int, bid float64, with strategy) []offer {
	names := s.Sybils + 1
	for j := range names {
		o := offer{owner: owner, price: bid, units: s.Capacity}
		switch {
		case s.market.contest != nil:
			o.price = s.market.contest.split(bid, names, j)
		case j > 0 && with.reserve:
			o.price = s.Reserve
		case j > 0:
			o.price = bid * with.factor
		}
		if s.market.capacity {
			o.units = (s.Capacity + names - 1 - j) / names
		}
		offers = append(offers, o)
	}
	return offers
}

package cases

import (
	"slices"
	"strings"
)

// Rule is a kind of case: how it is cleared, and what there is to say about it. The
// manual is written from it, and its examples are cleared by the tests.
type Rule struct {
	Names []string
	Does  string
	Forms []Form // ways to give such a case
	Note  string
	clear func(*Case) (Result, error)
}

// Form is one way to give a case: the fields that it takes and those of the result,
// parted by blanks. One that ends in ? may be absent; list[a b] has entries with
// fields of their own.
type Form struct {
	Takes, Prints, Example string
}

// Rules are the kinds of cases there are, by name.
var Rules = byName(Manual())

func byName(list []Rule) map[string]*Rule {
	out := map[string]*Rule{}
	for i := range list {
		for _, name := range list[i].Names {
			out[name] = &list[i]
		}
	}
	return out
}

// known lists the rules.
func known() string {
	names := make([]string, 0, len(Rules))
	for name := range Rules {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Manual lists the rules for people.
func Manual() []Rule {
	return slices.Concat(buying(), selling(), candles(), draws(), laboratory())
}

func buying() []Rule {
	return []Rule{
		{Names: []string{"score"}, clear: score, Does: "buys the best value less price, at the value less the best other score",
			Forms: []Form{{"seller_bids[id value price domain?] cap? floor? c_l?", "scores winner reference? payment? payment_uncapped? net_of_true_cost?",
				`{"rule":"score","cap":5,"seller_bids":[{"id":"a","value":9,"price":1}]}`}},
			Note: "The payment is held to floor and cap, and to -c_l at least; what it is without them is told where a floor or a cap is given. winner is null where every score is below 0. Of one domain, the id where none is given, only the best bid counts."},
		{Names: []string{"score-realized", "score-realized-cost-covered"}, clear: realized, Does: "the same, paid by what came of it",
			Forms: []Form{
				{"seller_bids[id value price domain?] realized cap? floor? c_l?", "scores winner reference? payment? winner_total_loss?",
					`{"rule":"score-realized","c_l":6,"realized":null,"seller_bids":[{"id":"a","value":15,"price":5},{"id":"b","value":12,"price":4}]}`},
				{"reported_scores winner_value winner_cost cap? floor? c_l?", "scores winner reference? payment_on_success? payment_on_failure?",
					`{"rule":"score-realized","reported_scores":{"a":7,"b":5},"winner_value":15,"winner_cost":5}`},
			},
			Note: "realized is what the result is worth, null for a failure; with cost covered a failure is paid its price before the reference is taken off. No failure costs more than c_l. reported_scores are an object of scores by bidder, scaled with their own risk."},
		{Names: []string{"vickrey"}, clear: vickrey, Does: "buys one build from the lowest price, at the second lowest",
			Forms: []Form{{"seller_bids[id price domain?] reserve?", "winner payment?",
				`{"rule":"vickrey","reserve":10,"seller_bids":[{"id":"a","price":1},{"id":"b","price":3}]}`}},
			Note: "reserve is the most that is paid; it may be absent where another domain's bid sets the price."},
		{Names: []string{"batch"}, clear: batch, Does: "buys units, cheapest first",
			Forms: []Form{{"seller_bids[id price capacity?] units reserve? pricing?", "allocation payments",
				`{"rule":"batch","pricing":"uniform","reserve":10,"units":2,"seller_bids":[{"id":"a","price":3,"capacity":2},{"id":"b","price":5}]}`}},
			Note: "price is that of a unit, payments are for all units of a bidder. pricing is vcg, which it is if absent, uniform, uniform-last, gsp or first. capacity, in units, is 1 if absent, and reserve, the most that a unit is paid, no limit."},
		{Names: []string{"assignment"}, clear: assignment, Does: "gives builds that differ to workers, one each at most, at least total cost",
			Forms: []Form{{"builds[id price] seller_bids[id prices?]", "assignment payments cost",
				`{"rule":"assignment","builds":[{"id":"x","price":9},{"id":"y","price":9}],"seller_bids":[{"id":"a","prices":{"x":1,"y":2}},{"id":"b","prices":{"x":2}}]}`}},
			Note: "A build's price is its reserve; prices is an object of a worker's price by build, without those that it cannot do. assignment tells the worker of each build, null for none."},
	}
}

func selling() []Rule {
	return []Rule{
		{Names: []string{"vickrey-forward"}, clear: forward, Does: "sells one unit to the highest price, at the second highest",
			Forms: []Form{{"buyer_bids[id price] reserve?", "winner payment?",
				`{"rule":"vickrey-forward","reserve":11,"buyer_bids":[{"id":"a","price":10},{"id":"b","price":12}]}`}},
			Note: "reserve is the least that it is sold for, 0 if absent."},
		{Names: []string{"gsp-forward"}, clear: slots, Does: "sells slots in order, each at the next lower price",
			Forms: []Form{{"buyer_bids[id price] slots", "order payments",
				`{"rule":"gsp-forward","slots":2,"buyer_bids":[{"id":"a","price":9},{"id":"b","price":5},{"id":"c","price":2}]}`}}},
		{Names: []string{"blind-fill"}, clear: blind, Does: "sells a supply to sealed, prepaid bids, whole or not at all, best price a unit first",
			Forms: []Form{{"supply buyer_bids[id prepaid revealed? price_total? quantity?]", "filled payments_first payments_uniform_last refunds_first refunds_uniform_last forfeited",
				`{"rule":"blind-fill","supply":4,"buyer_bids":[{"id":"a","prepaid":9,"price_total":7,"quantity":3},{"id":"b","prepaid":4,"price_total":4,"quantity":1},{"id":"c","prepaid":5,"price_total":6,"quantity":1},{"id":"d","prepaid":2,"revealed":false}]}`}},
			Note: "price_total and quantity may be absent where revealed is false. payments_first: each winner pays its own total; payments_uniform_last: each pays the last winner's price a unit, the product rounded up to a whole micro-credit; refunds are the rest of what was prepaid under either. A bid that is not revealed, or whose price_total is above prepaid, loses all that it prepaid: forfeited has it."},
	}
}

func candles() []Rule {
	return []Rule{
		{Names: []string{"candle-winners"}, clear: candleWinners, Does: "the partition of the periods that pays most when the candle goes out",
			Forms: []Form{{"periods buyer_bids[id first last per_period]", "winners total losing_total losing_average",
				`{"rule":"candle-winners","periods":4,"buyer_bids":[{"id":"a","first":1,"last":4,"per_period":75},{"id":"b","first":3,"last":4,"per_period":90}]}`}},
			Note: "The bids are those that stand, each bidder's one for a range at most: in what order they came and whether they leave a gap does not matter here. For one range the better counts, the first listed of equal ones. losing_total is the best partition without any of the winning bids. Winners are [\"bidder\", first, last]."},
		{Names: []string{"candle-bid"}, clear: candleBid, Does: "whether a bid above all others is allowed, which one that leaves a gap is not",
			Forms: []Form{{"periods held? bid", "accepted",
				`{"rule":"candle-bid","periods":4,"held":[["a",2,2],["a",4,4]],"bid":["a",3,3]}`}},
			Note: "held are the ranges that somebody is winning now, each once and in any order, in whatever way they came about; they and the bid are [\"bidder\", first, last]. A bid must share or border on a period of every range that its bidder holds."},
		{Names: []string{"candle-ranges"}, clear: candleRanges, Does: "how many ranges of periods there are to bid for",
			Forms: []Form{{"periods", "ranges", `{"rule":"candle-ranges","periods":4}`}}},
		{Names: []string{"candle-slots"}, clear: candleSlots, Does: "splits slots between the community and auctions",
			Forms: []Form{{"slots", "community auctioned", `{"rule":"candle-slots","slots":10}`}}},
	}
}

func draws() []Rule {
	const seed = `"seed_hex":"0707070707070707070707070707070707070707070707070707070707070707"`
	return []Rule{
		{Names: []string{"lottery"}, clear: lottery, Does: "draws the owners of the next slots by their tickets",
			Forms: []Form{{"seed_hex tickets[owner tickets key? most?] draws?", "owners",
				`{"rule":"lottery",` + seed + `,"draws":2,"tickets":[{"owner":"a","tickets":2},{"owner":"b","tickets":1}]}`}},
			Note: "seed_hex is 32 bytes in hex. The farm draws from owners in the order of their keys, 32 bytes in hex: give all of them or none, and none is the order listed. draws is 1 if absent; each ticket is drawn once at most, and an owner for most slots, if that is given and not 0."},
		{Names: []string{"draw"}, clear: permutation, Does: "draws an order of n things, numbered from 0",
			Forms: []Form{{"seed_hex n", "permutation", `{"rule":"draw",` + seed + `,"n":5}`}}},
		{Names: []string{"odds"}, clear: odds, Does: "the chance that all of k validators drawn from N domains collude when c do",
			Forms: []Form{
				{"N k c?", "rows", `{"rule":"odds","N":20,"c":6,"k":3}`},
				{"rows[N k c?]", "rows", `{"rule":"odds","rows":[{"N":20,"c":6,"k":3},{"N":20,"c":4,"k":2}]}`},
			},
			Note: "c is 0 if absent. Each row tells N, c, k, all_colluding_numerator over denominator, not reduced, and the same in ppm_floor."},
		{Names: []string{"stake"}, clear: stake, Does: "the stake that makes a forgery a loss",
			Forms: []Form{{"N k R X c? panel? sample_ppm?", "stake panel p_all p_flip p_slash p_split",
				`{"rule":"stake","N":20,"c":6,"k":3,"R":1000,"X":999000}`}},
			Note: "R is the most that a build pays, X what a forgery is worth beside. panel is the farm's if absent: the largest odd number of at most 2k+1 seats that N-k domains fill; panels are odd, and 0 is none. sample_ppm of a million builds are validated, all if absent. Chances are [numerator, denominator]: all validators collude, the panel convicts the honest (flip) or the forger (slash), or decides nothing (split)."},
	}
}

func laboratory() []Rule {
	const solution = "bids allocations payments utilities revenue efficiency fairness gini entropy pure_equilibrium sybil_proof note?"
	return []Rule{
		{Names: []string{"lab-pool"}, clear: labPool, Does: "a share of a pool that is paid in proportion to improvements",
			Forms: []Form{
				{"pool? improvements? own?", "share", `{"rule":"lab-pool","pool":100000,"improvements":10,"own":0.01}`},
				{"reserved? improvements? improvement?", "share", `{"rule":"lab-pool","reserved":100000,"improvements":10,"improvement":0.01}`},
			},
			Note: "reserved is another word for pool, what is shared, and improvement for own, one's own; improvements is everybody's sum. What is absent is as in the examples."},
		{Names: []string{"lab-candle-strategy"}, clear: labCandle, Does: "how to bid while a candle burns, as gavel lab candle",
			Forms: []Form{{"n V Vmax alpha?", "pr eu alpha_document alpha_best eu_best", `{"rule":"lab-candle-strategy","n":101,"V":100,"Vmax":60}`}},
			Note:  "n bidders, a value V, the highest rival's Vmax. pr and eu are of alpha, the document's if absent. Where eu_best is 0 no bid gains: do not bid."},
		{Names: []string{"lab-collusion"}, clear: labCollusion, Does: "what bidders earn who all bid eps in an all-pay contest",
			Forms: []Form{{"values eps", "utilities", `{"rule":"lab-collusion","values":[4,2],"eps":0.01}`}}},
		{Names: []string{"lab-tullock"}, clear: labTullock, Does: "shares b^alpha over the sum of b^alpha of bids b, or the equilibrium of values",
			Forms: []Form{
				{"bids alpha?", "allocations", `{"rule":"lab-tullock","bids":[2,1],"alpha":2}`},
				{"values alpha?", solution, `{"rule":"lab-tullock","values":[4,2]}`},
			},
			Note: "alpha is 1 if absent."},
		{Names: equilibria(), clear: labSolve, Does: "a mechanism's equilibrium among buyers who know all values, as gavel lab compare",
			Forms: []Form{{"values", solution, `{"rule":"lab-winner-take-all","values":[4,2]}`}}},
	}
}

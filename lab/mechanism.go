package lab

import "strings"

// Mechanism is one of the family, seen from gavel.
type Mechanism struct {
	Name     string `json:"name"` // as Solve takes it
	Title    string `json:"title"`
	Reverse  bool   `json:"reverse"`  // sellers bid to be paid
	Solvable bool   `json:"solvable"` // whether Solve knows its equilibrium
	Units    bool   `json:"units"`    // trades more than one unit at once
	Controls string `json:"controls"` // who controls the outcome
	Sells    string `json:"sells"`    // what is sold
	When     string `json:"when"`     // before, at or after the work, or ahead of time
	Signal   string `json:"signal"`   // where the price signal comes from
	Chosen   string `json:"chosen"`   // how the winner is chosen
	Lane     string `json:"lane"`     // where gavel has it: spot, batch, lease or lottery; "lab" is nowhere else
}

// member is a mechanism with what the laboratory does with it.
type member struct {
	Mechanism
	solve   func(*Game) (*Outcome, error) // nil where there is no single equilibrium
	instead string                        // then, what to do instead
	reserve bool                          // forward: knows a least price
	units   bool                          // allocates more than one unit
	sybils  func(*Game) bool              // whether it is proof against sybils; nil: it is not
}

func (m *member) sybilProof(g *Game) bool { return m.sybils != nil && m.sybils(g) }

func always(*Game) bool { return true }

// Mechanisms lists the family: first those in which buyers bid, then those in
// which sellers do.
func Mechanisms() []Mechanism {
	list := make([]Mechanism, len(family))
	for i := range family {
		list[i] = family[i].Mechanism
		list[i].Solvable = family[i].solve != nil
		list[i].Units = family[i].units
	}
	return list
}

// unitRules are the solvable mechanisms of a side that trade several units.
func unitRules(reverse bool) []string {
	var names []string
	for i := range family {
		if m := &family[i]; m.units && m.Reverse == reverse && m.solve != nil {
			names = append(names, m.Name)
		}
	}
	return names
}

// alternatives lists names as a choice: a, b or c.
func alternatives(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// Who controls an outcome, in so many words as several members share.
const (
	rule      = "the rule: Apply computes it from the bids"
	beacon    = "the beacon: a threshold signature nobody can choose"
	rightToGo = "one slot: the right to have a build run next"
)

// family is filled at start because its solvers are all over the package.
var family = append(buyersBid(), sellersBid()...)

func buyersBid() []member {
	return []member{
		{Mechanism: Mechanism{Name: "lottery-all-pay", Title: "ticket lottery, every ticket pays", Controls: beacon,
			Sells: "a right to a future slot, drawn with lookahead", When: "ahead of time", Signal: "how many tickets are bought at a fixed price",
			Chosen: "a random ticket", Lane: "lottery"}, solve: solveLotteryAllPay, sybils: always},
		{Mechanism: Mechanism{Name: "lottery-winner-pays", Title: "ticket lottery, the drawn ticket pays", Controls: beacon,
			Sells: "a right to a future slot, drawn with lookahead", When: "ahead of time", Signal: "none but the fixed price: holding tickets is free",
			Chosen: "a random ticket", Lane: "lottery"}, solve: solveLotteryWinnerPays},
		{Mechanism: Mechanism{Name: "proportional-all-pay", Title: "proportional share, everybody pays", Controls: beacon,
			Sells: "part of a slot, or the chance of all of it", When: "before the work", Signal: "the sum of bids",
			Chosen: "in proportion to bids", Lane: "lab"}, solve: solveProportionalAllPay, sybils: always},
		{Mechanism: Mechanism{Name: "proportional-winner-pays", Title: "proportional chance, the winner pays", Controls: beacon,
			Sells: "the chance of a slot", When: "before the work", Signal: "the drawn bid",
			Chosen: "at random, in proportion to bids", Lane: "lab"}, solve: solveProportionalWinnerPays},
		{Mechanism: Mechanism{Name: "tullock", Title: "Tullock contest, share b^α / Σ b^α", Controls: beacon,
			Sells: "part of a slot, or the chance of all of it", When: "before the work", Signal: "the sum of bids",
			Chosen: "in proportion to a power of bids", Lane: "lab"}, solve: solveTullock,
			// A power below 1 is concave: the parts of a bid weigh more than the whole.
			sybils: func(g *Game) bool { return exponent(g) >= 1 }},
		{Mechanism: Mechanism{Name: "all-pay-auction", Title: "all-pay auction, the highest bid wins", Controls: rule,
			Sells: rightToGo, When: "before the work", Signal: "bids, all of them paid",
			Chosen: "the highest bid", Lane: "lab"}, solve: solveAllPayAuction, sybils: always},
		{Mechanism: Mechanism{Name: "winner-take-all", Title: "highest bid wins and pays itself, everybody knowing all values", Controls: rule,
			Sells: rightToGo, When: "at the start of the work", Signal: "the highest bid",
			Chosen: "the highest bid", Lane: "lab"}, solve: solveHighestPays, reserve: true, sybils: always},
		{Mechanism: Mechanism{Name: "first-price", Title: "sealed first price for a slot", Controls: rule,
			Sells: rightToGo, When: "at the start of the work", Signal: "the highest bid, shaded",
			Chosen: "the highest bid", Lane: "lab"}, solve: solveHighestPays, reserve: true, sybils: always},
		{Mechanism: Mechanism{Name: "second-price", Title: "second price for a slot (Vickrey, forward): the priority extra", Controls: rule,
			Sells: rightToGo, When: "at the start of the work", Signal: "the second highest bid",
			Chosen: "the highest bid", Lane: "spot"}, solve: solveSecondPrice, reserve: true, sybils: always},
		{Mechanism: Mechanism{Name: "second-price-burn", Title: "second price for a slot, revenue burned, as genesis can say", Controls: rule,
			Sells: rightToGo, When: "at the start of the work", Signal: "the second highest bid",
			Chosen: "the highest bid", Lane: "spot"}, solve: solveSecondPriceBurn, reserve: true, sybils: always},
		{Mechanism: Mechanism{Name: "second-price-smooth", Title: "second price for a slot, revenue returned in equal parts, as genesis can say", Controls: rule,
			Sells: rightToGo, When: "at the start of the work", Signal: "the second highest bid",
			Chosen: "the highest bid", Lane: "spot"}, solve: solveSecondPriceSmooth, reserve: true},
		{Mechanism: Mechanism{Name: "gsp-slots", Title: "generalised second price for ordered slots sold ahead", Controls: rule,
			Sells: "slots of an epoch, in order", When: "ahead of time", Signal: "the next lower bid",
			Chosen: "the highest bids, in order", Lane: "spot"}, solve: solveSlots, units: true, sybils: always},
		{Mechanism: Mechanism{Name: "candle", Title: "candle auction for leases of 1 to 4 periods", Controls: "the rule, at a close the beacon draws afterwards",
			Sells: "a right to future slots: a worker's capacity for some periods", When: "ahead of time", Signal: "open bids while the candle burns",
			Chosen: "the partition of periods that pays most at the drawn close", Lane: "lease"},
			instead: "see Candle for one bidder's problem in it"},
		{Mechanism: Mechanism{Name: "blind-fill", Title: "blind auction of quantities, prepaid", Controls: rule,
			Sells: "part of a capacity: each bid a quantity, whole or not at all", When: "ahead of time", Signal: "the last winning price a unit",
			Chosen: "the highest price a unit that still fits", Lane: "lab"},
			instead: "packing whole bids has many equilibria; take gsp-slots for single units"},
	}
}

func sellersBid() []member {
	return []member{
		{Mechanism: Mechanism{Name: "score", Title: "score auction: value of the finish less price", Reverse: true, Controls: rule,
			Sells: "the finished result: a bid may commit to it, and its value falls with time", When: "before or after the work", Signal: "the best score of another domain",
			Chosen: "the highest score", Lane: "spot"},
			instead: "a finish is no cost; with a constant value it is vickrey"},
		{Mechanism: Mechanism{Name: "vickrey", Title: "sealed second price for one build", Reverse: true, Controls: rule,
			Sells: "a slot on a worker, paid when its result is agreed on", When: "before the work", Signal: "the second lowest cost",
			Chosen: "the lowest price", Lane: "spot"}, solve: solveLowestTruthful, sybils: always},
		{Mechanism: Mechanism{Name: "vcg", Title: "units at the cost of doing without each winner, the default", Reverse: true, Controls: rule,
			Sells: "part of a worker's slots: actions or core-seconds of an epoch", When: "at the end of the epoch, for asks committed before it", Signal: "the costs of those not needed",
			Chosen: "the lowest prices", Lane: "batch"}, solve: solveLowestTruthful, units: true, sybils: always},
		{Mechanism: Mechanism{Name: "uniform", Title: "units at the lowest losing price", Reverse: true, Controls: rule,
			Sells: "part of a worker's slots: actions or core-seconds of an epoch", When: "at the end of the epoch, for asks committed before it", Signal: "the lowest losing price",
			Chosen: "the lowest prices", Lane: "batch"}, solve: solveLowestTruthful, units: true},
		{Mechanism: Mechanism{Name: "uniform-last", Title: "units at the last winning price", Reverse: true, Controls: rule,
			Sells: "part of a worker's slots: actions or core-seconds of an epoch", When: "at the end of the epoch, for asks committed before it", Signal: "the last winning price",
			Chosen: "the lowest prices", Lane: "batch"}, solve: solveLowestLast, units: true},
		{Mechanism: Mechanism{Name: "gsp", Title: "each unit at the next price in order", Reverse: true, Controls: rule,
			Sells: "part of a worker's slots: actions or core-seconds of an epoch", When: "at the end of the epoch, for asks committed before it", Signal: "the next price in order",
			Chosen: "the lowest prices", Lane: "batch"}, solve: solveLowestShaded, units: true},
		{Mechanism: Mechanism{Name: "first", Title: "each unit at its own price", Reverse: true, Controls: rule,
			Sells: "part of a worker's slots: actions or core-seconds of an epoch", When: "at the end of the epoch, for asks committed before it", Signal: "the asks, shaded",
			Chosen: "the lowest prices", Lane: "batch"}, solve: solveLowestShaded, units: true},
		{Mechanism: Mechanism{Name: "assignment", Title: "builds that differ, to workers at least total cost", Reverse: true, Controls: rule,
			Sells: "a slot on the worker it suits best", When: "before the work", Signal: "what the others would cost without a worker",
			Chosen: "the cheapest assignment of all", Lane: "lab"},
			instead: "its costs are a table, not a list; with equal builds it is vcg"},
	}
}

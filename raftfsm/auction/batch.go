package auction

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"sort"

	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Pricing is a rule by which winners of a multi-unit reverse auction are paid.
// Numbers are append-only.
type Pricing uint8

// The pricing rules.
const (
	PricingVCG         Pricing = 1 // Clarke (1971): what the others would cost without the winner, less what they cost with it
	PricingUniform     Pricing = 2 // the lowest losing unit's price, the winner's own next unit included
	PricingUniformLast Pricing = 3 // the last winning unit's price
	PricingGSP         Pricing = 4 // each unit the price of the next in order
	PricingFirst       Pricing = 5 // each unit its own price
)

var pricingNames = [...]string{PricingVCG: "vcg", PricingUniform: "uniform", PricingUniformLast: "uniform-last", PricingGSP: "gsp", PricingFirst: "first"}

func (p Pricing) String() string {
	if p.Valid() {
		return pricingNames[p]
	}
	return fmt.Sprintf("pricing-%d", uint8(p))
}

// Valid says whether there is such a rule.
func (p Pricing) Valid() bool { return PricingVCG <= p && p <= PricingFirst }

// ParsePricing reads a rule's name.
func ParsePricing(text string) (Pricing, error) {
	for p := PricingVCG; p <= PricingFirst; p++ {
		if text == p.String() {
			return p, nil
		}
	}
	return 0, fmt.Errorf("pricing rule %q: %w: want vcg, uniform, uniform-last, gsp or first", text, ErrRefused)
}

// Ask offers up to Capacity units at Price each.
type Ask struct {
	Tie      [32]byte // lower goes first among equal prices, then the place in the list
	Price    escrow.Credits
	Capacity uint64
}

// BatchOutcome is a cleared multi-unit auction; lists are by place of the ask.
type BatchOutcome struct {
	Allocation []uint64
	Payments   []escrow.Credits // for all units of the ask together
	// Strike is the price of the last winning unit, 0 where nothing is sold.
	Strike escrow.Credits
}

// ClearBatch buys up to units, cheapest first, from asks that are at or below
// the reserve, and pays them by a rule. Units nobody offers stay unbought; where
// a rule asks for a price that nobody bids, it is the reserve. It takes
// O(n log n) in the number of asks, whatever the units. Errors wrap ErrRefused
// or escrow.ErrOverflow.
func ClearBatch(asks []Ask, units uint64, reserve escrow.Credits, pricing Pricing) (BatchOutcome, error) {
	if err := checkBatch(asks, units, reserve, pricing); err != nil {
		return BatchOutcome{}, fmt.Errorf("clearing batch: %w", err)
	}
	c := allocate(asks, units, reserve)
	out := BatchOutcome{Allocation: make([]uint64, len(asks)), Payments: make([]escrow.Credits, len(asks))}
	for i, at := range c.order {
		if c.given[i] == 0 {
			break
		}
		paid, err := c.payment(i, pricing)
		if err != nil {
			return BatchOutcome{}, fmt.Errorf("clearing batch: paying ask %d: %w", at, err)
		}
		out.Allocation[at], out.Payments[at], out.Strike = c.given[i], paid, asks[at].Price
	}
	return out, nil
}

func checkBatch(asks []Ask, units uint64, reserve escrow.Credits, pricing Pricing) error {
	switch {
	case !pricing.Valid():
		return fmt.Errorf("%w: unknown %v", ErrRefused, pricing)
	case units == 0 || units > MaxUnits:
		return fmt.Errorf("%w: %d units, want 1 to %d", ErrRefused, units, uint64(MaxUnits))
	case reserve < 0 || !reserve.Valid():
		return fmt.Errorf("%w: a reserve of %v", ErrRefused, reserve)
	case len(asks) > MaxAsks:
		return fmt.Errorf("%w: %d asks, at most %d", ErrRefused, len(asks), MaxAsks)
	}
	for i := range asks {
		if a := &asks[i]; a.Price < 0 || !a.Price.Valid() || a.Capacity == 0 || a.Capacity > MaxUnits {
			return fmt.Errorf("%w: ask %d of %v for %d units: want a price of at least 0 and 1 to %d units", ErrRefused, i, a.Price, a.Capacity, uint64(MaxUnits))
		}
	}
	return nil
}

// cleared is an allocation: asks in order of price, and what is left of them.
type cleared struct {
	asks    []Ask
	order   []int    // places of the asks that take part, cheapest first
	given   []uint64 // by order
	last    int      // the last of order that sells something, −1 for none
	missing uint64   // units nobody supplies
	reserve escrow.Credits

	spare []uint64   // capacity left from order[max(last, 0)] to there, summed
	cost  []*big.Int // what that costs
}

func allocate(asks []Ask, units uint64, reserve escrow.Credits) *cleared {
	c := &cleared{asks: asks, last: -1, missing: units, reserve: reserve}
	for i := range asks {
		if asks[i].Price <= reserve {
			c.order = append(c.order, i)
		}
	}
	slices.SortFunc(c.order, func(x, y int) int {
		return cmp.Or(cmp.Compare(asks[x].Price, asks[y].Price), wire.Compare32(asks[x].Tie, asks[y].Tie), cmp.Compare(x, y))
	})
	c.given = make([]uint64, len(c.order))
	for i, at := range c.order {
		if c.missing == 0 {
			break
		}
		c.given[i] = min(c.missing, asks[at].Capacity)
		c.missing -= c.given[i]
		c.last = i
	}
	return c
}

// next is the price of the unit that follows ask i's last one in order.
func (c *cleared) next(i int) escrow.Credits {
	switch {
	case c.given[i] < c.asks[c.order[i]].Capacity:
		return c.asks[c.order[i]].Price
	case i+1 < len(c.order):
		return c.asks[c.order[i+1]].Price
	}
	return c.reserve
}

func (c *cleared) payment(i int, pricing Pricing) (escrow.Credits, error) {
	own, n := c.asks[c.order[i]].Price, int64(c.given[i])
	switch pricing {
	case PricingVCG:
		return c.clarke(i)
	case PricingUniform:
		return c.next(c.last).MulDivFloor(n, 1)
	case PricingUniformLast:
		return c.asks[c.order[c.last]].Price.MulDivFloor(n, 1)
	case PricingGSP:
		all, err := own.MulDivFloor(n-1, 1)
		if err != nil {
			return 0, err
		}
		return all.Add(c.next(i))
	}
	return own.MulDivFloor(n, 1)
}

// clarke is what replacing ask i's units would cost: out of the capacity the
// others have left, then at the reserve. Units that are missing anyway cost the
// reserve with it and without it.
func (c *cleared) clarke(i int) (escrow.Credits, error) {
	c.sumSpare()
	from := 0 // of spare
	if i == c.last {
		from = 1
	}
	need := c.given[i]
	before, paid := uint64(0), new(big.Int)
	if from > 0 {
		before = c.spare[from-1]
		paid.Neg(c.cost[from-1])
	}
	// The first place where the spare capacity suffices.
	at := from + sort.Search(len(c.spare)-from, func(j int) bool { return c.spare[from+j]-before >= need })
	filled, price := uint64(0), c.reserve
	if at > 0 {
		filled = c.spare[at-1] - before
		paid.Add(paid, c.cost[at-1])
	}
	if at < len(c.spare) {
		price = c.asks[c.order[c.last+at]].Price
	}
	rest := new(big.Int).SetUint64(need - filled)
	paid.Add(paid, rest.Mul(rest, big.NewInt(int64(price))))
	if !paid.IsInt64() || !escrow.Credits(paid.Int64()).Valid() {
		return 0, escrow.ErrOverflow
	}
	return escrow.Credits(paid.Int64()), nil
}

// sumSpare sums what is left of the last winner and of all losers, once.
func (c *cleared) sumSpare() {
	if c.spare != nil {
		return
	}
	units, cost := uint64(0), new(big.Int)
	for i := c.last; i < len(c.order); i++ {
		a := &c.asks[c.order[i]]
		left := new(big.Int).SetUint64(a.Capacity - c.given[i])
		units += left.Uint64()
		cost = new(big.Int).Add(cost, left.Mul(left, big.NewInt(int64(a.Price))))
		c.spare, c.cost = append(c.spare, units), append(c.cost, cost)
	}
}

package auction

import "fmt"

// Pricing is a rule by which winners of a multi-unit reverse auction are paid.
// Numbers are append-only.
type Pricing uint8

// The pricing rules. What each one rewards, by exhaustive search of small markets
// and 10⁵ random ones (truth_test.go, sybil_test.go), for a bidder whose units
// cost the same each and who offers no more of them than it can make:
//
//   - vcg: nothing but the truth. Neither another price, nor less capacity, nor
//     any split over names gets more. It does reward merging: two who cost the
//     same get as much together, often more, so an operator with several machines
//     should ask under one name, and a cartel gains.
//   - uniform: the truth for one unit, as vcg; a bidder with more units gains by
//     withholding the one that would set its price, alone or under a second name.
//   - uniform-last, gsp and first reward asking for more than the cost.
//
// All but vcg look at units, not at whose they are. Names at one price are given
// and paid what one name is; at different prices they gain no more than the best
// single ask does. Only among equal prices is a second name worth something: a
// second draw for the first place, which under vcg is worth 0 to the truthful.
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

package auction

import (
	"math/rand"
	"slices"
	"testing"

	"gavel/raftfsm/escrow"
)

// seller is somebody who can make so many units at a cost each, in a market of others.
type seller struct {
	others   []Ask
	units    uint64
	reserve  escrow.Credits
	cost     escrow.Credits
	capacity uint64
}

func randomSeller(r *rand.Rand, mostOthers int) seller {
	reserve := escrow.Credits(r.Intn(9))
	return seller{
		others: randomAsks(r, mostOthers, reserve), units: 1 + uint64(r.Intn(6)), reserve: reserve,
		cost: escrow.Credits(r.Intn(int(reserve) + 2)), capacity: 1 + uint64(r.Intn(4)),
	}
}

// utility is what the seller gets for asks of its own, after costs.
func (s seller) utility(t *testing.T, pricing Pricing, mine ...Ask) (utility escrow.Credits) {
	t.Helper()
	out := mustClear(t, append(slices.Clone(s.others), mine...), s.units, s.reserve, pricing)
	for i := len(s.others); i < len(out.Payments); i++ {
		utility += out.Payments[i] - s.cost*escrow.Credits(out.Allocation[i])
	}
	return utility
}

// Under VCG nobody who asks its true cost for its true capacity would have got
// more with another price, less capacity, or both, and nobody who does so loses.
// Asking for more units than one can make is beyond the rule: who is given them
// defaults on them.
func TestVCGTruthIsNeverBeaten(t *testing.T) {
	const seed = 20261015
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for n := range 150_000 {
		s, tie := randomSeller(r, 5), key(byte(r.Intn(3)))
		lie := Ask{Tie: tie, Price: s.cost, Capacity: s.capacity}
		if n%3 != 0 {
			lie.Price = escrow.Credits(r.Intn(int(s.reserve) + 3))
		}
		if n%3 != 1 {
			lie.Capacity = 1 + uint64(r.Intn(int(s.capacity)))
		}
		honest := s.utility(t, PricingVCG, Ask{Tie: tie, Price: s.cost, Capacity: s.capacity})
		lying := s.utility(t, PricingVCG, lie)
		if lying > honest || honest < 0 {
			t.Fatalf("%+v gets %d, asking as %+v %d", s, honest, lie, lying)
		}
		if lying < honest {
			met[[]string{"less capacity costs", "another price costs", "both cost"}[n%3]]++
		}
		if lying == honest && honest > 0 && lie.Price != s.cost {
			met["another price is as good"]++
		}
	}
	met.atLeast(t, 2000, "less capacity costs", "another price costs", "both cost", "another price is as good")
}

// For who has one unit, the lowest losing price is truthful as well: it is the
// same rule then.
func TestUniformIsTruthfulForOneUnit(t *testing.T) {
	const seed = 20261016
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	worse := 0
	for range 100_000 {
		s, tie := randomSeller(r, 5), key(byte(r.Intn(3)))
		lie := Ask{Tie: tie, Price: escrow.Credits(r.Intn(int(s.reserve) + 3)), Capacity: 1}
		honest := s.utility(t, PricingUniform, Ask{Tie: tie, Price: s.cost, Capacity: 1})
		lying := s.utility(t, PricingUniform, lie)
		if lying > honest || honest < 0 || honest != s.utility(t, PricingVCG, Ask{Tie: tie, Price: s.cost, Capacity: 1}) {
			t.Fatalf("%+v gets %d for one unit, asking as %+v %d", s, honest, lie, lying)
		}
		if lying < honest {
			worse++
		}
	}
	if worse < 5000 {
		t.Errorf("only %d lies cost anything: too few to mean anything", worse)
	}
}

// None of the other rules is truthful for more units: each is beaten here by
// offering less, or by asking for more than the cost.
func TestOtherRulesRewardLies(t *testing.T) {
	market := seller{others: []Ask{{Price: 9, Capacity: 2}}, units: 2, reserve: 10, cost: 2, capacity: 3}
	for _, c := range []struct {
		pricing         Pricing
		lie             Ask
		honest, lying   escrow.Credits
		whatTheLiarDoes string
	}{
		{PricingUniform, Ask{Price: 2, Capacity: 2}, 0, 14, "withholds the unit that set its own price"},
		{PricingUniformLast, Ask{Price: 8, Capacity: 3}, 0, 12, "raises the price that it sets itself"},
		{PricingGSP, Ask{Price: 8, Capacity: 2}, 0, 13, "does both"},
		{PricingFirst, Ask{Price: 8, Capacity: 3}, 0, 12, "asks just below the next"},
		{PricingVCG, Ask{Price: 8, Capacity: 2}, 14, 14, "gets no more than with the truth"},
	} {
		honest, lying := market.utility(t, c.pricing, Ask{Price: 2, Capacity: 3}), market.utility(t, c.pricing, c.lie)
		if honest != c.honest || lying != c.lying {
			t.Errorf("%v: the truth gets %d, who %s gets %d; want %d and %d", c.pricing, honest, c.whatTheLiarDoes, lying, c.honest, c.lying)
		}
	}
}

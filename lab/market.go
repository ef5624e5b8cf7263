package lab

import (
	"encoding/binary"
	"fmt"
	"math"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
)

// market is a rule that is simulated, with how honest bidders play it.
type market struct {
	name     string
	reverse  bool
	units    bool // many units
	capacity bool // of several units a bidder
	reserve  bool // forward: knows a least price; a lottery's is the ticket's
	shaded   bool // honest bids are the symmetric equilibrium, not the truth
	contest  *play
	clear    func(s *session, offers []offer, seed [32]byte, t *trades) error
}

// offer is one name's bid.
type offer struct {
	owner int     // the bidder behind it, or shill
	price float64 // in lotteries a number of tickets
	units int
}

const shill = -1

// trades are what came of offers, by place.
type trades struct {
	got    []float64 // units, or a share of one
	chance []float64 // the same, before any draw
	paid   []float64 // in reverse to the offer, else by it
}

func (t *trades) reset(n int) {
	for _, list := range []*[]float64{&t.got, &t.chance, &t.paid} {
		*list = append((*list)[:0], make([]float64, n)...)
	}
}

// credits and amount scale to the farm's integers and back.
func credits(x float64) escrow.Credits { return escrow.Credits(math.Round(x * float64(escrow.One))) }

func amount(c escrow.Credits) float64 { return float64(c) / float64(escrow.One) }

var markets = []market{
	{name: "second-price", reserve: true, clear: sellOne(false)},
	{name: "first-price", reserve: true, shaded: true, clear: sellOne(true)},
	{name: "gsp-slots", units: true, clear: sellSlots},
	{name: "proportional-all-pay", contest: &proportionalPlay, clear: sellShares(false)},
	{name: "proportional-winner-pays", contest: &winnerPaysPlay, clear: sellShares(true)},
	{name: "lottery-all-pay", reserve: true, contest: &ticketPlay, clear: drawTicket(false)},
	{name: "lottery-winner-pays", reserve: true, contest: &freeTicketPlay, clear: drawTicket(true)},
	{name: "vickrey", reverse: true, reserve: true, clear: buyOne},
	{name: "vcg", reverse: true, reserve: true, units: true, capacity: true, clear: buyUnits(auction.PricingVCG)},
	{name: "uniform", reverse: true, reserve: true, units: true, capacity: true, clear: buyUnits(auction.PricingUniform)},
	{name: "uniform-last", reverse: true, reserve: true, units: true, capacity: true, clear: buyUnits(auction.PricingUniformLast)},
	{name: "gsp", reverse: true, reserve: true, units: true, capacity: true, clear: buyUnits(auction.PricingGSP)},
	{name: "first", reverse: true, reserve: true, units: true, capacity: true, clear: buyUnits(auction.PricingFirst)},
}

func prices(offers []offer) []escrow.Credits {
	list := make([]escrow.Credits, len(offers))
	for i := range offers {
		list[i] = credits(offers[i].price)
	}
	return list
}

// sellOne is auction.SellOne, whose winner pays the second price or its own.
func sellOne(own bool) func(*session, []offer, [32]byte, *trades) error {
	return func(s *session, offers []offer, _ [32]byte, t *trades) error {
		bids := prices(offers)
		winner, payment, err := auction.SellOne(bids, credits(s.Reserve))
		if err != nil || winner < 0 {
			return err
		}
		if own {
			payment = bids[winner]
		}
		t.got[winner], t.chance[winner], t.paid[winner] = 1, 1, amount(payment)
		return nil
	}
}

// sellSlots takes all slots to be worth the same.
func sellSlots(s *session, offers []offer, _ [32]byte, t *trades) error {
	if len(offers) == 0 {
		return nil
	}
	order, payments, err := auction.SellSlots(prices(offers), s.Units)
	if err != nil {
		return err
	}
	for j, i := range order {
		t.got[i], t.chance[i], t.paid[i] = 1, 1, amount(payments[j])
	}
	return nil
}

// sellShares gives shares of a divisible unit, of which all pay, or chances of
// which the winner pays, in expectation: the farm has no such lane, and the draw
// would only widen the intervals.
func sellShares(winnerPays bool) func(*session, []offer, [32]byte, *trades) error {
	return func(_ *session, offers []offer, _ [32]byte, t *trades) error {
		sum := 0.0
		for i := range offers {
			sum += offers[i].price
		}
		if sum == 0 {
			return nil
		}
		for i := range offers {
			x := offers[i].price / sum
			t.got[i], t.chance[i], t.paid[i] = x, x, offers[i].price
			if winnerPays {
				t.paid[i] *= x
			}
		}
		return nil
	}
}

// drawTicket is auction.DrawTicket.
func drawTicket(winnerPays bool) func(*session, []offer, [32]byte, *trades) error {
	return func(s *session, offers []offer, seed [32]byte, t *trades) error {
		var holdings []auction.Holding
		var places []int
		total := 0.0
		for i := range offers {
			if n := offers[i].price; n > 0 {
				holdings = append(holdings, auction.Holding{Owner: nameOf(i), Tickets: uint64(n)})
				places = append(places, i)
				total += n
			}
		}
		if len(holdings) == 0 {
			return nil
		}
		drawn, err := auction.DrawTicket(seed, holdings)
		if err != nil {
			return err
		}
		for _, i := range places {
			t.chance[i] = offers[i].price / total
			if !winnerPays {
				t.paid[i] = offers[i].price * s.ticket
			}
		}
		winner := places[drawn]
		t.got[winner] = 1
		if winnerPays {
			t.paid[winner] = s.ticket
		}
		return nil
	}
}

// nameOf is the key of an offer's name; keys ascend with places.
func nameOf(place int) (key [32]byte) {
	binary.BigEndian.PutUint64(key[:], uint64(place)+1)
	return key
}

// buyOne is the farm's spot auction at a constant value: auction.Clear. Every
// name is a domain of its own, as a sybil's are if they were admitted.
func buyOne(s *session, offers []offer, seed [32]byte, t *trades) error {
	bids := make([]auction.Bid, len(offers))
	for i := range offers {
		bids[i] = auction.Bid{Worker: nameOf(i), Operator: nameOf(i), Domain: s.domains[i], Price: credits(offers[i].price)}
	}
	reserve := credits(s.Reserve)
	outcome, err := auction.Clear(bids, auction.Constant(reserve), seed[:])
	if err != nil {
		return err
	}
	winner, ok := outcome.Winner()
	if !ok {
		return nil
	}
	payment, err := auction.Payment(reserve, outcome.Reference, reserve)
	if err != nil {
		return err
	}
	i := int(binary.BigEndian.Uint64(winner.Worker[:])) - 1
	t.got[i], t.chance[i], t.paid[i] = 1, 1, amount(payment)
	return nil
}

// buyUnits is the batch lane: auction.ClearBatch.
func buyUnits(pricing auction.Pricing) func(*session, []offer, [32]byte, *trades) error {
	return func(s *session, offers []offer, _ [32]byte, t *trades) error {
		asks := make([]auction.Ask, len(offers))
		for i := range offers {
			asks[i] = auction.Ask{Price: credits(offers[i].price), Capacity: uint64(offers[i].units)}
		}
		out, err := auction.ClearBatch(asks, uint64(s.Units), credits(s.Reserve), pricing)
		if err != nil {
			return fmt.Errorf("%w (%v)", err, pricing)
		}
		for i, n := range out.Allocation {
			t.got[i], t.chance[i], t.paid[i] = float64(n), float64(n), amount(out.Payments[i])
		}
		return nil
	}
}

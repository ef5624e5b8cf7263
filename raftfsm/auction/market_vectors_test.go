package auction

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/escrow"
)

// marketCase is a case of testdata/market.json about many units, slots or periods.
type marketCase struct {
	ID, Rule, Pricing string
	Reserve           escrow.Credits
	Units, Supply     uint64
	Slots             int
	Periods           uint8
	Sellers           []marketBid `json:"seller_bids"`
	Buyers            []marketBid `json:"buyer_bids"`
	Held              []namedRange
	Bid               namedRange
	Expect            struct {
		Allocation    map[string]uint64
		Payments      map[string]escrow.Credits
		Order, Filled []string
		First         map[string]escrow.Credits `json:"payments_first"`
		Uniform       map[string]escrow.Credits `json:"payments_uniform_last"`
		Refunds       map[string]escrow.Credits `json:"refunds_first"`
		Forfeited     map[string]escrow.Credits
		Winner        string
		Payment       escrow.Credits
		Winners       []namedRange
		Total         escrow.Credits
		LosingTotal   escrow.Credits `json:"losing_total"`
		LosingAverage escrow.Credits `json:"losing_average"`
		Ranges        int
		Accepted      bool
		Community     uint64
		Auctioned     uint64
	}
}

type marketBid struct {
	ID          string
	Price       escrow.Credits
	Capacity    uint64
	Prepaid     escrow.Credits
	Total       escrow.Credits `json:"price_total"`
	Quantity    uint64
	Revealed    *bool
	First, Last uint8
	PerPeriod   escrow.Credits `json:"per_period"`
}

// namedRange is a bidder and a range of periods, written as ["B", 1, 2].
type namedRange struct {
	Bidder      string
	First, Last uint8
}

func (n *namedRange) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&n.Bidder, &n.First, &n.Last})
}

// notZero drops who gets nothing, whom the cases do not list.
func notZero[V comparable](all map[string]V) map[string]V {
	var zero V
	kept := map[string]V{}
	for name, v := range all {
		if v != zero {
			kept[name] = v
		}
	}
	return kept
}

// same fails the test unless what is got is what a case expects, if it says so.
func same[V comparable](t *testing.T, what string, got, want map[string]V) {
	t.Helper()
	if want != nil && !reflect.DeepEqual(notZero(got), notZero(want)) {
		t.Errorf("%s %v, want %v", what, got, want)
	}
}

func TestBatchVectors(t *testing.T) {
	for _, c := range casesOf[marketCase](t, 11, "batch") {
		t.Run(c.ID, func(t *testing.T) {
			pricing, err := ParsePricing(c.Pricing)
			if err != nil {
				t.Fatal(err)
			}
			var asks []Ask
			var entries []Entry
			names := map[[32]byte]string{}
			for i, b := range c.Sellers {
				asks = append(asks, Ask{Price: b.Price, Capacity: b.Capacity})
				entries = append(entries, Entry{ID: key(byte(i)), Price: b.Price, Units: b.Capacity})
				names[key(byte(i))] = b.ID
			}
			out := mustClear(t, asks, c.Units, c.Reserve, pricing)
			allocation, payments := map[string]uint64{}, map[string]escrow.Credits{}
			for i, b := range c.Sellers {
				allocation[b.ID], payments[b.ID] = out.Allocation[i], out.Payments[i]
			}
			same(t, "allocation", allocation, c.Expect.Allocation)
			same(t, "payments", payments, c.Expect.Payments)
			standing, err := NewStanding(entries)
			if err != nil {
				t.Fatal(err)
			}
			cleared, err := standing.Clear(c.Units, c.Reserve, pricing)
			if err != nil {
				t.Fatal(err)
			}
			clear(payments)
			for _, w := range cleared.Wins {
				payments[names[w.Entry.ID]] = w.Payment
			}
			same(t, "payments of standing bids", payments, c.Expect.Payments)
		})
	}
}

func TestForwardVectors(t *testing.T) {
	for _, c := range casesOf[marketCase](t, 2, "gsp-forward", "vickrey-forward") {
		t.Run(c.ID, func(t *testing.T) {
			var prices []escrow.Credits
			for _, b := range c.Buyers {
				prices = append(prices, b.Price)
			}
			if c.Rule == "vickrey-forward" {
				winner, payment, err := SellOne(prices, c.Reserve)
				if err != nil || c.Buyers[winner].ID != c.Expect.Winner || payment != c.Expect.Payment {
					t.Errorf("place %d pays %d, %v; want %+v", winner, payment, err, c.Expect)
				}
				return
			}
			order, paid, err := SellSlots(prices, c.Slots)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			payments := map[string]escrow.Credits{}
			for slot, place := range order {
				names = append(names, c.Buyers[place].ID)
				payments[c.Buyers[place].ID] = paid[slot]
			}
			if !slices.Equal(names, c.Expect.Order) {
				t.Errorf("order %v, want %v", names, c.Expect.Order)
			}
			same(t, "payments", payments, c.Expect.Payments)
		})
	}
}

// Each bid of the case is sealed and opened on its way to FillBlind.
func TestBlindVectors(t *testing.T) {
	for _, c := range casesOf[marketCase](t, 1, "blind-fill") {
		var bids []BlindBid
		for i, b := range c.Buyers {
			opening := BlindOpening{b.Total, b.Quantity, key(byte(i))}
			seal := opening.Seal(key(90), key(byte(i)))
			if b.Revealed != nil && !*b.Revealed {
				opening = BlindOpening{}
			}
			bids = append(bids, OpenBlind(seal, key(90), key(byte(i)), b.Prepaid, opening))
		}
		for _, uniform := range []bool{false, true} {
			out, err := FillBlind(bids, c.Supply, uniform)
			if err != nil {
				t.Fatal(err)
			}
			var filled []string
			payments, refunds, forfeited := map[string]escrow.Credits{}, map[string]escrow.Credits{}, map[string]escrow.Credits{}
			for i, b := range c.Buyers {
				if out.Filled[i] {
					filled = append(filled, b.ID)
				}
				payments[b.ID], refunds[b.ID], forfeited[b.ID] = out.Payments[i], out.Refunds[i], out.Forfeited[i]
			}
			if !slices.Equal(filled, c.Expect.Filled) {
				t.Errorf("%v are filled, want %v", filled, c.Expect.Filled)
			}
			same(t, "forfeited", forfeited, c.Expect.Forfeited)
			if uniform {
				same(t, "payments", payments, c.Expect.Uniform)
			} else {
				same(t, "payments", payments, c.Expect.First)
				same(t, "refunds", refunds, c.Expect.Refunds)
			}
		}
	}
}

// named is a bidder's id out of a name of a case.
func named(name string) (id [32]byte) {
	copy(id[:], name)
	return id
}

func TestCandleVectors(t *testing.T) {
	for _, c := range casesOf[marketCase](t, 6, "candle-winners", "candle-ranges", "candle-bid", "candle-slots") {
		t.Run(c.ID, func(t *testing.T) {
			switch k := NewCandleBook(c.Periods); c.Rule {
			case "candle-winners":
				candleWinners(t, c, &k)
			case "candle-ranges":
				if got := RangeCount(int(c.Periods)); got != c.Expect.Ranges {
					t.Errorf("%d ranges, want %d", got, c.Expect.Ranges)
				}
			case "candle-bid":
				for _, h := range c.Held {
					if err := k.Place(CandleBid{named(h.Bidder), h.First, h.Last, 1}); err != nil {
						t.Fatal(err)
					}
				}
				if err := k.Place(CandleBid{named(c.Bid.Bidder), c.Bid.First, c.Bid.Last, 1}); (err == nil) != c.Expect.Accepted {
					t.Errorf("%v, want accepted: %v", err, c.Expect.Accepted)
				}
			case "candle-slots":
				if community, auctioned := CommunitySlots(uint64(c.Slots)); community != c.Expect.Community || auctioned != c.Expect.Auctioned {
					t.Errorf("%d and %d, want %+v", community, auctioned, c.Expect)
				}
			}
		})
	}
}

func candleWinners(t *testing.T, c marketCase, k *CandleBook) {
	t.Helper()
	for _, b := range c.Buyers {
		if err := k.Place(CandleBid{named(b.ID), b.First, b.Last, b.PerPeriod}); err != nil {
			t.Fatal(err)
		}
	}
	winners, total := k.Winners()
	var got []namedRange
	for _, w := range winners {
		got = append(got, namedRange{strings.TrimRight(string(w.Bidder[:]), "\x00"), w.First, w.Last})
	}
	_, second := k.RunnerUp()
	if !slices.Equal(got, c.Expect.Winners) || total != c.Expect.Total || second != c.Expect.LosingTotal || second/escrow.Credits(c.Periods) != c.Expect.LosingAverage {
		t.Errorf("%v for %d before %d, want %+v", got, total, second, c.Expect)
	}
}

// Every case of the file is read by a test of this package, but for those of the
// laboratory and those of draws, which are read where they belong.
func TestVectorsAreAllRead(t *testing.T) {
	here := []string{"score", "vickrey", "vickrey-forward", "score-realized", "score-realized-cost-covered", "stake", "odds",
		"batch", "gsp-forward", "blind-fill", "candle-winners", "candle-ranges", "candle-bid", "candle-slots"}
	count := map[string]int{}
	for _, c := range casesOf[marketCase](t, 55) {
		switch {
		case slices.Contains(here, c.Rule):
			count["here"]++
		case strings.HasPrefix(c.Rule, "lab-"), c.Rule == "draw":
			count["elsewhere"]++
		default:
			t.Errorf("%s: nobody reads rule %q", c.ID, c.Rule)
		}
	}
	if want := map[string]int{"here": 41, "elsewhere": 14}; fmt.Sprint(count) != fmt.Sprint(want) {
		t.Errorf("%v cases, want %v", count, want)
	}
}

package build

import (
	"bytes"
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// canonical fails unless what a decoder accepts is what encoding gives.
func canonical[T any, P interface {
	*T
	wire.Record
}](t *testing.T, input []byte) {
	t.Helper()
	record := P(new(T))
	if wire.Decode(input, record) != nil {
		return
	}
	if !bytes.Equal(wire.Encode(record), input) {
		t.Fatalf("%x decodes as %T and encodes otherwise", input, record)
	}
}

// everyMarket has something in every part of it.
func everyMarket() *Market {
	bid := auction.CandleBid{Bidder: fill(1), First: 1, Last: 2, PerPeriod: escrow.One}
	book := auction.NewCandleBook(auction.MaxPeriods)
	must(book.Place(bid))
	held := HeldBid{Bid: bid, Hold: fill(2), At: 17}
	ask := Ask{Worker: fill(3), Commitment: fill(4), Bond: fill(5), Opened: true, Price: 7, Capacity: 8, Tie: fill(6), Given: 1}
	lot := Lot{Asks: []uint32{0}, Paid: []escrow.Credits{7}, Units: 1}
	m := NewMarket(fill(9), "pool")
	m.Epoch = Epoch{
		Number: 2, State: EpochRunning, OpenedAt: 5, Deadline: 6, Next: []Ask{ask}, Asks: []Ask{ask}, Lots: []Lot{lot}, Units: []Unit{{Build: fill(7)}},
		Last: &Clearing{Number: 1, ClosedAt: 4, Reserve: 10, Asks: []Ask{ask}, Lots: []Lot{lot}, Units: []Unit{{Build: fill(8)}}},
	}
	m.Seals, m.Sealing = 3, true
	m.Candle = Candle{Number: 2, State: CandleEnding, Deadline: 9, EndingAt: 8, Book: book, Bids: []HeldBid{held},
		Last: &CandleClose{Number: 1, EndingAt: 3, DrawnAt: 4, Step: 1, Bids: []HeldBid{held}, Free: []ID{fill(3)}, Worker: fill(3), Won: []auction.CandleBid{bid}}}
	m.Leases = []Reservation{{Auction: 1, Holder: fill(1), Worker: fill(3), From: 4, Until: 24, PerPeriod: escrow.One, Holds: []escrow.TransferID{fill(10), fill(11)}, Begun: 1}}
	m.Lottery = Lottery{
		Draws: 2, Awaiting: true, Pending: []auction.Holding{{Owner: fill(1), Tickets: 2, Most: 1}}, Wanted: 1, Deadline: 30, Slots: 2, Sold: 9, Holders: []TicketHolder{{Owner: fill(1), Tickets: 3, Holds: []escrow.TransferID{fill(12), fill(13), fill(14)}}},
		Upcoming: []Slot{{Number: 2, Draw: 1, Owner: fill(1)}}, Taken: []Slot{{Number: 1, Draw: 1, Owner: fill(2), Build: fill(7)}},
		Drawn: []TicketDraw{{Number: 1, Holdings: []auction.Holding{{Owner: fill(1), Tickets: 3}}, Owners: []ID{fill(1)}}},
	}
	m.Index = []Quote{{At: 5, Kind: QuoteLease, Amount: escrow.One, Units: 2}}
	return m
}

func everyPool() []Pool {
	return []Pool{
		{Name: "spot", Lane: LaneSpot, Domain: DomainOperator, Class: "linux/amd64", Operators: []string{"a", "b"}},
		{Name: "house", Lane: LaneHouse, Domain: DomainMachine},
		{Name: "batch", Lane: LaneBatch, Domain: DomainOperator, Shares: "spot", Batch: BatchRules{EpochMillis: 1_000, Reserve: 5, Pricing: auction.PricingVCG, Metered: true}},
		{Name: "lease", Lane: LaneLease, Domain: DomainOperator, Lease: LeaseRules{PeriodMillis: 1_000, OpeningMillis: 1, EndingMillis: 10, Samples: 10, Slots: 5, Reserve: 1}},
		{Name: "lottery", Lane: LaneLottery, Domain: DomainOperator, Lottery: LotteryRules{Price: 1, Rule: auction.TicketWinnerPays, Lookahead: 2, SlotMillis: 100}},
	}
}

// A field that its Code forgets would be lost with every snapshot.
func TestMarketRoundTrip(t *testing.T) {
	m := everyMarket()
	raw := wire.Encode(m)
	var got Market
	if err := wire.Decode(raw, &got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(wire.Encode(&got), raw) {
		t.Error("a decoded market encodes otherwise")
	}
	if l := got.Candle.Last; l == nil || l.Worker != fill(3) || len(l.Free) != 1 || got.Epoch.Last == nil || got.Lottery.Holders[0].Tickets != 3 || got.Lottery.Sold != 9 {
		t.Errorf("lost on the way: %+v", got)
	}
	for n := range raw { // every truncation is refused
		if wire.Decode(raw[:n], &Market{}) == nil {
			t.Fatalf("%d of %d bytes decode", n, len(raw))
		}
	}
	for _, p := range everyPool() {
		if err := p.Validate(); err != nil {
			t.Error(err)
		}
		canonical[Pool](t, wire.Encode(&p))
	}
}

func FuzzMarketDecode(f *testing.F) {
	f.Add(wire.Encode(everyMarket()))
	f.Add(wire.Encode(NewMarket(fill(1), "empty")))
	f.Fuzz(func(t *testing.T, input []byte) {
		canonical[Market](t, input)
		var m Market
		if wire.Decode(input, &m) != nil {
			return
		}
		// Whatever is taken in can be read.
		m.NextDeadline()
		m.Demand()
		m.Public().Accounts()
		m.EachPart(func(part Part, name ID) {
			if m.Part(part, name) == nil {
				t.Errorf("part %d %x is named and is not there", part, name[:4])
			}
		})
		if m.Epoch.Last != nil {
			for i := range m.Epoch.Last.Lots {
				m.Epoch.Last.Lot(i)
			}
		}
	})
}

func FuzzPoolDecode(f *testing.F) {
	for _, p := range everyPool() {
		f.Add(wire.Encode(&p))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		canonical[Pool](t, input)
		canonical[MakePool](t, input)
		var p Pool
		if wire.Decode(input, &p) == nil {
			_ = p.Validate() // whatever came in, it says so and does not stop
		}
	})
}

func FuzzMarketCommandsDecode(f *testing.F) {
	for _, r := range []wire.Record{
		&PlaceAsk{Pool: "batch", Epoch: 1, Commitment: fill(1)},
		&OpenAsk{Pool: "batch", Epoch: 1, Price: 2, Capacity: 3, Nonce: fill(2)},
		&LeaseBid{Pool: "lease", Auction: 1, First: 1, Last: 4, PerPeriod: 5},
		&BuyTickets{Pool: "lottery", Count: 7},
		&Lend{Pool: "lease", Holder: fill(3), Periods: 2},
	} {
		f.Add(wire.Encode(r))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		canonical[PlaceAsk](t, input)
		canonical[OpenAsk](t, input)
		canonical[LeaseBid](t, input)
		canonical[BuyTickets](t, input)
		canonical[Lend](t, input)
	})
}

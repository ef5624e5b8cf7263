package cases

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
)

// held is a range of periods that a bidder is winning or bids for, in JSON
// [bidder, first, last].
type held struct {
	bidder      string
	first, last uint8
}

// UnmarshalJSON reads the three.
func (h *held) UnmarshalJSON(raw []byte) error {
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) == nil && len(parts) == 3 &&
		json.Unmarshal(parts[0], &h.bidder) == nil && json.Unmarshal(parts[1], &h.first) == nil && json.Unmarshal(parts[2], &h.last) == nil {
		return nil
	}
	return refuse("malformed", "%.60s is no range: want [\"bidder\", first, last]", raw)
}

// book is the case's candle auction, without bids.
func (c *Case) book() (auction.CandleBook, error) {
	if c.Periods == nil {
		return auction.CandleBook{}, refuse("malformed", "periods is missing: want 1 to %d", auction.MaxPeriods)
	}
	if *c.Periods < 1 || *c.Periods > auction.MaxPeriods {
		return auction.CandleBook{}, refuse("out-of-range", "%d periods: want 1 to %d", *c.Periods, auction.MaxPeriods)
	}
	return auction.NewCandleBook(*c.Periods), nil
}

// candleWinners lets the candle go out over bids that stand. They are a state, and
// not a sequence of bids: whether one of them was allowed when it was placed, such
// as one that leaves a gap to others of its bidder, depends on what stood then, and
// is candle-bid's question. Here a gap excludes nobody, and the order listed decides
// one thing alone: where two stand for the same range it is the better bid, the
// earlier of equal ones. A bidder may bid for many ranges. Partitions of equal
// totals are told apart by the names of their bidders, in order.
func candleWinners(c *Case) (Result, error) {
	book, err := c.book()
	if err != nil {
		return nil, err
	}
	if err := need("buyer_bids", c.Buyers, perPeriod); err != nil {
		return nil, err
	}
	type bid struct {
		bidder      string
		first, last uint8
	}
	names, seen := map[string]struct{}{}, map[bid]struct{}{}
	for i := range c.Buyers {
		b := &c.Buyers[i]
		names[b.ID] = struct{}{}
		once := bid{b.ID, b.First, b.Last}
		if _, ok := seen[once]; ok {
			return nil, refuse("duplicate", "%q bids twice for periods %d to %d", b.ID, b.First, b.Last)
		}
		seen[once] = struct{}{}
	}
	place := ranks(names)
	who := make(map[[32]byte]string, len(place))
	for name, n := range place {
		who[bidderKey(n)] = name
	}
	for i := range c.Buyers {
		b := &c.Buyers[i]
		x := auction.CandleBid{Bidder: bidderKey(place[b.ID]), First: b.First, Last: b.Last, PerPeriod: *b.PerPeriod}
		if err := x.Validate(book.Periods); err != nil {
			return nil, RefusalOf(err).of(b.ID)
		}
		switch at, found := slices.BinarySearchFunc(book.Best, x, byRange); {
		case !found:
			book.Best = slices.Insert(book.Best, at, x)
		case x.PerPeriod > book.Best[at].PerPeriod:
			book.Best[at] = x
		}
	}
	winners, total := book.Winners()
	_, losing := book.RunnerUp()
	average, err := losing.MulDivFloor(1, int64(book.Periods))
	if err != nil {
		return nil, err
	}
	list := [][]any{}
	for _, w := range winners {
		list = append(list, []any{who[w.Bidder], w.First, w.Last})
	}
	return Result{"winners": list, "total": total, "losing_total": losing, "losing_average": average}, nil
}

// byRange is the order of a book's bids.
func byRange(a, b auction.CandleBid) int {
	return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
}

func candleRanges(c *Case) (Result, error) {
	book, err := c.book()
	if err != nil {
		return nil, err
	}
	return Result{"ranges": auction.RangeCount(int(book.Periods))}, nil
}

// candleBid tries a bid of more than anybody offers on an auction in which ranges
// are held. Those are the auction's state, in whatever way it came about: somebody
// who held 2 to 4 and was overbid on 3 holds 2 and 4, with a gap.
func candleBid(c *Case) (Result, error) {
	book, err := c.book()
	if err != nil {
		return nil, err
	}
	if c.Offer == nil {
		return nil, refuse("malformed", "bid is missing: want [\"bidder\", first, last]")
	}
	names := map[string]struct{}{}
	for i, h := range slices.Concat(c.Held, []held{*c.Offer}) {
		if err := named("held and bid", i, h.bidder); err != nil {
			return nil, err
		}
		names[h.bidder] = struct{}{}
	}
	place := ranks(names)
	bid := func(h held, perPeriod escrow.Credits) (auction.CandleBid, error) {
		b := auction.CandleBid{Bidder: bidderKey(place[h.bidder]), First: h.first, Last: h.last, PerPeriod: perPeriod}
		if err := b.Validate(book.Periods); err != nil {
			return b, RefusalOf(err).of(h.bidder)
		}
		return b, nil
	}
	for _, h := range c.Held {
		b, err := bid(h, 1)
		if err != nil {
			return nil, err
		}
		at, found := slices.BinarySearchFunc(book.Best, b, byRange)
		if found {
			return nil, refuse("duplicate", "periods %d to %d are held twice", h.first, h.last)
		}
		book.Best = slices.Insert(book.Best, at, b)
	}
	b, err := bid(*c.Offer, 2) // above all that are held
	if err != nil {
		return nil, err
	}
	err = book.Place(b)
	if err != nil && !errors.Is(err, auction.ErrRefused) {
		return nil, err
	}
	return Result{"accepted": err == nil}, nil
}

func candleSlots(c *Case) (Result, error) {
	n, err := count(c.Slots, "slots")
	if err != nil {
		return nil, err
	}
	community, auctioned := auction.CommunitySlots(n)
	return Result{"community": community, "auctioned": auctioned}, nil
}

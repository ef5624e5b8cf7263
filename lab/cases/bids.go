package cases

import (
	"encoding/binary"
	"encoding/json"
	"errors"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Bid is a seller's or buyer's bid in a case. Amounts are micro-credits; nil is
// one that the case does not give.
type Bid struct {
	ID       string          `json:"id"`
	Value    *escrow.Credits `json:"value"`
	Price    *escrow.Credits `json:"price"`
	Capacity *uint64         `json:"capacity"` // absent is 1
	// Domain is the independence domain; the id where there is none.
	Domain string `json:"domain"`

	// Of blind bids.
	Prepaid    *escrow.Credits `json:"prepaid"`
	PriceTotal *escrow.Credits `json:"price_total"`
	Quantity   *uint64         `json:"quantity"`
	Revealed   *bool           `json:"revealed"` // absent is true

	// Of candle bids.
	First     uint8           `json:"first"`
	Last      uint8           `json:"last"`
	PerPeriod *escrow.Credits `json:"per_period"`

	// Of bids for builds that differ: the price of each build it can do.
	Prices map[string]escrow.Credits `json:"prices"`
}

// amount is one of a bid's amounts, by the name that a case gives it.
type amount struct {
	name string
	of   func(*Bid) *escrow.Credits
}

var (
	value     = amount{"value", func(b *Bid) *escrow.Credits { return b.Value }}
	price     = amount{"price", func(b *Bid) *escrow.Credits { return b.Price }}
	prepaid   = amount{"prepaid", func(b *Bid) *escrow.Credits { return b.Prepaid }}
	perPeriod = amount{"per_period", func(b *Bid) *escrow.Credits { return b.PerPeriod }}
)

// maxIDBytes bounds a bidder's id: it is its independence domain too.
const maxIDBytes = auction.MaxDomainBytes

// maxBids bounds the bids of a case, as the farm bounds the asks of a clearing.
const maxBids = auction.MaxAsks

// need holds a list of bids to its form: it is there, every bid has an id and the
// amounts asked for, and all of its amounts are in range.
func need(list string, bids []Bid, amounts ...amount) error {
	if bids == nil {
		return refuse("malformed", "%s is missing: want a list, [] for none", list)
	}
	if len(bids) > maxBids {
		return refuse("out-of-range", "%s has %d entries, want at most %d", list, len(bids), maxBids)
	}
	for i := range bids {
		b := &bids[i]
		if err := named(list, i, b.ID); err != nil {
			return err
		}
		if len(b.Domain) > maxIDBytes {
			return refuse("out-of-range", "the domain of %q is longer than %d bytes", b.ID, maxIDBytes)
		}
		for _, a := range amounts {
			if a.of(b) == nil {
				return refuse("malformed", "%q of %s has no %s: want micro-credits", b.ID, list, a.name)
			}
		}
		for _, a := range []amount{value, price, prepaid, perPeriod, {"price_total", func(b *Bid) *escrow.Credits { return b.PriceTotal }}} {
			if err := inRange(a.of(b), "the %s of %q", a.name, b.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// named refuses the i-th entry of a list if it has no usable name.
func named(list string, i int, id string) error {
	switch {
	case id == "":
		return refuse("malformed", "entry %d of %s has no name: want a short text", i+1, list)
	case len(id) > maxIDBytes:
		return refuse("out-of-range", "entry %d of %s has a name of %d bytes, want at most %d", i+1, list, len(id), maxIDBytes)
	}
	return nil
}

// distinct refuses a list in which two entries have the same name.
func distinct[T any](list string, entries []T, name func(*T) string) error {
	seen := make(map[string]struct{}, len(entries))
	for i := range entries {
		id := name(&entries[i])
		if _, ok := seen[id]; ok {
			return refuse("duplicate", "%q is in %s twice", id, list)
		}
		seen[id] = struct{}{}
	}
	return nil
}

// needOne is need for auctions in which one bids once.
func needOne(list string, bids []Bid, amounts ...amount) error {
	if err := need(list, bids, amounts...); err != nil {
		return err
	}
	return distinct(list, bids, func(b *Bid) string { return b.ID })
}

// inRange refuses an amount, if there is one, below 0 or beyond 2^62.
func inRange(x *escrow.Credits, what string, args ...any) error {
	if x == nil || *x >= 0 && x.Valid() {
		return nil
	}
	return refuse("out-of-range", what+" is %d micro-credits: want 0 to 2^62", append(args, int64(*x))...)
}

// given is an amount that a case must give.
func given(x *escrow.Credits, name string) (escrow.Credits, error) {
	if x == nil {
		return 0, refuse("malformed", "%s is missing: want micro-credits", name)
	}
	return *x, inRange(x, "%s", name)
}

// optional is an amount that a case may give.
func optional(x *escrow.Credits, name string, otherwise escrow.Credits) (escrow.Credits, error) {
	if x == nil {
		return otherwise, nil
	}
	return *x, inRange(x, "%s", name)
}

// count is a number of things that a case must give.
func count(x *uint64, name string) (uint64, error) {
	switch {
	case x == nil:
		return 0, refuse("malformed", "%s is missing: want a whole number", name)
	case *x < 1 || *x > auction.MaxUnits:
		return 0, refuse("out-of-range", "%s is %d: want 1 to %d", name, *x, uint64(auction.MaxUnits))
	}
	return *x, nil
}

// outcome is a value that was realised: an amount, null for a failure, or absent.
type outcome struct {
	given bool
	value *escrow.Credits
}

// UnmarshalJSON tells null from absent.
func (o *outcome) UnmarshalJSON(raw []byte) error {
	o.given = true
	err := json.Unmarshal(raw, &o.value)
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		t.Field = "realized"
	}
	return err
}

// bidderKey is the key of the n-th bidder, below 2^32, where a case has names and
// the farm has keys: so that keys sort as places do, and differ in the first bytes,
// which is what errors tell of them.
func bidderKey(n int) (key [32]byte) {
	binary.BigEndian.PutUint32(key[:], uint32(n))
	return key
}

// ranks is the place of each name among all, sorted.
func ranks(names map[string]struct{}) map[string]int {
	out := make(map[string]int, len(names))
	for i, name := range wire.SortedKeys(names, compareText) {
		out[name] = i
	}
	return out
}

package cases

import (
	"encoding/hex"
	"slices"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/draw"
	"gavel/raftfsm/wire"
)

// Tickets are an owner's in a lottery. The farm sorts owners by key before it
// draws: with a key they are, without one the order listed is the keys' order.
type Tickets struct {
	Owner   string `json:"owner"`
	Key     string `json:"key,omitempty"` // 32 bytes in hex; for all owners or none
	Tickets uint64 `json:"tickets"`
	Most    uint64 `json:"most,omitempty"` // slots it can be drawn for; none given: as many as it has tickets
}

// maxPermutation bounds the names of a drawn permutation.
const maxPermutation = auction.MaxDomains

// lottery draws the owners of the next slots.
func lottery(c *Case) (Result, error) {
	seed, err := c.seed()
	if err != nil {
		return nil, err
	}
	draws := 1
	if c.Draws != nil {
		draws = *c.Draws
	}
	if draws < 1 || draws > auction.MaxSlots {
		return nil, refuse("out-of-range", "%d draws: want 1 to %d", draws, auction.MaxSlots)
	}
	holdings, who, err := c.holdings()
	if err != nil {
		return nil, err
	}
	places, err := auction.DrawTickets(seed, holdings, draws)
	if err != nil {
		return nil, renamed(err, who)
	}
	owners := make([]string, len(places))
	for i, at := range places {
		owners[i] = who[holdings[at].Owner]
	}
	return Result{"owners": owners}, nil
}

// holdings are the case's tickets, sorted as the farm sorts them.
func (c *Case) holdings() ([]auction.Holding, map[[32]byte]string, error) {
	if len(c.Tickets) < 1 || len(c.Tickets) > auction.MaxHolders {
		return nil, nil, refuse("out-of-range", "%d owners of tickets: want 1 to %d", len(c.Tickets), auction.MaxHolders)
	}
	if err := distinct("tickets", c.Tickets, func(t *Tickets) string { return t.Owner }); err != nil {
		return nil, nil, err
	}
	who := make(map[[32]byte]string, len(c.Tickets))
	list := make([]auction.Holding, len(c.Tickets))
	for i, t := range c.Tickets {
		if err := named("tickets", i, t.Owner); err != nil {
			return nil, nil, err
		}
		if t.Tickets == 0 {
			return nil, nil, refuse("out-of-range", "%q holds 0 tickets: want 1 or more", t.Owner)
		}
		if (t.Key == "") != (c.Tickets[0].Key == "") {
			return nil, nil, refuse("malformed", "some owners of tickets have a key: want all or none")
		}
		key := bidderKey(i)
		if t.Key != "" {
			raw, err := hex.DecodeString(t.Key)
			if err != nil || len(raw) != len(key) {
				return nil, nil, refuse("malformed", "the key of %q is no 32 bytes in hex", t.Owner)
			}
			key = [32]byte(raw)
		}
		if _, ok := who[key]; ok {
			return nil, nil, refuse("duplicate", "the key of %q is another owner's too", t.Owner)
		}
		who[key], list[i] = t.Owner, auction.Holding{Owner: key, Tickets: t.Tickets, Most: t.Most}
	}
	slices.SortFunc(list, func(a, b auction.Holding) int { return wire.Compare32(a.Owner, b.Owner) })
	return list, who, nil
}

// seed is the case's 32 bytes of randomness.
func (c *Case) seed() (seed [32]byte, err error) {
	raw, err := hex.DecodeString(c.SeedHex)
	if err != nil || len(raw) != len(seed) {
		return seed, refuse("malformed", "seed_hex is no 32 bytes in hex")
	}
	return [32]byte(raw), nil
}

// permutation draws an order of n names.
func permutation(c *Case) (Result, error) {
	seed, err := c.seed()
	if err != nil {
		return nil, err
	}
	if c.Many < 1 || c.Many > maxPermutation {
		return nil, refuse("out-of-range", "a permutation of n = %d: want 1 to %d", c.Many, maxPermutation)
	}
	return Result{"permutation": draw.NewStream(seed).Permutation(c.Many)}, nil
}

package build

import (
	"slices"

	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Public is the market as anybody may see it: of an epoch that is not cleared it
// shows who asks, not what for.
func (m *Market) Public() *Market {
	p := *m
	p.Epoch.Asks = slices.Clone(m.Epoch.Asks)
	for i := range p.Epoch.Asks {
		a := &p.Epoch.Asks[i]
		p.Epoch.Asks[i] = Ask{Worker: a.Worker, Commitment: a.Commitment, Bond: a.Bond, Opened: a.Opened}
	}
	p.Epoch.Lots, p.Epoch.Units = nil, nil
	return &p
}

// Accounts are the ids of all accounts that the market names, sorted.
func (m *Market) Accounts() []ID {
	set := map[ID]bool{}
	lists := [][]Ask{m.Epoch.Next, m.Epoch.Asks}
	if m.Epoch.Last != nil {
		lists = append(lists, m.Epoch.Last.Asks)
	}
	for _, asks := range lists {
		for i := range asks {
			set[asks[i].Worker] = true
		}
	}
	for i := range m.Candle.Bids {
		set[m.Candle.Bids[i].Bid.Bidder] = true
	}
	if l := m.Candle.Last; l != nil {
		if l.Worker != (ID{}) {
			set[l.Worker] = true
		}
		for i := range l.Bids {
			set[l.Bids[i].Bid.Bidder] = true
		}
	}
	for i := range m.Leases {
		set[m.Leases[i].Holder], set[m.Leases[i].Worker] = true, true
	}
	l := &m.Lottery
	for i := range l.Holders {
		set[l.Holders[i].Owner] = true
	}
	for _, s := range slices.Concat(l.Upcoming, l.Taken) {
		set[s.Owner] = true
	}
	for i := range l.Drawn {
		for _, h := range l.Drawn[i].Holdings {
			set[h.Owner] = true
		}
	}
	return wire.SortedKeys(set, wire.Compare32)
}

// LotCase is one cleared lot as anyone can clear it again: the asks that could
// serve it in the order in which equal prices are served, with the capacity that
// other lots left them, and what they were given and paid.
type LotCase struct {
	Asks  []Ask // Capacity and Given are of this lot alone
	Paid  []escrow.Credits
	Units uint64
}

// Lot lays out a lot of a cleared epoch; ok is false where there is none.
func (l *Clearing) Lot(i int) (c LotCase, ok bool) {
	if i < 0 || i >= len(l.Lots) {
		return c, false
	}
	lot := &l.Lots[i]
	given := make([]uint64, len(l.Asks))
	for _, u := range l.Units {
		if u.Lot == uint32(i) {
			given[u.Ask]++
		}
	}
	order := make([]int, len(lot.Asks)) // positions in lot.Asks
	for j := range order {
		order[j] = j
	}
	slices.SortFunc(order, func(x, y int) int {
		if l.Asks[lot.Asks[x]].cheaper(&l.Asks[lot.Asks[y]]) {
			return -1
		}
		return 1
	})
	c.Units = lot.Units
	for _, j := range order {
		at := lot.Asks[j]
		a := l.Asks[at]
		a.Capacity, a.Given = a.capacityLeft(given[at]), given[at]
		if a.Capacity == 0 {
			continue
		}
		c.Asks = append(c.Asks, a)
		c.Paid = append(c.Paid, lot.Paid[j])
	}
	return c, true
}

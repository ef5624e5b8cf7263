package raftfsm

import (
	"fmt"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// randomRules varies a pool's rules and what becomes of income with the seed.
func randomRules(seed uint64) func(*build.Pool, *build.Params) {
	return func(p *build.Pool, params *build.Params) {
		params.Treasury = build.TreasuryRule(1 + seed%3)
		switch p.Lane {
		case build.LaneBatch:
			p.Batch = build.BatchRules{EpochMillis: 4_000, Reserve: 10 * credit, Pricing: auction.Pricing(1 + seed%5)}
		case build.LaneLease:
			p.Lease = build.LeaseRules{PeriodMillis: 5_000, OpeningMillis: 1_000, EndingMillis: 2_000, Samples: 7, Slots: 5, Reserve: credit / 2}
		case build.LaneLottery:
			p.Lottery = build.LotteryRules{Price: credit / 2, Rule: auction.TicketRule(1 + seed/6%2), Lookahead: uint32(seed % 4), SlotMillis: 1_000}
		}
	}
}

// sharePools adds a pool of every lane but house that shares the first one's workers.
func (c *chaos) sharePools(seed uint64) {
	for _, lane := range []build.Lane{build.LaneBatch, build.LaneLease, build.LaneLottery, build.LaneLease} {
		p := build.Pool{Name: fmt.Sprintf("%v-%d", lane, len(c.state().Pools())), Lane: lane}
		rules, params := randomRules(seed), build.DefaultParams()
		rules(&p, &params)
		c.extraPool(p)
	}
}

// anyPool is one of the pools.
func (c *chaos) anyPool() *build.Pool {
	pools := c.state().Pools()
	return pools[c.rng.IntN(len(pools))]
}

// ask seals or opens an ask, now and then badly.
func (c *chaos) ask(w int, duties []AskDuty) (build.Command, bool) {
	if len(duties) == 0 {
		return build.Command{}, false
	}
	d := duties[c.rng.IntN(len(duties))]
	k, _ := c.state().Market(d.Pool)
	id := build.AccountID(c.workers[w])
	epoch := d.Epoch
	if d.Opens > 0 {
		epoch = d.Opens
	}
	slot := wire.NewHasher("test-ask").Fixed(id).U64(epoch).Sum()
	price := escrow.Credits(slot[0]%12) * credit
	capacity := 1 + uint64(slot[1]%5)
	switch {
	case d.Opens > 0 && c.rng.IntN(12) == 0:
		price++ // does not match
	case d.Opens == 0 && d.Sealed:
		return build.Command{}, false
	}
	if d.Opens > 0 {
		return c.command(c.workers[w], build.TypeOpenAsk, &build.OpenAsk{Pool: d.Pool, Epoch: epoch, Price: price, Capacity: capacity, Nonce: slot}), true
	}
	return c.command(c.workers[w], build.TypeAsk, &build.PlaceAsk{Pool: d.Pool, Epoch: epoch,
		Commitment: build.AskCommitment(c.state().Cluster(), k.ID, epoch, id, price, capacity, slot)}), true
}

// buyer buys capacity ahead, sensibly or not.
func (c *chaos) buyer() (build.Command, bool) {
	r := c.requesters[c.rng.IntN(len(c.requesters))]
	pool := c.anyPool().Name
	switch c.rng.IntN(4) {
	case 0:
		return c.command(c.admin, build.TypeCommunity, &build.Lend{Pool: pool, Holder: build.AccountID(r), Periods: uint32(c.rng.IntN(3))}), true
	case 1:
		return c.command(r, build.TypeTickets, &build.BuyTickets{Pool: pool, Count: uint64(c.rng.IntN(9))}), true
	}
	first := uint8(1 + c.rng.IntN(4))
	return c.command(r, build.TypeLeaseBid, &build.LeaseBid{Pool: pool, First: first, Last: first + uint8(c.rng.IntN(4)), PerPeriod: escrow.Credits(c.rng.IntN(60)) * credit / 10}), true
}

// postedOracle checks what a builder earned where its lane sets the price.
func postedOracle(b *build.Build, w *build.Attempt, got escrow.Credits) error {
	var want escrow.Credits
	switch b.Verdict {
	case build.Agreed, build.Unsampled:
		want = b.Share
	case build.Judged:
		if w.State == build.AttemptOpened && w.Result() == b.Delivered && !w.Slashed {
			want = b.Share
		}
	case build.NonDeterministic, build.EnvironmentDependent:
		if got != 0 && got != b.Price {
			return fmt.Errorf("the builder got %v, its ask was %v", got, b.Price)
		}
		return nil
	}
	if got != want {
		return fmt.Errorf("the builder got %v, want %v", got, want)
	}
	if b.Share != 0 && (b.Share < b.Price || b.Share > b.Terms.Reserve) {
		return fmt.Errorf("a share of %v for an ask of %v and a maximum of %v", b.Share, b.Price, b.Terms.Reserve)
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

func leaseCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lease",
		Short: "reserve a worker ahead of time",
		Long: `A lease pool sells its workers' slots ahead of time, one slot an auction, for up to
four periods, by candle auction: bids stand in the open, and the auction turns out to
have closed at a moment of its ending period that is drawn when it is over. Who was
winning then gets the lease; everybody else gets back what was reserved. A lease
holder's builds skip the auction and go to its worker, which serves nobody else.

  gavel lease bid --pool ahead --first 1 --last 2 --price 5    5 credits a period
  gavel lease list --pool ahead
  gavel lease lend --pool ahead --to alice --periods 2         a community slot, by the admin`,
		Args: wants(),
		RunE: action(func(_ context.Context, c *cobra.Command, _ []string) error { return c.Help() }),
	}
	c.AddCommand(leaseBidCommand(), leaseListCommand(), leaseLendCommand())
	return c
}

// leaseReport is a lease pool's market.
type leaseReport struct {
	Pool         string              `json:"pool"`
	Auction      uint64              `json:"auction"`
	State        string              `json:"state"`
	Deadline     int64               `json:"deadline,omitempty"`
	Bids         int                 `json:"bids"`
	Best         []rangeReport       `json:"best"`             // the best bid of each range
	Closed       *closedReport       `json:"closed,omitempty"` // the auction that closed last
	Reservations []reservationReport `json:"reservations"`
	Slots        uint64              `json:"slots"`
	Community    uint64              `json:"community"`
}

type rangeReport struct {
	Bidder    string `json:"bidder"`
	First     uint8  `json:"first"`
	Last      uint8  `json:"last"`
	PerPeriod int64  `json:"per_period"`
}

// closedReport is an auction that is over. It had closed when a sample of its
// ending period began, which was drawn when the period was over.
type closedReport struct {
	Auction  uint64        `json:"auction"`
	EndingAt int64         `json:"ending_at"` // farm time
	EndedAt  int64         `json:"ended_at"`  // of the ending period
	Sample   uint32        `json:"sample"`
	Samples  uint32        `json:"samples"`
	ClosedAt int64         `json:"closed_at"` // when that sample began: later bids are void
	Bids     []timedReport `json:"bids"`
	Won      []rangeReport `json:"won"`
	Worker   string        `json:"worker,omitempty"`
}

// timedReport is a bid that was taken at a farm time.
type timedReport struct {
	rangeReport
	At   int64 `json:"at"`
	Void bool  `json:"void,omitempty"` // came after the close
}

type reservationReport struct {
	Holder    string `json:"holder"`
	Worker    string `json:"worker"`
	From      int64  `json:"from"`
	Until     int64  `json:"until"`
	PerPeriod int64  `json:"per_period"`
	Running   bool   `json:"running"`
	Community bool   `json:"community,omitempty"`
}

func (v *poolView) ranges(bids []auction.CandleBid) []rangeReport {
	out := []rangeReport{}
	for _, b := range bids {
		out = append(out, rangeReport{Bidder: v.name(b.Bidder), First: b.First, Last: b.Last, PerPeriod: int64(b.PerPeriod)})
	}
	return out
}

func (v *poolView) leases() *leaseReport {
	a := &v.market.Candle
	r := &leaseReport{
		Pool: v.rules.Name, Auction: a.Number, State: a.State.String(), Deadline: a.Deadline, Bids: len(a.Bids), Best: v.ranges(a.Book.Best),
		Closed: v.closed(), Reservations: []reservationReport{},
	}
	r.Community, r.Slots = auction.CommunitySlots(uint64(v.rules.Lease.Slots))
	for i := range v.market.Leases {
		x := &v.market.Leases[i]
		r.Reservations = append(r.Reservations, reservationReport{
			Holder: v.name(x.Holder), Worker: v.name(x.Worker), From: x.From, Until: x.Until, PerPeriod: int64(x.PerPeriod), Running: x.Begun > 0, Community: x.Community,
		})
	}
	return r
}

// closed lays out the auction that closed last.
func (v *poolView) closed() *closedReport {
	l, rules := v.market.Candle.Last, &v.rules.Lease
	if l == nil {
		return nil
	}
	r := &closedReport{
		Auction: l.Number, EndingAt: l.EndingAt, EndedAt: l.EndingAt + rules.EndingMillis, Sample: l.Step, Samples: rules.Samples,
		ClosedAt: l.EndingAt + int64(l.Step)*(rules.EndingMillis/int64(rules.Samples)), Won: v.ranges(l.Won), Bids: []timedReport{},
	}
	if l.Worker != (build.ID{}) {
		r.Worker = v.name(l.Worker)
	}
	for _, b := range l.Bids {
		r.Bids = append(r.Bids, timedReport{rangeReport: v.ranges([]auction.CandleBid{b.Bid})[0], At: b.At, Void: b.At >= r.ClosedAt && b.At >= l.EndingAt})
	}
	return r
}

func (r *leaseReport) write(term *terminal) {
	term.print("  pool %s: %d slots are auctioned, %d are for community projects", r.Pool, r.Slots, r.Community)
	if r.State != build.CandleIdle.String() {
		term.print("  auction %d is %s, with %d bids", r.Auction, r.State, r.Bids)
	}
	for _, b := range r.Best {
		term.print("    periods %d to %d: %s offers %s a period", b.First, b.Last, b.Bidder, escrow.Credits(b.PerPeriod))
	}
	if r.Closed != nil {
		r.Closed.write(term)
	}
	for _, x := range r.Reservations {
		word := "will serve"
		if x.Running {
			word = "serves"
		}
		term.print("  %s %s %s alone, from %.1f s to %.1f s of farm time", x.Worker, word, x.Holder, float64(x.From)/1000, float64(x.Until)/1000)
	}
}

func (r *closedReport) write(term *terminal) {
	seconds := func(millis int64) float64 { return float64(millis) / 1000 }
	term.print("  auction %d ended at %.1f s of farm time and had closed at %.1f s (sample %d of %d, drawn afterwards):",
		r.Auction, seconds(r.EndedAt), seconds(r.ClosedAt), r.Sample+1, r.Samples)
	for _, b := range r.Bids {
		remark := ""
		if b.Void {
			remark = ", too late"
		}
		term.print("    %7.1f s  %s: %s for each of periods %d to %d%s", seconds(b.At), b.Bidder, escrow.Credits(b.PerPeriod), b.First, b.Last, remark)
	}
	for _, b := range r.Won {
		term.print("  %s won periods %d to %d of %s, at %s each", b.Bidder, b.First, b.Last, r.Worker, escrow.Credits(b.PerPeriod))
	}
	if len(r.Won) == 0 {
		term.print("  nobody won")
	}
}

func leaseBidCommand() *cobra.Command {
	var dir, pool, key string
	var asJSON bool
	var price credits
	var number uint64
	var first, last uint8
	c := &cobra.Command{
		Use:   "bid --pool P --first N --last M --price CREDITS",
		Short: "bid for periods of the slot that is being auctioned",
		Long: `Bids an amount for each of the periods N to M of the slot that is being auctioned;
the first bid begins an auction. The whole amount is reserved until the close is
drawn. A bid must beat the best for exactly its periods, and touch or overlap the
periods that you are winning already.`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			if !price.given {
				return usage("what is a period worth? Give --price")
			}
			f, v, err := lanePool(ctx, dir, key, pool, build.LaneLease)
			if err != nil {
				return err
			}
			defer f.Close()
			m := &build.LeaseBid{Pool: v.rules.Name, Auction: number, First: first, Last: last, PerPeriod: price.value}
			if _, err := f.Do(ctx, build.TypeLeaseBid, m); err != nil {
				return fmt.Errorf("no bid was made: %w", plain(err))
			}
			newTerminal(c).say("bid %s for each of periods %d to %d of pool %s", price.value, first, last, m.Pool)
			return f.showPools(ctx, newTerminal(c), m.Pool, asJSON)
		}),
	}
	farmFlag(c, &dir)
	keyFlag(c, &key)
	c.Flags().StringVar(&pool, "pool", "", "the lease pool (default: the only one)")
	c.Flags().Uint8Var(&first, "first", 1, "the first period")
	c.Flags().Uint8Var(&last, "last", 1, "the last period")
	c.Flags().Var(&price, "price", "credits for each period")
	c.Flags().Uint64Var(&number, "auction", 0, "the auction meant (default: whichever takes bids)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the pool as JSON")
	return c
}

// lanePool connects and finds the pool of a name, or the only one of a lane.
func lanePool(ctx context.Context, dir, key, name string, lane build.Lane) (*farm, *poolView, error) {
	f, err := connectKey(ctx, dir, key)
	if err != nil {
		return nil, nil, err
	}
	views, err := f.pools(ctx, name)
	if err == nil {
		var found []*poolView
		for _, v := range views {
			if v.rules.Lane == lane {
				found = append(found, v)
			}
		}
		if len(found) == 1 {
			return f, found[0], nil
		}
		switch {
		case name != "":
			err = refused(fmt.Errorf("pool %s is of lane %s, and this is for pools of lane %s (gavel pool list shows all)", name, views[0].rules.Lane, lane))
		case len(found) == 0:
			err = refused(fmt.Errorf("the farm has no pool of lane %s: its admin makes one with gavel pool create NAME --lane %s", lane, lane))
		default:
			err = refused(fmt.Errorf("the farm has %d pools of lane %s: name one with --pool (gavel pool list shows all)", len(found), lane))
		}
	}
	f.Close()
	return nil, nil, err
}

func leaseListCommand() *cobra.Command {
	var dir, pool string
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "auctions and leases",
		Long: `Shows the auction that takes bids with the best bid for each range of periods, the
auction that closed last with all its bids (those that came after the close, which
was drawn afterwards, are marked), and who has which worker until when. Times are
seconds of farm time. gavel pool verify computes the close again.

  gavel lease list --pool ahead`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			f, v, err := lanePool(ctx, dir, "", pool, build.LaneLease)
			if err != nil {
				return err
			}
			defer f.Close()
			r := v.leases()
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(r)
			}
			r.write(newTerminal(c))
			return nil
		}),
	}
	farmFlag(c, &dir)
	c.Flags().StringVar(&pool, "pool", "", "the lease pool (default: the only one)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, amounts in micro-credits")
	return c
}

func leaseLendCommand() *cobra.Command {
	var dir, pool, to string
	var asJSON bool
	var periods uint32
	c := &cobra.Command{
		Use:   "lend --pool P --to ACCOUNT",
		Short: "lend a community slot, for no price",
		Long:  "Signed by the admin (D/keys/admin): one of the slots kept for community projects goes to ACCOUNT, from now on.",
		Args:  wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			if to == "" {
				return usage("to whom? Give --to ACCOUNT")
			}
			farmAt, err := findFarm(dir)
			if err != nil {
				return err
			}
			f, v, err := lanePool(ctx, dir, farmAt.key(keyAdmin), pool, build.LaneLease)
			if err != nil {
				return err
			}
			defer f.Close()
			id, err := f.accountID(ctx, to)
			if err != nil {
				return err
			}
			if _, err := f.Do(ctx, build.TypeCommunity, &build.Lend{Pool: v.rules.Name, Holder: id, Periods: periods}); err != nil {
				return fmt.Errorf("nothing was lent: %w", plain(err))
			}
			return f.showPools(ctx, newTerminal(c), v.rules.Name, asJSON)
		}),
	}
	farmFlag(c, &dir)
	c.Flags().StringVar(&pool, "pool", "", "the lease pool (default: the only one)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the pool as JSON")
	c.Flags().StringVar(&to, "to", "", "the requester's `ACCOUNT`, by name")
	c.Flags().Uint32Var(&periods, "periods", 1, "for how many periods")
	return c
}

package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
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

func leaseBidCommand() *cobra.Command {
	var dir, pool, key string
	var asJSON bool
	var price credits
	var number uint64
	first, last := uint8(1), uint8(1)
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
			if last < first {
				return usage("--last %d comes before --first %d", last, first)
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
			newTerminal(c).say("bid %s a period for %s of pool %s", price.value, periodRange(first, last), m.Pool)
			return f.showPools(ctx, newTerminal(c), m.Pool, asJSON)
		}),
	}
	farmFlag(c, &dir)
	keyFlag(c, &key)
	c.Flags().StringVar(&pool, "pool", "", "the lease pool (default: the only one)")
	c.Flags().Var(numberOf(&first, 1, auction.MaxPeriods), "first", "the first period")
	c.Flags().Var(numberOf(&last, 1, auction.MaxPeriods), "last", "the last period")
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
seconds of farm time, of which it says what it is now. gavel pool verify computes the close again.

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
			term := newTerminal(c)
			term.print("%s", farmNow(v.now))
			r.write(term)
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
	periods := uint32(1)
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
			if kept, _ := auction.CommunitySlots(uint64(v.rules.Lease.Slots)); kept == 0 {
				return refused(fmt.Errorf("nothing was lent: pool %s keeps no slot for community projects. It would be a fifth of its slots, and there are %d", v.rules.Name, v.rules.Lease.Slots))
			}
			id, err := f.accountID(ctx, to, "nothing was lent")
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
	c.Flags().Var(numberOf(&periods, 1, auction.MaxPeriods), "periods", "for how many periods")
	return c
}

package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

func poolCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "pool",
		Short: "make and show pools: who works, and by what rule work is given out",
		Long: `A pool gives work out by its lane:

  spot     sealed bids for each build, second price
  house    one owner's machines: no bids, no prices
  batch    standing sealed asks; many builds are priced together when an epoch ends
  lease    spot, and workers reserved ahead of time by candle auction
  lottery  slots go to random tickets

  gavel pool list
  gavel pool create burst --lane batch --pricing vcg --reserve 2 --epoch 10s
  gavel pool show burst
  gavel pool verify burst                    compute its draws and prices again
  gavel pool show burst --case 0 | gavel lab clear --check -`,
		Args: wants(),
		RunE: action(func(_ context.Context, c *cobra.Command, _ []string) error { return c.Help() }),
	}
	c.AddCommand(poolCreateCommand(), poolListCommand(), poolShowCommand(), poolVerifyCommand())
	return c
}

// poolView is a pool as the farm shows it.
type poolView struct {
	*gavelv1.PoolView
	rules  build.Pool
	market build.Market
	now    int64
}

// name is an account's, as far as the market knows it.
func (v *poolView) name(id build.ID) string {
	text := hex.EncodeToString(id[:])
	if n := v.Names[text]; n != "" {
		return n
	}
	return text[:12]
}

// pools asks for one pool, or all.
func (f *farm) pools(ctx context.Context, name string) ([]*poolView, error) {
	answer, err := f.Farm().Pools(ctx, &gavelv1.PoolsRequest{Name: name})
	if err != nil {
		return nil, fmt.Errorf("asking for pools: %w", plain(err))
	}
	if name != "" && len(answer.Pools) == 0 {
		return nil, refused(fmt.Errorf("there is no pool %q: gavel pool list shows all", name))
	}
	var out []*poolView
	for _, p := range answer.Pools {
		v := &poolView{PoolView: p, now: answer.FarmMillis}
		if err := wire.Decode(p.Rules, &v.rules); err != nil {
			return nil, fmt.Errorf("reading the rules of pool %s: %w", p.Pool.Name, err)
		}
		if err := wire.Decode(p.Market, &v.market); err != nil {
			return nil, fmt.Errorf("reading the market of pool %s: %w", p.Pool.Name, err)
		}
		out = append(out, v)
	}
	return out, nil
}

func poolListCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "all pools",
		Long: `Shows every pool: its lane, the workers and independent domains that serve it now,
the pool whose workers it shares, and its rules in a line. gavel submit --pool takes
any of them; without --pool builds go to the farm's first.

  gavel pool list --json`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			f, err := connect(ctx, dir)
			if err != nil {
				return err
			}
			defer f.Close()
			views, err := f.pools(ctx, "")
			if err != nil {
				return err
			}
			if asJSON {
				list := []*poolReport{}
				for _, v := range views {
					list = append(list, v.report())
				}
				return json.NewEncoder(c.OutOrStdout()).Encode(list)
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "pool\tlane\tworkers\tdomains\tshares\trules")
			for _, v := range views {
				fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", v.Pool.Name, v.Pool.Lane, v.Pool.Workers, count(v.Pool.Domains, v.Pool.Domain), v.Pool.Shares, v.sentence())
			}
			return w.Flush()
		}),
	}
	farmFlag(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, amounts in micro-credits")
	return c
}

func poolShowCommand() *cobra.Command {
	var dir string
	var asJSON bool
	var lot int
	c := &cobra.Command{
		Use:   "show NAME",
		Short: "a pool's rules, market and price index",
		Long: `Shows a pool: its rules, what its market stands at, and its price index (best bids,
prices paid, tickets, leases).

--case LOT prints the lot of the last cleared epoch of a batch pool as a case in the
format of gavel lab clear: the asks with the capacity that was left for this lot, in
the order in which equal prices are served, and what came of it. So the price is
computed again by whoever doubts it:

  gavel pool show burst --case 0 | gavel lab clear --check -`,
		Args: wants("NAME"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			if lot < 0 {
				return usage("--case %d: lots are numbered from 0", lot)
			}
			f, err := connect(ctx, dir)
			if err != nil {
				return err
			}
			defer f.Close()
			if !c.Flags().Changed("case") {
				return f.showPools(ctx, newTerminal(c), args[0], asJSON)
			}
			views, err := f.pools(ctx, args[0])
			if err != nil {
				return err
			}
			one, err := views[0].lotCase(lot)
			if err != nil {
				return err
			}
			e := json.NewEncoder(c.OutOrStdout())
			e.SetIndent("", " ")
			return e.Encode(one)
		}),
	}
	farmFlag(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, amounts in micro-credits")
	c.Flags().IntVar(&lot, "case", 0, "print a `LOT` of the last cleared epoch, numbered from 0, as a case")
	return c
}

func (f *farm) showPools(ctx context.Context, term *terminal, name string, asJSON bool) error {
	views, err := f.pools(ctx, name)
	if err != nil {
		return err
	}
	r := views[0].report()
	if asJSON {
		return json.NewEncoder(term.out).Encode(r)
	}
	r.write(term, views[0])
	return nil
}

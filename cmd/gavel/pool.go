package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/auction"
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

// poolFlags are the flags of pool create, by lane.
type poolFlags struct {
	lane, domain, class, shares string
	operators                   []string
	own                         bool
	epoch                       time.Duration
	reserve, ticket             credits
	pricing                     string
	metered                     bool
	period, opening, ending     time.Duration
	samples, slots, lookahead   uint32
	rule                        string
	slot                        time.Duration
}

// laneFlags says which lanes a flag belongs to.
var laneFlags = map[string][]build.Lane{
	"epoch": {build.LaneBatch}, "pricing": {build.LaneBatch}, "metered": {build.LaneBatch}, "reserve": {build.LaneBatch, build.LaneLease},
	"period": {build.LaneLease}, "opening": {build.LaneLease}, "ending": {build.LaneLease}, "samples": {build.LaneLease}, "slots": {build.LaneLease},
	"ticket": {build.LaneLottery}, "rule": {build.LaneLottery}, "lookahead": {build.LaneLottery}, "slot": {build.LaneLottery},
}

func poolCreateCommand() *cobra.Command {
	var dir string
	var asJSON bool
	f := &poolFlags{reserve: credits{value: defaultMaxPrice}, ticket: credits{value: defaultMaxPrice / 20}}
	c := &cobra.Command{
		Use:   "create NAME --lane LANE",
		Short: "make a pool; its rules cannot change",
		Long: `Signed by the admin (D/keys/admin). The workers of the pool named by --shares serve
the new one too; with --own it has none until some join it (gavel worker).

  gavel pool create burst --lane batch --pricing uniform --reserve 2 --epoch 10s
  gavel pool create metered --lane batch --metered --reserve 0.01
  gavel pool create ahead --lane lease --period 1h --opening 10m --ending 10m --slots 5 --reserve 1
  gavel pool create free --lane lottery --ticket 0.5 --rule winner-pays --lookahead 4`,
		Args: wants("NAME"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			p, err := f.pool(args[0], c.Flags().Changed)
			if err != nil {
				return err
			}
			farm, err := connectAs(ctx, dir, keyAdmin)
			if err != nil {
				return err
			}
			defer farm.Close()
			if !f.own && f.shares == "" {
				info, err := farm.Info(ctx)
				if err != nil {
					return err
				}
				if len(info.Pools) > 0 {
					p.Shares = info.Pools[0].Name
				}
			}
			if _, err := farm.Do(ctx, build.TypePool, &build.MakePool{Pool: *p}); err != nil {
				return fmt.Errorf("no pool was made: %w", plain(err))
			}
			newTerminal(c).say("pool %s: lane %s", p.Name, p.Lane)
			return farm.showPools(ctx, newTerminal(c), p.Name, asJSON)
		}),
	}
	farmFlag(c, &dir)
	flags := c.Flags()
	flags.BoolVar(&asJSON, "json", false, "print the pool as JSON")
	flags.StringVar(&f.lane, "lane", "spot", "spot, house, batch, lease or lottery")
	flags.StringVar(&f.domain, "domain", "operator", "what counts as one independent party: operator or machine")
	flags.StringVar(&f.class, "class", "", "fingerprint class that its workers' must begin with")
	flags.StringSliceVar(&f.operators, "operators", nil, "operators whose workers may join, comma-separated (default: any that is admitted)")
	flags.StringVar(&f.shares, "shares", "", "`POOL` whose workers serve this one too (default: the farm's first)")
	flags.BoolVar(&f.own, "own", false, "share nobody's workers")
	flags.DurationVar(&f.epoch, "epoch", 10*time.Second, "batch: how long work is gathered under one price")
	flags.Var(&f.reserve, "reserve", "batch: the most an action (metered: a core-second) costs; lease: the least bid a period")
	flags.StringVar(&f.pricing, "pricing", "vcg", "batch: vcg, uniform, uniform-last, gsp or first")
	flags.BoolVar(&f.metered, "metered", false, "batch: asks are per core-second")
	flags.DurationVar(&f.period, "period", time.Hour, "lease: a period")
	flags.DurationVar(&f.opening, "opening", 30*time.Second, "lease: how long bids are safe from the candle")
	flags.DurationVar(&f.ending, "ending", 30*time.Second, "lease: how long the candle burns")
	flags.Uint32Var(&f.samples, "samples", 20, "lease: moments at which it may have gone out")
	flags.Uint32Var(&f.slots, "slots", 5, "lease: workers that may be leased, a fifth of them for community projects")
	flags.Var(&f.ticket, "ticket", "lottery: the price of a ticket")
	flags.StringVar(&f.rule, "rule", "all-pay", "lottery: all-pay or winner-pays")
	flags.Uint32Var(&f.lookahead, "lookahead", 4, "lottery: slots drawn ahead")
	flags.DurationVar(&f.slot, "slot", 5*time.Second, "lottery: how long a drawn ticket waits for a build")
	return c
}

// pool reads the flags. Its errors are of exit status 2.
func (f *poolFlags) pool(name string, given func(string) bool) (*build.Pool, error) {
	lane, err := build.ParseLane(f.lane)
	if err != nil {
		return nil, usage("--%v", err)
	}
	for _, flag := range wire.SortedKeys(laneFlags, strings.Compare) {
		if given(flag) && !slices.Contains(laneFlags[flag], lane) {
			return nil, usage("--%s means nothing in lane %s", flag, lane)
		}
	}
	if f.own && f.shares != "" {
		return nil, usage("--own and --shares exclude each other")
	}
	p := &build.Pool{Name: name, Lane: lane, Domain: build.DomainOperator, Class: f.class, Shares: f.shares, Operators: slices.Compact(slices.Sorted(slices.Values(f.operators)))}
	switch f.domain {
	case "operator":
	case "machine":
		p.Domain = build.DomainMachine
	default:
		return nil, usage("--domain %q: want operator or machine", f.domain)
	}
	switch lane {
	case build.LaneBatch:
		pricing, err := auction.ParsePricing(f.pricing)
		if err != nil {
			return nil, usage("--pricing: %v", err)
		}
		p.Batch = build.BatchRules{EpochMillis: f.epoch.Milliseconds(), Reserve: f.reserve.value, Pricing: pricing, Metered: f.metered}
	case build.LaneLease:
		p.Lease = build.LeaseRules{
			PeriodMillis: f.period.Milliseconds(), OpeningMillis: f.opening.Milliseconds(), EndingMillis: f.ending.Milliseconds(),
			Samples: f.samples, Slots: f.slots, Reserve: f.reserve.value,
		}
		if !given("reserve") {
			p.Lease.Reserve = 0
		}
	case build.LaneLottery:
		rule, err := auction.ParseTicketRule(f.rule)
		if err != nil {
			return nil, usage("--rule: %v", err)
		}
		p.Lottery = build.LotteryRules{Price: f.ticket.value, Rule: rule, Lookahead: f.lookahead, SlotMillis: f.slot.Milliseconds()}
	}
	if err := p.Validate(); err != nil {
		return nil, usage("%v", err)
	}
	return p, nil
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
				fmt.Fprintf(w, "%s\t%s\t%d\t%d %ss\t%s\t%s\n", v.Pool.Name, v.Pool.Lane, v.Pool.Workers, v.Pool.Domains, v.Pool.Domain, v.Pool.Shares, v.sentence())
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

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

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
	f := defaultPoolFlags()
	c := &cobra.Command{
		Use:   "create NAME --lane LANE",
		Short: "make a pool; its rules cannot change",
		Long: `Signed by the admin (D/keys/admin). The workers of the pool named by --shares serve
the new one too; with --own it has none until some join it (gavel worker).

  gavel pool create burst --lane batch --pricing uniform --reserve 2 --epoch 10s
  gavel pool create metered --lane batch --metered --reserve 2
  gavel pool create ahead --lane lease --period 1h --opening 10m --ending 10m --slots 5 --reserve 1
  gavel pool create free --lane lottery --ticket 0.5 --rule winner-pays --lookahead 4

A batch pool's workers ask at or below its reserve or not at all, and its builds wait for
one that does. Those of gavel up ask 1.1 and more, for an action and for a core-second.`,
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
			return farm.showPools(ctx, newTerminal(c), p.Name, asJSON)
		}),
	}
	farmFlag(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print the pool as JSON")
	f.add(c)
	return c
}

func defaultPoolFlags() *poolFlags {
	return &poolFlags{
		reserve: credits{value: defaultMaxPrice}, ticket: credits{value: defaultMaxPrice / 20},
		samples: 20, slots: 5, lookahead: 4,
	}
}

func (f *poolFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.lane, "lane", "spot", "spot, house, batch, lease or lottery")
	flags.StringVar(&f.domain, "domain", "operator", "what counts as one independent party: operator or machine")
	flags.StringVar(&f.class, "class", "", "fingerprint class that its workers' must begin with")
	flags.StringSliceVar(&f.operators, "operators", nil, "operators whose workers may join, comma-separated (default: any that is admitted)")
	flags.StringVar(&f.shares, "shares", "", "`POOL` whose workers serve this one too (default: the farm's first)")
	flags.BoolVar(&f.own, "own", false, "share nobody's workers")
	flags.DurationVar(&f.epoch, "epoch", 10*time.Second, "batch: how long work is gathered under one price")
	flags.Var(&f.reserve, "reserve", fmt.Sprintf("batch: the most an action (metered: a core-second) costs (default %s); lease: the least bid a period (default 0)", f.reserve.value))
	flags.Lookup("reserve").DefValue = "" // the text has one for each lane
	flags.StringVar(&f.pricing, "pricing", "vcg", "batch: vcg, uniform, uniform-last, gsp or first")
	flags.BoolVar(&f.metered, "metered", false, "batch: asks are per core-second")
	flags.DurationVar(&f.period, "period", time.Hour, "lease: a period")
	flags.DurationVar(&f.opening, "opening", 30*time.Second, "lease: how long bids are safe from the candle")
	flags.DurationVar(&f.ending, "ending", 30*time.Second, "lease: how long the candle burns")
	flags.Var(numberOf(&f.samples, 1, maxSamples), "samples", "lease: moments at which it may have gone out")
	flags.Var(numberOf(&f.slots, 1, maxSlots), "slots", "lease: workers that may be leased, a fifth of them for community projects")
	flags.Var(&f.ticket, "ticket", "lottery: the price of a ticket")
	flags.StringVar(&f.rule, "rule", "all-pay", "lottery: all-pay or winner-pays")
	flags.Var(numberOf(&f.lookahead, 0, maxLookahead), "lookahead", "lottery: slots drawn ahead")
	flags.DurationVar(&f.slot, "slot", 5*time.Second, "lottery: how long a drawn ticket waits for a build")
}

// The ranges of a pool's rules, as build.Pool.Validate has them (a test compares):
// here they are told by flag, and before anything is sent.
const (
	maxSamples     = 256
	maxSlots       = 1024
	maxLookahead   = 64
	minWait        = 100 * time.Millisecond // of an epoch and a lottery's slot
	maxWait        = 24 * time.Hour
	minPeriod      = time.Second
	maxPeriod      = 1 << 40 * time.Millisecond
	maxUnitReserve = escrow.Credits(1) << 48
)

// pool reads the flags. Its errors are of exit status 2.
func (f *poolFlags) pool(name string, given func(string) bool) (*build.Pool, error) {
	if err := f.checkNames(name); err != nil {
		return nil, err
	}
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
	if err := f.rules(p, given); err != nil {
		return nil, err
	}
	if err := p.Validate(); err != nil {
		return nil, usage("%v", err)
	}
	return p, nil
}

// checkNames refuses what a pool's record has no room for.
func (f *poolFlags) checkNames(name string) error {
	if err := checkName("a pool", name); err != nil {
		return err
	}
	if f.shares != "" {
		if err := checkName("--shares: a pool", f.shares); err != nil {
			return err
		}
	}
	if f.shares == name {
		return usage("--shares %s: a pool cannot share its own workers", name)
	}
	if len(f.class) > build.MaxClassBytes {
		return usage("--class is %d bytes long: want at most %d", len(f.class), build.MaxClassBytes)
	}
	if len(f.operators) > build.MaxWorkers {
		return usage("--operators lists %d: want at most %d", len(f.operators), build.MaxWorkers)
	}
	for _, o := range f.operators {
		if err := checkName("--operators: an operator", o); err != nil {
			return err
		}
	}
	return nil
}

// rules fills in the lane's.
func (f *poolFlags) rules(p *build.Pool, given func(string) bool) error {
	switch p.Lane {
	case build.LaneBatch:
		pricing, err := auction.ParsePricing(f.pricing)
		if err != nil {
			return usage("--pricing: %v", err)
		}
		p.Batch = build.BatchRules{EpochMillis: f.epoch.Milliseconds(), Reserve: f.reserve.value, Pricing: pricing, Metered: f.metered}
		return firstOf(lasts("epoch", f.epoch, minWait, maxWait), costs("reserve", f.reserve.value, 1, maxUnitReserve))
	case build.LaneLease:
		reserve := f.reserve.value
		if !given("reserve") {
			reserve = 0 // the flag's default is a batch pool's
		}
		p.Lease = build.LeaseRules{
			PeriodMillis: f.period.Milliseconds(), OpeningMillis: f.opening.Milliseconds(), EndingMillis: f.ending.Milliseconds(),
			Samples: f.samples, Slots: f.slots, Reserve: reserve,
		}
		if least := time.Duration(f.samples) * time.Millisecond; f.ending < least {
			return usage("--ending %s: with --samples %d it must last at least %s, a millisecond for each", lasting(f.ending), f.samples, lasting(least))
		}
		return firstOf(lasts("period", f.period, minPeriod, maxPeriod), lasts("opening", f.opening, 0, maxPeriod), lasts("ending", f.ending, 0, maxPeriod), costs("reserve", reserve, 0, maxAmount))
	case build.LaneLottery:
		rule, err := auction.ParseTicketRule(f.rule)
		if err != nil {
			return usage("--rule: %v", err)
		}
		p.Lottery = build.LotteryRules{Price: f.ticket.value, Rule: rule, Lookahead: f.lookahead, SlotMillis: f.slot.Milliseconds()}
		return firstOf(costs("ticket", f.ticket.value, 0, maxAmount), lasts("slot", f.slot, minWait, maxWait))
	}
	return nil
}

func lasts(flag string, d, low, high time.Duration) error {
	if d < low || d > high {
		return usage("--%s %s: want %s to %s", flag, lasting(d), lasting(low), lasting(high))
	}
	return nil
}

func costs(flag string, amount, low, high escrow.Credits) error {
	if amount < low || amount > high {
		return usage("--%s %s: want %s to %s credits", flag, amount, low, high)
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

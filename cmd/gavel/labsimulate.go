package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gavel/lab"
	"gavel/lab/chart"
)

func labSimulateCommand() *cobra.Command {
	out := &labOut{}
	var e lab.Experiment
	c := &cobra.Command{
		Use:   "simulate --mechanism M",
		Short: "does it pay to cheat?",
		Long: `Plays many rounds of a mechanism by the farm's own code, with values or costs drawn
anew each round and known to their owner alone, and the same rounds once more with
somebody deviating: a ring of bidders that do not bid against each other, sybils (one
bidder under several names), shills (false bids of the other side), a bid shaded by a
part of itself. Means come with their 95 % confidence interval; the gain is taken
round by round, so a gain whose interval is above 0 pays.

  gavel lab simulate --mechanism vickrey --bidders 8 --reserve 2 --sybils 3
  gavel lab simulate --mechanism uniform --bidders 6 --units 6 --capacity 2 --reserve 2 --shade 0.2
  gavel lab simulate --mechanism second-price --bidders 5 --ring 2 --plot ring.png

Mechanisms: ` + strings.Join(lab.SimulatedMechanisms(), ", ") + `.
Distributions: uniform on [0, 1], exponential of mean 1, lognormal of median 1 and
sigma 1, pareto from 1 with shape 3. The same --seed gives the same numbers anywhere.`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if e.Mechanism == "" {
				return usage("which rule? Give --mechanism, one of %s", strings.Join(lab.SimulatedMechanisms(), ", "))
			}
			if names := lab.SimulatedMechanisms(); !slices.Contains(names, e.Mechanism) {
				return labRefused(unknownMechanism(e.Mechanism, names))
			}
			if e.Units < 1 || e.Capacity < 1 { // 0 would be taken for not given
				return labRefused(fmt.Errorf("--units is %d and --capacity %d: want 1 or more", e.Units, e.Capacity))
			}
			r, err := lab.Simulate(ctx, e)
			switch {
			case errors.Is(err, lab.ErrInput):
				return labRefused(err)
			case err != nil:
				return fmt.Errorf("simulating: %w", err)
			}
			if err := out.print(c, r, func(w *tabwriter.Writer) { writeReport(w, r) }); err != nil {
				return err
			}
			return out.draw(c, func() (*chart.Figure, error) { return simulation(r), nil })
		}),
	}
	out.define(c, "means and intervals")
	f := c.Flags()
	f.StringVar(&e.Mechanism, "mechanism", "", "the rule that is played")
	f.StringVar(&e.Distribution, "distribution", "uniform", "what values or costs are drawn from: "+strings.Join(lab.Distributions(), ", "))
	f.IntVar(&e.Bidders, "bidders", 8, "bidders, false names not counted")
	f.IntVar(&e.Units, "units", 1, "units or slots that are traded")
	f.IntVar(&e.Capacity, "capacity", 1, "units each bidder can supply")
	f.Float64Var(&e.Reserve, "reserve", 0, "the most that is paid for a unit where sellers bid, the least where buyers do; of a lottery the ticket's price")
	f.IntVar(&e.Rounds, "rounds", 10_000, "rounds that are played")
	f.Uint64Var(&e.Seed, "seed", 1, "of the values that are drawn")
	f.IntVar(&e.Ring, "ring", 0, "bidders that collude")
	f.IntVar(&e.Sybils, "sybils", 0, "more names that one bidder, or the ring's best, bids under")
	f.IntVar(&e.Shills, "shills", 0, "false bids of the other side")
	f.Float64Var(&e.Shade, "shade", 0, "part by which the deviator's bid is worse than honest, such as 0.2")
	return c
}

// line is an estimate with its name.
type line struct {
	name string
	of   lab.Estimate
}

// sellersBid says whether a mechanism is one in which sellers bid to be paid.
func sellersBid(mechanism string) bool {
	return slices.ContainsFunc(lab.Mechanisms(), func(m lab.Mechanism) bool { return m.Name == mechanism && m.Reverse })
}

// lines are what a report estimates: of all money, of the deviator's, and of who
// gets what is sold. Where sellers bid the money is the buyer's.
func lines(r *lab.Report) (money, deviator, allocation []line) {
	paid := "revenue"
	if sellersBid(r.Mechanism) {
		paid = "paid out"
	}
	return []line{{paid + ", all honest", r.HonestRevenue}, {paid, r.Revenue}},
		[]line{{"deviator's utility, honest", r.HonestUtility}, {"deviator's utility", r.Utility}, {"gain of deviating", r.Gain}},
		[]line{{"efficiency", r.Efficiency}, {"fairness", r.Fairness}, {"gini", r.Gini}}
}

// deviates says whether an experiment has anybody cheat.
func deviates(e *lab.Experiment) bool {
	return e.Ring > 0 || e.Sybils > 0 || e.Shills > 0 || e.Shade != 0
}

func writeReport(w *tabwriter.Writer, r *lab.Report) {
	drawn := "values"
	if sellersBid(r.Mechanism) {
		drawn = "costs"
	}
	fmt.Fprintf(w, "%d rounds of %s, %d bidders, %s %s, seed %d\n", r.Rounds, r.Mechanism, r.Bidders, drawn, r.Distribution, r.Seed)
	if r.Strategy != "" {
		fmt.Fprintf(w, "the deviator: %s\n", r.Strategy)
	}
	fmt.Fprintln(w)
	money, deviator, allocation := lines(r)
	fmt.Fprintln(w, "PER ROUND\tMEAN\t95 % INTERVAL")
	for _, l := range slices.Concat(money, deviator, allocation) {
		fmt.Fprintf(w, "%s\t%s\t%s to %s\n", l.name, chart.Short(l.of.Mean), chart.Short(l.of.Low), chart.Short(l.of.High))
	}
	switch {
	case !deviates(&r.Experiment):
	case r.Gain.Low > 0:
		fmt.Fprintln(w, "\nIt pays to deviate.")
	case r.Gain.High < 0:
		fmt.Fprintln(w, "\nIt does not pay: deviating loses.")
	default:
		fmt.Fprintln(w, "\nNo gain can be told from none in so many rounds.")
	}
}

// simulation draws a report.
func simulation(r *lab.Report) *chart.Figure {
	panel := func(title, x string, lines []line) chart.Panel {
		p := chart.Panel{Title: title, X: x, Series: make([]chart.Series, 1)}
		s := &p.Series[0]
		for _, l := range lines {
			p.Names = append(p.Names, l.name)
			s.Y, s.Low, s.High = append(s.Y, l.of.Mean), append(s.Low, l.of.Low), append(s.High, l.of.High)
		}
		return p
	}
	money, deviator, allocation := lines(r)
	return &chart.Figure{
		Title: fmt.Sprintf("%s, %d bidders, %d rounds: means and 95 %% intervals", r.Mechanism, r.Bidders, r.Rounds),
		Panels: []chart.Panel{
			panel("What is paid in all", "credits a round", money),
			panel("Does it pay? "+r.Strategy, "credits a round", deviator),
			panel("Who gets it", "efficiency: 1 is best; fairness: geometric mean of allocations; gini: 0 is equal", allocation),
		},
	}
}

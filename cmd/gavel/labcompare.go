package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gavel/lab"
	"gavel/lab/cases"
	"gavel/lab/chart"
)

// compareRow is a mechanism's equilibrium, or why there is none.
type compareRow struct {
	Mechanism string `json:"mechanism"`
	*lab.Outcome
	Error string `json:"error,omitempty"`
}

func labCompareCommand() *cobra.Command {
	out := &labOut{}
	var values, costs amounts
	var only []string
	var g lab.Game
	c := &cobra.Command{
		Use:   "compare --values 4,2 | --costs 1,2,3 --reserve 5",
		Short: "each rule's equilibrium, side by side",
		Long: `What bidders do under each mechanism when everybody knows everybody's value, and what
comes of it: bids, allocations (shares of a unit or chances of winning), payments,
revenue, and fairness (the geometric mean of allocations); then the buyers' or
sellers' surplus over the best possible (efficiency), Gini and entropy of the
allocations, whether nobody randomises, and whether several names never pay.

  gavel lab compare --values 4,2
  gavel lab compare --values 4,2 --mechanism tullock --alpha 0.5
  gavel lab compare --values 5,4,3,2 --plot compare.svg
  gavel lab compare --costs 1,2,3,4 --reserve 5 --units 2

--values are buyers' and compare the mechanisms in which buyers bid; --costs are
sellers', with --reserve the most that is paid for a unit. With several --units it
compares the mechanisms that trade several. In lotteries bids are tickets. With --json each mechanism is an object of a list; one that has no
equilibrium for these numbers says so in "error".`,
		Args: wants(),
		RunE: action(func(_ context.Context, c *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if len(values) > 0 && len(costs) > 0 {
				return usage("--values and --costs are both given: want --values of buyers or --costs of sellers")
			}
			if len(values)+len(costs) == 0 {
				return usage("whose numbers? Give --values of buyers, such as 4,2, or --costs of sellers")
			}
			g.Values = slices.Concat(values, costs)
			for _, f := range []struct {
				name  string
				value float64
			}{{"alpha", g.Alpha}, {"price", g.Price}, {"reserve", g.Reserve}, {"units", float64(g.Units)}} {
				if c.Flags().Changed(f.name) && !(f.value > 0) { // 0 would be taken for not given
					return labRefused(fmt.Errorf("--%s is %v: want more than 0", f.name, f.value))
				}
			}
			if err := distinctNames("--mechanism", only); err != nil {
				return err
			}
			rows, err := compare(g, len(costs) > 0, only)
			if err != nil {
				return labRefused(err)
			}
			if err := out.print(c, rows, func(w *tabwriter.Writer) { writeComparison(w, rows, len(costs) > 0) }); err != nil {
				return err
			}
			return out.draw(c, func() (*chart.Figure, error) { return comparison(g, len(costs) > 0, rows), nil })
		}),
	}
	out.define(c, "the comparison")
	c.Flags().Var(&values, "values", "what a unit is worth to each buyer")
	c.Flags().Var(&costs, "costs", "what a unit costs each seller")
	c.Flags().Float64Var(&g.Reserve, "reserve", 0, "the most that is paid for a unit, or with --values the least that it is sold for")
	c.Flags().IntVar(&g.Units, "units", 1, "units that are traded")
	c.Flags().Float64Var(&g.Alpha, "alpha", 1, "Tullock's exponent")
	c.Flags().Float64Var(&g.Price, "price", 0, "of a lottery ticket (default: a hundredth of the highest value)")
	c.Flags().StringSliceVar(&only, "mechanism", nil, "only these, comma-separated (default: all)")
	return c
}

// compare solves each mechanism of a side, of several units those that trade
// several, or those that are named. It is an error only where none has a solution,
// or a name is no mechanism's.
func compare(g lab.Game, reverse bool, only []string) ([]compareRow, error) {
	var names, fitting []string
	for _, m := range lab.Mechanisms() {
		if m.Solvable && m.Reverse == reverse {
			names = append(names, m.Name)
			if g.Units <= 1 || m.Units {
				fitting = append(fitting, m.Name)
			}
		}
	}
	for _, name := range only {
		if !slices.Contains(names, name) {
			return nil, unknownMechanism(name, names)
		}
	}
	if len(only) > 0 {
		fitting = only
	}
	var rows []compareRow
	var first error
	solved := 0
	for _, name := range fitting {
		o, err := lab.Solve(name, g)
		if err == nil && !finiteOutcome(o) {
			err = fmt.Errorf("solving %s: the numbers are beyond what a float can hold", name)
		}
		if err != nil {
			rows = append(rows, compareRow{Mechanism: name, Error: err.Error()})
			if first == nil {
				first = err
			}
			continue
		}
		solved++
		rows = append(rows, compareRow{Mechanism: name, Outcome: o})
	}
	if solved == 0 {
		return nil, first
	}
	return rows, nil
}

// unknownMechanism refuses a name that is none of those wanted.
func unknownMechanism(name string, want []string) error {
	return &cases.Refusal{Code: "unknown-rule", Detail: fmt.Sprintf("--mechanism %q: want one of %s", name, strings.Join(want, ", "))}
}

// finiteOutcome says whether JSON and paper can hold an outcome.
func finiteOutcome(o *lab.Outcome) bool {
	all := slices.Concat(o.Bids, o.Allocations, o.Payments, o.Utilities, []float64{o.Revenue, o.Efficiency, o.Fairness, o.Gini, o.Entropy})
	return !slices.ContainsFunc(all, func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) })
}

func writeComparison(w *tabwriter.Writer, rows []compareRow, reverse bool) {
	paid := "REVENUE"
	if reverse {
		paid = "PAID OUT"
	}
	fmt.Fprintln(w, "MECHANISM\tBIDS\tALLOCATIONS\tPAYMENTS\t"+paid+"\tEFFICIENCY\tFAIRNESS\tGINI\tPURE\tSYBIL-PROOF")
	yes := map[bool]string{true: "yes", false: "no"}
	for _, r := range rows {
		if o := r.Outcome; o != nil {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Mechanism, brief(o.Bids, " "), brief(o.Allocations, " "), brief(o.Payments, " "),
				chart.Short(o.Revenue), chart.Short(o.Efficiency), chart.Short(o.Fairness), chart.Short(o.Gini), yes[o.Pure], yes[o.SybilProof])
		}
	}
	fmt.Fprintln(w)
	for _, r := range rows {
		switch {
		case r.Error != "":
			fmt.Fprintf(w, "%s: not solved: %s\n", r.Mechanism, strings.TrimPrefix(r.Error, "solving "+r.Mechanism+": "))
		case r.Note != "":
			fmt.Fprintf(w, "%s: %s\n", r.Mechanism, r.Note)
		}
	}
}

// comparison draws the rows that have a solution.
func comparison(g lab.Game, reverse bool, rows []compareRow) *chart.Figure {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r compareRow) bool { return r.Outcome == nil })
	whose, whom, pays, paid := "value", "buyer", "What each buyer pays", "revenue"
	if reverse {
		whose, whom, pays, paid = "cost", "seller", "What each seller is paid", "paid out"
	}
	var names []string
	for _, r := range rows {
		names = append(names, r.Mechanism)
	}
	panel := func(title, x string, series ...chart.Series) chart.Panel {
		return chart.Panel{Title: title, X: x, Names: names, Series: series}
	}
	column := func(name string, of func(o *lab.Outcome) float64) chart.Series {
		s := chart.Series{Name: name}
		for _, r := range rows {
			s.Y = append(s.Y, of(r.Outcome))
		}
		return s
	}
	f := &chart.Figure{Title: fmt.Sprintf("Equilibria of %d %ss with %ss %s", len(g.Values), whom, whose, brief(g.Values, ", ")), Columns: 2}
	if len(g.Values) <= chart.MaxSeries {
		var shares, payments []chart.Series
		for i, v := range g.Values {
			name := fmt.Sprintf("%s %d, %s %s", whom, i+1, whose, chart.Short(v))
			shares = append(shares, column(name, func(o *lab.Outcome) float64 { return o.Allocations[i] }))
			payments = append(payments, column(name, func(o *lab.Outcome) float64 { return o.Payments[i] }))
		}
		f.Panels = append(f.Panels, panel("Who gets how much", "units, or chance of winning one", shares...), panel(pays, "credits", payments...))
	}
	f.Panels = append(f.Panels,
		panel("All payments", "credits", column(paid, func(o *lab.Outcome) float64 { return o.Revenue })),
		panel("Fairness and efficiency", "0 is worst, 1 best",
			column("fairness (geometric mean)", func(o *lab.Outcome) float64 { return o.Fairness }),
			column("entropy of allocations", func(o *lab.Outcome) float64 { return o.Entropy }),
			column("efficiency", func(o *lab.Outcome) float64 { return o.Efficiency })))
	return f
}

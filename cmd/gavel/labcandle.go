package main

import (
	"context"
	"fmt"
	"math"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gavel/lab"
	"gavel/lab/chart"
)

// candleReport is a bidder's problem and its answers; alpha, pr and eu are named
// as in the vectors.
type candleReport struct {
	lab.Candle
	Alpha         float64 `json:"alpha"` // asked for, or the document's
	Chance        float64 `json:"pr"`
	Utility       float64 `json:"eu"`
	AlphaDocument float64 `json:"alpha_document"`
	EUDocument    float64 `json:"eu_document"`
	AlphaBest     float64 `json:"alpha_best"`
	EUBest        float64 `json:"eu_best"`

	Notes []string `json:"notes,omitempty"` // what the numbers do not say
}

func labCandleCommand() *cobra.Command {
	out := &labOut{}
	r := &candleReport{}
	c := &cobra.Command{
		Use:   "candle --bidders N --value V --rival X",
		Short: "how to bid while a candle burns",
		Long: `A candle auction closes at a moment that is drawn afterwards, so to lead late may be
too late. A bidder that outbids its highest rival X by α·V at once wins with chance
Pr = 1 − 1/(αn) + 1/n and expects Pr·(V − X − αV). The document that proposes this
advises α = 1/√(n−1); the α that maximises it depends on V and X as well. Where no
bid that can win earns anything the best is not to bid, with a utility of 0. A bid
above V loses by winning: a note says so where the document's is.

  gavel lab candle --bidders 101 --value 100 --rival 60
  gavel lab candle --bidders 101 --value 100 --rival 60 --alpha 0.2 --json
  gavel lab candle --bidders 101 --value 100 --rival 60 --plot candle.svg`,
		Args: wants(),
		RunE: action(func(_ context.Context, c *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if !c.Flags().Changed("bidders") || !c.Flags().Changed("value") {
				return usage("whose bid? Give --bidders N --value V, and --rival X, such as --bidders 101 --value 100 --rival 60")
			}
			if err := r.solve(c.Flags().Changed("alpha")); err != nil {
				return labRefused(err)
			}
			err := out.print(c, r, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "%d bidders; a value of %s against a rival's %s\n\n", r.Bidders, chart.Short(r.Value), chart.Short(r.Rival))
				fmt.Fprintln(w, "STRATEGY\tALPHA\tBID\tCHANCE\tEXPECTED UTILITY")
				row := func(name string, alpha float64) {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", name, chart.Short(alpha), chart.Short(r.Rival+alpha*r.Value), chart.Short(r.Candle.Chance(alpha)), chart.Short(r.Candle.Utility(alpha)))
				}
				row("the document's", r.AlphaDocument)
				if r.Hopeless() {
					fmt.Fprintln(w, "best\t-\tdo not bid\t0\t0")
				} else {
					row("best", r.AlphaBest)
				}
				if c.Flags().Changed("alpha") {
					row("yours", r.Alpha)
				}
				for i, note := range r.Notes {
					fmt.Fprint(w, []string{"\n", ""}[min(i, 1)])
					fmt.Fprintln(w, note)
				}
			})
			if err != nil {
				return err
			}
			return out.draw(c, func() (*chart.Figure, error) { return r.figure(c.Flags().Changed("alpha")), nil })
		}),
	}
	out.define(c, "the expected utility over α")
	c.Flags().IntVar(&r.Bidders, "bidders", 0, "`N` bidders, you among them")
	c.Flags().Float64Var(&r.Value, "value", 0, "`V`, what it is worth to you")
	c.Flags().Float64Var(&r.Rival, "rival", 0, "`X`, what it is worth to the highest rival")
	c.Flags().Float64Var(&r.Alpha, "alpha", 0, "a strategy of your own (default: the document's)")
	return c
}

// solve fills in the answers.
func (r *candleReport) solve(own bool) error {
	if err := r.Validate(); err != nil {
		return err
	}
	r.AlphaDocument = r.Document()
	if !own {
		r.Alpha = r.AlphaDocument
	}
	if least := r.least(); !(r.Alpha >= least && r.Alpha <= 1) {
		return fmt.Errorf("an alpha of %v: want 1/(N+1) = %v to 1, where the chance is one", r.Alpha, least)
	}
	r.Chance, r.Utility = r.Candle.Chance(r.Alpha), r.Candle.Utility(r.Alpha)
	r.EUDocument = r.Candle.Utility(r.AlphaDocument)
	r.AlphaBest, r.EUBest = r.Best()
	r.Notes = r.notes()
	return nil
}

func (r *candleReport) notes() (notes []string) {
	bid := r.Rival + r.AlphaDocument*r.Value
	if bid > r.Value {
		notes = append(notes, fmt.Sprintf("The document's α of 1/√(%d−1) = %s bids %s, above the value of %s: it loses by winning.",
			r.Bidders, chart.Short(r.AlphaDocument), chart.Short(bid), chart.Short(r.Value)))
	}
	if r.Hopeless() {
		notes = append(notes, "No bid that can win earns anything: do not bid.")
	}
	return notes
}

// least is the α below which the chance to win is none.
func (r *candleReport) least() float64 { return 1 / float64(r.Bidders+1) }

// figure draws the utility from the α that never wins to where it earns nothing.
func (r *candleReport) figure(own bool) *chart.Figure {
	const points = 400
	least := r.least()
	most := max((r.Value-r.Rival)/r.Value, r.AlphaDocument, 2*least)
	if own {
		most = max(most, r.Alpha)
	}
	most = min(1, most*1.05)
	s := chart.Series{Name: "expected utility"}
	for i := range points + 1 {
		// Close together at the left end, where the curve is steep.
		alpha := least + (most-least)*math.Pow(float64(i)/points, 2)
		s.X, s.Y = append(s.X, alpha), append(s.Y, r.Candle.Utility(alpha))
	}
	mark := func(name string, alpha float64) chart.Mark {
		return chart.Mark{Name: fmt.Sprintf("%s α %s: %s", name, chart.Short(alpha), chart.Short(r.Candle.Utility(alpha))), X: alpha, Y: r.Candle.Utility(alpha)}
	}
	p := chart.Panel{
		X: "α: the bid is the rival's and α times one's own value", Y: "expected utility, credits",
		Series: []chart.Series{s}, Marks: []chart.Mark{mark("the document's", r.AlphaDocument), mark("the best", r.AlphaBest)},
	}
	if r.Hopeless() {
		p.Marks[1].Name = "the best: do not bid"
	}
	if own {
		p.Marks = append(p.Marks, mark("your", r.Alpha))
	}
	return &chart.Figure{
		Title:  fmt.Sprintf("A candle with %d bidders, a value of %s against %s", r.Bidders, chart.Short(r.Value), chart.Short(r.Rival)),
		Panels: []chart.Panel{p},
	}
}

package main

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gavel/lab/cases"
	"gavel/lab/chart"
	"gavel/raftfsm/auction"
)

// oddsFlags are what odds and stake ask of a pool.
type oddsFlags struct {
	workers, colluders, validators, panel int
	sample                                string
	rates                                 []uint32 // of sample, in ppm
}

func (f *oddsFlags) define(c *cobra.Command) {
	c.Flags().IntVar(&f.workers, "workers", 0, "`N` independent domains that may be drawn, the winner's not among them")
	c.Flags().IntVar(&f.colluders, "colluders", 0, "`C` of them collude")
	c.Flags().IntVar(&f.validators, "validators", 2, "`K` are drawn")
	c.Flags().IntVar(&f.panel, "panel", 0, "panel seats, an odd number, or 0 for none (default: the largest odd number of at most 2K+1 that are left)")
	c.Flags().StringVar(&f.sample, "sample", "", "shares of builds that are validated, such as 5% or 100%,10%,1%")
}

// read fills in what was not given and reads the sampling rates. It returns the
// exact chances and what odds and stake tell of them in JSON.
func (f *oddsFlags) read(c *cobra.Command) (o auction.Odds, r cases.Result, err error) {
	if !c.Flags().Changed("workers") || !c.Flags().Changed("colluders") {
		return o, nil, usage("the odds of what pool? Give --workers N --colluders C, such as --workers 20 --colluders 6")
	}
	if !c.Flags().Changed("panel") {
		f.panel = auction.PanelSize(f.workers, f.validators)
	}
	if f.rates, err = parseRates(f.sample); err != nil {
		return o, nil, err
	}
	if o, err = f.at(f.colluders); err != nil {
		return o, nil, err
	}
	r, err = f.report(o)
	return o, r, err
}

// at are the exact chances when so many collude.
func (f *oddsFlags) at(colluders int) (auction.Odds, error) {
	o, err := cases.OddsOf(f.workers, colluders, f.validators, f.panel)
	if err != nil {
		return o, labRefused(err)
	}
	return o, nil
}

// ends are the ways a forger's build can end, with their chances.
func ends(o auction.Odds) []chance {
	return []chance{
		{"all", "forgery agreed", "all validators collude: the forgery is agreed", o.PAll},
		{"flip", "honest convicted", "an honest validator objects, and the panel convicts it", o.PFlip},
		{"slash", "forger convicted", "the panel convicts the forger", o.PSlash},
		{"split", "undecided", "the panel decides nothing", o.PSplit},
	}
}

// chance is that of an end. Table, picture and JSON (p_all, …) call it by one name.
type chance struct {
	name, title, sentence string
	p                     *big.Rat
}

// report is what odds and stake tell of a pool in JSON.
func (f *oddsFlags) report(o auction.Odds) (cases.Result, error) {
	r, err := cases.AllColluding(f.workers, f.colluders, f.validators)
	if err != nil {
		return nil, refused(err)
	}
	r["workers"], r["colluders"], r["validators"], r["panel"] = f.workers, f.colluders, f.validators, f.panel
	for _, x := range ends(o) {
		r["p_"+x.name] = cases.Fraction(x.p)
	}
	return r, nil
}

func labOddsCommand() *cobra.Command {
	f, out := &oddsFlags{}, &labOut{}
	c := &cobra.Command{
		Use:   "odds --workers N --colluders C --validators K",
		Short: "the exact chances that colluding validators decide",
		Long: `The exact chances of each end of a forged build, hypergeometric over the draw of K
validators and then of a panel out of the rest, when C of N domains collude:

  all     all K collude: a forgery is agreed
  flip    an honest one objects, and the panel convicts the honest
  slash   the panel convicts the forger
  split   the panel decides nothing

  gavel lab odds --workers 20 --colluders 6 --validators 3 --json
  gavel lab odds --workers 20 --colluders 6 --validators 3 --sample 100%,10%,1%
  gavel lab odds --workers 20 --colluders 6 --validators 3 --plot odds.svg

A panel has an odd number of seats, so that it decides. With --sample, of the builds that a pool does not validate each forgery passes. JSON
has chances as [numerator, denominator] in lowest terms, and all_colluding_numerator
over denominator as C(c,k) over C(N,k).`,
		Args: wants(),
		RunE: action(func(_ context.Context, c *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			o, r, err := f.read(c)
			if err != nil {
				return err
			}
			var samples []map[string]any
			for _, rate := range f.rates {
				s := map[string]any{"sample_ppm": rate, "p_unseen": cases.Fraction(unseen(rate))}
				for _, x := range ends(o) {
					s["p_"+x.name] = cases.Fraction(sampled(x.p, rate))
				}
				samples = append(samples, s)
			}
			if samples != nil {
				r["samples"] = samples
			}
			if err := out.print(c, r, func(w *tabwriter.Writer) { f.write(w, o) }); err != nil {
				return err
			}
			return out.draw(c, f.figure)
		}),
	}
	f.define(c)
	out.define(c, "the chances over the number of colluders and of validators")
	return c
}

// maxRates bounds the columns of a table.
const maxRates = 20

// parseRates reads shares of builds such as 100%,5% as parts per million.
func parseRates(text string) ([]uint32, error) {
	if text == "" {
		return nil, nil
	}
	var out []uint32
	for _, part := range strings.Split(text, ",") {
		rate, err := parsePercent(strings.TrimSpace(part))
		if err != nil {
			return nil, usage("--sample %q: want shares above 0%% and up to 100%%, such as 5%% or 100%%,10%%, with at most four decimals", part)
		}
		if slices.Contains(out, rate) {
			return nil, refused(&cases.Refusal{Code: "duplicate", Detail: fmt.Sprintf("--sample has %s twice", part)})
		}
		out = append(out, rate)
	}
	if len(out) > maxRates {
		return nil, labRefused(fmt.Errorf("--sample has %d shares: want at most %d", len(out), maxRates))
	}
	return out, nil
}

// sampled is a chance of a build that is validated, seen before it is known
// whether it will be.
func sampled(p *big.Rat, ppm uint32) *big.Rat {
	return new(big.Rat).Mul(p, big.NewRat(int64(ppm), auction.PPM))
}

// unseen is the chance that a build is not validated.
func unseen(ppm uint32) *big.Rat { return big.NewRat(auction.PPM-int64(ppm), auction.PPM) }

// percentOf shows a chance for people.
func percentOf(p *big.Rat) string {
	x, _ := new(big.Rat).Mul(p, big.NewRat(100, 1)).Float64()
	return chart.Short(x) + " %"
}

// rateText is a sampling rate, exact.
func rateText(ppm uint32) string { return percentOf(big.NewRat(int64(ppm), auction.PPM)) }

func (f *oddsFlags) sentence() string {
	return fmt.Sprintf("%d of %d domains collude; %d are drawn, then a panel of %d", f.colluders, f.workers, f.validators, f.panel)
}

func (f *oddsFlags) write(w *tabwriter.Writer, o auction.Odds) {
	fmt.Fprintf(w, "%s\n\n", f.sentence())
	if len(f.rates) == 0 {
		fmt.Fprintln(w, "END\tCHANCE\tWHAT HAPPENS")
		for _, x := range ends(o) {
			fmt.Fprintf(w, "%s\t%s\t%s\n", x.name, percentOf(x.p), x.sentence)
		}
		return
	}
	fmt.Fprint(w, "END, IF VALIDATED ARE")
	for _, rate := range f.rates {
		fmt.Fprintf(w, "\t%s", rateText(rate))
	}
	fmt.Fprintln(w, "\tWHAT HAPPENS")
	row := func(name, sentence string, of func(ppm uint32) *big.Rat) {
		fmt.Fprint(w, name)
		for _, rate := range f.rates {
			fmt.Fprintf(w, "\t%s", percentOf(of(rate)))
		}
		fmt.Fprintf(w, "\t%s\n", sentence)
	}
	row("unseen", "nobody builds it again: the forgery passes", unseen)
	for _, x := range ends(o) {
		row(x.name, x.sentence, func(ppm uint32) *big.Rat { return sampled(x.p, ppm) })
	}
}

// figurePoints bounds the points of a line: exact chances of large pools take
// their time.
const figurePoints = 51

// spread are at most figurePoints whole numbers from low to high.
func spread(low, high int) []int {
	n := min(high-low+1, figurePoints)
	out := make([]int, n)
	for i := range out {
		out[i] = low + (high-low)*i/max(1, n-1)
	}
	return out
}

// endLines draws the four ends over x.
func endLines(x []int, at func(int) (auction.Odds, error)) ([]chart.Series, error) {
	var out []chart.Series
	for _, v := range x {
		o, err := at(v)
		if err != nil {
			return nil, err
		}
		for i, e := range ends(o) {
			if i == len(out) {
				out = append(out, chart.Series{Name: e.name + ": " + e.title})
			}
			p, _ := e.p.Float64()
			out[i].X, out[i].Y = append(out[i].X, float64(v)), append(out[i].Y, 100*p)
		}
	}
	return out, nil
}

// colluderPanel is the chances over how many collude.
func (f *oddsFlags) colluderPanel() (chart.Panel, error) {
	series, err := endLines(spread(0, f.workers), f.at)
	if err != nil {
		return chart.Panel{}, err
	}
	o, err := f.at(f.colluders)
	if err != nil {
		return chart.Panel{}, err
	}
	p, _ := o.PSlash.Float64()
	return chart.Panel{
		Title: fmt.Sprintf("How a forged build ends: %d validators, a panel of %d", f.validators, f.panel),
		X:     fmt.Sprintf("colluding domains of %d", f.workers), Y: "chance, %", Series: series,
		Marks: []chart.Mark{{Name: fmt.Sprintf("%d collude: slash %s", f.colluders, percentOf(o.PSlash)), X: float64(f.colluders), Y: 100 * p}},
	}, nil
}

// figure draws the chances over the number of colluders and of validators.
func (f *oddsFlags) figure() (*chart.Figure, error) {
	over, err := f.colluderPanel()
	if err != nil {
		return nil, err
	}
	most := min(f.workers, max(10, 2*f.validators), auction.MaxValidators)
	series, err := endLines(spread(1, most), func(k int) (auction.Odds, error) {
		return auction.OddsOf(f.workers, f.colluders, k, auction.PanelSize(f.workers, k))
	})
	if err != nil {
		return nil, labRefused(err)
	}
	return &chart.Figure{
		Title: fmt.Sprintf("Validators of a pool of %d domains", f.workers),
		Panels: []chart.Panel{over, {
			Title: fmt.Sprintf("The same with %d colluders, by how many validators are drawn", f.colluders),
			X:     "validators, each with the farm's panel", Y: "chance, %", Series: series,
		}},
	}, nil
}

package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gavel/lab/cases"
	"gavel/lab/chart"
	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
)

// stakeFlags are what stake asks beyond odds.
type stakeFlags struct {
	oddsFlags
	price, risk credits
}

// usualRates are shown where nobody asks for a rate, so that whoever sets one sees
// what it costs.
var usualRates = []uint32{auction.PPM, auction.PPM / 2, auction.PPM / 5, auction.PPM / 10, auction.PPM / 20, auction.PPM / 50, auction.PPM / 100}

func labStakeCommand() *cobra.Command {
	f, out := &stakeFlags{}, &labOut{}
	c := &cobra.Command{
		Use:   "stake --workers N --colluders C --validators K --max-price R --value-at-risk X",
		Short: "the stake that makes a forgery a loss",
		Long: `The stake S under which a forger loses twice what it can expect to gain:

  S = max(R, ⌈2·(G·(1 − s + s·(P_all + P_flip)) + s·R·P_split) / (s·P_slash)⌉),  G = R + X

with R the maximum price, X the value at risk and s the share of builds that are
validated. Without --sample every build is, and the table goes on with lower shares.
--reserve is another name of --max-price: give one of them. A panel has an odd number
of seats, so that it decides.

  gavel lab stake --workers 20 --colluders 6 --validators 3 --max-price 0.001 --value-at-risk 0.999
  gavel lab stake --workers 20 --colluders 6 --validators 3 --max-price 1 --sample 5%,1%
  gavel lab stake --workers 20 --colluders 6 --validators 3 --max-price 1 --plot stake.svg

With --json amounts are micro-credits; "stake" is that of the first share, "samples"
has all of them.`,
		Args: wants(),
		RunE: action(func(_ context.Context, c *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if !f.price.given && !f.risk.given {
				return usage("what is at stake? Give --max-price R, --value-at-risk X, or both")
			}
			if c.Flags().Changed("max-price") && c.Flags().Changed("reserve") {
				return usage("--max-price and --reserve are the same: give one of them")
			}
			_, r, err := f.read(c)
			if err != nil {
				return err
			}
			if r["reserve"], r["value_at_risk"] = f.price.value, f.risk.value; len(f.rates) == 0 {
				f.rates = usualRates
			}
			if r["stake"], err = f.stake(f.colluders, f.rates[0]); err != nil {
				return labRefused(err)
			}
			r["sample_ppm"], r["samples"] = f.rates[0], f.samples()
			if err := out.print(c, r, f.write); err != nil {
				return err
			}
			return out.draw(c, f.figure)
		}),
	}
	f.define(c)
	out.define(c, "the stake over the sampling rate and the number of colluders")
	c.Flags().Var(&f.price, "max-price", "R, the most a build pays, in credits")
	c.Flags().Var(&f.price, "reserve", "the same as --max-price: give one of them")
	c.Flags().Var(&f.risk, "value-at-risk", "X, what a forged output is worth to a forger, in credits")
	return c
}

func (f *stakeFlags) stake(colluders int, ppm uint32) (escrow.Credits, error) {
	return auction.Stake(f.workers, colluders, f.validators, f.panel, f.price.value, f.risk.value, uint64(ppm))
}

// samples are the stakes by rate; one that does not exist says why.
func (f *stakeFlags) samples() []map[string]any {
	var out []map[string]any
	for _, rate := range f.rates {
		s := map[string]any{"sample_ppm": rate}
		if x, err := f.stake(f.colluders, rate); err != nil {
			why := cases.RefusalOf(err)
			s["code"], s["error"] = why.Code, why.Detail
		} else {
			s["stake"] = x
		}
		out = append(out, s)
	}
	return out
}

func (f *stakeFlags) write(w *tabwriter.Writer) {
	fmt.Fprintf(w, "%s; a build pays at most %s, a forgery is worth %s more\n\n", f.sentence(), f.price.value, f.risk.value)
	fmt.Fprintln(w, "BUILDS VALIDATED\tSTAKE, CREDITS")
	rates := f.rates
	if !slices.Contains(rates, auction.PPM) { // always beside what it would be without sampling
		rates = append([]uint32{auction.PPM}, rates...)
	}
	for _, rate := range rates {
		if x, err := f.stake(f.colluders, rate); err != nil {
			fmt.Fprintf(w, "%s\t%s\n", rateText(rate), cases.RefusalOf(err).Detail)
		} else {
			fmt.Fprintf(w, "%s\t%s\n", rateText(rate), x)
		}
	}
}

// figure draws the stake over the sampling rate, and stake and chances over the
// number of colluders.
func (f *stakeFlags) figure() (*chart.Figure, error) {
	byRate := chart.Panel{
		Title: fmt.Sprintf("%d of %d domains collude", f.colluders, f.workers),
		X:     "builds that are validated, %", Y: "stake, credits", LogX: true, Series: []chart.Series{{Name: "stake"}},
	}
	for i := range figurePoints {
		ppm := uint32(math.Round(auction.PPM / 1000 * math.Pow(1000, float64(i)/(figurePoints-1))))
		if x, err := f.stake(f.colluders, ppm); err == nil { // else it is beyond all amounts
			byRate.Series[0].X = append(byRate.Series[0].X, float64(ppm)/auction.PPM*100)
			byRate.Series[0].Y = append(byRate.Series[0].Y, inCredits(x))
		}
	}
	for _, rate := range f.rates[:min(len(f.rates), 3)] {
		if x, err := f.stake(f.colluders, rate); err == nil {
			byRate.Marks = append(byRate.Marks, chart.Mark{Name: fmt.Sprintf("%s: %s", rateText(rate), x), X: float64(rate) / auction.PPM * 100, Y: inCredits(x)})
		}
	}
	byColluders := chart.Panel{
		Title: fmt.Sprintf("%s of builds are validated; where the line ends no stake deters", rateText(f.rates[0])),
		X:     fmt.Sprintf("colluding domains of %d", f.workers), Y: "stake, credits", Series: []chart.Series{{Name: "stake"}},
	}
	for _, colluders := range spread(0, f.workers) {
		if x, err := f.stake(colluders, f.rates[0]); err == nil {
			byColluders.Series[0].X = append(byColluders.Series[0].X, float64(colluders))
			byColluders.Series[0].Y = append(byColluders.Series[0].Y, inCredits(x))
		}
	}
	for _, p := range []*chart.Panel{&byRate, &byColluders} {
		least, most := slices.Min(p.Series[0].Y), slices.Max(p.Series[0].Y)
		p.LogY = least > 0 && most > 20*least
	}
	chances, err := f.colluderPanel()
	if err != nil {
		return nil, err
	}
	return &chart.Figure{
		Title:  fmt.Sprintf("The stake of a pool whose builds pay at most %s and risk %s more", f.price.value, f.risk.value),
		Panels: []chart.Panel{byRate, byColluders, chances},
	}, nil
}

// inCredits is an amount for paper.
func inCredits(x escrow.Credits) float64 { return float64(x) / float64(escrow.One) }

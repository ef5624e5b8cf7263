package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gavel/lab/cases"
	"gavel/lab/chart"
)

func labCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lab",
		Short: "try the market's rules on numbers of your own",
		Long: `The laboratory: what a rule would do, without a farm.

  gavel lab mechanisms                                            the whole family of rules
  gavel lab compare --values 4,2                                  each rule's equilibrium, side by side
  gavel lab simulate --mechanism uniform --reserve 2 --sybils 3   does it pay to cheat?
  gavel lab odds --workers 20 --colluders 6 --validators 3        can drawn validators be trusted?
  gavel lab stake --workers 20 --colluders 6 --validators 3 --max-price 0.001 --value-at-risk 0.999
  gavel lab candle --bidders 101 --value 100 --rival 60           how to bid while a candle burns
  gavel lab clear case.json                                       one case, by the farm's own code

Equilibria and simulations are floating-point numbers for people; odds, stakes and
cleared cases are exact. All take --json, and all that have a picture --plot
FILE.svg or FILE.png. What cannot be answered is refused with a code (malformed,
out-of-range, overflow, duplicate, unknown-rule, no-stake) and a sentence, exit 2.`,
		Args: wants(),
		RunE: action(func(_ context.Context, c *cobra.Command, _ []string) error { return c.Help() }),
	}
	c.AddCommand(labClearCommand(), labMechanismsCommand(), labOddsCommand(), labStakeCommand(), labCompareCommand(), labSimulateCommand(), labCandleCommand())
	return c
}

// labRefused is the error of numbers that the laboratory has no answer to.
func labRefused(err error) error { return refused(cases.RefusalOf(err)) }

// labOut are the flags for what a laboratory's subcommand prints and draws.
type labOut struct {
	json bool
	plot string
}

func (o *labOut) define(c *cobra.Command, picture string) {
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	if picture != "" {
		c.Flags().StringVar(&o.plot, "plot", "", "draw "+picture+" into `FILE`, .svg or .png")
	}
}

// check refuses a picture's name before anything is computed.
func (o *labOut) check() error {
	if o.plot == "" {
		return nil
	}
	if _, err := chart.Format(o.plot); err != nil {
		return usage("--plot: %v", err)
	}
	if dir, err := os.Stat(filepath.Dir(o.plot)); err != nil || !dir.IsDir() {
		return usage("--plot %s: there is no directory %s", o.plot, filepath.Dir(o.plot))
	}
	return nil
}

// draw makes the picture, if one is asked for.
func (o *labOut) draw(c *cobra.Command, figure func() (*chart.Figure, error)) error {
	if o.plot == "" {
		return nil
	}
	f, err := figure()
	if err != nil {
		return err
	}
	if err := chart.Write(o.plot, f); err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	fmt.Fprintf(c.ErrOrStderr(), "drawn: %s\n", o.plot)
	return nil
}

// print encodes v, or writes a table whose cells are parted by tabs.
func (o *labOut) print(c *cobra.Command, v any, table func(w *tabwriter.Writer)) error {
	if o.json {
		return json.NewEncoder(c.OutOrStdout()).Encode(v)
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// amounts is a flag of numbers, such as 4,2.
type amounts []float64

// String, Set and Type implement pflag's Value.
func (a *amounts) String() string { return strings.Join(texts(*a, plainNumber), ",") }

// Set reads the list.
func (a *amounts) Set(text string) error {
	var out []float64
	for _, part := range strings.Split(text, ",") {
		x, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return &cases.Refusal{Code: "malformed", Detail: fmt.Sprintf("%q is no number: want a list such as 4,2", part)}
		}
		out = append(out, x)
	}
	*a = out
	return nil
}

// Type names the value in the manual.
func (a *amounts) Type() string { return "NUMBERS" }

func plainNumber(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

func texts(list []float64, text func(float64) string) []string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = text(x)
	}
	return out
}

// brief shows a list to a person, of a long one the first few.
func brief(list []float64, between string) string {
	const shown = 4
	if len(list) <= shown+1 {
		return strings.Join(texts(list, chart.Short), between)
	}
	return fmt.Sprintf("%s … (%d)", strings.Join(texts(list[:shown], chart.Short), between), len(list))
}

// distinctNames refuses a list that names one thing twice.
func distinctNames(flag string, names []string) error {
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return refused(&cases.Refusal{Code: "duplicate", Detail: fmt.Sprintf("%s names %q twice", flag, name)})
		}
	}
	return nil
}

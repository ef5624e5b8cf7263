package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"gavel/lab/cases"
)

func labClearCommand() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use:   "clear CASE.json | -",
		Short: "clear one case with the farm's own code",
		Long: `Reads one case in the format of testdata/market.json, from a file or (-) from
standard input, clears it with the code that the farm runs, and prints the result as
JSON in the form of the case's expect. Amounts are whole micro-credits. Of equal bids
the one listed first wins.

  echo '{"rule":"vickrey","reserve":10000000,"seller_bids":[{"id":"a","price":1},{"id":"b","price":3}]}' |
    gavel lab clear -

The rules, what each takes and prints, and a case of each, are at the end.

--check also compares the result with the case's expect: exit 1 and a sentence for
each field that differs. What a rule refuses is refused with a code and a sentence,
exit 2. gavel pool show P --case LOT prints a cleared batch as such a case, and gavel
ticket list --draw N a lottery's draw.

A field that ends in ? may be absent; list[a b] is a list of objects with the fields a
and b. Bidders' ids, and names in general, are short texts. Every case may have an id,
a source and a note, which are left alone, and what it is compared with: expect, and
for the floats of the laboratory ("lab-…", whose amounts are in credits) float true
and a tolerance.

` + rulesManual(),
		Args: wants("CASE.json"),
		RunE: action(func(_ context.Context, c *cobra.Command, args []string) error {
			one, err := readCase(c.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			result, err := cases.Clear(one)
			if err != nil {
				return refused(err)
			}
			if err := json.NewEncoder(c.OutOrStdout()).Encode(result); err != nil {
				return fmt.Errorf("printing the result: %w", err)
			}
			if !check {
				return nil
			}
			differences, err := one.Compare(result)
			if err != nil {
				return refused(err)
			}
			for _, d := range differences {
				fmt.Fprintf(c.ErrOrStderr(), "gavel: %s\n", d)
			}
			if len(differences) > 0 {
				return &exit{code: exitFailed}
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&check, "check", false, "compare the result with the case's expect")
	c.Flags().Bool("json", true, "the result is always JSON")
	return c
}

// rulesManual lists the rules, what each takes and prints, and a case of each.
func rulesManual() string {
	var b strings.Builder
	for _, rule := range cases.Manual() {
		for _, line := range wrapped(strings.Join(rule.Names, ", "), manualWidth) {
			fmt.Fprintln(&b, line)
		}
		say := func(title, text string) {
			for _, line := range wrapped(text, manualWidth-len("  prints  ")) {
				fmt.Fprintf(&b, "  %-6s  %s\n", title, line)
				title = ""
			}
		}
		say("", rule.Does)
		for _, form := range rule.Forms {
			say("takes", form.Takes)
			say("prints", form.Prints)
			fmt.Fprintf(&b, "  such as %s\n", form.Example) // whole, to be copied
		}
		if rule.Note != "" {
			say("", rule.Note)
		}
		fmt.Fprintln(&b)
	}
	return strings.TrimSuffix(b.String(), "\n\n")
}

// manualWidth is how wide the manual's lines are, in letters.
const manualWidth = 88

// readCase reads a case from a file or, for "-", from standard input.
func readCase(stdin io.Reader, name string) (*cases.Case, error) {
	from := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, usage("reading the case: %v", err)
		}
		defer file.Close()
		from = file
	}
	one, err := cases.Read(from)
	var r *cases.Refusal
	if errors.As(err, &r) {
		return nil, refused(fmt.Errorf("reading the case: %w", err))
	}
	if err != nil {
		return nil, usage("%v", err)
	}
	return one, nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

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

--check also compares the result with the case's expect: exit 1 and a sentence for
each field that differs. What a rule refuses is refused with a code and a sentence,
exit 2. gavel pool show P --case LOT prints a cleared batch as such a case.`,
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
				return err
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

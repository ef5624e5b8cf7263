package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
)

func statusCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status BUILD",
		Short: "show a build as it stands",
		Long: `Shows what submit shows at its end, for a build of any age and in any state. BUILD is
its id, or the first 8 digits or more.

  gavel status 5f2c91aa --farm farm --json`,
		Args: wants("BUILD"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			return onBuild(ctx, dir, args[0], func(f *farm, id [32]byte) error {
				return f.print(ctx, newTerminal(c), id, asJSON)
			})
		}),
	}
	farmFlag(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print what submit --json prints")
	return c
}

// print prints a build as it stands.
func (f *farm) print(ctx context.Context, term *terminal, id [32]byte, asJSON bool) error {
	r, err := f.report(ctx, id)
	if err != nil {
		return err
	}
	return r.print(term, asJSON)
}

// report shows a build as it stands.
func (f *farm) report(ctx context.Context, id [32]byte) (*buildReport, error) {
	b, err := f.Farm().GetBuild(ctx, &gavelv1.GetBuildRequest{Build: id[:]})
	if err != nil {
		return nil, fmt.Errorf("asking for build %x: %w", id[:6], plain(err))
	}
	if b.State == build.Settled.String() || b.State == build.Pricing.String() {
		return gather(ctx, f, b, shownPatience)
	}
	return newReport(b), nil
}

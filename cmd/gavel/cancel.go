package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"gavel/raftfsm/build"
)

func cancelCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use:   "cancel BUILD",
		Short: "withdraw a build that nobody has won yet",
		Long: `Withdraws a build. Before the first bid that is free, until the award it costs the
auctioneer's fee, and after it is refused: somebody works on it.

  gavel cancel 5f2c91aa --farm farm`,
		Args: wants("BUILD"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			return onBuild(ctx, dir, args[0], func(f *farm, id [32]byte) error {
				if _, err := f.Do(ctx, build.TypeCancel, &build.Cancel{Build: id}); err != nil {
					return fmt.Errorf("the build was not cancelled: %w", plain(err))
				}
				newTerminal(c).say("cancelled %x", id)
				if !asJSON {
					return nil
				}
				return f.print(ctx, newTerminal(c), id, true)
			})
		}),
	}
	farmFlag(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print what status --json prints")
	return c
}

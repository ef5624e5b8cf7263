package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"gavel/raftfsm/build"
	"gavel/verify/keys"
)

// openCommand opens a requester's account.
func openCommand(dir *string) *cobra.Command {
	var key string
	c := &cobra.Command{
		Use:   "open NAME --key FILE",
		Short: "open a requester's account",
		Long: `Opens an account for a key of your own, with nothing in it. Who funds it is the
admin, by mint or grant. Commands that ask for something take the same --key.

  gavel keys new alice
  gavel account open alice --key alice --farm farm
  gavel account mint alice 100 --farm farm
  gavel submit --key alice --farm farm --output app . -- make`,
		Args: wants("NAME"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			if key == "" {
				return usage("whose account? Give --key FILE, made by gavel keys new")
			}
			if err := checkName("an account", args[0]); err != nil {
				return err
			}
			own, err := keys.Load(ctx, key)
			if err != nil {
				return usage("%v", err)
			}
			f, err := connectKey(ctx, *dir, key)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := f.Do(ctx, build.TypeOpen, &build.Open{Key: own.Public, Name: args[0]}); err != nil {
				return fmt.Errorf("no account was opened: %w", plain(err))
			}
			newTerminal(c).say("account %s is open", args[0])
			return nil
		}),
	}
	c.Flags().StringVar(&key, "key", "", "the signing key `FILE`")
	return c
}

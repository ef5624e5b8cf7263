package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gavel/raftfsm/build"
	"gavel/verify/keys"
)

// admitCommand lets an operator take part, with the keys that may speak for it.
func admitCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "admit OPERATOR KEY.pub[=MACHINE]...",
		Short: "let an operator take part, with these keys",
		Long: `Signed by the admin (D/keys/admin): lets OPERATOR take part, and names the keys that
may speak for it: a worker's with the machine it runs on, a requester's without.
Naming an operator again replaces its keys. A worker registers itself then:

  gavel keys new w9                                       on the new machine
  gavel account admit acme w9.pub=rack-1 --farm farm      by the admin
  gavel worker --config worker.json                       on the new machine`,
		Args: cobra.MatchAll(cobra.MinimumNArgs(2)),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			if err := checkName("an operator", args[0]); err != nil {
				return err
			}
			if n := len(args) - 1; n > maxMembers {
				return usage("%d keys: want at most %d of one operator", n, maxMembers)
			}
			admit := build.Admit{Operator: args[0]}
			for _, text := range args[1:] {
				m, err := parseMember(text)
				if err != nil {
					return err
				}
				admit.Members = append(admit.Members, m)
			}
			admit.SortMembers()
			f, err := connectAs(ctx, *dir, keyAdmin)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := f.Do(ctx, build.TypeAdmit, &admit); err != nil {
				return fmt.Errorf("nobody was admitted: %w", plain(err))
			}
			newTerminal(c).say("operator %s: %s", admit.Operator, count(len(admit.Members), "key"))
			return nil
		}),
	}
}

// maxMembers is how many keys one command has room for (a test compares).
const maxMembers = 512

// parseMember reads KEY.pub or KEY.pub=MACHINE.
func parseMember(text string) (build.Member, error) {
	path, machine, _ := strings.Cut(text, "=")
	if err := checkMachine(machine); err != nil {
		return build.Member{}, err
	}
	pem, err := readSmall(path, maxPublicKeyBytes)
	if err != nil {
		return build.Member{}, usage("reading a public key: %v", err)
	}
	public, err := keys.ParsePublic(pem)
	if err != nil {
		return build.Member{}, usage("%s: %v", path, err)
	}
	der, err := keys.PKIX(public)
	if err != nil {
		return build.Member{}, usage("%s: %v", path, err)
	}
	return build.Member{Account: build.AccountID(der), Machine: machine}, nil
}

package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// ledgerReport is what account prints as JSON, in micro-credits.
type ledgerReport struct {
	Accounts []accountReport `json:"accounts"`
	Minted   int64           `json:"minted"`
	Burned   int64           `json:"burned"`
	Total    int64           `json:"total"`
}

type accountReport struct {
	Name      string `json:"name"`
	Role      string `json:"role"`
	Available int64  `json:"available"`
	Held      int64  `json:"held"`
	Stake     int64  `json:"stake"`
}

// ledger reads all accounts.
func (f *farm) ledger(ctx context.Context) (*ledgerReport, *gavelv1.AccountsResponse, error) {
	answer, err := f.Farm().Accounts(ctx, &gavelv1.AccountsRequest{})
	if err != nil {
		return nil, nil, fmt.Errorf("asking for the accounts: %w", plain(err))
	}
	r := &ledgerReport{Accounts: []accountReport{}, Minted: answer.Minted, Burned: answer.Burned, Total: answer.Total}
	for _, a := range answer.Accounts {
		r.Accounts = append(r.Accounts, accountReport{Name: accountName(a), Role: a.Role, Available: a.Available, Held: a.Held, Stake: a.Stake})
	}
	slices.SortFunc(r.Accounts, compareAccounts)
	return r, answer, nil
}

// accountRoles is the order in which accounts are listed.
var accountRoles = []escrow.Role{escrow.Requester, escrow.Worker, escrow.Coordinator, escrow.Treasury, escrow.Admin, escrow.Escrow}

// compareAccounts orders by role, then "worker-2" before "worker-10".
func compareAccounts(a, b accountReport) int {
	role := func(r accountReport) int {
		return slices.IndexFunc(accountRoles, func(role escrow.Role) bool { return role.String() == r.Role })
	}
	return cmp.Or(cmp.Compare(role(a), role(b)), cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
}

// accountName is an account's own, or, of a build's escrow, its role and id.
func accountName(a *gavelv1.Account) string {
	if a.Name != "" {
		return a.Name
	}
	return a.Role + "-" + hex.EncodeToString(a.Id[:min(4, len(a.Id))])
}

// balanced recomputes the invariant: nobody is below zero, and all that anybody
// has was minted and not burned.
func (r *ledgerReport) balanced() bool {
	var sum int64
	for _, a := range r.Accounts {
		if a.Available < 0 || a.Held < 0 || a.Stake < 0 {
			return false
		}
		sum += a.Available + a.Held + a.Stake
	}
	return sum == r.Total && r.Total == r.Minted-r.Burned
}

func (r *ledgerReport) find(name string) (accountReport, bool) {
	for _, a := range r.Accounts {
		if a.Name == name {
			return a, true
		}
	}
	return accountReport{}, false
}

func accountCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use:   "account",
		Short: "show every account, and the sum",
		Long: `Shows what every account has available, held (bonds and stakes in use) and staked,
and checks that the sum is what was minted and not burned. The JSON is in
micro-credits. A build's escrow is an account until it has settled.

  gavel account --farm farm --json
  gavel account mint requester 100 --farm farm     new credits
  gavel account grant requester 100 --farm farm    credits of the treasury
  gavel account burn worker-3 5 --farm farm        take credits out of the world
  gavel account admit acme w9.pub=rack-1           let an operator and its worker in
  gavel account open alice --key alice             open a requester's account of your own

mint, grant, burn and admit need the admin's key, D/keys/admin.`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			f, err := connect(ctx, dir)
			if err != nil {
				return err
			}
			defer f.Close()
			r, answer, err := f.ledger(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(r)
			}
			return r.write(newTerminal(c), answer.Currency)
		}),
	}
	c.PersistentFlags().StringVar(&dir, "farm", "", "the farm's directory, as `DIR` of gavel up (default $GAVEL_FARM, else ./farm)")
	c.PersistentFlags().BoolVar(&asJSON, "json", false, "print all accounts as JSON")
	c.AddCommand(
		moneyCommand(&dir, &asJSON, "grant", "move credits from the treasury to an account", build.TypeGrant),
		moneyCommand(&dir, &asJSON, "mint", "make new credits for an account", build.TypeMint),
		moneyCommand(&dir, &asJSON, "burn", "take credits of an account out of the world", build.TypeBurn),
		admitCommand(&dir), openCommand(&dir),
	)
	return c
}

func (r *ledgerReport) write(term *terminal, currency string) error {
	w := tabwriter.NewWriter(term.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "account\trole\tavailable\theld\tstake\t\n")
	for _, a := range r.Accounts {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t\n", a.Name, a.Role, escrow.Credits(a.Available), escrow.Credits(a.Held), escrow.Credits(a.Stake))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	term.print("total %s %s = minted %s - burned %s", escrow.Credits(r.Total), currency, escrow.Credits(r.Minted), escrow.Credits(r.Burned))
	if !r.balanced() {
		return fmt.Errorf("the ledger does not balance: keep the farm's directory and report it")
	}
	return nil
}

func moneyCommand(dir *string, asJSON *bool, name, short string, kind build.Type) *cobra.Command {
	return &cobra.Command{
		Use:   name + " NAME AMOUNT",
		Short: short,
		Long:  "Signed by the admin (D/keys/admin): " + short + ". AMOUNT is in credits, such as 12.5.",
		Args:  wants("NAME", "AMOUNT"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			amount, err := parseCredits(args[1])
			if err != nil {
				return usage("%v", err)
			}
			if amount <= 0 {
				return usage("%q is no amount: want credits above 0, such as 12.5", args[1])
			}
			f, err := connectAs(ctx, *dir, keyAdmin)
			if err != nil {
				return err
			}
			defer f.Close()
			id, err := f.accountID(ctx, args[0], "nothing was moved")
			if err != nil {
				return err
			}
			if _, err := f.Do(ctx, kind, &build.Money{Account: id, Amount: amount}); err != nil {
				return fmt.Errorf("nothing was moved: %w", plain(err))
			}
			newTerminal(c).say("%s: %s credits, %s", name, amount, args[0])
			if !*asJSON {
				return nil
			}
			r, _, err := f.ledger(ctx)
			if err != nil {
				return err
			}
			return json.NewEncoder(c.OutOrStdout()).Encode(r)
		}),
	}
}

// accountID finds an account by its name; undone says what was not done where there
// is none.
func (f *farm) accountID(ctx context.Context, name, undone string) ([32]byte, error) {
	_, answer, err := f.ledger(ctx)
	if err != nil {
		return [32]byte{}, err
	}
	for _, a := range answer.Accounts {
		if a.Name == name && len(a.Id) == 32 {
			return [32]byte(a.Id), nil
		}
	}
	return [32]byte{}, refused(fmt.Errorf("there is no account %q: %s. `gavel account` lists them", name, undone))
}

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

func ticketCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "ticket",
		Short: "buy and show lottery tickets",
		Long: `In a lottery pool a build needs a slot, and slots go to tickets drawn at random.
Tickets cost the same for all; an all-pay pool takes the price when a ticket is
bought, a winner-pays pool when it is drawn.

  gavel ticket buy 3 --pool free
  gavel submit --pool free --output app . -- make
  gavel ticket list --pool free`,
		Args: wants(),
		RunE: action(func(_ context.Context, c *cobra.Command, _ []string) error { return c.Help() }),
	}
	c.AddCommand(ticketBuyCommand(), ticketListCommand())
	return c
}

// lotteryReport is a lottery pool's market.
type lotteryReport struct {
	Pool     string            `json:"pool"`
	Sold     uint64            `json:"sold"`     // tickets, ever
	Drawn    uint64            `json:"drawn"`    // of those, each for a slot
	Tickets  map[string]uint64 `json:"tickets"`  // not drawn yet, by owner
	Upcoming []slotReport      `json:"upcoming"` // drawn, in order
	Taken    []slotReport      `json:"taken"`
	Draws    []ticketCase      `json:"draws"` // the last, each as gavel lab clear reads it
}

type slotReport struct {
	Slot  uint64 `json:"slot"`
	Draw  uint64 `json:"draw"`
	Owner string `json:"owner"`
	Build string `json:"build,omitempty"`
}

// ticketCase is a draw that anyone can make again.
type ticketCase struct {
	ID      string         `json:"id"`
	Rule    string         `json:"rule"`
	SeedHex string         `json:"seed_hex"`
	Tickets []ownerTickets `json:"tickets"`
	Draws   int            `json:"draws"`
	Expect  struct {
		Owners []string `json:"owners"`
	} `json:"expect"`
}

type ownerTickets struct {
	Owner   string `json:"owner"`
	Key     string `json:"key"` // owners are drawn from in the order of their keys
	Tickets uint64 `json:"tickets"`
	Most    uint64 `json:"most"` // slots it could be drawn for: its builds that waited for one
}

func (v *poolView) slots(list []build.Slot) []slotReport {
	out := []slotReport{}
	for _, s := range list {
		r := slotReport{Slot: s.Number, Draw: s.Draw, Owner: v.name(s.Owner)}
		if s.Build != (build.ID{}) {
			r.Build = hex.EncodeToString(s.Build[:])
		}
		out = append(out, r)
	}
	return out
}

func (v *poolView) lottery() *lotteryReport {
	l := &v.market.Lottery
	r := &lotteryReport{Pool: v.rules.Name, Sold: l.Sold, Drawn: l.Slots, Tickets: map[string]uint64{}, Upcoming: v.slots(l.Upcoming), Taken: v.slots(l.Taken), Draws: []ticketCase{}}
	for _, h := range l.Holders {
		r.Tickets[v.name(h.Owner)] = h.Tickets
	}
	for i := range l.Drawn {
		d := &l.Drawn[i]
		seed := sha256.Sum256(d.Sigma[:])
		c := ticketCase{ID: fmt.Sprintf("%s-draw-%d", v.rules.Name, d.Number), Rule: "lottery", SeedHex: hex.EncodeToString(seed[:]), Draws: int(d.Wanted)}
		for _, h := range d.Holdings {
			c.Tickets = append(c.Tickets, ownerTickets{Owner: v.name(h.Owner), Key: hex.EncodeToString(h.Owner[:]), Tickets: h.Tickets, Most: h.Most})
		}
		for _, id := range d.Owners {
			c.Expect.Owners = append(c.Expect.Owners, v.name(id))
		}
		r.Draws = append(r.Draws, c)
	}
	return r
}

func (r *lotteryReport) write(term *terminal) {
	if r.Sold == 0 {
		term.print("  no ticket of pool %s was ever bought (gavel ticket buy 1 --pool %s)", r.Pool, r.Pool)
		return
	}
	term.print("  %s of pool %s sold, %d drawn", count(r.Sold, "ticket"), r.Pool, r.Drawn)
	for _, owner := range wire.SortedKeys(r.Tickets, strings.Compare) {
		term.print("  %s holds %s", owner, count(r.Tickets[owner], "ticket"))
	}
	for _, s := range r.Upcoming {
		term.print("  slot %d goes to %s (draw %d)", s.Slot, s.Owner, s.Draw)
	}
	for _, s := range r.Taken {
		term.print("  slot %d went to %s (draw %d), build %s", s.Slot, s.Owner, s.Draw, s.Build[:12])
	}
}

// maxTickets is how many the farm sells at once (a test compares).
const maxTickets = 1000

func ticketBuyCommand() *cobra.Command {
	var dir, pool, key string
	var asJSON bool
	c := &cobra.Command{
		Use:   "buy N --pool P",
		Short: "buy tickets",
		Long: `Buys N tickets at the pool's price, for your account or that of --key. In an all-pay
pool they are paid at once, in a winner-pays pool the price of each is reserved until
it is drawn, and paid then. Each ticket is drawn at most once; a slot that its owner
leaves unused while others wait is passed on, and its ticket is gone.

  gavel ticket buy 3 --pool free`,
		Args: wants("N"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			n, err := strconv.ParseUint(args[0], 10, 32)
			if err != nil || n < 1 || n > maxTickets {
				return usage("%.40q is no number of tickets: want 1 to %d at once", args[0], maxTickets)
			}
			f, v, err := lanePool(ctx, dir, key, pool, build.LaneLottery)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := f.Do(ctx, build.TypeTickets, &build.BuyTickets{Pool: v.rules.Name, Count: n}); err != nil {
				return fmt.Errorf("no ticket was bought: %w", plain(err))
			}
			newTerminal(c).say("%s of pool %s at %s credits each", count(n, "ticket"), v.rules.Name, v.rules.Lottery.Price)
			return f.showPools(ctx, newTerminal(c), v.rules.Name, asJSON)
		}),
	}
	farmFlag(c, &dir)
	keyFlag(c, &key)
	c.Flags().StringVar(&pool, "pool", "", "the lottery pool (default: the only one)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the pool as JSON")
	return c
}

func ticketListCommand() *cobra.Command {
	var dir, pool string
	var asJSON bool
	var number uint64
	c := &cobra.Command{
		Use:   "list",
		Short: "tickets, slots and draws",
		Long: `Shows who holds tickets, which slots are drawn ahead, and which were used.

--draw N prints one of the last draws as a case: the tickets that were in it, the seed
(SHA-256 of the coordinators' signature on it) and the owners of the slots it filled.

  gavel ticket list --pool free --draw 1 | gavel lab clear --check -`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			f, v, err := lanePool(ctx, dir, "", pool, build.LaneLottery)
			if err != nil {
				return err
			}
			defer f.Close()
			r := v.lottery()
			switch {
			case c.Flags().Changed("draw"):
				for i := range v.market.Lottery.Drawn {
					if v.market.Lottery.Drawn[i].Number == number {
						return json.NewEncoder(c.OutOrStdout()).Encode(&r.Draws[i])
					}
				}
				return refused(fmt.Errorf("draw %d is not among the last %d of pool %s", number, len(r.Draws), r.Pool))
			case asJSON:
				return json.NewEncoder(c.OutOrStdout()).Encode(r)
			}
			r.write(newTerminal(c))
			return nil
		}),
	}
	farmFlag(c, &dir)
	c.Flags().StringVar(&pool, "pool", "", "the lottery pool (default: the only one)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().Uint64Var(&number, "draw", 0, "print draw `N` as a case")
	return c
}

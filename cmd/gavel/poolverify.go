package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/verify/market"
)

// poolCheck is one thing that pool verify recomputed.
type poolCheck struct {
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

func poolVerifyCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify NAME",
		Short: "recompute what a pool's market decided last",
		Long: `Takes the record of the last epoch, auction or lottery draws from the farm and computes
all of it again, here: that each draw is signed by the coordinators' group key, the
order of equal prices and every payment of an epoch by the pool's rule, when a candle
auction had closed, who won it and which worker it is of, and whose tickets were drawn.

Exit status 0 if everything is as recorded, 3 if anything differs. The record and the
group key are the farm's word: keep both to check them on another day.

  gavel pool verify burst --farm farm`,
		Args: wants("NAME"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			f, err := connect(ctx, dir)
			if err != nil {
				return err
			}
			defer f.Close()
			checks, err := f.verifyPool(ctx, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(c.OutOrStdout()).Encode(checks)
			} else {
				writeChecks(newTerminal(c), args[0], checks)
			}
			for _, x := range checks {
				if !x.OK {
					return errors.Join(err, &exit{code: exitUnverified, err: fmt.Errorf("pool %s: %s: %s", args[0], x.What, x.Detail)})
				}
			}
			return err
		}),
	}
	farmFlag(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON: what was recomputed, whether it is as recorded, and how")
	return c
}

// verifyPool recomputes a pool's market.
func (f *farm) verifyPool(ctx context.Context, name string) ([]poolCheck, error) {
	info, err := f.Info(ctx)
	if err != nil {
		return nil, err
	}
	keys, cluster, err := groupsOf(info)
	if err != nil {
		return nil, err
	}
	views, err := f.pools(ctx, name)
	if err != nil {
		return nil, err
	}
	out := []poolCheck{}
	for _, x := range market.Verify(cluster, keys, &views[0].rules, &views[0].market) {
		out = append(out, poolCheck{What: x.What, OK: x.OK, Detail: x.Detail})
	}
	return out, nil
}

// groupsOf are the keys that draws are checked against, the one in use first.
func groupsOf(info *gavelv1.InfoResponse) (keys []beacon.GroupKey, cluster build.ID, err error) {
	for _, raw := range append([][]byte{info.GroupKey}, info.FormerGroupKeys...) {
		var key beacon.GroupKey
		if len(raw) != len(key) || len(info.Cluster) != len(cluster) {
			return nil, cluster, errors.New("the farm shows no group key: its coordinators have not made one yet")
		}
		copy(key[:], raw)
		keys = append(keys, key)
	}
	copy(cluster[:], info.Cluster)
	return keys, cluster, nil
}

func writeChecks(term *terminal, pool string, checks []poolCheck) {
	if len(checks) == 0 {
		term.print("pool %s has decided nothing yet that could be computed again", pool)
	}
	for _, x := range checks {
		mark := "ok   "
		if !x.OK {
			mark = "WRONG"
		}
		term.print("%s  %s: %s", mark, x.What, x.Detail)
	}
}

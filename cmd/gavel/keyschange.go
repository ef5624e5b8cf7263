package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/verify/keys"
)

// keyHistoryReport is what keys history prints as JSON, one for each account.
type keyHistoryReport struct {
	Account string           `json:"account"` // hex
	Name    string           `json:"name"`
	Role    string           `json:"role"`
	Key     string           `json:"key"` // fingerprint of the one that is in use
	Revoked bool             `json:"revoked"`
	Events  []keyEventReport `json:"events"`
}

type keyEventReport struct {
	OldKey     string `json:"old_key"`           // fingerprint
	NewKey     string `json:"new_key,omitempty"` // fingerprint; empty of a revocation
	Revoked    bool   `json:"revoked"`
	Reason     string `json:"reason"`
	By         string `json:"by"`
	FarmMillis int64  `json:"farm_millis"`
	WallMillis int64  `json:"wall_millis"` // since 1970
	Index      uint64 `json:"index"`       // of the Raft entry
}

func fingerprintOf(pkix []byte) string {
	if len(pkix) == 0 {
		return ""
	}
	return keys.Fingerprint(keys.ID(pkix))
}

func newKeyHistory(h *gavelv1.KeyHistory) *keyHistoryReport {
	r := &keyHistoryReport{
		Account: hex.EncodeToString(h.Account), Name: h.Name, Role: h.Role, Key: fingerprintOf(h.Key), Revoked: h.Revoked, Events: []keyEventReport{},
	}
	for _, e := range h.Events {
		r.Events = append(r.Events, keyEventReport{
			OldKey: fingerprintOf(e.OldKey), NewKey: fingerprintOf(e.NewKey), Revoked: e.Revoked, Reason: e.Reason, By: e.By,
			FarmMillis: e.FarmMillis, WallMillis: e.WallMillis, Index: e.Index,
		})
	}
	return r
}

func (r *keyHistoryReport) write(out io.Writer) error {
	state := "in use"
	if r.Revoked {
		state = "revoked"
	}
	fmt.Fprintf(out, "%s (%s)  %s, %s\n", r.Name, r.Role, r.Key, state)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, e := range r.Events {
		what := "revoked\t" + e.OldKey
		if !e.Revoked {
			what = "replaced\t" + e.OldKey + " by " + e.NewKey
		}
		fmt.Fprintf(w, "  %s\t%s\tby %s\t%q\tentry %d\n", time.UnixMilli(e.WallMillis).UTC().Format(time.RFC3339), what, e.By, e.Reason, e.Index)
	}
	return w.Flush()
}

func keysHistoryCommand() *cobra.Command {
	var dir, key string
	var asJSON bool
	c := &cobra.Command{
		Use:   "history [NAME]",
		Short: "show which keys were revoked or replaced, and when",
		Long: `Shows what became of the key of the account NAME, or of the cluster's own, which is
called cluster; without a name, of every key that was ever changed. The farm
remembers the newest changes of each; its log has all, as leaves of their own.`,
		Args: cobra.MaximumNArgs(1),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			f, err := connectKey(ctx, dir, key)
			if err != nil {
				return err
			}
			defer f.Close()
			in := &gavelv1.KeysRequest{}
			if len(args) == 1 {
				in.Name = args[0]
			}
			answer, err := f.Farm().Keys(ctx, in)
			if err != nil {
				return fmt.Errorf("asking for keys: %w", plain(err))
			}
			out := []*keyHistoryReport{}
			for _, h := range answer.Keys {
				out = append(out, newKeyHistory(h))
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(out)
			}
			if len(out) == 0 {
				newTerminal(c).say("no key was ever revoked or replaced")
			}
			for _, r := range out {
				if err := r.write(c.OutOrStdout()); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	farmFlag(c, &dir)
	keyFlag(c, &key)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// keyOwner asks whose key is meant.
func (f *farm) keyOwner(ctx context.Context, name string) (*gavelv1.KeyHistory, error) {
	answer, err := f.Farm().Keys(ctx, &gavelv1.KeysRequest{Name: name})
	if err != nil {
		return nil, fmt.Errorf("looking up the key of %s: %w", name, plain(err))
	}
	if len(answer.Keys) != 1 || len(answer.Keys[0].Account) != 32 {
		return nil, fmt.Errorf("the farm names %d keys of %s, want one", len(answer.Keys), name)
	}
	return answer.Keys[0], nil
}

// keyChangeFlags are what revoke and rotate share.
type keyChangeFlags struct {
	dir, key, reason string
	json             bool
}

func (k *keyChangeFlags) add(c *cobra.Command) {
	farmFlag(c, &k.dir)
	c.Flags().StringVar(&k.reason, "reason", "", "a sentence for the log")
	c.Flags().BoolVar(&k.json, "json", false, "print the key's history as JSON")
}

// connect speaks for the owner of --key, or the admin.
func (k *keyChangeFlags) connect(ctx context.Context) (*farm, error) {
	if !build.ValidReason(k.reason) {
		return nil, usage("--reason has at most %d bytes and no line breaks", build.MaxReasonBytes)
	}
	if k.key != "" {
		return connectKey(ctx, k.dir, k.key)
	}
	return connectAs(ctx, k.dir, keyAdmin)
}

// show prints what became of a key; who asks may have had it.
func (k *keyChangeFlags) show(ctx context.Context, c *cobra.Command, name string) error {
	if !k.json {
		return nil
	}
	f, err := connectAs(ctx, k.dir, keyAdmin)
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := f.keyOwner(ctx, name)
	if err != nil {
		return err
	}
	return json.NewEncoder(c.OutOrStdout()).Encode(newKeyHistory(h))
}

func keysRevokeCommand() *cobra.Command {
	k := &keyChangeFlags{}
	c := &cobra.Command{
		Use:   "revoke NAME",
		Short: "take an account's key out of use, from now on",
		Long: `Revokes the key of the account NAME: whatever it signs from now on is refused. What it
signed before stands. A revocation is a leaf of the farm's log. A worker's is away then,
and its leases lapse. The admin revokes (D/keys/admin), or the owner, with --key.
With gavel keys rotate the admin puts another key in its place.

  gavel keys revoke worker-3 --reason "laptop lost" --farm farm
  gavel keys revoke alice --key alice --farm farm

The cluster's own key is called cluster. The admin's own cannot be revoked, and of
coordinators' as many are left as are needed.`,
		Args: wants("NAME"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			f, err := k.connect(ctx)
			if err != nil {
				return err
			}
			defer f.Close()
			h, err := f.keyOwner(ctx, args[0])
			if err != nil {
				return err
			}
			if _, err := f.Do(ctx, build.TypeRevoke, &build.Revoke{Account: [32]byte(h.Account), Key: build.AccountID(h.Key), Reason: k.reason}); err != nil {
				return fmt.Errorf("the key was not revoked: %w", plain(err))
			}
			newTerminal(c).say("the key %s of %s is revoked", fingerprintOf(h.Key), args[0])
			return k.show(ctx, c, args[0])
		}),
	}
	k.add(c)
	c.Flags().StringVar(&k.key, "key", "", "the owner's signing key `FILE` (default: the admin's)")
	return c
}

func keysRotateCommand() *cobra.Command {
	k := &keyChangeFlags{}
	var with []string
	c := &cobra.Command{
		Use:   "rotate NAME NEWKEY",
		Short: "put another key in the place of an account's",
		Long: `Puts the key in the file NEWKEY, made by gavel keys new, in the place of the key of the
account NAME, which keeps its id, its credits and its part in everything. NEWKEY must
never have been anybody's. The old key signs for the new one, given with --key; in the
place of a revoked key the admin puts another, without --key.

  gavel keys new alice-2
  gavel keys rotate alice alice-2 --key alice --farm farm
  gavel keys rotate admin admin-2 --key farm/keys/admin --farm farm
  gavel keys rotate worker-3 w3-2 --farm farm             its key was revoked

A worker must have no part in a build under way: drain it first. Then its "key" in
worker.json is the new file (a farm of gavel up: the new file, and its .pub, in the place
of D/keys/worker-3), and it is started again. The cluster's key needs its own word and the admin's; every
coordinator needs the new one first, as "next_cluster_key" in coordinator.json (a farm of
gavel up: as D/keys/cluster-next, before it is started), and keeps the old one until all
that it signed is in the log:

  gavel keys rotate cluster farm/keys/cluster-next --key farm/keys/cluster --farm farm

Where the admin's key is lost, or the cluster's was revoked, --with names the key files
of a majority of coordinators, whose word is needed then; for the admin's, --key is one
of theirs.`,
		Args: wants("NAME", "NEWKEY"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			fresh, err := keys.Load(ctx, args[1])
			if err != nil {
				return usage("%v", err)
			}
			if err := k.rotate(ctx, args[0], fresh, with); err != nil {
				return err
			}
			if args[0] == clusterName {
				newTerminal(c).say("%s speaks for cluster now. A coordinator that does not have it as next_cluster_key waits with its log until it is started again with it; nothing is lost meanwhile. Keep the old file until the log has what it signed", keys.Fingerprint(fresh.ID))
				return nil
			}
			newTerminal(c).say("%s speaks for %s now: give --key %s from here on, or put it in the old one's place", keys.Fingerprint(fresh.ID), args[0], args[1])
			return k.show(ctx, c, args[0])
		}),
	}
	k.add(c)
	c.Flags().StringVar(&k.key, "key", "", "the key `FILE` that is replaced (default: the admin replaces one that was revoked)")
	c.Flags().StringSliceVar(&with, "with", nil, "key `FILES` of coordinators, for what needs a majority of them")
	return c
}

// rotate has a key replaced by fresh.
func (k *keyChangeFlags) rotate(ctx context.Context, name string, fresh *keys.Signer, with []string) error {
	by := *k
	cluster := name == clusterName
	if cluster {
		by.key = "" // the admin sends what the cluster's old key signs
	}
	f, err := by.connect(ctx)
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := f.keyOwner(ctx, name)
	if err != nil {
		return err
	}
	m := &build.Rotate{Account: [32]byte(h.Account), OldKey: build.AccountID(h.Key), NewKey: fresh.Public, Reason: k.reason}
	msg := build.RotationBytes(f.Cluster(), m.Account, m.OldKey, fresh.ID)
	if m.Possession, err = fresh.Sign(msg); err != nil {
		return err
	}
	if cluster && k.key != "" {
		old, err := keys.Load(ctx, k.key)
		if err != nil {
			return usage("%v", err)
		}
		if m.Old, err = old.Sign(msg); err != nil {
			return err
		}
	}
	for _, path := range with {
		s, err := keys.Load(ctx, path)
		if err != nil {
			return usage("%v", err)
		}
		sig, err := s.Sign(msg)
		if err != nil {
			return err
		}
		m.Vouches = append(m.Vouches, build.Vouch{Coordinator: s.ID, Signature: sig})
	}
	slices.SortFunc(m.Vouches, func(a, b build.Vouch) int { return slices.Compare(a.Coordinator[:], b.Coordinator[:]) })
	if _, err := f.Do(ctx, build.TypeRotate, m); err != nil {
		return fmt.Errorf("the key was not replaced: %w", plain(err))
	}
	return nil
}

// clusterName is what the cluster's own key is called.
const clusterName = "cluster"

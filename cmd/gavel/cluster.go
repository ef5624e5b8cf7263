package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/coordinator"
)

// clusterReport is what cluster status prints as JSON.
type clusterReport struct {
	Cluster string `json:"cluster"` // its id, the digest of its genesis, in hex
	// GroupKey is the coordinators', 96 bytes in hex; empty until it is made.
	GroupKey string              `json:"group_key"`
	LogURL   string              `json:"log_url"` // where the transparency log is served; empty where it is not
	Leader   string              `json:"leader"`
	Term     uint64              `json:"term"`
	Nodes    []clusterNodeReport `json:"nodes"`
}

type clusterNodeReport struct {
	Name      string `json:"name"`
	State     string `json:"state"` // leader, follower, candidate, unreachable
	Index     uint64 `json:"index"` // the last entry it applied
	StateHash string `json:"state_hash"`
}

func clusterCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "cluster",
		Short: "look at the coordinators, and have them make a new group key",
		Long: `Looks at the coordinators, and has them make a new group key.

  gavel cluster status --farm farm
  gavel cluster handover --farm farm       signed by the admin`,
		Args: cobra.NoArgs,
		RunE: action(func(context.Context, *cobra.Command, []string) error {
			return usage("say status or handover")
		}),
	}
	c.AddCommand(clusterStatusCommand(), clusterHandoverCommand())
	return c
}

func clusterStatusCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "show the cluster's id, who leads and how far each coordinator is",
		Long: `Shows the cluster's id and its group key, which verifiers and auditors are given
(--cluster, --group-key); who leads; and of each coordinator what it last applied and
the hash of its state. Nodes at the same index must have the same hash.

  gavel cluster status --farm farm --json`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			f, err := connect(ctx, dir)
			if err != nil {
				return err
			}
			defer f.Close()
			answer, err := f.Farm().Cluster(ctx, &gavelv1.ClusterRequest{})
			if err != nil {
				return fmt.Errorf("asking the coordinators: %w", plain(err))
			}
			info, err := f.Info(ctx)
			if err != nil {
				return fmt.Errorf("asking for the cluster's keys: %w", plain(err))
			}
			genesis, err := coordinator.LoadGenesis(f.dir.genesis()) // whose cluster answers: connect held it to that
			if err != nil {
				return err
			}
			id := genesis.Digest()
			r := clusterReport{
				Cluster: hex.EncodeToString(id[:]), GroupKey: hex.EncodeToString(info.GroupKey),
				LogURL: info.LogUrl, Leader: answer.Leader, Term: answer.Term, Nodes: []clusterNodeReport{},
			}
			for _, n := range answer.Nodes {
				r.Nodes = append(r.Nodes, clusterNodeReport{Name: n.Name, State: n.State, Index: n.Index, StateHash: hex.EncodeToString(n.StateHash)})
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(r)
			}
			return r.write(c.OutOrStdout())
		}),
	}
	farmFlag(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (r *clusterReport) write(out io.Writer) error {
	leader := r.Leader
	if leader == "" {
		leader = "nobody"
	}
	fmt.Fprintf(out, "cluster %s\n", r.Cluster)
	if r.GroupKey != "" {
		fmt.Fprintf(out, "group key %s\n", r.GroupKey)
	}
	if r.LogURL != "" {
		fmt.Fprintf(out, "log %s\n", r.LogURL)
	}
	fmt.Fprintf(out, "%s leads in term %d\n", leader, r.Term)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, n := range r.Nodes {
		hash := n.StateHash
		if len(hash) > 16 {
			hash = hash[:16]
		}
		fmt.Fprintf(w, "%s\t%s\tindex %d\t%s\n", n.Name, n.State, n.Index, hash)
	}
	return w.Flush()
}

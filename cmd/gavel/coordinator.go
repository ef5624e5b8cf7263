package main

import (
	"context"

	"github.com/spf13/cobra"

	"gavel/coordinator"
)

func coordinatorCommand() *cobra.Command {
	var config string
	var tethered bool
	c := &cobra.Command{
		Use:   "coordinator --config FILE",
		Short: "run one coordinator",
		Long: `Runs one coordinator of a cluster until SIGTERM. FILE is JSON:

  {
    "name": "coordinator-1",            as in the genesis and in "peers"
    "dir": "coordinator-1",             Raft's log, the key share, the archive; one process
    "genesis": "genesis.bin",           the same file on every node
    "key": "keys/coordinator-1",        signing key, a file or a KMS URI
    "seal_key": "keys/coordinator-1-seal",
    "cluster_key": "keys/cluster",      signs the log; the same on every node
    "next_cluster_key": "",             takes its place once gavel keys rotate has
    "log_listen": "", "log_url": "",    HOST:PORT that serves the log, and where others reach it
    "witnesses": [{"name": "NAME", "key": "FILE", "url": "URL"}],   who cosign it
    "store": "store",                   blobs and logs; shared by coordinators of one machine
    "peers": [{"name": "coordinator-1", "address": "HOST:PORT", "raft_address": "HOST:PORT"}, …],
    "listen": "", "raft_listen": "",    where those of "peers" are not this machine's
    "log_file": ""                      DIR/node.log unless set
  }

Paths are relative to FILE. Keys not listed are refused.`,
		Args: wants(),
		RunE: action(func(ctx context.Context, _ *cobra.Command, _ []string) error {
			if config == "" {
				return usage("which coordinator? Give --config FILE")
			}
			cfg, err := coordinator.LoadConfig(config)
			if err != nil {
				return refused(err)
			}
			if tethered {
				var release context.CancelFunc
				ctx, release = tether(ctx)
				defer release()
			}
			return coordinator.Run(ctx, cfg)
		}),
	}
	c.Flags().StringVar(&config, "config", "", "the node's configuration `FILE`")
	tetherFlag(c, &tethered)
	return c
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"gavel/worker"
)

func workerCommand() *cobra.Command {
	var config string
	var tethered bool
	var given workerFlags
	c := &cobra.Command{
		Use:   "worker --config FILE | worker --name NAME --dir DIR --endpoint HOST:PORT --key FILE --operator NAME --machine NAME",
		Short: "run one worker",
		Long: `Runs one worker until SIGTERM: it registers with its stake, bids its price for
builds, builds what it wins and rebuilds what it is drawn for. Its operator must have
been admitted by the farm, and its account must hold the stake.

FILE is JSON with the keys name, dir, endpoints, key_file, pool, operator, machine,
sandbox ("native", "docker" or "oci"), runtime, image_bytes, price or price_per_second, stake, min_fee,
slots, cache_bytes and log_file; amounts are decimal credits in quotes. Flags given
beside --config override it. These keys have no flag:

  ask              what it asks for an action of a batch pool (default: price, or
                   price_per_second for one second)
  ask_per_second   what it asks for a core-second of a metered batch pool (the same default)
  ask_capacity     how many actions of one epoch it takes (default: what it can finish in
                   an epoch, by how long builds took it so far)
  finished_price   what it asks in an auction for a result that it has already; unset,
                   it bids for its slot alone
  spare_container  true: the sandbox docker keeps one container started for the next
                   build like the last, which then starts several times as fast

In a batch pool work goes to the cheapest ask first, up to its capacity, then to the
next; a worker whose ask is above the pool's reserve gets none.

A worker that gavel up started and that died is started again, while gavel up runs, by

  gavel worker --config farm/worker-3/worker-3.json

  gavel keys new worker-9
  gavel worker --name worker-9 --dir w9 --endpoint 127.0.0.1:7300 --key worker-9 \
      --operator operator-9 --machine machine-9 --price 1.5 --stake 1000`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			var cfg worker.Config
			if config != "" {
				var err error
				if cfg, err = worker.ReadConfig(config); err != nil {
					return refused(err)
				}
			}
			if err := given.apply(c, &cfg); err != nil {
				return err
			}
			if cfg.Name == "" || cfg.Dir == "" {
				return usage("which worker? Give --config FILE, or --name and --dir and the rest")
			}
			if tethered {
				var release context.CancelFunc
				ctx, release = tether(ctx)
				defer release()
			}
			return worker.Run(ctx, cfg)
		}),
	}
	c.Flags().StringVar(&config, "config", "", "the worker's configuration `FILE`")
	given.add(c)
	tetherFlag(c, &tethered)
	return c
}

// workerFlags are the configuration's keys as flags.
type workerFlags struct {
	worker.Config
	price, pricePerSecond, stake, minFee credits
}

func (w *workerFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&w.Name, "name", "", "how people call it; unique in the farm")
	f.StringVar(&w.Dir, "dir", "", "its own `DIR`: journal, caches, log")
	f.StringArrayVar(&w.Endpoints, "endpoint", nil, "`HOST:PORT` of a coordinator; repeat it for more")
	f.StringVar(&w.KeyFile, "key", "", "its signing key, a `FILE` of gavel keys or a KMS URI")
	f.StringVar(&w.Pool, "pool", "default", "the pool it works in")
	f.StringVar(&w.Operator, "operator", "", "the operator it belongs to")
	f.StringVar(&w.Machine, "machine", "", "the machine it runs on, admitted with the operator")
	f.StringVar(&w.Sandbox, "sandbox", worker.SandboxNative, "native, docker or oci")
	f.StringVar(&w.Runtime, "runtime", "", "an OCI runtime: one of the Docker engine's, or with --sandbox oci a program such as crun, runc or runsc")
	f.Var(&w.price, "price", "a flat price for a build, in credits")
	f.Var(&w.pricePerSecond, "price-per-second", "a price for a second of building, in credits")
	f.Var(&w.stake, "stake", "what it puts up when it registers, in credits")
	f.Var(&w.minFee, "min-fee", "the least validator's fee it works for, in credits")
	f.IntVar(&w.Slots, "slots", 1, "how many builds it runs at once")
	f.Int64Var(&w.CacheBytes, "cache-bytes", 4<<30, "bound of its cache of inputs")
	f.Int64Var(&w.ImageBytes, "image-bytes", 32<<30, "bound of the images that it keeps")
	f.StringVar(&w.LogFile, "log-file", "", "a line for each event (default DIR/worker.log)")
	f.StringVar(&w.Misbehave, "misbehave", "", "dishonest on purpose: forge, copy, withhold, lazy, crash or garble")
}

// apply puts the flags that were given, and the defaults of those that the
// configuration leaves open, into cfg.
func (w *workerFlags) apply(c *cobra.Command, cfg *worker.Config) error {
	set := func(name string, value *string, to *string) {
		if c.Flags().Changed(name) || *to == "" {
			*to = *value
		}
	}
	set("name", &w.Name, &cfg.Name)
	set("dir", &w.Dir, &cfg.Dir)
	set("key", &w.KeyFile, &cfg.KeyFile)
	set("pool", &w.Pool, &cfg.Pool)
	set("operator", &w.Operator, &cfg.Operator)
	set("machine", &w.Machine, &cfg.Machine)
	set("sandbox", &w.Sandbox, &cfg.Sandbox)
	set("runtime", &w.Runtime, &cfg.Runtime)
	set("log-file", &w.LogFile, &cfg.LogFile)
	set("misbehave", &w.Misbehave, &cfg.Misbehave)
	if c.Flags().Changed("endpoint") {
		cfg.Endpoints = w.Endpoints
	}
	if c.Flags().Changed("slots") {
		cfg.Slots = w.Slots
	}
	if c.Flags().Changed("image-bytes") {
		cfg.ImageBytes = w.ImageBytes
	}
	if c.Flags().Changed("cache-bytes") {
		cfg.CacheBytes = w.CacheBytes
	}
	if w.price.given && w.pricePerSecond.given {
		return usage("--price and --price-per-second exclude each other")
	}
	if w.price.given {
		cfg.Price, cfg.PricePerSecond = w.price.amount(), nil
	}
	if w.pricePerSecond.given {
		cfg.Price, cfg.PricePerSecond = nil, w.pricePerSecond.amount()
	}
	if w.stake.given {
		cfg.Stake = *w.stake.amount()
	}
	if w.minFee.given {
		cfg.MinFee = *w.minFee.amount()
	}
	return nil
}

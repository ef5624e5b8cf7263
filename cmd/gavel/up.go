package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"gavel/worker"
)

func upCommand() *cobra.Command {
	var dir string
	var misbehave []string
	var finished credits
	s := upSettings{}
	c := &cobra.Command{
		Use:   "up --dir D",
		Short: "start a farm on this machine",
		Long: `Starts a farm on this machine, each node its own process, and stays in the
foreground. When it prints "ready HOST:PORT" the farm takes builds:

  gavel up --dir farm &
  gavel submit --farm farm --output hello testdata/projects/hello -- sh build.sh

D keeps everything: keys, state, blobs, logs (D/NAME/log), and farm.json, which says
where the farm is and who may use it. The same command starts the same farm again;
how many coordinators and workers it has, which sandbox, and whether it is private is
settled when D is made. Coordinator i serves gRPC on the port of --listen + i - 1 and
Raft on that port + 100 + i, the transparency log over HTTP on that port + 200 + i; port 0
picks free ones, once.

SIGTERM or Ctrl-C stops the nodes. A node that dies is not started again: the farm
goes on as long as more than half of the coordinators live.

--private makes a house pool: one owner's machines, no bids and no prices.
--treasury says what becomes of slashes, forfeits, priority charges and ticket sales:
they are kept, burned, or shared equally among the workers (smooth).
--finished-price lets every worker sell what it has built before: where it still keeps
the outputs of an action, it bids for so much, promises them at once, and as winner
hands over exactly what its bid committed to.
--retain says how long the farm keeps what nobody uses any more, inputs above all, so
that builds can be made again (gavel download --inputs): forever, days such as 30d, or
hours such as 36h. It may change from one start to the next.
--misbehave makes worker N dishonest on purpose, to see what the farm does about it:
  forge     bids low and alters what it built
  copy      as a validator commits to a guess instead of building
  withhold  builds, and never uploads
  lazy      as a validator commits to an empty result without building
  crash     kills itself when its first command starts
  garble    lodges openings that do not decrypt`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			if dir == "" {
				return usage("where? Give --dir D, a directory that is new, empty, or holds a farm")
			}
			var err error
			if s.Misbehave, err = parseMisbehave(misbehave); err != nil {
				return err
			}
			if finished.given {
				price := worker.Amount(finished.value)
				s.FinishedPrice = &price
			}
			return up(ctx, c, farmDir(dir), &s)
		}),
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "the farm's directory `D`")
	f.IntVar(&s.Coordinators, "coordinators", 3, "how many coordinators; an odd number, 1 to 9")
	f.IntVar(&s.Workers, "workers", 8, "how many workers, each an operator of its own")
	f.BoolVar(&s.Private, "private", false, "a house pool: one owner's machines, no prices")
	f.StringVar(&s.Sandbox, "sandbox", "native", "native, docker or oci; several with commas between are taken in turn")
	f.StringVar(&s.Runtime, "runtime", "", "an OCI runtime: one that the Docker engine knows, or of the sandbox oci a program such as crun, runc or runsc")
	f.StringVar(&s.Treasury, "treasury", "keep", "what becomes of the treasury's income: keep, burn or smooth")
	f.Var(&finished, "finished-price", "what workers ask for a result that they have already, in credits (default: they bid for slots alone)")
	f.StringVar(&s.Retain, "retain", "", "how long the farm's store keeps what nobody uses: forever, 30d (the default), 36h, …")
	f.StringVar(&s.Listen, "listen", "127.0.0.1:7300", "`HOST:PORT` of the first coordinator")
	f.StringArrayVar(&misbehave, "misbehave", nil, "`N=KIND` makes worker N dishonest; repeat it for more")
	return c
}

// up is a farm's life in the foreground.
func up(ctx context.Context, c *cobra.Command, dir farmDir, want *upSettings) error {
	say := func(format string, args ...any) { fmt.Fprintf(c.ErrOrStderr(), format+"\n", args...) }
	farm, err := openFarm(dir, want, c.Flags().Changed, say)
	if err != nil {
		return err
	}
	defer farm.stop()
	if err := farm.start(); err != nil {
		return err
	}
	if err := farm.waitReady(ctx); err != nil {
		if errors.Is(err, context.Canceled) {
			return nil // told to stop
		}
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "ready %s\n", farm.endpoints()[0])
	farm.watch(ctx)
	return nil
}

// parseMisbehave reads N=KIND, repeated.
func parseMisbehave(list []string) (map[int]string, error) {
	out := make(map[int]string)
	for _, text := range list {
		number, kind, ok := strings.Cut(text, "=")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || kind == "" {
			return nil, usage("--misbehave %q: want N=KIND, such as 8=forge", text)
		}
		if _, twice := out[n]; twice {
			return nil, usage("--misbehave names worker %d twice", n)
		}
		out[n] = kind
	}
	return out, nil
}

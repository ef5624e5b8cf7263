// Command cmd probes every runner that this machine can have: native, of the host
// and of an image, as root and as a user without privileges, docker, and oci with
// runc and crun; each as it is and, where the runner can vary the environment,
// varied in what tries to get out. It prints package probe's table and then, in a sentence each, what
// succeeded and what could not be tried, and exits with 1 if that is anything. It
// needs root, a Docker engine, both runtimes, and the source it was built from.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"gavel/sandbox/native"
	"gavel/sandbox/probe"
)

// options are the command line.
type options struct {
	verbose bool
	only    *regexp.Regexp
	runners *regexp.Regexp
	vary    *regexp.Regexp
	varyAll bool
	child   string // directory of a suite that runs as another user and writes its reports as JSON
	program string // of the child
}

func main() {
	native.MaybeInit()
	if err := probe.Expose(); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(2)
	}
	o := parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	held, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
	}
	if err != nil || !held {
		stop()
		os.Exit(1)
	}
}

func parse() options {
	var o options
	flag.BoolVar(&o.verbose, "v", false, "print every probe as it ends")
	only := flag.String("only", "", "only probes whose name or category matches")
	runners := flag.String("runner", "", "only runners whose name matches")
	vary := flag.String("vary", "", "of the runners that can vary the environment, only probe once more, varied, those whose name matches: all that tries to get out")
	flag.BoolVar(&o.varyAll, "vary-all", false, "and all that exhausts, outlives or leaves something too, which takes minutes each")
	flag.StringVar(&o.child, "child", "", "for its own use")
	flag.StringVar(&o.program, "program", "", "for its own use")
	flag.Parse()
	o.only, o.runners, o.vary = regexp.MustCompile(*only), regexp.MustCompile(*runners), regexp.MustCompile(*vary)
	return o
}

func run(ctx context.Context, o options) (held bool, err error) {
	if o.child != "" {
		return true, runChild(ctx, o)
	}
	if os.Getuid() != 0 {
		return false, errors.New("it takes root to plant what no sandbox may find; run it as root")
	}
	base, err := os.MkdirTemp("/var/tmp", "gavel-probe-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(base)
	if err := os.Chmod(base, 0o755); err != nil {
		return false, err
	}
	if o.program, err = probe.Build(ctx, base); err != nil {
		return false, err
	}
	planted, err := plant(filepath.Join(base, "worker"))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, planted.Remove()) }()
	reports, err := probeAll(ctx, o, base, planted)
	if err != nil {
		return false, err
	}
	held = true
	for _, r := range reports {
		held = held && r.Held()
	}
	fmt.Printf("%d probes\n", len(probe.Probes()))
	return held, probe.WriteTable(os.Stdout, reports)
}

func plant(dir string) (*probe.Planted, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return probe.Plant(dir)
}

// selected says whether an option's patterns choose a probe.
func (o options) selected(p probe.Probe) bool {
	return o.only.MatchString(p.Name) || o.only.MatchString(string(p.Category))
}

func (o options) each(runner string) func(probe.Outcome) {
	return func(out probe.Outcome) {
		if o.verbose {
			fmt.Fprintf(os.Stderr, "%-14s %s\n", runner, strings.TrimSpace(out.Line()))
		}
	}
}

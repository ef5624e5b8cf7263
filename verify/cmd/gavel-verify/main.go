// Gavel-verify checks what a build farm leaves behind, without the farm and
// without a network: one bundle against a file, or a whole log.
//
//	gavel-verify bundle [flags] BUNDLE FILE
//	gavel-verify audit [flags] --dir DIR | --url URL
//
// It is gavel verify and gavel audit in a program of their own, built from verify/
// and the state machine alone, so that who audits a farm need not run its code.
// Exit status: 0 all is well, 1 it is not, 2 there is nothing that could be checked.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"gavel/verify/audit"
	"gavel/verify/dossier"
)

// The exit statuses.
const (
	exitGood     = 0
	exitBad      = 1
	exitUnusable = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	info, err := os.Stderr.Stat()
	live := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb" && os.Getenv("TERM") != ""
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, live)
	stop()
	os.Exit(code)
}

const manual = `gavel-verify checks what a build farm leaves behind, offline.

  gavel-verify bundle [flags] BUNDLE FILE          one bundle against a file
  gavel-verify audit [flags] --dir DIR | --url URL  a whole log
  gavel-verify audit --export OUT --url URL         a copy of all that an audit needs

--help after a command lists its flags. Exit status: 0 all is well, 1 it is not, 2
there is nothing that could be checked.
`

// run is main without the process around it; it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, live bool) int {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	var result fmt.Stringer
	var good, asJSON bool
	var err error
	switch command {
	case "bundle":
		result, good, asJSON, err = bundle(ctx, args[1:], stderr)
	case "audit":
		result, good, asJSON, err = auditing(ctx, args[1:], stderr, live)
	default:
		_, _ = io.WriteString(stderr, manual)
		return exitUnusable
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitGood
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "gavel-verify: %v\n", err)
		return exitUnusable
	case asJSON:
		err = json.NewEncoder(stdout).Encode(result)
	default:
		_, err = fmt.Fprint(stdout, result)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "gavel-verify: writing the report: %v\n", err)
		return exitUnusable
	}
	if !good {
		return exitBad
	}
	return exitGood
}

// list is a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func flags(name, usage string, stderr io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		_, _ = fmt.Fprintf(stderr, "gavel-verify %s %s\n", name, usage)
		f.PrintDefaults()
	}
	return f
}

// parse reads flags. One that is given empty is refused: most likely it is a shell's
// variable that is not set, and would demand nothing.
func parse(f *flag.FlagSet, args []string) (err error) {
	if err := f.Parse(args); err != nil {
		return err
	}
	f.Visit(func(g *flag.Flag) {
		if g.Value.String() == "" {
			err = fmt.Errorf("--%s is given, but empty", g.Name)
		}
	})
	return err
}

func bundle(ctx context.Context, args []string, stderr io.Writer) (fmt.Stringer, bool, bool, error) {
	var r dossier.Request
	var witnesses list
	f := flags("bundle", "[flags] BUNDLE FILE", stderr)
	f.StringVar(&r.Cluster, "cluster", "", "the farm's `ID` in hex: the genesis must have it")
	f.StringVar(&r.Genesis, "genesis", "", "the farm's genesis `FILE` (default: the one beside BUNDLE, taken as given)")
	f.StringVar(&r.Key, "key", "", "the signer's public `KEY` in PEM")
	f.StringVar(&r.GroupKey, "group-key", "", "the coordinators' group key in `HEX`")
	f.StringVar(&r.With, "with", "", "the `DIR` where the rest lies (default: that of BUNDLE)")
	f.BoolVar(&r.Alone, "alone", false, "look at BUNDLE and --key, and at nothing beside it")
	f.StringVar(&r.Policy, "policy", "", "a `FILE` of demands that must all be kept")
	f.StringVar(&r.AsOf, "as-of", "", "what stood on `DATE`: 2026-01-31, at its end in UTC, or RFC 3339")
	f.Var(&witnesses, "witness", "a witness of the log as `NAME=KEY`, its public key in PEM; repeat it")
	f.IntVar(&r.Quorum, "witness-quorum", 0, "how many witnesses must have cosigned the checkpoint")
	asJSON := f.Bool("json", false, "print JSON")
	if err := parse(f, args); err != nil {
		return nil, false, false, err
	}
	if f.NArg() != 2 {
		return nil, false, false, errors.New("BUNDLE and FILE are wanted, after the flags")
	}
	r.Bundle, r.File, r.Witnesses = f.Arg(0), f.Arg(1), witnesses
	report, err := r.Check(ctx)
	if bad := new(dossier.BadRequest); errors.As(err, &bad) {
		err = fmt.Errorf("nothing was checked: %w", bad.Err)
	}
	if err != nil {
		return nil, false, false, err
	}
	return report, report.Verified(), *asJSON, nil
}

func auditing(ctx context.Context, args []string, stderr io.Writer, live bool) (fmt.Stringer, bool, bool, error) {
	r := audit.Request{Out: stderr, Live: live}
	var since, receipts list
	f := flags("audit", "[flags] --dir DIR | --url URL", stderr)
	f.StringVar(&r.Dir, "dir", "", "a copy of a log in `DIR`, in which every file must be accounted for")
	f.StringVar(&r.URL, "url", "", "the `URL` of a served log")
	f.StringVar(&r.Cluster, "cluster", "", "the cluster's `ID` that you trust, in hex")
	f.StringVar(&r.Genesis, "genesis", "", "a genesis `FILE` that you trust")
	f.Var(&since, "since", "a checkpoint `FILE` that the log must be consistent with; repeat it")
	f.Var(&receipts, "receipt", "a receipt `FILE` whose command must be in the log; repeat it")
	f.StringVar(&r.State, "state", "", "keep the state of an interrupted audit in `FILE` (default: in the user's cache)")
	f.BoolVar(&r.Fresh, "fresh", false, "begin anew, and keep no state")
	out := f.String("export", "", "copy all that an audit needs into the new directory `OUT`")
	asJSON := f.Bool("json", false, "print JSON")
	if err := parse(f, args); err != nil {
		return nil, false, false, err
	}
	if f.NArg() != 0 {
		return nil, false, false, fmt.Errorf("%q is one argument too many", f.Arg(0))
	}
	r.Since, r.Receipts = since, receipts
	var report *audit.Report
	var err error
	if *out != "" {
		report, err = r.Export(ctx, *out)
	} else {
		report, err = r.Audit(ctx)
	}
	if err != nil {
		return nil, false, false, err
	}
	return report, report.Clean(), *asJSON, nil
}

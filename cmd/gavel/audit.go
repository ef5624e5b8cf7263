package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/coordinator/publish"
	"gavel/verify/audit"
	"gavel/verify/tlog"
)

func auditCommand() *cobra.Command {
	var r audit.Request
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use:   "audit --farm DIR | --url URL | --dir DIR",
		Short: "replay a farm's whole log, and name whatever deviates",
		Long: `Reads a transparency log from its first leaf to its checkpoint and recomputes all of
it: every command, bid, reveal, score, award, draw, verdict, stake, fee, transfer and
balance, by the farm's own rules, from what was asked for and signed; every leaf; and
every file that lies beside the log. Whatever deviates is named by leaf and field.

  gavel audit --farm farm                     the log of a farm of gavel up, on this machine
  gavel audit --url https://farm.example/log  a log that is served
  gavel audit export -o copy --farm farm      copy all that an audit needs
  gavel audit --dir copy                      audit the copy, offline; every byte counts

The genesis decides whom to trust: compare the cluster's id with one that you know, or
give it with --cluster or --genesis. A checkpoint that you kept (--since FILE) must be of
the same log, and a command that you hold a receipt for (--receipt FILE) must be in it.
An audit that is interrupted goes on where it was; --fresh begins anew.

Exit status: 0 nothing deviates, 1 something does, 2 there is nothing to audit, or the
audit did not end; 4 no farm there.`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			if err := auditSource(ctx, &r, dir); err != nil {
				return err
			}
			t := newTerminal(c)
			r.Out, r.Live = t.err, t.live
			report, err := r.Audit(ctx)
			return showAudit(t, report, err, asJSON)
		}),
	}
	auditFlags(c, &r, &dir, &asJSON)
	c.Flags().StringVar(&r.State, "state", "", "keep the state of an interrupted audit in `FILE` (default: in the user's cache)")
	c.Flags().BoolVar(&r.Fresh, "fresh", false, "begin anew, and keep no state")
	c.AddCommand(auditExportCommand())
	return c
}

func auditExportCommand() *cobra.Command {
	var r audit.Request
	var dir, out string
	var asJSON bool
	c := &cobra.Command{
		Use:   "export -o DIR --farm DIR | --url URL",
		Short: "copy a log and all that an audit of it needs",
		Long: `Audits a log and copies all that the audit reads into a new directory: genesis, leaves,
tiles, checkpoint, entries, transcripts, manifests and summaries. gavel audit --dir
checks the copy without a network; any byte of it that changes is found, but for the
order of the signatures under a checkpoint.

  gavel audit export -o copy --farm farm

Exit status: 0 nothing deviates, 1 something does (the copy is made, as evidence), 2
there is nothing to audit, or the directory is not empty; 4 no farm there.`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			if out == "" {
				return usage("where to? Give -o DIR")
			}
			if err := auditSource(ctx, &r, dir); err != nil {
				return err
			}
			t := newTerminal(c)
			r.Out, r.Live = t.err, t.live
			report, err := r.Export(ctx, out)
			if err == nil {
				t.say("exported to %s", out)
			}
			return showAudit(t, report, err, asJSON)
		}),
	}
	auditFlags(c, &r, &dir, &asJSON)
	c.Flags().StringVarP(&out, "output", "o", "", "the new `DIR`ectory")
	return c
}

func auditFlags(c *cobra.Command, r *audit.Request, farm *string, asJSON *bool) {
	farmFlag(c, farm)
	c.Flags().StringVar(&r.URL, "url", "", "the `URL` of a served log")
	c.Flags().StringVar(&r.Dir, "dir", "", "a copy of a log in `DIR`, in which every file must be accounted for")
	c.Flags().StringVar(&r.Cluster, "cluster", "", "the cluster's `ID` that you trust, in hex")
	c.Flags().StringVar(&r.Genesis, "genesis", "", "a genesis `FILE` that you trust")
	c.Flags().StringArrayVar(&r.Since, "since", nil, "a checkpoint `FILE` that the log must be consistent with (may be repeated)")
	c.Flags().StringArrayVar(&r.Receipts, "receipt", nil, "a receipt `FILE` whose command must be in the log (may be repeated)")
	c.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

// auditSource settles which log is meant; without --url and --dir it is a farm's.
func auditSource(ctx context.Context, r *audit.Request, farm string) error {
	if r.Dir != "" || r.URL != "" {
		if farm != "" || r.Dir != "" && r.URL != "" {
			return usage("which log? Give one of --farm, --url and --dir")
		}
		return nil
	}
	dir, err := findFarm(farm)
	if err != nil {
		return err
	}
	switch {
	case r.Cluster != "":
		if err := dir.isCluster(r.Cluster); err != nil {
			return err
		}
	case r.Genesis == "":
		r.Genesis = dir.genesis()
	}
	return dir.log(ctx, r)
}

// isCluster refuses a farm of another cluster than the one that is named. What has no
// genesis on this machine is held to the name by the audit.
func (d farmDir) isCluster(named string) error {
	if _, err := os.Stat(d.genesis()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var o api.Options
	if err := d.trust(&o); err != nil {
		return refused(err)
	}
	if id := hex.EncodeToString(o.Cluster[:]); id != named && len(named) == len(id) {
		return refused(fmt.Errorf("the farm in %s is cluster %s, not %s, which --cluster names", d, id, named))
	}
	return nil
}

// log finds a farm's log: the longest of its coordinators' on this machine, which
// must be consistent with all others of them; else where the farm says.
func (d farmDir) log(ctx context.Context, r *audit.Request) error {
	f, err := d.read()
	if err != nil {
		return err
	}
	longest := uint64(0)
	for _, n := range f.Nodes {
		if n.Role != "coordinator" {
			continue
		}
		dir := publish.LogDir(d.node(n.Name))
		note, err := readSmall(filepath.Join(dir, tlog.CheckpointPath), tlog.MaxNoteBytes)
		if err != nil {
			continue // it has none yet, or is elsewhere
		}
		c, err := tlog.ReadUnverified(note)
		if err != nil {
			return refused(fmt.Errorf("%s: %w", dir, err))
		}
		r.Notes = append(r.Notes, audit.Note{Name: "the checkpoint of " + n.Name, Text: note})
		if r.Served == "" || c.Size > longest {
			r.Served, longest = dir, c.Size
		}
	}
	if r.Served != "" {
		return nil
	}
	live, err := connect(ctx, string(d))
	if err != nil {
		return refused(fmt.Errorf("no coordinator of %s has a log on this machine: %w", d, err))
	}
	defer live.Close()
	info, err := live.Farm().Info(ctx, &gavelv1.InfoRequest{})
	if err != nil {
		return refused(fmt.Errorf("asking the farm for its log: %w", plain(err)))
	}
	if r.URL = info.LogUrl; r.URL == "" {
		return refused(errors.New("the farm has no log on this machine and names no address of one: give --url"))
	}
	return nil
}

// keepReceipt writes a receipt as gavel audit reads it, if a file is named.
func keepReceipt(path string, r *gavelv1.Receipt) error {
	if path == "" {
		return nil
	}
	raw, err := protojson.Marshal(r)
	if err == nil {
		err = os.WriteFile(path, append(raw, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("the farm has taken the build, and keeping its receipt failed: %w", err)
	}
	return nil
}

// showAudit prints a report; what deviates has exit status 1, and what is no log 2.
func showAudit(t *terminal, report *audit.Report, err error, asJSON bool) error {
	switch {
	case errors.Is(err, audit.ErrUnusable), errors.Is(err, audit.ErrTarget):
		return refused(err)
	case err != nil:
		return &exit{code: exitUsage, err: fmt.Errorf("the audit did not end: %w", err)}
	case asJSON:
		if err := json.NewEncoder(t.out).Encode(report); err != nil {
			return err
		}
	default:
		fmt.Fprint(t.out, report)
	}
	if !report.Clean() {
		return &exit{code: exitFailed}
	}
	return nil
}

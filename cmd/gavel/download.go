package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/cas/tree"
	"gavel/raftfsm/build"
)

func downloadCommand() *cobra.Command {
	var dir, to, inputs string
	var asJSON bool
	c := &cobra.Command{
		Use:   "download BUILD -o DIR | --inputs DIR",
		Short: "fetch what a build made, or what it was made from",
		Long: `Writes the outputs of a build below DIR, which must be new or empty. Every file is
checked against its digest, and none is written outside of DIR.

With --inputs it writes all that anybody needs to build it again without the farm
(gavel rebuild): the action, its command, the input tree and the image, each under its
digest in an OCI layout, and the attestations. What is there is not fetched again. The
farm keeps inputs as long as its --retain says.

  gavel download 5f2c91aa --farm farm -o out
  gavel download 5f2c91aa --farm farm --inputs evidence`,
		Args: wants("BUILD"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			if to == "" && inputs == "" {
				return usage("where to? Give -o DIR, a directory that is new or empty, or --inputs DIR")
			}
			if to != "" {
				if err := checkTarget(to); err != nil {
					return err
				}
			}
			return onBuild(ctx, dir, args[0], func(f *farm, id [32]byte) error {
				if inputs != "" {
					if err := f.downloadInputs(ctx, newTerminal(c), id, inputs); err != nil {
						return err
					}
				}
				if to != "" {
					if err := f.download(ctx, newTerminal(c), id, to); err != nil {
						return err
					}
				}
				if !asJSON {
					return nil
				}
				return f.print(ctx, newTerminal(c), id, true)
			})
		}),
	}
	farmFlag(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print what status --json prints")
	c.Flags().StringVarP(&to, "output", "o", "", "the `DIR` to write to")
	c.Flags().StringVar(&inputs, "inputs", "", "write what it was made from to `DIR`")
	return c
}

// checkTarget refuses a directory that holds something.
func checkTarget(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return refused(fmt.Errorf("looking at %s: %w. Nothing was written. Name another directory with -o", dir, err))
	case len(entries) > 0:
		return refused(fmt.Errorf("%s is not empty: nothing was written. Name a new or empty directory with -o", dir))
	}
	return nil
}

func (f *farm) download(ctx context.Context, term *terminal, id [32]byte, to string) error {
	b, err := f.Farm().GetBuild(ctx, &gavelv1.GetBuildRequest{Build: id[:]})
	if err != nil {
		return fmt.Errorf("asking for build %x: %w", id[:6], plain(err))
	}
	switch {
	case b.State != build.Settled.String() && b.State != build.Pricing.String():
		return fmt.Errorf("build %x is %s: there is nothing to download yet. `gavel status` shows how far it is", id[:6], b.State)
	case !b.Delivered:
		return fmt.Errorf("build %x ended %s and delivered nothing: %s", id[:6], b.Verdict, b.Reason)
	}
	store, err := f.blobs()
	if err != nil {
		return err
	}
	m, err := readManifest(ctx, store, b.Manifest, b.ManifestBytes)
	if err != nil {
		return err
	}
	entries := entriesOf(m)
	var bytes int64
	for _, e := range entries {
		bytes += e.Digest.Size
	}
	if err := tree.Download(ctx, store, entries, to, tree.Options{}); err != nil {
		return err
	}
	term.say("wrote %s, %s, to %s (%s)", count(len(entries), "path"), megabytes(bytes), to, b.Verdict)
	if len(b.WithdrawnBy) > 0 {
		term.say("this result was withdrawn since: challenge %x found another", b.WithdrawnBy)
	}
	return nil
}

// entriesOf lists a result as a tree does.
func entriesOf(m *build.Manifest) []tree.Entry {
	types := map[build.OutputType]tree.Type{build.OutputFile: tree.File, build.OutputDir: tree.Dir, build.OutputSymlink: tree.Symlink}
	out := make([]tree.Entry, 0, len(m.Outputs))
	for _, o := range m.Outputs {
		e := tree.Entry{Path: o.Path, Type: types[o.Type], Executable: o.Executable, Target: o.Target}
		if o.Type == build.OutputFile {
			e.Digest = cas.OfSum(o.Digest, int64(o.Size))
		}
		out = append(out, e)
	}
	return out
}

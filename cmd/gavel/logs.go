package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"gavel/api/seal"
)

func logsCommand() *cobra.Command {
	var dir string
	var followIt bool
	c := &cobra.Command{
		Use:   "logs BUILD",
		Short: "show what a build's command printed",
		Long: `Shows what the command printed at the machine that won the build, standard output
and standard error together. The farm holds it encrypted to the requester's key; only
this program, with that key, reads it. -f goes on until no more can come.

  gavel logs -f 5f2c91aa --farm farm`,
		Args: wants("BUILD"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			return onBuild(ctx, dir, args[0], func(f *farm, id [32]byte) error {
				return f.logs(ctx, newTerminal(c), id, followIt)
			})
		}),
	}
	farmFlag(c, &dir)
	c.Flags().BoolVarP(&followIt, "follow", "f", false, "go on until the log has ended")
	return c
}

// logs decrypts a build's log to term's output.
func (f *farm) logs(ctx context.Context, term *terminal, id [32]byte, followIt bool) error {
	key, err := seal.ReadKey(f.file.Requester.LogKey)
	if err != nil {
		return err
	}
	var lease []byte
	for chunk, err := range f.ReadLog(ctx, id, followIt) {
		if err != nil {
			return plain(err)
		}
		if len(chunk.Lease) != 32 {
			return fmt.Errorf("reading the log: a chunk names a lease of %d bytes", len(chunk.Lease))
		}
		if lease != nil && !bytes.Equal(lease, chunk.Lease) {
			term.say("-- another worker took the build over and began anew --")
		}
		lease = chunk.Lease
		plain, err := seal.OpenLog(key, id, [32]byte(chunk.Lease), chunk.Offset, chunk.Data)
		if err != nil {
			return fmt.Errorf("reading the log: %w; was the build submitted with the key %s?", err, f.file.Requester.LogKey)
		}
		if _, err := term.out.Write(plain); err != nil {
			return err
		}
	}
	return nil
}

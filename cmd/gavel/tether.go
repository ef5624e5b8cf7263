package main

import (
	"context"
	"io"
	"os"
	"syscall"

	"github.com/spf13/cobra"
)

// A node of `gavel up` is tethered: its standard input is a pipe that `up` holds
// open, so that it stops when `up` is gone, however it went; and it holds the
// lock of the farm's nodes, so that a new `up` waits until the last is gone.

// nodesLockFD is where a tethered node inherits that lock.
const nodesLockFD = 3

func tetherFlag(c *cobra.Command, on *bool) {
	c.Flags().BoolVar(on, "tethered", false, "stop when standard input ends")
	if err := c.Flags().MarkHidden("tethered"); err != nil {
		panic(err) // only for a flag that does not exist
	}
}

// tether ends the context it returns when standard input does.
func tether(ctx context.Context) (context.Context, context.CancelFunc) {
	syscall.CloseOnExec(nodesLockFD) // what this node starts must not keep the farm locked
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // an error ends it just as well
		cancel()
	}()
	return ctx, cancel
}

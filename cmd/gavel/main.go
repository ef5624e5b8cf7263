// Gavel is a build farm whose machines need not trust each other: start one
// with "gavel up", submit a build with "gavel submit", and see "gavel --help".
// This package owns flags, output and wiring, one file a subcommand; it never
// decides anything about a build, a bid or money. Results go to standard output
// and everything else to standard error, and the exit status says what became of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"gavel/sandbox/container/pid1"
	"gavel/sandbox/native"
)

func main() {
	maybeInit()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// maybeInit plays the inside of a sandbox, and never returns, if this process
// was started as that.
func maybeInit() {
	pid1.MaybeRun()    // inside a container of its own this program is PID 1, where no smaller one was built in
	native.MaybeInit() // a worker starts its sandboxes by starting this program again
}

// run is main without the process around it; it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	var e *exit
	if !errors.As(err, &e) {
		// cobra found an unknown command or flag before anything of ours ran.
		e = usage("%v", err)
	}
	if e.err != nil {
		fmt.Fprintf(stderr, "gavel: %s\n", visible(e.err.Error()))
		if e.code == exitUsage && e.manual {
			fmt.Fprintf(stderr, "Nothing was done. `%s --help` is the manual.\n", command.CommandPath())
		}
	}
	return e.code
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "gavel",
		Short: "a build farm whose machines need not trust each other",
		Long: `Gavel auctions a build among workers, has the winner build it in a sandbox and
drawn validators build it again, and pays only when the results agree.

  gavel up --dir farm                                   start a farm on this machine
  gavel submit --farm farm --output app src -- make     build src/ by running make in it
  gavel download BUILD --farm farm -o out               fetch what came out

Commands that talk to a farm find it by --farm, else by $GAVEL_FARM, else in
./farm. All but logs take --json, where they have something to say.

Exit status: 0 it is done; 1 it failed (submit: the command failed, and everybody
agrees that it does); 2 bad usage, or refused before anything ran; 3 submit: not
verified; 4 no farm answers; 5 submit: verified, and not what --expect says.`,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		upCommand(), demoCommand(), submitCommand(), statusCommand(), logsCommand(), downloadCommand(), rebuildCommand(),
		cancelCommand(), challengeCommand(), diffCommand(), verifyCommand(), auditCommand(), witnessCommand(), accountCommand(), imageCommand(), poolCommand(), leaseCommand(), ticketCommand(), labCommand(), clusterCommand(), workerCommand(), coordinatorCommand(), keysCommand(),
	)
	return root
}

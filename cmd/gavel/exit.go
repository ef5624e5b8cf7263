package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/api"
)

// The exit statuses.
const (
	exitDone       = 0
	exitFailed     = 1 // the build's command failed, or the subcommand did
	exitUsage      = 2 // bad usage, or refused before anything ran
	exitUnverified = 3 // a build without a verified result
	exitNoFarm     = 4
	exitUnexpected = 5 // a verified result that is not what --expect says was published
)

// exit is an error that knows the exit status it deserves. Without err there is
// nothing to say: the output has said it.
type exit struct {
	code   int
	err    error
	manual bool // point at the manual
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// usage is the error of somebody who must call differently.
func usage(format string, args ...any) *exit {
	return &exit{code: exitUsage, err: fmt.Errorf(format, args...), manual: true}
}

// refused is the error of a call that is well-formed but cannot be carried out;
// nothing was changed.
func refused(err error) *exit { return &exit{code: exitUsage, err: err} }

// action makes a subcommand's function of ours into one of cobra's.
func action(f func(ctx context.Context, c *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if err := emptyFlag(c); err != nil {
			return err
		}
		err := f(c.Context(), c, args)
		var e *exit
		if err == nil || errors.As(err, &e) {
			return err
		}
		return &exit{code: codeOf(err), err: err}
	}
}

// emptyFlag refuses a flag that is given, but empty: most likely it is a shell's
// variable that is not set, and would demand nothing.
func emptyFlag(c *cobra.Command) (err error) {
	c.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" {
			err = usage("--%s is given, but empty; leave it out if it is not meant", f.Name)
		}
	})
	return err
}

// codeOf is the exit status of an error that has none of its own.
func codeOf(err error) int {
	var refusal *api.RefusedError
	switch {
	case errors.Is(err, api.ErrNoCluster):
		return exitNoFarm
	case errors.As(err, &refusal):
		return exitUsage
	}
	switch status.Code(err) {
	case codes.NotFound, codes.InvalidArgument, codes.Unauthenticated, codes.PermissionDenied:
		return exitUsage // as the farm said before it did anything
	}
	return exitFailed
}

// wants checks the number of arguments, naming what is missing.
func wants(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage("%s is missing: %s", names[len(args)], c.UseLine())
		case len(args) > len(names):
			return usage("%q is one argument too many: %s", args[len(names)], c.UseLine())
		}
		return nil
	}
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"

	"gavel/sandbox"
)

// ErrUnfit is wrapped by errors that no retry on this machine can mend.
var ErrUnfit = errors.New("this worker cannot build it")

// Run runs a command. One that no sandbox would run has failed, on every
// machine alike, so that the requester is told why; one that this machine cannot
// run is an error that wraps ErrUnfit, and is left to others.
func Run(ctx context.Context, runner sandbox.Runner, spec sandbox.Spec) (sandbox.Result, error) {
	if err := spec.Validate(); err != nil {
		return sandbox.Result{Status: sandbox.Exited, ExitCode: sandbox.ExitNotExecutable, Detail: err.Error()}, nil
	}
	res, err := runner.Run(ctx, spec)
	if errors.Is(err, sandbox.ErrRefused) {
		return res, fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	if err != nil {
		return res, fmt.Errorf("running the command: %w", err)
	}
	return res, nil
}

// ClearDir makes dir an empty directory.
func ClearDir(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("emptying a work directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making a work directory: %w", err)
	}
	return nil
}

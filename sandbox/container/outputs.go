package container

import (
	"context"

	"gavel/sandbox"
)

// Collect copies the outputs of a command that ended by itself from its build
// directory, and says in res which are missing. Its errors are ctx's or wrap sandbox.ErrUnavailable.
func Collect(ctx context.Context, s sandbox.Spec, sc Scratch, res *sandbox.Result) error {
	if res.Status != sandbox.Exited && res.Status != sandbox.Signaled {
		return nil
	}
	if len(s.Outputs) == 0 {
		return nil
	}
	work, err := sc.Open()
	if err != nil {
		return Unavailable(err)
	}
	defer work.Close()
	missing, detail, err := sandbox.CollectOutputs(ctx, work, s)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return Unavailable(err)
	}
	res.Missing = missing
	if detail != "" {
		res.Detail = detail
	}
	if len(missing) > 0 && res.Status == sandbox.Exited && res.ExitCode == 0 {
		res.Status = sandbox.MissingOutput
	}
	return nil
}

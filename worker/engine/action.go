package engine

import (
	"context"
	"errors"
	"fmt"

	"gavel/api/action"
	"gavel/cas"
	"gavel/sandbox"
)

// Reader reads a small blob, verified.
type Reader interface {
	Read(ctx context.Context, d cas.Digest) ([]byte, error)
}

// FetchAction reads an action and its command. Errors that wrap ErrUnfit are the
// requester's.
func FetchAction(ctx context.Context, from Reader, digest cas.Digest) (*action.Action, error) {
	raw, err := fetchSmall(ctx, from, digest, maxActionBytes)
	if err != nil {
		return nil, fmt.Errorf("fetching the action: %w", err)
	}
	named, err := action.CommandDigest(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	command, err := fetchSmall(ctx, from, named, maxCommandBytes)
	if err != nil {
		return nil, fmt.Errorf("fetching the command: %w", err)
	}
	a, err := action.Decode(raw, command)
	if errors.Is(err, action.ErrMalformed) {
		err = fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	return a, err
}

func fetchSmall(ctx context.Context, from Reader, d cas.Digest, limit int64) ([]byte, error) {
	if d.Size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d", ErrUnfit, d, d.Size, limit)
	}
	return from.Read(ctx, d)
}

// Spec is an action as the sandbox runs it.
func Spec(a *action.Action, inputDir, outputDir string) sandbox.Spec {
	env := make([]string, 0, len(a.Env))
	for _, v := range a.Env {
		env = append(env, v.Name+"="+v.Value)
	}
	return sandbox.Spec{
		Root: a.Root, Argv: a.Argv, Env: env, WorkDir: a.WorkDir, InputDir: inputDir, OutputDir: outputDir,
		Outputs: a.Outputs, SourceDateEpoch: action.SourceDateEpoch,
		Limits: sandbox.Limits{
			TimeMillis: a.TimeoutMillis, MemoryBytes: a.Limits.MemoryBytes, CPUMillis: a.Limits.CPUMillis,
			Pids: a.Limits.Pids, DiskBytes: a.Limits.DiskBytes,
		},
	}
}

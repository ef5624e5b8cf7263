package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"gavel/api/action"
	"gavel/raftfsm/build"
	"gavel/worker/engine"
)

// idler commits, as a validator, to a result without outputs, and builds
// nothing. As a builder it is honest.
type idler struct {
	inner executor
	blobs blobs
	log   *slog.Logger
}

// Execute implements executor.
func (i *idler) Execute(ctx context.Context, j *job) (*product, error) {
	if j.Builder {
		return i.inner.Execute(ctx, j)
	}
	i.log.Warn("commits without building", "build", full(j.Build), "lease", short(j.Lease))
	return pretend(ctx, i.blobs, j, func(*action.Action) *build.Manifest { return &build.Manifest{Status: build.StatusExited} })
}

// pretend makes a product without running anything; to the farm it looks like a
// very fast machine.
func pretend(ctx context.Context, from blobs, j *job, result func(*action.Action) *build.Manifest) (*product, error) {
	a, err := engine.FetchAction(ctx, from, j.Action)
	if err != nil {
		return nil, err
	}
	if err := engine.ClearDir(j.outputs()); err != nil {
		return nil, err
	}
	p := &product{Action: a, Started: time.Now()}
	heard := j.Begin(ctx)
	p.Manifest, p.Finished = result(a), time.Now()
	if err := p.Manifest.Validate(); err != nil {
		return nil, fmt.Errorf("pretending: %w", err)
	}
	return p, heard()
}

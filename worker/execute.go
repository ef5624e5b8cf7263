package worker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"gavel/api/action"
	"gavel/cas"
	"gavel/raftfsm/build"
	"gavel/sandbox"
	"gavel/worker/engine"
)

// errUnfit is wrapped by errors that no retry on this worker can mend: the lease
// is given up.
var errUnfit = engine.ErrUnfit

// blobs is the content a lease opens to this worker.
type blobs interface {
	// Read returns a small blob, verified.
	Read(ctx context.Context, d cas.Digest) ([]byte, error)
	// Tree returns a directory with the tree under root, to be read only, as the
	// sandbox wants it. It stays until release is called.
	Tree(ctx context.Context, root cas.Digest) (dir string, release func(), err error)
	cas.Uploader
}

// job is a lease being worked on.
type job struct {
	Lease, Build build.ID
	Action       cas.Digest
	Platform     string
	Builder      bool
	Again        bool
	Vary         build.Dimensions // to build once more in; nothing for none
	// Dir is a directory of the job's own; outputs go to Dir/outputs.
	Dir string
	// Log takes what the command prints.
	Log io.Writer
	// Begin says to the farm that the command begins. It returns at once; wait
	// returns when the farm has heard.
	Begin func(ctx context.Context) (wait func() error)
}

func (j *job) outputs() string { return filepath.Join(j.Dir, outputsName) }

// product is what came of a job.
type product struct {
	Action   *action.Action
	Manifest *build.Manifest
	// Started and Finished are the wall clock around the command.
	Started, Finished time.Time
	// Findings are what building in other environments showed, and Varying is how
	// long that took.
	Findings build.Findings
	Varying  time.Duration
	// Fetching is how long an image took to be here: it is here the next time.
	Fetching time.Duration
}

// executor makes a job's product.
type executor interface {
	Execute(ctx context.Context, j *job) (*product, error)
}

// sandboxed executes honestly: it fetches the tree, runs the command and reads
// what it left.
type sandboxed struct {
	blobs  blobs
	runner sandbox.Runner
	images *imageFetcher // nil where the runner takes no images
	log    *slog.Logger
}

// Execute implements executor. Errors that wrap errUnfit are final.
func (s *sandboxed) Execute(ctx context.Context, j *job) (*product, error) {
	a, err := engine.FetchAction(ctx, s.blobs, j.Action)
	if err != nil {
		return nil, err
	}
	if a.Root != j.Platform {
		return nil, fmt.Errorf("%w: the lease is for %s and the action for %s", errUnfit, j.Platform, a.Root)
	}
	asked := time.Now()
	if err := s.images.ensure(ctx, a.Root); err != nil {
		return nil, err
	}
	fetching := time.Since(asked)
	dir, release, err := s.blobs.Tree(ctx, a.InputRoot)
	if err != nil {
		return nil, fmt.Errorf("fetching the input tree: %w", err)
	}
	defer release()
	if err := engine.ClearDir(j.outputs()); err != nil {
		return nil, err
	}
	spec := engine.Spec(a, dir, j.outputs())
	spec.Log = j.Log
	p := &product{Action: a, Started: time.Now(), Fetching: fetching}
	s.log.Info("command begins", "build", full(j.Build), "lease", short(j.Lease))
	heard := j.Begin(ctx)
	res, err := engine.Run(ctx, s.runner, spec)
	p.Finished = time.Now()
	if err != nil {
		return nil, err
	}
	s.log.Info("command ended", "build", full(j.Build), "lease", short(j.Lease), "status", engine.Statuses[res.Status],
		"exit_code", res.ExitCode, "setup_us", res.SetupNanos/1000, "run_us", res.RunNanos/1000)
	if res.Detail != "" {
		fmt.Fprintf(j.Log, "gavel: %s\n", res.Detail)
	}
	if res.LogTruncated { // said again at the end, where a reader looks first
		fmt.Fprintf(j.Log, "gavel: the command printed more than the %d bytes of log that are kept\n", spec.Limits.WithDefaults().LogBytes)
	}
	var note string
	if p.Manifest, note, err = engine.Manifest(ctx, res, j.outputs(), spec.Outputs); err != nil {
		return nil, err
	}
	if note != "" {
		fmt.Fprintf(j.Log, "gavel: %s\n", note)
	}
	if err := heard(); err != nil || j.Vary == 0 {
		return p, err
	}
	began := time.Now()
	p.Findings, err = s.explore(ctx, j, spec, p.Manifest)
	p.Varying = time.Since(began)
	return p, err
}

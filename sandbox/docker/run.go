package docker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"time"

	cerrdefs "github.com/containerd/errdefs"

	"gavel/sandbox"
)

// Run runs one command in a container of its own. The container is dead when
// Run returns; the engine removes it in the background, at the latest in Close.
func (r *Runner) Run(ctx context.Context, s sandbox.Spec) (sandbox.Result, error) {
	began := time.Now()
	if err := s.Validate(); err != nil {
		return sandbox.Result{}, err
	}
	if s.Variation.Varies() {
		return sandbox.Result{}, fmt.Errorf("%w: this runner cannot vary the environment", sandbox.ErrRefused)
	}
	if s.Root == sandbox.HostRoot {
		return sandbox.Result{}, refuse("root %q needs a worker started with --sandbox native; this one runs images: name one by its id", s.Root)
	}
	if err := s.ValidateInputs(); err != nil {
		return sandbox.Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return sandbox.Result{}, err
	}
	s.Limits = s.Limits.WithDefaults()

	run := newRunID()
	if err := r.enter(run); err != nil {
		return sandbox.Result{}, err
	}
	defer r.running.Done()
	sc := scratch{filepath.Join(r.config.ScratchDir, runsDir, run)}
	// Whatever happens, the tmpfs goes first, so that its memory is not held while
	// the engine removes the container.
	defer r.discard(run)
	res, err := r.runIn(ctx, run, s, sc, began)
	if rmErr := sc.remove(); rmErr != nil && err == nil {
		err = unavailable(rmErr)
	}
	if err != nil {
		return sandbox.Result{}, err
	}
	return res, nil
}

func (r *Runner) runIn(ctx context.Context, run string, s sandbox.Spec, sc scratch, began time.Time) (sandbox.Result, error) {
	facts, err := r.image(ctx, s.Root)
	if err != nil {
		return sandbox.Result{}, err
	}
	if err := sc.make(s.InputDir, s.Limits.DiskBytes, s.SourceDateEpoch); err != nil {
		return sandbox.Result{}, unavailable(err)
	}
	p := &process{
		r:         r,
		container: containerName(run),
		began:     began,
		limits:    s.Limits,
		log:       sandbox.NewCappedLog(s.Log, s.Limits.LogBytes),
	}
	defer p.detach()
	if err := r.prepare(ctx, run, s, facts, sc, p); err != nil {
		return sandbox.Result{}, err
	}
	res, err := p.execute(ctx)
	if err != nil {
		return sandbox.Result{}, err
	}
	if err := collect(s, sc, &res); err != nil {
		return sandbox.Result{}, err
	}
	return res, nil
}

// prepare creates the container and attaches to it, again if the engine is lost
// in between: nothing has run yet.
func (r *Runner) prepare(ctx context.Context, run string, s sandbox.Spec, facts imageFacts, sc scratch, p *process) error {
	err := r.retry(ctx, "creating a container", func(ctx context.Context) error {
		p.detach()
		// Not to be cancelled: a container made after its creator went away would
		// escape the removal that follows.
		whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		var err error
		if p.id, err = r.create(whole, run, s, facts, sc); err != nil {
			return err
		}
		return p.attach(ctx, order(s))
	})
	switch {
	case cerrdefs.IsNotFound(err):
		r.forgetImage(s.Root)
		return unknownImage(s.Root)
	case cerrdefs.IsInvalidArgument(err):
		return refuse("the Docker engine takes no such container: %s", err)
	}
	return err
}

// create makes the container, in place of one from an earlier attempt whose
// answer was lost, and returns its id.
func (r *Runner) create(ctx context.Context, run string, s sandbox.Spec, facts imageFacts, sc scratch) (string, error) {
	for {
		made, err := r.engine.ContainerCreate(ctx, r.containerConfig(run, s), r.hostConfig(run, s, facts, sc), nil, nil, containerName(run))
		if !cerrdefs.IsConflict(err) {
			return made.ID, err
		}
		if err := r.remove(ctx, containerName(run)); err != nil {
			return "", err
		}
	}
}

// collect copies outputs of a command that ended by itself.
func collect(s sandbox.Spec, sc scratch, res *sandbox.Result) error {
	if res.Status != sandbox.Exited && res.Status != sandbox.Signaled {
		return nil
	}
	if len(s.Outputs) == 0 {
		return nil
	}
	work, err := sc.open()
	if err != nil {
		return unavailable(err)
	}
	defer work.Close()
	missing, detail, err := sandbox.CollectOutputs(work, s)
	if err != nil {
		return unavailable(err)
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

func newRunID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

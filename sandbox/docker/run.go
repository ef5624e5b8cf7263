package docker

import (
	"context"
	"time"

	cerrdefs "github.com/containerd/errdefs"

	"gavel/sandbox"
	"gavel/sandbox/container"
)

// Run runs one command in a container of its own. The container is dead when
// Run returns; the engine removes it in the background, at the latest in Close.
func (r *Runner) Run(ctx context.Context, s sandbox.Spec) (sandbox.Result, error) {
	began := time.Now()
	if err := s.Validate(); err != nil {
		return sandbox.Result{}, err
	}
	if s.Variation.Clock != nil {
		return sandbox.Result{}, container.Refuse("this runner cannot vary the clock")
	}
	if s.Root == sandbox.HostRoot {
		return sandbox.Result{}, container.Refuse("root %q needs a worker started with --sandbox native; this one runs images: name one by its id", s.Root)
	}
	if err := s.ValidateInputs(); err != nil {
		return sandbox.Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return sandbox.Result{}, err
	}
	s.Limits = s.Limits.WithDefaults()

	run := container.NewRunID()
	if err := r.enter(run); err != nil {
		return sandbox.Result{}, err
	}
	defer r.running.Done()
	sc := r.place.Run(run)
	// Whatever happens, the tmpfs goes first, so that its memory is not held while
	// the engine removes the container.
	defer r.discard(run)
	res, err := r.runIn(ctx, run, s, sc, began)
	if rmErr := sc.Remove(); rmErr != nil && err == nil {
		err = container.Unavailable(rmErr)
	}
	if err != nil {
		return sandbox.Result{}, err
	}
	return res, nil
}

func (r *Runner) runIn(ctx context.Context, run string, s sandbox.Spec, sc container.Scratch, began time.Time) (sandbox.Result, error) {
	defer r.use(s.Root)()
	facts, err := r.image(ctx, s.Root)
	if err != nil {
		return sandbox.Result{}, err
	}
	taken, shown, err := r.shown.For(s)
	if err != nil {
		return sandbox.Result{}, err
	}
	if err := sc.Make(container.TreeOf(s, 0)); err != nil {
		return sandbox.Result{}, container.Unavailable(err)
	}
	p := &process{
		r:         r,
		container: containerName(run),
		run:       run,
		order:     container.Order(s, taken),
		course:    container.NewCourse(s, began),
	}
	defer p.detach()
	if err := r.prepare(ctx, run, s, facts, files{sc, shown}, p); err != nil {
		return sandbox.Result{}, err
	}
	res, err := p.execute(ctx)
	if err != nil {
		return sandbox.Result{}, err
	}
	if err := container.Collect(s, sc, &res); err != nil {
		return sandbox.Result{}, err
	}
	return res, nil
}

// prepare creates the container and attaches to it, again if the engine is lost
// in between: nothing has run yet.
func (r *Runner) prepare(ctx context.Context, run string, s sandbox.Spec, facts imageFacts, f files, p *process) error {
	err := r.retry(ctx, "creating a container", func(ctx context.Context) error {
		p.detach()
		// Not to be cancelled: a container made after its creator went away would
		// escape the removal that follows.
		whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		var err error
		if p.id, err = r.create(whole, run, s, facts, f); err != nil {
			return err
		}
		return p.attach(ctx)
	})
	switch {
	case cerrdefs.IsNotFound(err):
		r.forgetImage(s.Root)
		return unknownImage(s.Root)
	case cerrdefs.IsInvalidArgument(err):
		return container.Refuse("the Docker engine takes no such container: %s", err)
	}
	return err
}

// create makes the container, in place of one from an earlier attempt whose
// answer was lost, and returns its id.
func (r *Runner) create(ctx context.Context, run string, s sandbox.Spec, facts imageFacts, f files) (string, error) {
	for {
		made, err := r.engine.ContainerCreate(ctx, r.containerConfig(run, s, facts), r.hostConfig(run, s, facts, f), nil, nil, containerName(run))
		if !cerrdefs.IsConflict(err) {
			return made.ID, err
		}
		if err := r.remove(ctx, containerName(run)); err != nil {
			return "", err
		}
	}
}

package docker

import (
	"context"
	"time"

	cerrdefs "github.com/containerd/errdefs"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/container/pid1"
)

// Run runs one command in a container of its own. The container is dead when
// Run returns; the engine removes it in the background, at the latest in Close.
func (r *Runner) Run(ctx context.Context, s sandbox.Spec) (sandbox.Result, error) {
	began := time.Now()
	if err := s.Validate(); err != nil {
		return sandbox.Result{}, err
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

	if err := r.enter(); err != nil {
		return sandbox.Result{}, err
	}
	defer r.running.Done()
	defer r.use(s.Root)()
	facts, err := r.image(ctx, s.Root)
	if err != nil {
		return sandbox.Result{}, err
	}
	taken, shown, err := r.shown.For(s)
	if err != nil {
		return sandbox.Result{}, err
	}
	res, err := r.runIn(ctx, s, facts, shown, container.Order(s, taken), container.NewCourse(s, began))
	if err != nil {
		return sandbox.Result{}, err
	}
	if k, ok := kindOf(s, shown); ok && !r.config.NoSpare {
		r.makeSpare(k, facts)
	}
	return res, nil
}

// runIn has a spare carry the order out, or a container that is made now.
func (r *Runner) runIn(ctx context.Context, s sandbox.Spec, facts imageFacts, shown string, order pid1.Order, course *container.Course) (res sandbox.Result, err error) {
	p := r.takeSpare(ctx, s, shown)
	spare := p != nil
	if !spare {
		p = r.newProcess()
	}
	defer func() {
		if rmErr := p.end(); rmErr != nil && err == nil {
			err = container.Unavailable(rmErr)
		}
	}()
	if spare {
		p.command(order, course)
	} else {
		if err := r.prepare(ctx, s, facts, shown, p, order, course); err != nil {
			return sandbox.Result{}, err
		}
		if err := p.start(ctx); err != nil {
			return sandbox.Result{}, err
		}
	}
	if res, err = p.follow(ctx); err != nil {
		return sandbox.Result{}, err
	}
	err = container.Collect(ctx, s, p.scratch, &res)
	return res, err
}

// prepare creates the container, attaches to it and sends the order, again if the
// engine is lost in between: nothing has run yet.
func (r *Runner) prepare(ctx context.Context, s sandbox.Spec, facts imageFacts, shown string, p *process, order pid1.Order, course *container.Course) error {
	if err := p.scratch.Make(container.TreeOf(s, 0)); err != nil {
		return container.Unavailable(err)
	}
	err := r.retry(ctx, "creating a container", func(ctx context.Context) error {
		p.detach()
		// Not to be cancelled: a container made after its creator went away would
		// escape the removal that follows.
		whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		var err error
		if p.id, err = r.create(whole, p.run, s, facts, files{p.scratch, shown}); err != nil {
			return err
		}
		return p.attach(ctx)
	})
	switch {
	case err == nil:
		p.command(order, course)
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

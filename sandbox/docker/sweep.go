package docker

import (
	"context"
	"errors"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	engine "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"

	"gavel/sandbox/container"
)

// discard removes a run's container in the background; with maxRemovals under
// way it waits for a place. A container that an absent engine cannot remove now
// is found by the sweep after a later run, or by the next Runner of this owner.
func (r *Runner) discard(run string) {
	r.slots <- struct{}{}
	r.removals.Add(1)
	go func() {
		defer r.removals.Done()
		defer func() { <-r.slots }()
		ctx := context.Background()
		err := r.retry(ctx, "removing a container", func(ctx context.Context) error {
			return r.remove(ctx, containerName(run))
		})
		r.mu.Lock()
		lost := r.lost[run]
		delete(r.runs, run)
		delete(r.lost, run)
		r.mu.Unlock()
		if err == nil { // an engine that died while it started the container has forgotten them
			err = container.RemoveGroups(lost, container.KillTimeout)
		}
		r.sweeping.Lock()
		err = errors.Join(err, r.sweep(ctx)) // takes the run's named volumes, too
		r.sweeping.Unlock()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sweepErr = err
	}()
}

// remove removes a container, with its volumes, dead or alive, and returns when
// it is gone, whoever removed it.
func (r *Runner) remove(ctx context.Context, name string) error {
	err := r.engine.ContainerRemove(ctx, name, engine.RemoveOptions{Force: true, RemoveVolumes: true})
	if cerrdefs.IsConflict(err) { // its removal is under way
		gone, failed := r.engine.ContainerWait(ctx, name, engine.WaitConditionRemoved)
		select {
		case <-gone:
			return nil
		case err = <-failed:
		}
	}
	if err == nil || cerrdefs.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("removing container %s: %w", name, err)
}

// sweep removes the owner's containers and volumes that belong to no run of
// this Runner.
func (r *Runner) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	mine := filters.NewArgs(filters.Arg("label", ownerLabel+"="+r.config.Owner))
	containers, err := r.engine.ContainerList(ctx, engine.ListOptions{All: true, Filters: mine})
	if err != nil {
		return fmt.Errorf("listing containers: %w", err)
	}
	var errs []error
	for _, c := range containers {
		if !r.current(c.Labels) {
			errs = append(errs, r.remove(ctx, c.ID))
		}
	}
	volumes, err := r.engine.VolumeList(ctx, volume.ListOptions{Filters: mine})
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("listing volumes: %w", err))...)
	}
	for _, v := range volumes.Volumes {
		if r.current(v.Labels) {
			continue
		}
		if err := r.engine.VolumeRemove(ctx, v.Name, false); err != nil && !cerrdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("removing volume %s: %w", v.Name, err))
		}
	}
	return errors.Join(errs...)
}

// current says whether something so labelled belongs to a run under way.
func (r *Runner) current(labels map[string]string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runs[labels[runLabel]]
}

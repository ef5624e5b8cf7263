package docker

import (
	"context"
	"slices"

	cerrdefs "github.com/containerd/errdefs"

	"gavel/sandbox/container"
)

// imageFacts is what of an image's config would change a run.
type imageFacts struct {
	// volumes are directories that the engine would make writable and keep.
	volumes []string
}

// image looks an image up, once.
func (r *Runner) image(ctx context.Context, id string) (imageFacts, error) {
	r.mu.Lock()
	facts, known := r.images[id]
	r.mu.Unlock()
	if known {
		return facts, nil
	}
	err := r.retry(ctx, "looking for image "+id, func(ctx context.Context) error {
		found, err := r.engine.ImageInspect(ctx, id)
		if err != nil {
			return err
		}
		facts = imageFacts{}
		if found.Config != nil {
			for dir := range found.Config.Volumes {
				facts.volumes = append(facts.volumes, dir)
			}
			slices.Sort(facts.volumes)
		}
		return nil
	})
	if cerrdefs.IsNotFound(err) {
		return imageFacts{}, unknownImage(id)
	}
	if err != nil {
		return imageFacts{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.images) >= maxImages {
		clear(r.images)
	}
	r.images[id] = facts
	return facts, nil
}

func unknownImage(id string) error {
	return container.Refuse("image %s is not in this engine; docker import or load it, see docker image ls --no-trunc for the ids it has", id)
}

// forgetImage drops what is known of an image that has been removed.
func (r *Runner) forgetImage(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.images, id)
}

package docker

import (
	"context"
	"slices"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"

	"gavel/sandbox/container"
)

// imageFacts is what of an image's config would change a run.
type imageFacts struct {
	// id is what the engine calls it: the name, but where images are kept in containerd.
	id string
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
		found, err := r.inspect(ctx, id)
		if err != nil {
			return err
		}
		facts = imageFacts{id: found.ID}
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

// inspect finds an image by its name. An engine that keeps images in containerd
// names them by their manifests; those that were taken it knows by their tags.
func (r *Runner) inspect(ctx context.Context, root string) (image.InspectResponse, error) {
	found, err := r.engine.ImageInspect(ctx, root)
	if !cerrdefs.IsNotFound(err) || !r.containerd {
		return found, err
	}
	held, listErr := r.taken(ctx)
	if listErr != nil {
		return found, listErr
	}
	for _, h := range held {
		if h.root == root {
			return r.engine.ImageInspect(ctx, h.id)
		}
	}
	return found, err
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

package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/sandbox"
	"gavel/worker/engine"
)

// imageFetcher brings images of the farm's store into this worker's sandbox, each once.
type imageFetcher struct {
	// find asks the farm what an image is made of.
	find  func(ctx context.Context, root string) (*gavelv1.Image, error)
	store cas.Store
	taker sandbox.ImageTaker
	log   *slog.Logger
}

// farmImages finds images by an api.Client.
func farmImages(c *api.Client) func(context.Context, string) (*gavelv1.Image, error) {
	return func(ctx context.Context, root string) (*gavelv1.Image, error) {
		r, err := c.Farm().Images(ctx, &gavelv1.ImagesRequest{Image: root})
		if err != nil {
			return nil, err
		}
		if len(r.Images) != 1 {
			return nil, fmt.Errorf("the farm answers with %d images", len(r.Images))
		}
		return r.Images[0], nil
	}
}

// ensure makes root one that the sandbox serves. Errors that wrap errUnfit are the image's own.
func (f *imageFetcher) ensure(ctx context.Context, root string) error {
	if f == nil || root == sandbox.HostRoot {
		return nil
	}
	here, err := f.taker.Roots(ctx)
	if err != nil {
		return fmt.Errorf("asking the sandbox for its roots: %w", err)
	}
	if slices.Contains(here, root) {
		return nil
	}
	began := time.Now()
	img, size, err := f.image(ctx, root)
	if err != nil {
		return fmt.Errorf("fetching image %s: %w", root, err)
	}
	got, err := f.taker.TakeImage(ctx, img)
	if err == nil && got != root {
		err = fmt.Errorf("%w: the farm sent image %s", errUnfit, got)
	}
	if err != nil {
		if errors.Is(err, sandbox.ErrRefused) {
			err = fmt.Errorf("%w: %w", errUnfit, err)
		}
		return fmt.Errorf("unpacking image %s: %w", root, err)
	}
	f.log.Info("image fetched", "image", root, "bytes", size, "ms", time.Since(began).Milliseconds())
	return nil
}

// image is what the farm has under a name, of which only the name is believed:
// the config must have that digest, and the sandbox checks the layers against it.
func (f *imageFetcher) image(ctx context.Context, root string) (sandbox.Image, int64, error) {
	found, err := f.find(ctx, root)
	if err != nil {
		return sandbox.Image{}, 0, err
	}
	name, err := digest.Parse(root)
	if err != nil {
		return sandbox.Image{}, 0, err
	}
	config, err := cas.NewDigest(name.Encoded(), int64(found.ConfigBytes))
	if err != nil {
		return sandbox.Image{}, 0, err
	}
	layers, total := make([]cas.Digest, 0, len(found.Layers)), config.Size
	for _, l := range found.Layers {
		if len(l.Digest) != 32 {
			return sandbox.Image{}, 0, errors.New("the farm names a layer without a digest")
		}
		layers = append(layers, cas.OfSum([32]byte(l.Digest), int64(l.Bytes)))
		total += int64(l.Bytes)
	}
	img, err := engine.StoredImage(ctx, f.store, config, layers)
	if err != nil {
		return sandbox.Image{}, 0, err
	}
	return img, total, nil
}

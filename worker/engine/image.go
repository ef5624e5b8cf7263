package engine

import (
	"context"
	"fmt"
	"io"

	"gavel/cas"
	"gavel/sandbox"
)

// StoredImage is an image whose config and layers, uncompressed and oldest first,
// lie in a store. Only the config is read; the sandbox checks the layers against it.
func StoredImage(ctx context.Context, from cas.Store, config cas.Digest, layers []cas.Digest) (sandbox.Image, error) {
	if config.Size > sandbox.MaxImageConfigBytes {
		return sandbox.Image{}, fmt.Errorf("%w: its config has %d bytes, at most %d", ErrUnfit, config.Size, sandbox.MaxImageConfigBytes)
	}
	r, err := from.Open(ctx, config)
	if err != nil {
		return sandbox.Image{}, err
	}
	defer r.Close()
	img := sandbox.Image{}
	if img.Config, err = io.ReadAll(r); err != nil {
		return sandbox.Image{}, err
	}
	for _, d := range layers {
		img.Layers = append(img.Layers, sandbox.Layer{
			DiffID: d.OCI(), Size: d.Size, Open: func(ctx context.Context) (io.ReadCloser, error) { return from.Open(ctx, d) },
		})
	}
	return img, nil
}

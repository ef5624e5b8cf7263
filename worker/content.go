package worker

import (
	"context"
	"fmt"
	"io"

	"gavel/cas"
	"gavel/cas/inputs"
)

// content is the farm's store as this worker may see it, behind a cache of its
// own for input trees.
type content struct {
	cas.Uploader
	fetcher cas.Fetcher
	cache   *inputs.Cache
	layout  inputs.Options
}

// Read implements blobs.
func (c *content) Read(ctx context.Context, d cas.Digest) ([]byte, error) {
	var raw []byte
	err := c.fetcher.Fetch(ctx, []cas.Digest{d}, func(_ cas.Digest, r io.Reader) error {
		var err error
		raw, err = io.ReadAll(r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", d, err)
	}
	return raw, nil
}

// Tree implements blobs.
func (c *content) Tree(ctx context.Context, root cas.Digest) (string, func(), error) {
	out, err := c.cache.Materialise(ctx, root, c.fetcher, c.layout)
	if err != nil {
		return "", nil, err
	}
	return out.Dir, out.Release, nil
}

package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is a root file system by its content. Its name everywhere is the digest
// of its config, which names the layers: whoever holds the name needs to trust
// nobody about the rest.
type Image struct {
	// Config is an OCI image configuration, JSON. Of what it holds only the
	// platform and rootfs.diff_ids have an effect.
	Config []byte
	// Layers are applied in this order, each over those before it.
	Layers []Layer
}

// Layer is one layer, a tar archive with OCI whiteouts.
type Layer struct {
	// DiffID is the digest of the uncompressed archive, Size its bytes.
	DiffID digest.Digest
	Size   int64
	// Open starts reading the uncompressed archive at its first byte. Who applies
	// a layer checks what it read against DiffID.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// ImageTaker is a Runner that can be given images.
type ImageTaker interface {
	Runner
	// TakeImage makes an image one of Roots, if it is not, and returns its name.
	// When it returns an error nothing is left of it but what the next TakeImage or
	// New of the same runner removes. Errors that wrap ErrRefused are the image's
	// own: malformed, for another platform, or unsafe to unpack.
	TakeImage(ctx context.Context, img Image) (root string, err error)
}

// Root is the image's name: the value of Spec.Root.
func (i Image) Root() string { return digest.FromBytes(i.Config).String() }

// Bounds on an image.
const (
	MaxImageConfigBytes = 4 << 20  // what Docker takes
	MaxImageLayers      = 127      // what Docker's overlay can stack
	MaxImageBytes       = 64 << 30 // uncompressed, all layers: above any toolchain
)

// Validate checks the image's own words: that its config is one, for Linux and
// the given architecture (runtime.GOARCH), and names exactly its layers. Errors wrap ErrRefused.
func (i Image) Validate(architecture string) error {
	if len(i.Config) > MaxImageConfigBytes {
		return refuse("the image's config has %d bytes; at most %d", len(i.Config), MaxImageConfigBytes)
	}
	var c imagespec.Image
	if err := json.Unmarshal(i.Config, &c); err != nil {
		return refuse("the image's config is not JSON as OCI has it: %v", err)
	}
	if c.OS != "linux" || c.Architecture != architecture {
		return refuse("the image is for %s/%s; this machine runs linux/%s", c.OS, c.Architecture, architecture)
	}
	if len(i.Layers) > MaxImageLayers {
		return refuse("the image has %d layers; at most %d", len(i.Layers), MaxImageLayers)
	}
	if len(c.RootFS.DiffIDs) != len(i.Layers) {
		return refuse("the image's config names %d layers and %d are given", len(c.RootFS.DiffIDs), len(i.Layers))
	}
	var total int64
	for n, l := range i.Layers {
		if c.RootFS.DiffIDs[n] != l.DiffID || l.DiffID.Validate() != nil || l.DiffID.Algorithm() != digest.SHA256 {
			return refuse("layer %d of the image is %s and its config names %s", n+1, l.DiffID, c.RootFS.DiffIDs[n])
		}
		if l.Size < 0 || l.Size > MaxImageBytes-total {
			return refuse("the image's layers exceed %d bytes", int64(MaxImageBytes))
		}
		total += l.Size
	}
	return nil
}

// Read opens layer n and returns a reader that fails at its end if the bytes are
// not those that DiffID and Size promise. The error for that wraps ErrRefused.
func (i Image) Read(ctx context.Context, n int) (io.ReadCloser, error) {
	l := i.Layers[n]
	r, err := l.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening layer %s: %w", l.DiffID, err)
	}
	return &checkedLayer{layer: l, inner: r, verifier: l.DiffID.Verifier()}, nil
}

// checkedLayer passes a layer on and judges it at its end.
type checkedLayer struct {
	layer    Layer
	inner    io.ReadCloser
	verifier digest.Verifier
	read     int64
}

func (c *checkedLayer) Read(p []byte) (int, error) {
	n, err := c.inner.Read(p)
	c.read += int64(n)
	if c.read > c.layer.Size {
		return 0, refuse("layer %s has more than its %d bytes", c.layer.DiffID, c.layer.Size)
	}
	c.verifier.Write(p[:n]) // a hash never fails
	if err == io.EOF && (c.read != c.layer.Size || !c.verifier.Verified()) {
		return n, refuse("the bytes of layer %s have another digest", c.layer.DiffID)
	}
	return n, err
}

func (c *checkedLayer) Close() error { return c.inner.Close() }

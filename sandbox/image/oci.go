package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"gavel/sandbox"
)

// ociIndex is the file of an OCI layout that names what it holds.
const ociIndex = "index.json"

// blobs is where descriptors lead: a layout or a registry.
type blobs interface {
	// manifest returns a manifest or index, of at most maxManifestBytes. Who asks checks its digest.
	manifest(ctx context.Context, d imagespec.Descriptor) ([]byte, error)
	// blob opens a config or layer as it is stored. Its error wraps
	// fs.ErrNotExist when it is not there.
	blob(ctx context.Context, d imagespec.Descriptor) (io.ReadCloser, error)
}

// layout is an OCI layout in a directory or an archive.
type layout struct{ files members }

func blobName(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return "", refuse("it names a part by %q, which is no SHA-256 digest", d)
	}
	return "blobs/sha256/" + d.Encoded(), nil
}

func (l *layout) manifest(_ context.Context, d imagespec.Descriptor) ([]byte, error) {
	name, err := blobName(d.Digest)
	if err != nil {
		return nil, err
	}
	return read(l.files, name, maxManifestBytes)
}

func (l *layout) blob(_ context.Context, d imagespec.Descriptor) (io.ReadCloser, error) {
	name, err := blobName(d.Digest)
	if err != nil {
		return nil, err
	}
	r, _, err := l.files.member(name)
	return r, err
}

// openOCI opens a layout, of which an @sha256:... at the end chooses one image.
func openOCI(ctx context.Context, r *reader, rest string) error {
	p, chosen := rest, ""
	if at := strings.LastIndex(rest, "@sha256:"); at >= 0 {
		p, chosen = rest[:at], rest[at+1:]
	}
	info, err := os.Stat(p)
	if err != nil {
		return err
	}
	if info.IsDir() {
		root, err := os.OpenRoot(p)
		if err != nil {
			return err
		}
		r.source.close = append(r.source.close, root.Close)
		return readOCI(ctx, r, &layout{directory{root}}, digest.Digest(chosen))
	}
	t, err := openTarball(ctx, r, p)
	if err != nil {
		return err
	}
	return readOCI(ctx, r, &layout{t}, digest.Digest(chosen))
}

// readOCI reads the one image of a layout that is for this machine, or chosen.
func readOCI(ctx context.Context, r *reader, l *layout, chosen digest.Digest) error {
	b, err := read(l.files, ociIndex, maxManifestBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse("there is no %s in it, so it is no OCI layout", ociIndex)
	}
	if err != nil {
		return err
	}
	var index imagespec.Index
	if err := json.Unmarshal(b, &index); err != nil {
		return refuse("its %s is not as OCI has it: %v", ociIndex, err)
	}
	p := &picker{from: l, chosen: chosen, seen: map[digest.Digest]bool{}}
	if err := p.walk(ctx, index.Manifests, 1); err != nil {
		return err
	}
	picked, err := p.pick("write oci:PATH@DIGEST with the digest of one")
	if err != nil {
		return err
	}
	return r.readManifest(ctx, l, picked)
}

// fetchManifest returns a manifest that has the digest it is named by.
func fetchManifest(ctx context.Context, from blobs, d imagespec.Descriptor) ([]byte, error) {
	b, err := from.manifest(ctx, d)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refuse("its manifest %s is not in it; make or fetch it again, whole", d.Digest)
	}
	if err != nil {
		return nil, err
	}
	if err := matches(b, d); err != nil {
		return nil, err
	}
	return b, nil
}

func matches(b []byte, d imagespec.Descriptor) error {
	if _, err := blobName(d.Digest); err != nil {
		return err
	}
	if got := digest.FromBytes(b); got != d.Digest {
		return refuse("its part %s has the digest %s; fetch it again, it is damaged or forged", d.Digest, got)
	}
	return nil
}

// readManifest reads the image of one manifest.
func (r *reader) readManifest(ctx context.Context, from blobs, d imagespec.Descriptor) error {
	b, err := fetchManifest(ctx, from, d)
	if err != nil {
		return err
	}
	var m imagespec.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return refuse("its manifest %s is not as OCI has it: %v", d.Digest, err)
	}
	config, err := readConfig(ctx, from, m.Config)
	if err != nil {
		return err
	}
	if _, err := checkLayers(config, len(m.Layers)); err != nil {
		return err
	}
	r.source.Image.Config = config
	for _, l := range m.Layers {
		layer, err := r.blobLayer(ctx, from, l)
		if err != nil {
			return err
		}
		if err := r.add(layer); err != nil {
			return err
		}
	}
	return nil
}

func readConfig(ctx context.Context, from blobs, d imagespec.Descriptor) ([]byte, error) {
	if !isConfig[d.MediaType] {
		return nil, refuse("its config is of the type %q, so it is no container image but some other artifact", d.MediaType)
	}
	if d.Size < 0 || d.Size > sandbox.MaxImageConfigBytes {
		return nil, refuse("its config has %d bytes; at most %d", d.Size, sandbox.MaxImageConfigBytes)
	}
	r, err := from.blob(ctx, d)
	if err != nil {
		return nil, missing(err, "config", d.Digest.String())
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, sandbox.MaxImageConfigBytes+1))
	if err != nil && int64(len(b)) < d.Size {
		return nil, fmt.Errorf("reading its config: %w", err)
	}
	return b, matches(b, d) // which a registry's client may have found, too
}

// blobLayer spools a layer, and checks the digest of what is stored on the way.
func (r *reader) blobLayer(ctx context.Context, from blobs, d imagespec.Descriptor) (sandbox.Layer, error) {
	if isForeign(d) {
		return sandbox.Layer{}, refuse("its layer %s is foreign: it may not be passed on, and lies elsewhere; build the image on a base without such layers", d.Digest)
	}
	if !isLayer[d.MediaType] {
		return sandbox.Layer{}, refuse("its layer %s is of the type %q, which is no file system", d.Digest, d.MediaType)
	}
	if _, err := blobName(d.Digest); err != nil {
		return sandbox.Layer{}, err
	}
	if d.Size < 0 || d.Size > r.left {
		return sandbox.Layer{}, refuse("its layer %s has %d bytes; %d are left of those an image may have", d.Digest, d.Size, r.left)
	}
	in, err := from.blob(ctx, d)
	if err != nil {
		return sandbox.Layer{}, missing(err, "layer", d.Digest.String())
	}
	defer in.Close()
	r.progress(fmt.Sprintf("reading layer %s, %d bytes", d.Digest, d.Size))
	verifier, stored := d.Digest.Verifier(), &counter{}
	s, err := r.spool(ctx, io.TeeReader(io.LimitReader(in, d.Size+1), io.MultiWriter(verifier, stored)), r.left)
	if err != nil && stored.bytes < d.Size {
		return sandbox.Layer{}, err
	}
	if stored.bytes != d.Size || !verifier.Verified() { // a registry's client may have said so, too
		return sandbox.Layer{}, refuse("its layer %s has other bytes than its digest says; fetch it again, it is damaged or forged", d.Digest)
	}
	if err != nil {
		return sandbox.Layer{}, err
	}
	return s.layer(), nil
}

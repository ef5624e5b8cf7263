package image

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"gavel/sandbox"
)

// dockerManifest is the file of a Docker archive that names its images.
const dockerManifest = "manifest.json"

func openDockerArchive(ctx context.Context, r *reader, p string) error {
	t, err := openTarball(ctx, r, p)
	if err != nil {
		return err
	}
	return readDockerArchive(ctx, r, t)
}

// readDockerArchive reads what docker save wrote: until Docker 25 with a
// directory a layer, since then as an OCI layout that keeps the old manifest.
func readDockerArchive(ctx context.Context, r *reader, m members) error {
	b, err := read(m, dockerManifest, maxManifestBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse("the archive has no %s, so docker save did not write it; oci: reads OCI archives", dockerManifest)
	}
	if err != nil {
		return err
	}
	var images []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(b, &images); err != nil {
		return refuse("its %s is not as docker save writes it: %v", dockerManifest, err)
	}
	if len(images) != 1 {
		var tags []string
		for _, i := range images[:min(len(images), 20)] {
			tags = append(tags, strings.Join(i.RepoTags[:min(len(i.RepoTags), 1)], "")+" ("+i.Config+")")
		}
		return refuse("it holds %d images: %q; save one alone: docker save -o FILE NAME:TAG", len(images), tags)
	}
	name, err := cleanName(images[0].Config)
	if err != nil {
		return err
	}
	config, err := read(m, name, sandbox.MaxImageConfigBytes)
	if err != nil {
		return missing(err, "config", name)
	}
	names := images[0].Layers
	diffIDs, err := checkLayers(config, len(names))
	if err != nil {
		return err
	}
	r.source.Image.Config = config
	for n, name := range names {
		if name, err = cleanName(name); err != nil {
			return err
		}
		l, err := r.memberLayer(ctx, m, name)
		if err != nil {
			return missing(err, "layer", name)
		}
		if l.DiffID == "" {
			l.DiffID = diffIDs[n] // checked by whoever reads it
		}
		if err := r.add(l); err != nil {
			return err
		}
	}
	return nil
}

// missing says of what is not there that the archive is at fault.
func missing(err error, what, name string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return refuse("its %s %s is not in it; make or fetch it again, whole", what, name)
	}
	return err
}

// memberLayer is a layer of an archive's member: as it is, with DiffID unknown,
// or decompressed.
func (r *reader) memberLayer(ctx context.Context, m members, name string) (sandbox.Layer, error) {
	in, size, err := m.member(name)
	if err != nil {
		return sandbox.Layer{}, err
	}
	defer in.Close()
	head := make([]byte, 4)
	n, err := readFull(in, head)
	if err != nil {
		return sandbox.Layer{}, err
	}
	if compressionOf(head[:n]) == plain {
		return sandbox.Layer{Size: size, Open: plainLayer(m, name)}, nil
	}
	again, _, err := m.member(name)
	if err != nil {
		return sandbox.Layer{}, err
	}
	defer again.Close()
	r.progress("decompressing layer " + name)
	s, err := r.spool(ctx, again, r.left)
	if err != nil {
		return sandbox.Layer{}, err
	}
	return s.layer(), nil
}

// checkLayers returns the layers that a config names, which must be as many as
// there are given. Bounds are checked before a layer is read.
func checkLayers(config []byte, given int) ([]digest.Digest, error) {
	var c imagespec.Image
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, refuse("its config is not JSON as OCI has it: %v", err)
	}
	if given > sandbox.MaxImageLayers {
		return nil, refuse("it has %d layers; at most %d: build it with fewer steps, or squash them", given, sandbox.MaxImageLayers)
	}
	if len(c.RootFS.DiffIDs) != given {
		return nil, refuse("its config names %d layers and its manifest %d", len(c.RootFS.DiffIDs), given)
	}
	return c.RootFS.DiffIDs, nil
}

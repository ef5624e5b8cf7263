package image

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types, OCI's and Docker's.
const (
	dockerIndexType    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifestType = "application/vnd.docker.distribution.manifest.v2+json"
)

var (
	isIndex    = map[string]bool{imagespec.MediaTypeImageIndex: true, dockerIndexType: true}
	isManifest = map[string]bool{imagespec.MediaTypeImageManifest: true, dockerManifestType: true}
	isConfig   = map[string]bool{imagespec.MediaTypeImageConfig: true, "application/vnd.docker.container.image.v1+json": true}
	isLayer    = map[string]bool{
		imagespec.MediaTypeImageLayer: true, imagespec.MediaTypeImageLayerGzip: true, imagespec.MediaTypeImageLayerZstd: true,
		"application/vnd.docker.image.rootfs.diff.tar": true, "application/vnd.docker.image.rootfs.diff.tar.gzip": true,
		"application/vnd.docker.image.rootfs.diff.tar.zstd": true,
	}
)

func isForeign(d imagespec.Descriptor) bool {
	return len(d.URLs) > 0 || strings.Contains(d.MediaType, "nondistributable") || strings.Contains(d.MediaType, ".foreign.")
}

// picker finds the one image of an index, and of indexes inside it, that is for
// this machine.
type picker struct {
	from   blobs
	chosen digest.Digest // if not empty, the image or index it must be, or be inside

	looked int
	seen   map[digest.Digest]bool
	fit    []imagespec.Descriptor
	all    []string // what there is, for a person
}

// walk looks at descriptors. Which of them are indexes is told by their types.
func (p *picker) walk(ctx context.Context, list []imagespec.Descriptor, depth int) error {
	for _, d := range list {
		if p.looked++; p.looked > maxDescriptors {
			return refuse("it names more than %d images; make an archive of one", maxDescriptors)
		}
		if p.seen[d.Digest] {
			continue
		}
		p.seen[d.Digest] = true
		if err := p.look(ctx, d, depth); err != nil {
			return err
		}
	}
	return nil
}

func (p *picker) look(ctx context.Context, d imagespec.Descriptor, depth int) error {
	switch {
	case isIndex[d.MediaType]:
		if depth == maxIndexDepth {
			return refuse("its indexes are nested deeper than %d", maxIndexDepth)
		}
		b, err := fetchManifest(ctx, p.from, d)
		if err != nil {
			return err
		}
		var index imagespec.Index
		if err := json.Unmarshal(b, &index); err != nil {
			return refuse("its index %s is not as OCI has it: %v", d.Digest, err)
		}
		chosen := p.chosen
		if chosen == d.Digest { // any of those inside
			p.chosen = ""
		}
		err = p.walk(ctx, index.Manifests, depth+1)
		p.chosen = chosen
		return err
	case !isManifest[d.MediaType]:
		p.note(d, "of the type "+d.MediaType)
		return nil
	case d.Annotations["vnd.docker.reference.type"] != "": // evidence about an image, not one
		return nil
	}
	platform := d.Platform
	if platform == nil {
		var err error
		if platform, err = p.platform(ctx, d); err != nil {
			return err
		}
	}
	p.note(d, platform.OS+"/"+platform.Architecture+platform.Variant)
	if platform.OS == "linux" && platform.Architecture == runtime.GOARCH && (p.chosen == "" || p.chosen == d.Digest) {
		p.fit = append(p.fit, d)
	}
	return nil
}

// platform reads what an image is for from its config, where its descriptor is silent.
func (p *picker) platform(ctx context.Context, d imagespec.Descriptor) (*imagespec.Platform, error) {
	b, err := fetchManifest(ctx, p.from, d)
	if err != nil {
		return nil, err
	}
	var m imagespec.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, refuse("its manifest %s is not as OCI has it: %v", d.Digest, err)
	}
	if !isConfig[m.Config.MediaType] {
		return &imagespec.Platform{OS: "no image"}, nil
	}
	config, err := readConfig(ctx, p.from, m.Config)
	if err != nil {
		return nil, err
	}
	var of imagespec.Platform
	if err := json.Unmarshal(config, &of); err != nil {
		return nil, refuse("the config of %s is not JSON as OCI has it: %v", d.Digest, err)
	}
	return &of, nil
}

func (p *picker) note(d imagespec.Descriptor, what string) {
	if len(p.all) < 20 {
		p.all = append(p.all, strings.TrimSpace(fmt.Sprintf("%s %s %s", d.Digest, what, d.Annotations[imagespec.AnnotationRefName])))
	}
}

// pick returns the one that fits. choose says how a person chooses among several.
func (p *picker) pick(choose string) (imagespec.Descriptor, error) {
	there := "nothing"
	if len(p.all) > 0 {
		slices.Sort(p.all)
		there = "\n  " + strings.Join(p.all, "\n  ") + "\n"
	}
	switch {
	case len(p.fit) == 1:
		return p.fit[0], nil
	case len(p.fit) > 1:
		return imagespec.Descriptor{}, refuse("it holds %d images for linux/%s; %s. It has: %s", len(p.fit), runtime.GOARCH, choose, there)
	case p.chosen != "":
		return imagespec.Descriptor{}, refuse("it holds no %s for linux/%s. It has: %s", p.chosen, runtime.GOARCH, there)
	}
	return imagespec.Descriptor{}, refuse("it holds no image for linux/%s. It has: %s", runtime.GOARCH, there)
}

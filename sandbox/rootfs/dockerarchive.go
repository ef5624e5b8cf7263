package rootfs

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"

	"gavel/sandbox"
)

// DockerTag is the tag that an image gets in an engine: without one
// `docker image prune` would take it for a leftover.
func DockerTag(root string) string { return "gavel:" + strings.TrimPrefix(root, "sha256:") }

// WriteDockerArchive writes img to w as an archive that `docker load` takes. The
// engine gives it the id img.Root(), because its config is img's to the byte,
// and the tag DockerTag of that. Layers are checked as they pass and never held;
// when it fails w holds part of an archive without the manifest that comes last, which no engine loads.
func WriteDockerArchive(ctx context.Context, w io.Writer, img sandbox.Image) error {
	if err := img.Validate(runtime.GOARCH); err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	err := writeDockerArchive(ctx, tw, img)
	if err == nil {
		err = tw.Close()
	}
	if err != nil {
		return fmt.Errorf("writing image %s as a Docker archive: %w", img.Root(), err)
	}
	return nil
}

func writeDockerArchive(ctx context.Context, tw *tar.Writer, img sandbox.Image) error {
	config := strings.TrimPrefix(img.Root(), "sha256:") + ".json"
	if err := writeMember(tw, config, img.Config); err != nil {
		return err
	}
	layers := []string{}
	written := map[string]bool{}
	for n, l := range img.Layers {
		name := l.DiffID.Encoded() + ".tar"
		layers = append(layers, name)
		if written[name] {
			continue
		}
		written[name] = true
		if err := writeLayer(ctx, tw, name, img, n); err != nil {
			return err
		}
	}
	manifest, err := json.Marshal([]dockerManifest{{config, []string{DockerTag(img.Root())}, layers}})
	if err != nil {
		return err
	}
	return writeMember(tw, "manifest.json", manifest)
}

// dockerManifest is an element of manifest.json.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func writeMember(tw *tar.Writer, name string, content []byte) error {
	if err := tw.WriteHeader(memberHeader(name, int64(len(content)))); err != nil {
		return err
	}
	_, err := tw.Write(content)
	return err
}

func memberHeader(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}
}

// writeLayer copies layer n, up to the end at which its digest is judged.
func writeLayer(ctx context.Context, tw *tar.Writer, name string, img sandbox.Image, n int) error {
	r, err := img.Read(ctx, n)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := tw.WriteHeader(memberHeader(name, img.Layers[n].Size)); err != nil {
		return err
	}
	_, err = io.Copy(tw, &source{ctx: ctx, inner: r})
	return err
}

package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"gavel/sandbox"
)

// WriteLayout writes an image as the one of an OCI layout in dir, which it makes
// if need be. Layers stay uncompressed, so that their files are named by what the
// config names. Other files of dir stay; blobs that are there are not written
// again. The same image makes the same bytes.
func WriteLayout(ctx context.Context, dir string, img sandbox.Image) error {
	if err := writeLayout(ctx, dir, img); err != nil {
		return fmt.Errorf("writing image %s to %s: %w", img.Root(), dir, err)
	}
	return nil
}

func writeLayout(ctx context.Context, dir string, img sandbox.Image) error {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o777); err != nil {
		return err
	}
	m := imagespec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageManifest,
		Config: imagespec.Descriptor{MediaType: imagespec.MediaTypeImageConfig, Digest: digest.FromBytes(img.Config), Size: int64(len(img.Config))},
		Layers: []imagespec.Descriptor{},
	}
	for n, l := range img.Layers {
		m.Layers = append(m.Layers, imagespec.Descriptor{MediaType: imagespec.MediaTypeImageLayer, Digest: l.DiffID, Size: l.Size})
		if err := writeLayer(ctx, dir, img, n); err != nil {
			return err
		}
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return err
	}
	index, err := json.Marshal(imagespec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageIndex,
		Manifests: []imagespec.Descriptor{{MediaType: imagespec.MediaTypeImageManifest, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}},
	})
	if err != nil {
		return err
	}
	version, err := json.Marshal(imagespec.ImageLayout{Version: imagespec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	// The index comes last: what names an image has all of it.
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{blobFile(digest.FromBytes(img.Config)), img.Config}, {blobFile(digest.FromBytes(manifest)), manifest},
		{imagespec.ImageLayoutFile, version}, {ociIndex, index},
	} {
		if err := replaceFile(filepath.Join(dir, f.name), func(w io.Writer) error { _, err := w.Write(f.content); return err }); err != nil {
			return err
		}
	}
	return nil
}

func blobFile(d digest.Digest) string { return filepath.Join("blobs", "sha256", d.Encoded()) }

// writeLayer writes layer n, unless a file of its size is there: who reads it checks its digest.
func writeLayer(ctx context.Context, dir string, img sandbox.Image, n int) error {
	if _, err := blobName(img.Layers[n].DiffID); err != nil {
		return err
	}
	path := filepath.Join(dir, blobFile(img.Layers[n].DiffID))
	if info, err := os.Stat(path); err == nil && info.Size() == img.Layers[n].Size {
		return nil
	}
	return replaceFile(path, func(w io.Writer) error {
		r, err := img.Read(ctx, n)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(w, r)
		return err
	})
}

// replaceFile writes a file that is whole whenever it is there.
func replaceFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".incoming-*")
	if err != nil {
		return err
	}
	err = write(f)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

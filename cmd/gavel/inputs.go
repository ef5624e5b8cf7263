package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/cas/client"
	"gavel/cas/layout"
	"gavel/cas/tree"
	"gavel/sandbox"
	"gavel/sandbox/image"
	"gavel/worker/engine"
)

// attestationsDir is where a directory of inputs has the bundles that it is for.
const attestationsDir = "attestations"

// storedReader reads small blobs of the farm.
type storedReader struct{ from *client.Client }

// Read implements engine.Reader.
func (r storedReader) Read(ctx context.Context, d cas.Digest) ([]byte, error) {
	in, err := r.from.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(in)
}

// downloadInputs writes all that a stranger needs to build it again: the action,
// its command, the input tree and the image by their digests, in an OCI layout;
// the delivered result's manifest, which says what to compare with; and the
// attestations. What is there already is not fetched again.
func (f *farm) downloadInputs(ctx context.Context, term *terminal, id [32]byte, dir string) error {
	b, err := f.Farm().GetBuild(ctx, &gavelv1.GetBuildRequest{Build: id[:]})
	if err != nil {
		return fmt.Errorf("asking for build %x: %w", id[:6], plain(err))
	}
	if len(b.ActionDigest) != 32 {
		return fmt.Errorf("the farm names no action of build %x", id[:6])
	}
	store, err := f.blobs()
	if err != nil {
		return err
	}
	in, err := layout.Create(dir)
	if err != nil {
		return refused(err)
	}
	defer in.Close()
	files, err := fetchInputs(ctx, store, in, b)
	if err != nil {
		return fmt.Errorf("fetching the inputs of build %x: %w", id[:6], gone(err))
	}
	picture := "no image, for it was built with the machine's own tools,"
	if b.Platform != sandbox.HostRoot {
		picture = "the image"
		if err := f.writeImage(ctx, term, dir, b.Platform); err != nil {
			return err
		}
	}
	patience, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	saved, err := saveAttestationsTo(ctx, patience, f, b, filepath.Join(dir, attestationsDir))
	if err != nil {
		return err
	}
	term.say("wrote %s of inputs, %s and %s to %s", count(files, "file"), picture, count(len(saved.bundles), "attestation"), dir)
	if len(saved.bundles) > 0 {
		term.say("anybody can now build it again without the farm: gavel rebuild %s", saved.bundles[0])
	}
	return nil
}

// gone says what became of blobs that the farm has no more.
func gone(err error) error {
	if errors.Is(err, cas.ErrNotFound) {
		return fmt.Errorf("%w: the farm keeps the inputs of settled builds for as long as its --retain says, and shows them to who submitted the build", err)
	}
	return plain(err)
}

// fetchInputs fetches what in lacks, and counts the tree's distinct files.
func fetchInputs(ctx context.Context, store *client.Client, in *layout.Dir, b *gavelv1.Build) (files int, err error) {
	a, err := engine.FetchAction(ctx, storedReader{store}, cas.OfSum([32]byte(b.ActionDigest), int64(b.ActionBytes)))
	if err != nil {
		return 0, err
	}
	loaded, err := tree.Load(ctx, store, a.InputRoot, tree.Limits{})
	if err != nil {
		return 0, err
	}
	all := append([]cas.Digest{a.Digest, a.Command}, loaded.Directories()...)
	all = append(all, loaded.Files()...)
	if b.Delivered && len(b.Manifest) == 32 {
		all = append(all, cas.OfSum([32]byte(b.Manifest), int64(b.ManifestBytes)))
	}
	missing, err := in.Missing(ctx, all)
	if err != nil {
		return 0, err
	}
	put := func(d cas.Digest, r io.Reader) error { return in.Put(ctx, d, r) }
	return len(loaded.Files()), store.Fetch(ctx, missing, put)
}

// writeImage adds an image of the farm's store to a layout. One that only workers
// have is left out, and said.
func (f *farm) writeImage(ctx context.Context, term *terminal, dir, root string) error {
	found, err := f.findImage(ctx, root)
	var e *exit
	if errors.As(err, &e) {
		term.say("the farm's store has no image %s: who builds again must have it, and give it by --image", root)
		return nil
	}
	if err != nil {
		return err
	}
	store, err := f.images()
	if err != nil {
		return err
	}
	img, err := imageIn(ctx, store, found)
	if err != nil {
		return fmt.Errorf("fetching image %s: %w", root, plain(err))
	}
	if img.Root() != root {
		return fmt.Errorf("the farm sent image %s for %s", img.Root(), root)
	}
	term.say("fetching image %s, %s", root, megabytes(int64(found.Bytes)))
	return plain(image.WriteLayout(ctx, dir, img))
}

// imageIn is an image as the farm describes it.
func imageIn(ctx context.Context, store cas.Store, found *gavelv1.Image) (sandbox.Image, error) {
	name, err := digest.Parse(found.Digest)
	if err != nil {
		return sandbox.Image{}, fmt.Errorf("the farm names image %q: %w", found.Digest, err)
	}
	config, err := cas.NewDigest(name.Encoded(), int64(found.ConfigBytes))
	if err != nil {
		return sandbox.Image{}, err
	}
	var layers []cas.Digest
	for _, l := range found.Layers {
		if len(l.Digest) != 32 {
			return sandbox.Image{}, errors.New("the farm names a layer without a digest")
		}
		layers = append(layers, cas.OfSum([32]byte(l.Digest), int64(l.Bytes)))
	}
	return engine.StoredImage(ctx, store, config, layers)
}

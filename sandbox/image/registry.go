package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// isReference says whether source, without docker:// before it, is the name of an
// image in a registry: a host comes first. A mere name is more likely a path that
// was mistyped.
func isReference(source string) bool {
	host, _, below := strings.Cut(source, "/")
	if !below || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return false
	}
	_, err := name.ParseReference(source)
	return err == nil
}

// registry is a repository of one. Credentials are those that docker login left
// for this process's user, if there are any.
type registry struct {
	repository name.Repository
	puller     *remote.Puller
}

func (r *registry) manifest(ctx context.Context, d imagespec.Descriptor) ([]byte, error) {
	got, err := r.puller.Get(ctx, r.repository.Digest(d.Digest.String()))
	if err != nil {
		return nil, registryError(err)
	}
	return got.Manifest, nil
}

func (r *registry) blob(ctx context.Context, d imagespec.Descriptor) (io.ReadCloser, error) {
	if _, err := blobName(d.Digest); err != nil {
		return nil, err
	}
	l, err := r.puller.Layer(ctx, r.repository.Digest(d.Digest.String()))
	if err != nil {
		return nil, registryError(err)
	}
	b, err := l.Compressed()
	if err != nil {
		return nil, registryError(err)
	}
	return b, nil
}

// registryError says of what a registry does not have that it is not there, and
// what helps where it asks who is there.
func registryError(err error) error {
	var answer *transport.Error
	if errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusNotFound:
			return fmt.Errorf("the registry does not have it: %w: %w", fs.ErrNotExist, err)
		case http.StatusUnauthorized, http.StatusForbidden:
			return fmt.Errorf("the registry does not give it away, or does not have it; check its name, or docker login: %w", err)
		}
	}
	return fmt.Errorf("asking the registry: %w", err)
}

// openRegistry reads the image of a reference, or of those it stands for the one
// that is for this machine.
func openRegistry(ctx context.Context, r *reader, source string) error {
	ref, err := name.ParseReference(source)
	if err != nil {
		return refuse("%v; write HOST/NAME:TAG or HOST/NAME@sha256:...", err)
	}
	puller, err := remote.NewPuller(remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("gavel"))
	if err != nil {
		return err
	}
	from := &registry{ref.Context(), puller}
	r.progress("asking " + ref.Context().RegistryStr() + " for " + ref.Name())
	got, err := puller.Get(ctx, ref)
	if err != nil {
		return registryError(err)
	}
	top := imagespec.Descriptor{MediaType: string(got.MediaType), Digest: digest.Digest(got.Digest.String()), Size: got.Size}
	if isManifest[top.MediaType] {
		return r.readManifest(ctx, from, top)
	}
	p := &picker{from: from, seen: map[digest.Digest]bool{}}
	if err := p.walk(ctx, []imagespec.Descriptor{top}, 0); err != nil {
		return err
	}
	picked, err := p.pick("write HOST/NAME@DIGEST with the digest of one")
	if err != nil {
		return err
	}
	return r.readManifest(ctx, from, picked)
}

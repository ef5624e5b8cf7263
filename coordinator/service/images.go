package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/cas/scope"
	"gavel/coordinator/images"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// imageOwner is the account that calls, and whether it is an admin. Only accounts
// that pay for builds, and admins, have images.
func (s *Server) imageOwner(ctx context.Context) (id build.ID, admin bool, err error) {
	if id, err = s.Caller(ctx); err != nil {
		return id, false, err
	}
	var role escrow.Role
	s.FSM.Read(func(st *raftfsm.State) {
		if a, ok := st.Account(id); ok {
			role = a.Role
		}
	})
	if role != escrow.Requester && role != escrow.Admin {
		return id, false, status.Error(codes.PermissionDenied, "images belong to requesters and admins: open an account first (gavel account open)")
	}
	return id, role == escrow.Admin, nil
}

// PutImage implements the Farm service.
func (s *Server) PutImage(ctx context.Context, q *gavelv1.PutImageRequest) (*gavelv1.Image, error) {
	id, admin, err := s.imageOwner(ctx)
	if err != nil {
		return nil, err
	}
	release, err := s.enter(s.pending, id)
	if err != nil {
		return nil, err
	}
	defer release()
	img, err := imageOf(q)
	if err != nil {
		return nil, err
	}
	img.AddedBy, img.AddedWallMillis = id, s.now().UnixMilli()
	stored := func() (err error) {
		img.Platform, err = s.Blobs.checkImage(ctx, img)
		return err
	}
	if err := s.Blobs.images.Put(ctx, q.Name, img, id, admin, stored); err != nil {
		return nil, imageError(err)
	}
	return s.findImage(q.Name)
}

// imageOf reads what a request says an image is made of.
func imageOf(q *gavelv1.PutImageRequest) (*images.Image, error) {
	hash, ok := trimSHA256(q.Digest)
	config, err := cas.NewDigest(hash, int64(q.ConfigBytes))
	if !ok || err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%q of %d bytes is no image's digest", q.Digest, q.ConfigBytes)
	}
	if len(q.Layers) > maxImageLayers {
		return nil, status.Errorf(codes.InvalidArgument, "the image has %d layers, at most %d", len(q.Layers), maxImageLayers)
	}
	img := &images.Image{Config: config, Source: q.Source}
	for i, l := range q.Layers {
		if len(l.Digest) != 32 || l.Bytes > cas.MaxBlobBytes {
			return nil, status.Errorf(codes.InvalidArgument, "layer %d has no digest, or more than %d bytes", i+1, int64(cas.MaxBlobBytes))
		}
		img.Layers = append(img.Layers, cas.OfSum([32]byte(l.Digest), int64(l.Bytes)))
	}
	return img, nil
}

func trimSHA256(text string) (string, bool) {
	const prefix = "sha256:"
	if len(text) <= len(prefix) || text[:len(prefix)] != prefix {
		return "", false
	}
	return text[len(prefix):], true
}

// platforms are what a config may say: they are shown to others.
var platforms = regexp.MustCompile(`^[a-z0-9]{1,32}/[a-z0-9_]{1,32}$`)

// checkImage says what platform an image is for, if all of it is in the store of
// images and its config names exactly its layers.
func (b *Blobs) checkImage(ctx context.Context, img *images.Image) (string, error) {
	missing, err := b.pictures.Missing(ctx, img.Blobs())
	if err != nil {
		return "", fmt.Errorf("looking for the image's blobs: %w", err)
	}
	if len(missing) > 0 {
		return "", status.Errorf(codes.FailedPrecondition, "%d blobs of the image are not uploaded (to instance %q), the first is %s: upload them and try again", len(missing), api.ImagesInstance, missing[0])
	}
	raw, err := readBlob(ctx, b.pictures, img.Config, maxImageConfigBytes)
	if err != nil {
		return "", err
	}
	var c imagespec.Image
	if err := json.Unmarshal(raw, &c); err != nil {
		return "", status.Errorf(codes.InvalidArgument, "the image's config is not JSON as OCI has it: %v", err)
	}
	named := make([]string, 0, len(img.Layers))
	for _, d := range c.RootFS.DiffIDs {
		named = append(named, d.String())
	}
	given := make([]string, 0, len(img.Layers))
	for _, d := range img.Layers {
		given = append(given, "sha256:"+d.Hash)
	}
	if !slices.Equal(named, given) {
		return "", status.Errorf(codes.InvalidArgument, "the image's config names other layers than those given: layers are named by the digest of the uncompressed archive")
	}
	platform := c.OS + "/" + c.Architecture
	if !platforms.MatchString(platform) {
		return "", status.Error(codes.InvalidArgument, "the image's config names no system and architecture as OCI has them, such as linux and amd64")
	}
	return platform, nil
}

// imageError gives an error of the registry its code.
func imageError(err error) error {
	switch {
	case errors.Is(err, images.ErrNotFound):
		return status.Error(codes.NotFound, err.Error()+"; gavel image list shows what there is")
	case errors.Is(err, images.ErrTaken):
		return status.Error(codes.PermissionDenied, err.Error())
	case errors.Is(err, images.ErrFull):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.Is(err, images.ErrName):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, cas.ErrNotFound):
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return err
}

// Images implements the Farm service. Names and digests are no secret in a farm.
func (s *Server) Images(ctx context.Context, q *gavelv1.ImagesRequest) (*gavelv1.ImagesResponse, error) {
	id, err := s.Caller(ctx)
	if err != nil {
		return nil, err
	}
	release, err := s.enter(s.pending, id)
	if err != nil {
		return nil, err
	}
	defer release()
	if q.Image != "" {
		img, err := s.findImage(q.Image)
		if err != nil {
			return nil, err
		}
		return &gavelv1.ImagesResponse{Images: []*gavelv1.Image{img}}, nil
	}
	all, err := s.Blobs.images.List()
	if err != nil {
		return nil, err
	}
	out := &gavelv1.ImagesResponse{}
	s.FSM.Read(func(st *raftfsm.State) {
		for i := range all {
			out.Images = append(out.Images, showImage(&all[i], st))
		}
	})
	return out, nil
}

// findImage shows the image of a name or digest, with all its names.
func (s *Server) findImage(ref string) (*gavelv1.Image, error) {
	img, err := s.Blobs.images.Find(ref)
	if err != nil {
		return nil, imageError(err)
	}
	n := images.Named{Image: *img}
	if n.Names, err = s.Blobs.images.NamesOf(img); err != nil {
		return nil, err
	}
	var out *gavelv1.Image
	s.FSM.Read(func(st *raftfsm.State) { out = showImage(&n, st) })
	return out, nil
}

func showImage(n *images.Named, d directory) *gavelv1.Image {
	out := &gavelv1.Image{
		Names: n.Names, Digest: n.Root(), ConfigBytes: uint64(n.Config.Size), Bytes: uint64(n.Bytes()), Source: n.Source, Platform: n.Platform,
		AddedBy: raw(n.AddedBy), AddedByName: d.Name(n.AddedBy), AddedWallMillis: n.AddedWallMillis,
	}
	for _, l := range n.Layers {
		sum := l.Sum()
		out.Layers = append(out.Layers, &gavelv1.ImageLayer{Digest: sum[:], Bytes: uint64(l.Size)})
	}
	return out
}

// RemoveImage implements the Farm service.
func (s *Server) RemoveImage(ctx context.Context, q *gavelv1.RemoveImageRequest) (*gavelv1.RemoveImageResponse, error) {
	id, admin, err := s.imageOwner(ctx)
	if err != nil {
		return nil, err
	}
	root, err := s.Blobs.images.Unname(ctx, q.Name, id, admin)
	if err != nil {
		return nil, imageError(err)
	}
	return &gavelv1.RemoveImageResponse{Digest: root}, nil
}

// CollectImages implements the Farm service. An account collects what it added
// itself, an admin everybody's.
func (s *Server) CollectImages(ctx context.Context, q *gavelv1.CollectImagesRequest) (*gavelv1.CollectImagesResponse, error) {
	id, admin, err := s.imageOwner(ctx)
	if err != nil {
		return nil, err
	}
	release, err := s.enter(s.pending, id)
	if err != nil {
		return nil, err
	}
	defer release()
	out := &gavelv1.CollectImagesResponse{}
	old := s.now().Add(-uploadTime)
	gone, err := s.Blobs.images.Collect(ctx, images.Collection{
		Dry: q.DryRun,
		Unwanted: func() (func(*images.Image) bool, error) {
			live, err := s.livePlatforms(ctx)
			return func(img *images.Image) bool { return !live[img.Root()] && (admin || img.AddedBy == id) }, err
		},
		Sweep: func(needed, gone map[string]bool) error {
			// Whoever began it: half a collection is finished by the next, whole ones are better.
			n, bytes, err := s.Blobs.pictures.Collect(context.WithoutCancel(ctx), func(hash string, info fs.FileInfo) bool {
				// What no image names may be on its way to one.
				return !needed[hash] && (gone[hash] || info.ModTime().Before(old))
			}, q.DryRun)
			out.Blobs, out.Bytes = uint64(n), uint64(bytes)
			return err
		},
	})
	if err != nil {
		return nil, imageError(fmt.Errorf("collecting images (what is left is collected the next time): %w", err))
	}
	s.FSM.Read(func(st *raftfsm.State) {
		for _, img := range gone {
			out.Images = append(out.Images, showImage(&images.Named{Image: *img}, st))
		}
	})
	return out, nil
}

// livePlatforms are the images that builds under way need, by a state that holds
// everything that was acknowledged before the call, by whichever coordinator.
func (s *Server) livePlatforms(ctx context.Context) (map[string]bool, error) {
	if _, _, err := s.Consensus.Propose(ctx, nil); err != nil {
		return nil, status.Errorf(codes.Unavailable, "no leader confirms which builds are under way: %v; try again", err)
	}
	live := make(map[string]bool)
	s.FSM.Read(func(st *raftfsm.State) {
		for _, b := range st.Live() {
			live[b.Terms.Platform] = true
		}
	})
	return live, nil
}

// ImageAccess is what the store of images' gRPC server asks: who submits builds
// may add to it and read all of it, a worker reads what its leases are for.
func (b *Blobs) ImageAccess() scope.Access { return imageAccess{b} }

type imageAccess struct{ blobs *Blobs }

// MayRead implements scope.Access.
func (a imageAccess) MayRead(_ context.Context, account [32]byte, d cas.Digest) (bool, error) {
	r := a.blobs.rightsOf(account)
	if r.writes {
		return true, nil
	}
	return a.blobs.leasedImage(r.images, d)
}

// MayWrite implements scope.Access.
func (a imageAccess) MayWrite(_ context.Context, account [32]byte, _ cas.Digest) error {
	if a.blobs.rightsOf(account).writes {
		return nil
	}
	return fmt.Errorf("%w: images belong to requesters and admins: open an account first", scope.ErrDenied)
}

// Grant implements scope.Access: nothing is anybody's own here.
func (imageAccess) Grant(context.Context, [32]byte, []cas.Digest) error { return nil }

// leasedImage says whether d is of an image that a lease is for.
func (b *Blobs) leasedImage(platforms []string, d cas.Digest) (bool, error) {
	for _, p := range platforms {
		img, err := b.images.Find(p)
		if errors.Is(err, images.ErrNotFound) {
			continue // the host's root, or an image of the worker's own engine
		}
		if err != nil {
			return false, err
		}
		if slices.Contains(img.Blobs(), d) {
			return true, nil
		}
	}
	return false, nil
}

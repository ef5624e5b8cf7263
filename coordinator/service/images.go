package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/cas/scope"
	"gavel/coordinator/images"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// Remover is a store that can forget a blob; disk.Store is one.
type Remover interface {
	Remove(ctx context.Context, d cas.Digest) error
}

// Holders says who holds a blob; scope.Accounts does.
type Holders interface {
	Holders(ctx context.Context, d cas.Digest) ([][32]byte, error)
	Revoke(account [32]byte, ds []cas.Digest) error
}

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
		img.Platform, err = s.Blobs.checkImage(ctx, id, img)
		return err
	}
	if err := s.Blobs.images.Put(q.Name, img, id, admin, stored); err != nil {
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

// checkImage says what platform an image is for, if its account has uploaded all
// of it and its config names exactly its layers.
func (b *Blobs) checkImage(ctx context.Context, account build.ID, img *images.Image) (string, error) {
	view := scope.NewView(b.store, b.accounts, account)
	missing, err := view.Missing(ctx, img.Blobs())
	if err != nil {
		return "", fmt.Errorf("looking for the image's blobs: %w", err)
	}
	if len(missing) > 0 {
		return "", status.Errorf(codes.FailedPrecondition, "%d blobs of the image are not uploaded, the first is %s: upload them and try again", len(missing), missing[0])
	}
	raw, err := readBlob(ctx, view, img.Config, maxImageConfigBytes)
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
	if c.OS == "" || c.Architecture == "" {
		return "", status.Error(codes.InvalidArgument, "the image's config names no system or architecture")
	}
	return c.OS + "/" + c.Architecture, nil
}

// imageError gives an error of the registry its code.
func imageError(err error) error {
	switch {
	case errors.Is(err, images.ErrNotFound):
		return status.Error(codes.NotFound, err.Error()+"; gavel image list shows what there is")
	case errors.Is(err, images.ErrTaken):
		return status.Error(codes.PermissionDenied, err.Error())
	case errors.Is(err, images.ErrName):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, cas.ErrNotFound):
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return err
}

// Images implements the Farm service. Names and digests are no secret in a farm.
func (s *Server) Images(ctx context.Context, q *gavelv1.ImagesRequest) (*gavelv1.ImagesResponse, error) {
	if _, err := s.Caller(ctx); err != nil {
		return nil, err
	}
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
	all, err := s.Blobs.images.List()
	if err != nil {
		return nil, err
	}
	n := images.Named{Image: *img}
	for i := range all {
		if all[i].Config == img.Config {
			n.Names = all[i].Names
		}
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
	img, err := s.Blobs.images.Unname(q.Name, id, admin)
	if err != nil {
		return nil, imageError(err)
	}
	return &gavelv1.RemoveImageResponse{Digest: img.Root()}, nil
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
	needed := make(map[string]bool)
	s.FSM.Read(func(st *raftfsm.State) {
		for _, b := range st.Live() {
			needed[b.Terms.Platform] = true
		}
	})
	unwanted := func(img *images.Image) bool { return !needed[img.Root()] && (admin || img.AddedBy == id) }
	out := &gavelv1.CollectImagesResponse{}
	err = s.Blobs.images.Collect(unwanted, q.DryRun, func(img *images.Image, free []cas.Digest) error {
		var shown *gavelv1.Image
		s.FSM.Read(func(st *raftfsm.State) { shown = showImage(&images.Named{Image: *img}, st) })
		out.Images = append(out.Images, shown)
		for _, d := range free {
			gone, err := s.Blobs.forget(ctx, img.AddedBy, d, q.DryRun)
			if err != nil {
				return err
			}
			if gone {
				out.Blobs++
				out.Bytes += uint64(d.Size)
			}
		}
		return nil
	})
	return out, err
}

// forget removes a blob that only owner holds and none of its live builds is made
// of, and says whether it is, or would be, gone.
func (b *Blobs) forget(ctx context.Context, owner build.ID, d cas.Digest, dry bool) (bool, error) {
	if b.remover == nil {
		return false, status.Error(codes.Unimplemented, "this farm's store forgets nothing")
	}
	holders, err := b.holders.Holders(ctx, d)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(holders, func(h [32]byte) bool { return h != owner }) {
		return false, nil
	}
	var live []cas.Digest
	b.fsm.Read(func(st *raftfsm.State) {
		for _, x := range st.Live() {
			if x.Requester == owner {
				live = append(live, cas.OfSum(x.Terms.ActionDigest, int64(x.Terms.ActionBytes)))
			}
		}
	})
	for _, action := range live {
		set, err := b.reaches.Of(ctx, owner, action)
		if err != nil {
			return false, fmt.Errorf("finding what a build is made of: %w", err)
		}
		if set.Has(d) {
			return false, nil
		}
	}
	if dry {
		return true, nil
	}
	// Rights first: after a crash in between, the next upload stores it again.
	if err := b.holders.Revoke(owner, []cas.Digest{d}); err != nil {
		return false, err
	}
	return true, b.remover.Remove(ctx, d)
}

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

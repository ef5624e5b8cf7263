package service

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/cas/scope"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// Manifest reads and decodes a manifest as an account sees it.
func (b *Blobs) Manifest(ctx context.Context, account build.ID, d cas.Digest) (*build.Manifest, error) {
	raw, err := readBlob(ctx, scope.NewView(b.store, b.accounts, account), d, maxManifestBytes)
	if err != nil {
		return nil, fmt.Errorf("reading manifest: %w", err)
	}
	var m build.Manifest
	if err := wire.Decode(raw, &m); err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", d, err)
	}
	return &m, nil
}

// Stored checks that the outputs of one of a build's opened attempts are in the store,
// all of them uploaded by their author, keeps what its statement is made of, and lets
// the build's requester read the outputs. The author must have uploaded them itself:
// to name the digest of a stranger's blob as an output would otherwise be a way to
// read it. A crash half way leaves some grants, of blobs that the verdict has made the
// requester's anyway.
func (b *Blobs) Stored(ctx context.Context, of *build.Build, attempt int) error {
	a := &of.Attempts[attempt]
	if of.Verdict == 0 || a.State != build.AttemptOpened {
		return fmt.Errorf("lease %x has nothing to deliver", a.Lease(of.ID))
	}
	digest := manifestDigest(a)
	m, err := b.Manifest(ctx, a.Worker, digest)
	if err != nil {
		return err
	}
	if m.Summarise() != a.Opening.Summary {
		return fmt.Errorf("manifest %s is not the one that was committed to", digest)
	}
	blobs := []cas.Digest{digest}
	for i := range m.Outputs {
		if o := &m.Outputs[i]; o.Type == build.OutputFile {
			blobs = append(blobs, cas.OfSum(o.Digest, int64(o.Size)))
		}
	}
	blobs = cas.Unique(blobs)
	missing, err := scope.NewView(b.store, b.accounts, a.Worker).Missing(ctx, blobs)
	if err != nil {
		return fmt.Errorf("looking for outputs: %w", err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("%d of %d blobs are not uploaded, the first is %s", len(missing), len(blobs), missing[0])
	}
	if err := b.keep(ctx, of, m); err != nil {
		return err
	}
	if err := b.accounts.Grant(ctx, of.Inputs(), blobs); err != nil {
		return fmt.Errorf("granting outputs to the requester: %w", err)
	}
	return nil
}

// Deliver checks that the outputs of a lease are uploaded and returns when
// enough coordinators have signed so. Repeating it is harmless.
func (s *Server) Deliver(ctx context.Context, in *gavelv1.DeliverRequest) (*gavelv1.DeliverResponse, error) {
	caller, err := s.Caller(ctx)
	if err != nil {
		return nil, err
	}
	id, err := id32("build", in.Build)
	if err != nil {
		return nil, err
	}
	lease, err := id32("lease", in.Lease)
	if err != nil {
		return nil, err
	}
	leave, err := s.enter(s.pending, caller)
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, deliverTimeout)
	defer cancel()
	b, attempt, err := s.opened(ctx, id, lease, caller)
	if err != nil {
		return nil, err
	}
	if b.Attempts[attempt].Stored {
		return &gavelv1.DeliverResponse{Stored: true}, nil
	}
	// Ask oneself first: what is missing here is the worker's to send, and a
	// refusal should say so in its own words.
	if err := s.Blobs.Stored(ctx, b, attempt); err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "the outputs are not complete: %v", err)
	}
	if err := s.Duties.CollectStored(ctx, id, lease); err != nil {
		return nil, status.Errorf(codes.Aborted, "gathering the coordinators' signatures: %v: repeat it", err)
	}
	return &gavelv1.DeliverResponse{Stored: true}, nil
}

// opened finds a decided build and which of its attempts is the caller's. This
// coordinator may be behind the one that told the worker of its duty.
func (s *Server) opened(ctx context.Context, id, lease, worker build.ID) (*build.Build, int, error) {
	patience := time.NewTimer(appearTimeout)
	defer patience.Stop()
	for {
		changed := s.FSM.Changed()
		b, err := s.findHere(id)
		if err != nil {
			return nil, 0, err
		}
		if b != nil {
			at := slices.IndexFunc(b.Attempts, func(a build.Attempt) bool { return a.Lease(id) == lease })
			if at >= 0 && b.Attempts[at].Worker != worker {
				return nil, 0, status.Error(codes.PermissionDenied, "the lease is another worker's")
			}
			if at >= 0 && b.Attempts[at].State == build.AttemptOpened && b.Verdict != 0 {
				return b, at, nil
			}
		}
		select {
		case <-changed:
		case <-patience.C:
			return nil, 0, status.Error(codes.FailedPrecondition, "nothing of this lease is to be delivered now")
		case <-ctx.Done():
			return nil, 0, status.FromContextError(ctx.Err()).Err()
		}
	}
}

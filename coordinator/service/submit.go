package service

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/api/action"
	"gavel/cas"
	"gavel/cas/scope"
	"gavel/coordinator/images"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// checkSubmission checks what Apply cannot: that the action's blobs are there
// and the requester's own, and that the terms say the same as the action. The
// error is for the coordinator's own trouble; refusals are outcomes.
func (s *Server) checkSubmission(ctx context.Context, m *build.Command) (build.Outcome, error) {
	var p build.Submit
	if err := wire.Decode(m.Payload, &p); err != nil {
		return build.Refuse(build.CodeMalformed, "%v", err), nil
	}
	var known, answered bool
	var lane build.Lane
	outcome := build.Outcome{}
	s.FSM.Read(func(st *raftfsm.State) {
		if _, known = st.Build(build.BuildID(s.cluster, m.Sender, m.Request, &p.Terms)); known {
			return
		}
		if pool, ok := st.Pool(p.Terms.Pool); ok {
			lane = pool.Lane
		}
		outcome = st.CheckSubmit(m.Sender, &p.Terms)
		answered = st.Answered(m.Sender, &p.Terms)
	})
	if known || outcome.Code != build.Done {
		return outcome, nil // a repeated submission names the same build
	}
	img, outcome, err := s.runnable(ctx, &p.Terms)
	if err != nil || outcome.Code != build.Done && !answered { // an answered one needs no worker
		return outcome, err
	}
	a, set, err := s.held(ctx, m.Sender, cas.OfSum(p.Terms.ActionDigest, int64(p.Terms.ActionBytes)))
	if err != nil {
		return submissionError(ctx, err)
	}
	return matchTerms(&p.Terms, a, set.Totals.Bytes+imageBytes(img), lane), nil
}

// held reads an action of an account and all that it is made of, which must be in
// the store and the account's own; so many at once and no more.
func (s *Server) held(ctx context.Context, account build.ID, digest cas.Digest) (*action.Action, *scope.Set, error) {
	select {
	case s.checks <- struct{}{}:
		defer func() { <-s.checks }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	a, err := s.Blobs.Action(ctx, account, digest)
	if err != nil {
		return nil, nil, err
	}
	set, err := s.Blobs.reaches.Held(ctx, account, a.Digest)
	return a, set, err
}

// runnable looks an image up that is to be built in, which keeps it from being
// collected until the build is part of the state. It refuses one that some worker
// could not run: that it could only get from the farm's store, where it is not, or
// that is for other machines. The image is nil where the store has no part in it.
func (s *Server) runnable(ctx context.Context, t *build.Terms) (*images.Image, build.Outcome, error) {
	if !strings.HasPrefix(t.Platform, "sha256:") {
		return nil, build.Outcome{}, nil
	}
	img, err := s.Blobs.images.Use(ctx, t.Platform)
	if errors.Is(err, images.ErrNotFound) {
		img, err = nil, nil
	}
	if err == nil && img != nil {
		var missing []cas.Digest
		if missing, err = s.Blobs.pictures.Missing(ctx, img.Blobs()); len(missing) > 0 {
			img = nil // damaged, or half collected
		}
	}
	if err != nil {
		return nil, build.Outcome{}, status.Errorf(codes.Unavailable, "looking up image %s: %v; try again", t.Platform, err)
	}
	var outcome build.Outcome
	s.FSM.Read(func(st *raftfsm.State) {
		pool, _ := st.Pool(t.Pool)
		for _, w := range st.Workers() {
			if outcome.Code == build.Done && pool != nil && w.In(pool) && w.Offers(t.Platform) && !slices.Contains(w.Platforms, t.Platform) {
				outcome = fetchable(img, t.Platform, w)
			}
		}
	})
	return img, outcome, nil
}

// fetchable says whether a worker could get and run an image of the store.
func fetchable(img *images.Image, root string, w *build.Worker) build.Outcome {
	switch {
	case img == nil:
		return build.Refuse(build.CodePlatform, "image %s is not in the farm's store, from which worker %s would fetch it: gavel image add NAME SOURCE puts it there, gavel image list shows what there is", root, w.Name)
	case !strings.HasPrefix(w.Class, img.Platform+"/"):
		return build.Refuse(build.CodePlatform, "image %s is for %s, and worker %s is a %s: add one that is for the pool's machines", root, img.Platform, w.Name, w.Class)
	}
	return build.Outcome{}
}

// imageBytes is the size of an image in the store: a worker may have to fetch it,
// which takes time as inputs do.
func imageBytes(img *images.Image) int64 {
	if img == nil {
		return 0
	}
	return img.Bytes()
}

// submissionError tells the requester's mistakes from the coordinator's trouble.
func submissionError(ctx context.Context, err error) (build.Outcome, error) {
	var missing *scope.MissingError
	switch {
	case ctx.Err() != nil:
		return build.Outcome{}, status.FromContextError(ctx.Err()).Err()
	case errors.As(err, &missing), errors.Is(err, cas.ErrNotFound):
		return build.Refuse(build.CodeRefused, "the build's inputs are not all uploaded: %v", err), nil
	}
	// What remains is a malformed or hostile action or tree, or a failing disk;
	// the sentence says which, and nothing was changed in either case.
	return build.Refuse(build.CodeRefused, "the build's inputs cannot be used: %v", err), nil
}

// matchTerms holds the signed terms to the action they name: workers bid on the
// terms and build the action.
func matchTerms(t *build.Terms, a *action.Action, inputBytes int64, lane build.Lane) build.Outcome {
	switch {
	case a.Root != t.Platform:
		return build.Refuse(build.CodeRefused, "the terms say platform %q, the action %q", t.Platform, a.Root)
	case a.TimeoutMillis != t.TimeoutMillis:
		return build.Refuse(build.CodeRefused, "the terms say a timeout of %d ms, the action %d", t.TimeoutMillis, a.TimeoutMillis)
	case uint64(inputBytes) != t.InputBytes:
		return build.Refuse(build.CodeRefused, "the terms say %d bytes of inputs, tree and image have %d", t.InputBytes, inputBytes)
	}
	if lane == build.LaneHouse {
		return build.Outcome{}
	}
	for _, v := range a.Env {
		if why := looksSecret(v.Name, v.Value); why != "" {
			return build.Refuse(build.CodeRefused, "environment variable %s %s: auctioned builds run on strangers' machines and carry no secrets; leave it out or use a house pool", v.Name, why)
		}
	}
	return build.Outcome{}
}

// Action reads an action and its command as an account sees them.
func (b *Blobs) Action(ctx context.Context, account build.ID, digest cas.Digest) (*action.Action, error) {
	raw, command, err := b.encodedAction(ctx, account, digest)
	if err != nil {
		return nil, err
	}
	return action.Decode(raw, command)
}

func (b *Blobs) encodedAction(ctx context.Context, account build.ID, digest cas.Digest) (raw, command []byte, err error) {
	view := scope.NewView(b.store, b.accounts, account)
	if raw, err = readBlob(ctx, view, digest, maxActionBytes); err != nil {
		return nil, nil, err
	}
	d, err := action.CommandDigest(raw)
	if err != nil {
		return nil, nil, err
	}
	command, err = readBlob(ctx, view, d, maxReapiCommandBytes)
	return raw, command, err
}

// readBlob reads a whole blob of at most limit bytes.
func readBlob(ctx context.Context, from cas.Store, d cas.Digest, limit int64) ([]byte, error) {
	if d.Size > limit {
		return nil, status.Errorf(codes.InvalidArgument, "blob %s: %v: at most %d bytes", d, cas.ErrTooLarge, limit)
	}
	r, err := from.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	raw := make([]byte, d.Size)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, err
	}
	return raw, nil
}

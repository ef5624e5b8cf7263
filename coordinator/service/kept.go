package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"gavel/api/action"
	"gavel/cas"
	"gavel/raftfsm/build"
)

// Store is the farm's store, and beside it what is kept when it is swept: Open finds
// both, while Missing names what was swept, so that whoever builds it sends it again.
type Store struct {
	cas.Store
	Kept cas.Store
}

// Open implements cas.Store.
func (s Store) Open(ctx context.Context, d cas.Digest) (io.ReadCloser, error) {
	r, err := s.Store.Open(ctx, d)
	if !errors.Is(err, cas.ErrNotFound) {
		return r, err
	}
	r, missing := s.Kept.Open(ctx, d)
	if errors.Is(missing, cas.ErrNotFound) {
		return nil, err // which may say that it was damaged
	}
	return r, missing
}

// keep copies what the statement about a result is made of to where nothing is
// swept: action, command and manifest. It is done before a coordinator vouches that
// the result is stored, hence before the build delivers it: so no log waits for what
// a sweep took, and an old build's statements can still be had. An action that
// states nothing is refused, since every log would wait for it.
func (b *Blobs) keep(ctx context.Context, of *build.Build, m *build.Manifest) error {
	raw, command, err := b.encodedAction(ctx, of.Inputs(), cas.OfSum(of.Terms.ActionDigest, int64(of.Terms.ActionBytes)))
	if err == nil {
		_, err = action.Decode(raw, command)
	}
	if err != nil {
		return fmt.Errorf("reading the action that the result is of: %w", err)
	}
	for _, raw := range [][]byte{raw, command, m.Bytes()} {
		d := cas.Of(raw)
		missing, err := b.store.Kept.Missing(ctx, []cas.Digest{d})
		if err == nil && len(missing) > 0 {
			err = b.store.Kept.Put(ctx, d, bytes.NewReader(raw))
		}
		if err != nil {
			return fmt.Errorf("keeping what the statement is made of: %w", err)
		}
	}
	return nil
}

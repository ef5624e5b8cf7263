package inputs

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"gavel/cas"
	"gavel/cas/disk"
)

// through fetches blobs by way of the local store: what is there is not fetched,
// what is fetched stays there.
type through struct {
	local   *disk.Store
	remote  cas.Fetcher
	fetched *atomic.Int64 // bytes that came from remote
}

// ensure has all of ds in the local store.
func (t through) ensure(ctx context.Context, ds []cas.Digest) error {
	missing, err := t.local.Missing(ctx, ds)
	if err != nil || len(missing) == 0 {
		return err
	}
	return t.remote.Fetch(ctx, missing, func(d cas.Digest, r io.Reader) error {
		if err := t.local.Put(ctx, d, r); err != nil {
			return err
		}
		t.fetched.Add(d.Size)
		return nil
	})
}

// open opens a blob that ensure was called for. Should it have been damaged on
// disk, it is fetched again, once.
func (t through) open(ctx context.Context, d cas.Digest) (io.ReadCloser, error) {
	r, err := t.local.Open(ctx, d)
	if !errors.Is(err, cas.ErrNotFound) {
		return r, err
	}
	if err := t.ensure(ctx, []cas.Digest{d}); err != nil {
		return nil, err
	}
	return t.local.Open(ctx, d)
}

// Fetch implements cas.Fetcher.
func (t through) Fetch(ctx context.Context, ds []cas.Digest, sink func(cas.Digest, io.Reader) error) error {
	if err := t.ensure(ctx, ds); err != nil {
		return err
	}
	return cas.Parallel(ctx, writers, cas.Unique(ds), func(ctx context.Context, d cas.Digest) error {
		r, err := t.open(ctx, d)
		if err != nil {
			return err
		}
		defer r.Close()
		return sink(d, r)
	})
}

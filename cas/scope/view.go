package scope

import (
	"context"
	"errors"
	"io"

	"gavel/cas"
)

// View is a store as one account sees it.
type View struct {
	store   cas.Store
	access  Access
	account [32]byte
}

var _ cas.Store = View{}

// NewView returns account's view of store.
func NewView(store cas.Store, access Access, account [32]byte) View {
	return View{store, access, account}
}

// Missing implements cas.Store: what the account may not read is missing.
func (v View) Missing(ctx context.Context, ds []cas.Digest) ([]cas.Digest, error) {
	ds = cas.Unique(ds)
	var readable []cas.Digest
	missing := map[cas.Digest]struct{}{}
	for _, d := range ds {
		ok, err := v.mayRead(ctx, d)
		if err != nil {
			return nil, err
		}
		if ok {
			readable = append(readable, d)
		} else {
			missing[d] = struct{}{}
		}
	}
	gone, err := v.store.Missing(ctx, readable)
	if err != nil {
		return nil, err
	}
	for _, d := range gone {
		missing[d] = struct{}{}
	}
	out := make([]cas.Digest, 0, len(missing))
	for _, d := range ds {
		if _, m := missing[d]; m {
			out = append(out, d)
		}
	}
	return out, nil
}

// Open implements cas.Store. The error for a blob that the account may not read
// is the one for a blob that nobody has.
func (v View) Open(ctx context.Context, d cas.Digest) (io.ReadCloser, error) {
	ok, err := v.mayRead(ctx, d)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, cas.NotFound(d)
	}
	return v.store.Open(ctx, d)
}

// Put implements cas.Store. The account may read the blob afterwards.
func (v View) Put(ctx context.Context, d cas.Digest, r io.Reader) error {
	if err := errors.Join(ctx.Err(), d.Validate()); err != nil {
		return err
	}
	if d != cas.Empty {
		if err := v.access.MayWrite(ctx, v.account, d); err != nil {
			return err
		}
	}
	// A crash between the two leaves a blob that nobody sees; the uploader, who
	// was told nothing, sends it again.
	if err := v.store.Put(ctx, d, r); err != nil {
		return err
	}
	if d == cas.Empty {
		return nil
	}
	return v.access.Grant(ctx, v.account, []cas.Digest{d})
}

func (v View) mayRead(ctx context.Context, d cas.Digest) (bool, error) {
	if err := d.Validate(); err != nil {
		return false, err
	}
	if d == cas.Empty {
		return true, nil
	}
	return v.access.MayRead(ctx, v.account, d)
}

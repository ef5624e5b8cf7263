package scope

import (
	"context"

	"gavel/cas"
)

// WithLeases returns access with more to read: what reads says yes to. A
// coordinator gives a worker's leases so, from memory, and lets writes, if not
// nil, refuse uploads that no lease asks for with an error wrapping ErrDenied.
func WithLeases(access Access, reads func(context.Context, [32]byte, cas.Digest) (bool, error),
	writes func(context.Context, [32]byte, cas.Digest) error) Access {
	return leased{access, reads, writes}
}

type leased struct {
	Access
	reads  func(context.Context, [32]byte, cas.Digest) (bool, error)
	writes func(context.Context, [32]byte, cas.Digest) error
}

func (l leased) MayRead(ctx context.Context, account [32]byte, d cas.Digest) (bool, error) {
	if ok, err := l.Access.MayRead(ctx, account, d); ok || err != nil {
		return ok, err
	}
	return l.reads(ctx, account, d)
}

func (l leased) MayWrite(ctx context.Context, account [32]byte, d cas.Digest) error {
	if l.writes != nil {
		if err := l.writes(ctx, account, d); err != nil {
			return err
		}
	}
	return l.Access.MayWrite(ctx, account, d)
}

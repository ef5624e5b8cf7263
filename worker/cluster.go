package worker

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// cluster is what a worker says to a farm, and hears from it. Calls go on over
// all coordinators until one can serve them, within a bound of their own.
type cluster interface {
	// Do signs and sends a command; see api.Client.Do for the errors.
	Do(ctx context.Context, kind build.Type, payload wire.Record) (*gavelv1.Receipt, error)
	// Work yields all that is asked of this worker, at once and after every change.
	Work(ctx context.Context) iter.Seq2[*gavelv1.Assignments, error]
	// AppendLog adds sealed chunks, the first numbered first, and returns how many
	// the farm then holds. Those it has already are passed over.
	AppendLog(ctx context.Context, build, lease [32]byte, first uint64, chunks [][]byte) (uint64, error)
	// Deliver says that the outputs of a lease are uploaded, and returns when the
	// coordinators agree.
	Deliver(ctx context.Context, build, lease [32]byte) error
}

// farmClient is the cluster behind an api.Client.
type farmClient struct{ *api.Client }

// Deliver implements cluster.
func (f farmClient) Deliver(ctx context.Context, build, lease [32]byte) error {
	r, err := f.Farm().Deliver(ctx, &gavelv1.DeliverRequest{Build: build[:], Lease: lease[:]})
	if err != nil {
		return fmt.Errorf("delivering the outputs of build %x: %w", build[:6], err)
	}
	if !r.Stored {
		return fmt.Errorf("delivering the outputs of build %x: too few coordinators have found them stored", build[:6])
	}
	return nil
}

// stakeShort says that a command was refused for want of free stake: it may be
// taken once some stake is free again.
func stakeShort(err error) bool {
	var r *api.RefusedError
	return errors.As(err, &r) && r.Code == build.CodeStakeShort
}

// refused says that the farm has understood a command and will not take it,
// now or later: repeating it is pointless.
func refused(err error) bool {
	var r *api.RefusedError
	if !errors.As(err, &r) {
		return false
	}
	switch r.Code {
	case build.CodeBusy, build.CodeNotReady:
		return false
	}
	return true
}

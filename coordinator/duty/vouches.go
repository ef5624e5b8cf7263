package duty

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// ErrNotStored says that too few coordinators find the outputs in the store.
var ErrNotStored = errors.New("the outputs are not stored")

// errRevoked says that a coordinator's word counts no longer.
var errRevoked = errors.New("its key was revoked")

// VouchStored signs that the outputs of a lease are in the store, if this node's
// own applied state knows the lease's result and its own check finds them.
func (d *Duties) VouchStored(ctx context.Context, buildID, lease ID) ([]byte, error) {
	b, attempt, err := d.deliverable(buildID, lease)
	if err != nil {
		return nil, err
	}
	if err := d.config.Store.Stored(ctx, b, attempt); err != nil {
		return nil, fmt.Errorf("checking the store: %w", err)
	}
	return d.config.Sign.Sign(build.VouchBytes(build.TypeStored, d.cluster, buildID, lease, b.Attempts[attempt].Result()))
}

// deliverable finds an attempt whose outputs may be delivered: opened, and judged.
func (d *Duties) deliverable(buildID, lease ID) (*build.Build, int, error) {
	b, ok := d.config.Source.Build(buildID)
	if !ok {
		return nil, 0, errors.New("no such build here")
	}
	attempt := slices.IndexFunc(b.Attempts, func(a build.Attempt) bool { return a.Lease(b.ID) == lease })
	if attempt < 0 || b.Attempts[attempt].State != build.AttemptOpened || b.Verdict == 0 {
		return nil, 0, errors.New("this lease has nothing to deliver now")
	}
	return b, attempt, nil
}

// CollectStored gathers the word of t coordinators that the outputs of a lease
// are stored and has it decided. It returns at once if they are known to be. The
// error wraps ErrNotStored, with a reason, where t do not vouch before ctx ends.
func (d *Duties) CollectStored(ctx context.Context, buildID, lease ID) error {
	b, attempt, err := d.deliverable(buildID, lease)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotStored, err)
	}
	a := &b.Attempts[attempt]
	if a.Stored {
		return nil
	}
	vouches, err := d.collect(ctx, build.TypeStored, buildID, lease, a.Result(), d.VouchStored)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotStored, err)
	}
	proof := &build.Vouched{Build: buildID, Lease: lease, Digest: a.Result(), Vouches: vouches}
	var back backoff
	for {
		err := d.propose(ctx, build.TypeStored, proof)
		if err == nil {
			return nil
		}
		if b, ok := d.config.Source.Build(buildID); ok && b.Attempts[attempt].Stored {
			return nil
		}
		if !back.wait(ctx) {
			return fmt.Errorf("recording that the outputs are stored: %w", err)
		}
	}
}

// collect gathers signatures on build.VouchBytes from t coordinators, this one
// through own, sorted by id. Whoever does not vouch is asked again until ctx
// ends: it may only be behind. Then the error gives everyone's last reason.
func (d *Duties) collect(ctx context.Context, kind build.Type, buildID, lease, digest ID,
	own func(ctx context.Context, buildID, lease ID) ([]byte, error)) ([]build.Vouch, error) {
	var calls sync.WaitGroup
	defer calls.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	msg := build.VouchBytes(kind, d.cluster, buildID, lease, digest)
	answers := make(chan answer)
	for i := range d.members {
		calls.Go(func() {
			d.ask(ctx, i, answers, func(ctx context.Context) (sig []byte, err error) {
				if revoked := d.revoked.Load(); revoked != nil && slices.Contains(*revoked, d.members[i].ID) {
					return nil, errRevoked
				}
				if i == d.index {
					sig, err = own(ctx, buildID, lease)
				} else {
					sig, err = d.config.Peers.Vouch(ctx, d.members[i].ID, kind, buildID, lease)
				}
				if err == nil {
					err = wire.VerifySignature(d.members[i].Key, msg, sig)
				}
				return sig, err
			})
		})
	}
	var vouches []build.Vouch
	reasons := make([]error, len(d.members))
	for len(vouches) < d.threshold() {
		select {
		case a := <-answers:
			reasons[a.from] = nil
			if a.err != nil {
				reasons[a.from] = fmt.Errorf("%s: %w", d.members[a.from].Name, a.err)
				continue
			}
			vouches = append(vouches, build.Vouch{Coordinator: d.members[a.from].ID, Signature: a.sig})
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d coordinators vouch, %d are needed: %w", len(vouches), len(d.members), d.threshold(), errors.Join(append(reasons, ctx.Err())...))
		}
	}
	slices.SortFunc(vouches, func(a, b build.Vouch) int { return wire.Compare32(a.Coordinator, b.Coordinator) })
	return vouches, nil
}

// answer is what one coordinator said when asked to vouch.
type answer struct {
	from int // its position in genesis
	sig  []byte
	err  error
}

// ask calls a coordinator until it vouches or ctx ends, and reports every answer.
func (d *Duties) ask(ctx context.Context, from int, answers chan<- answer, call func(context.Context) ([]byte, error)) {
	var b backoff
	for {
		bounded, cancel := context.WithTimeout(ctx, peerTimeout)
		sig, err := call(bounded)
		cancel()
		select {
		case answers <- answer{from, sig, err}:
		case <-ctx.Done():
			return
		}
		if err == nil || !b.wait(ctx) {
			return
		}
	}
}

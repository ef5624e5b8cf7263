package duty

import (
	"context"
	"errors"
	"fmt"

	"gavel/api/seal"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
)

// errNoMatch says that what this node decrypted, or could not decrypt, is not
// what was committed to.
var errNoMatch = errors.New("the lodged opening does not match its commitment")

// decrypt opens what was lodged for this node and holds it against the
// commitment. The error wraps errNoMatch where the lodgement is at fault.
func (d *Duties) decrypt(o raftfsm.OpeningDuty) (*build.Opening, error) {
	opening, err := seal.OpenLodgement(d.config.SealKey, d.index, len(d.members), d.cluster, o.Build, o.Lease, o.Commitment, o.Lodged)
	if errors.Is(err, seal.ErrOpen) {
		return nil, fmt.Errorf("%w: %w", errNoMatch, err)
	}
	if err != nil {
		return nil, err
	}
	if opening.Commitment(d.cluster, o.Worker, o.Build) != o.Commitment {
		return nil, fmt.Errorf("%w: it opens to another result or nonce", errNoMatch)
	}
	return opening, nil
}

// open proposes what a commitment hid, or, where that does not match, the word of
// t coordinators that it does not. A worker may have sealed rightly to some and
// wrongly to others: whichever is proposed first stands, and it chose that itself.
func (d *Duties) open(ctx context.Context, o raftfsm.OpeningDuty) {
	if !d.turn(ctx) {
		return
	}
	var opening *build.Opening
	var err error
	if e := d.compute(ctx, func() { opening, err = d.decrypt(o) }); e != nil {
		return
	}
	switch {
	case err == nil:
		d.insist(ctx, build.TypeOpening, &build.OpeningOf{Build: o.Build, Lease: o.Lease, Opening: *opening})
	case errors.Is(err, errNoMatch):
		d.log.Warn("asking the others about a bad opening", "build", short(o.Build), "lease", short(o.Lease), "error", err)
		vouches, err := d.collect(ctx, build.TypeMismatch, o.Build, o.Lease, o.Commitment, d.VouchMismatch)
		if err == nil {
			d.insist(ctx, build.TypeMismatch, &build.Vouched{Build: o.Build, Lease: o.Lease, Digest: o.Commitment, Vouches: vouches})
		}
	default:
		d.log.Error("cannot open what was lodged", "build", short(o.Build), "error", err)
	}
}

// VouchMismatch signs that the lodged opening of a lease does not match its
// commitment, if this node's own applied state lets it be opened and its own
// decryption shows that.
func (d *Duties) VouchMismatch(ctx context.Context, buildID, lease ID) ([]byte, error) {
	for _, o := range d.config.Source.Look().Openings {
		if o.Build != buildID || o.Lease != lease {
			continue
		}
		var err error
		if e := d.compute(ctx, func() { _, err = d.decrypt(o) }); e != nil {
			return nil, e
		}
		if err == nil {
			return nil, errors.New("here the lodged opening matches its commitment")
		}
		if !errors.Is(err, errNoMatch) {
			return nil, err
		}
		return d.config.Sign.Sign(build.VouchBytes(build.TypeMismatch, d.cluster, buildID, lease, o.Commitment))
	}
	return nil, errors.New("here nothing of this lease may be opened now")
}

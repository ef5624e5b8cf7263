package transcript

import (
	"errors"
	"fmt"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// ErrUnusable is wrapped by every error of Judge: what was given is no transcript
// of a version that this binary reads, or there is nothing to hold it to.
var ErrUnusable = errors.New("not a usable transcript")

// Trust is what the reader knows without asking the farm.
type Trust struct {
	// GroupKeys are the beacon's keys that the reader trusts, compressed points of
	// G2, oldest first: more than one where the coordinators handed over to a new
	// key. At least one is needed.
	GroupKeys [][96]byte
	// Cluster is the cluster's id; zero where the reader was told none.
	Cluster [32]byte
	// Founding is what the genesis says; nil where it is not at hand.
	Founding *Founding
	// Keys are those that took the place of an account's first key, PKIX DER, as the
	// log records it; nil where the log's key leaves are not at hand.
	Keys map[[32]byte][][]byte
	// Challenged says what a transcript that was challenged claims, by its digest; nil
	// where no other transcript is at hand.
	Challenged func(transcript [32]byte) (build.Claim, bool)
	// Defer leaves the group's signatures to the caller, who verifies those of many
	// builds at once: they are in Report.Signatures, and not proven until then.
	Defer bool
}

// Founding are the parts of a genesis that a build depends on.
type Founding struct {
	Simulated    bool
	Params       build.Params
	Coordinators []build.Coordinator // sorted by id
	// Pools are those of the genesis; one that was made later is not among them.
	Pools []build.Pool
}

// judge is one judgement under way. The record is read only.
type judge struct {
	t      *build.Transcript
	b      *build.Build
	trust  Trust
	report *Report

	treasury, escrow [32]byte
	house            bool // no amounts
	eligible         map[[32]byte]string
	operators        map[[32]byte]string // of parties
	proofs           map[string]build.DrawProof
	attempts         sorted
	awards           []award
	ending           ending
}

// Judge recomputes a build from the canonical bytes of its transcript. Digest is
// the name under which the reader got them, cert the group's certificate. A
// report without deviations says that the record follows from the rules and from
// its own evidence, as far as Report.Proven goes. An error wraps ErrUnusable.
func Judge(raw []byte, digest [32]byte, cert build.Certificate, trust Trust) (*Report, error) {
	if len(raw) > build.MaxTranscriptBytes {
		return nil, fmt.Errorf("judging a transcript: %w: %d bytes, at most %d", ErrUnusable, len(raw), build.MaxTranscriptBytes)
	}
	if len(trust.GroupKeys) == 0 {
		return nil, fmt.Errorf("judging a transcript: %w: no group key is trusted; name the cluster's", ErrUnusable)
	}
	t := new(build.Transcript)
	if err := wire.Decode(raw, t); err != nil {
		return nil, fmt.Errorf("judging a transcript: %w: %w", ErrUnusable, err)
	}
	j := &judge{t: t, b: &t.Build, trust: trust, report: &Report{Transcript: t}, house: t.Pool.Lane == build.LaneHouse}
	j.treasury = wire.NewHasher("treasury").Fixed(t.Cluster).Sum()
	j.escrow = wire.NewHasher("escrow").Fixed(t.Build.ID).Sum()
	j.identity(raw, digest, cert)
	j.founding()
	j.parties()
	j.bounds()
	if j.b.Contest != nil {
		j.contest()
	} else {
		j.build()
	}
	j.settled()
	j.money()
	j.clock()
	j.signatures()
	j.facts()
	j.remarks()
	return j.report, nil
}

// build judges what was submitted and, if anybody was found for it, built.
func (j *judge) build() {
	j.terms()
	j.field()
	j.draws()
	j.sortAttempts()
	j.allocation()
	j.validation()
}

package build

import (
	"fmt"

	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

var noHold escrow.TransferID

// Judgement is what a panel finds.
type Judgement struct {
	Verdict State // Judged, NonDeterministic, EnvironmentDependent or Unverified
	Result  ID    // of Judged
}

// Judge decides from the first results and the panel's opened results. Two
// thirds of the panel on a digest that some first result had judge it; two
// thirds on a digest that none had, or no two alike, show a build that does not
// repeat itself; anything else depends on where it is built. Fewer than three
// opened seats decide nothing. The order of either list does not matter.
func Judge(first, panel []ID) Judgement {
	if len(panel) < 3 {
		return Judgement{Verdict: Unverified}
	}
	known := map[ID]bool{}
	for _, d := range first {
		known[d] = true
	}
	counts := map[ID]int{}
	for _, d := range panel {
		counts[d]++
	}
	for _, d := range wire.SortedKeys(counts, wire.Compare32) {
		if 3*counts[d] < 2*len(panel) {
			continue
		}
		if known[d] {
			return Judgement{Verdict: Judged, Result: d}
		}
		return Judgement{Verdict: NonDeterministic}
	}
	if len(counts) == len(panel) {
		return Judgement{Verdict: NonDeterministic}
	}
	return Judgement{Verdict: EnvironmentDependent}
}

// decidePanel applies the judgement: whoever first differed from a judged
// result is slashed, but never for having hit a limit.
func (b *Build) decidePanel(e *Env) {
	var first, panel []ID
	for _, a := range b.parties() {
		if a.State == AttemptOpened {
			first = append(first, a.Result())
		}
	}
	seats := b.Round(RoundPanel)
	for _, a := range seats {
		if a.State == AttemptOpened {
			panel = append(panel, a.Result())
		}
	}
	j := Judge(first, panel)
	switch j.Verdict {
	case Unverified:
		b.conclude(e, Unverified, fmt.Sprintf("results differ, and only %d of the panel's seats were opened", len(panel)))
	case Judged:
		wrong := 0
		for _, a := range append(b.parties(), seats...) {
			if a.State == AttemptOpened && a.Result() != j.Result && !a.Opening.Summary.Status.ResourceLimit() {
				a.Slashed = true
			}
			if a.Slashed { // also whose lodged opening matched nothing
				wrong++
			}
		}
		b.deliver(e, Judged, j.Result, fmt.Sprintf("results differed; a panel of %d decided against %d", len(panel), wrong))
	case NonDeterministic:
		b.deliverBuilders(e, NonDeterministic, "the panel's results differ from all first ones or from each other")
	default:
		b.deliverBuilders(e, EnvironmentDependent, "the result depends on the machine: the panel found no result that two thirds share")
	}
}

// deliverBuilders delivers the builder's own first result under a verdict that
// confirms none, if it opened one.
func (b *Build) deliverBuilders(e *Env, verdict State, reason string) {
	a := b.parties()[0]
	if a.State != AttemptOpened || a.Slashed {
		b.conclude(e, verdict, reason)
		return
	}
	b.deliver(e, verdict, a.Result(), reason)
}

// deliver sets the verdict and asks the first who holds the result to upload it.
func (b *Build) deliver(e *Env, verdict State, result ID, reason string) {
	b.State, b.Verdict, b.Reason, b.VerdictAt, b.Deadline = verdict, verdict, reason, e.Now, 0
	b.Delivers, b.Delivered = true, result
	b.nextUploader(e)
}

// holders are the indices of the attempts that hold the delivered result, in the
// order in which they are asked for it: builder, seats, panel.
func (b *Build) holders() []int {
	var out []int
	for _, round := range []Round{RoundFirst, RoundPanel} {
		for seat := uint32(0); seat <= max(b.Terms.Validators, b.PanelSeats); seat++ {
			for i := range b.Attempts {
				a := &b.Attempts[i]
				if a.Round == round && a.Seat == seat && a.State == AttemptOpened && !a.Slashed && a.Result() == b.Delivered {
					out = append(out, i)
				}
			}
		}
	}
	return out
}

// maxDelivered is how large an output still lengthens its upload: 4 GiB, an hour
// and a bit at a second for each MB.
const maxDelivered = 4 << 30

// nextUploader asks the next holder; where none is left the build has failed.
func (b *Build) nextUploader(e *Env) {
	for _, i := range b.holders() {
		a := &b.Attempts[i]
		if a.UploadTried {
			continue
		}
		a.UploadTried = true
		b.Uploader = uint32(i)
		a.LeaseUntil = e.Now + e.Params.LeaseMillis
		s := &a.Opening.Summary
		// The sizes are the uploader's own word: they may not keep a build for ever.
		size := min(s.ManifestBytes, maxDelivered) + min(s.OutputBytes, maxDelivered)
		a.BoundUntil = e.Now + e.Params.UploadMillis + megabytes(size)*e.Params.MillisPerMB
		return
	}
	b.Delivers = false
	b.conclude(e, Failed, "nobody who held the result delivered it")
}

// Stored records that t coordinators hold the outputs of an attempt; the
// uploader's settle the build. The caller has checked the signatures.
func (b *Build) Stored(e *Env, m *Vouched) Outcome {
	a := b.Attempt(m.Lease)
	if a == nil || a.Round == RoundRecheck || a.State != AttemptOpened || b.Verdict == 0 {
		return Refuse(CodeWrongState, "this lease has nothing to deliver now")
	}
	if a.Result() != m.Digest {
		return Refuse(CodeNoMatch, "the coordinators signed for another result")
	}
	a.Stored = true
	if b.State.Delivering() && m.Digest == b.Delivered {
		for i := range b.Attempts {
			if &b.Attempts[i] == a {
				b.Uploader = uint32(i)
			}
		}
		b.settle(e)
	}
	return Outcome{Subject: m.Lease}
}

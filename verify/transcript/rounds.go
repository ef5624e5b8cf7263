package transcript

import (
	"fmt"
	"slices"

	"gavel/raftfsm/build"
)

// ending is what the rules make of the openings.
type ending struct {
	verdict  build.State // 0 where the record does not decide between some
	among    []build.State
	delivers bool
	result   [32]byte
	slashed  map[int]bool // attempts, by index
	// panelSeats and panelled are what the record must say of a panel.
	panelled   bool
	panelSeats uint32
}

// validation takes the build from its builder's commitment to its verdict.
func (j *judge) validation() {
	j.ending.slashed = map[int]bool{}
	j.mismatches()
	w := j.attempts.winner
	if w == nil {
		j.unbuilt()
		return
	}
	j.sampling()
	if j.b.Sampling == build.SampledOut {
		j.noMore(j.attempts.seats, "the build was not sampled")
		j.noMore(j.attempts.rechecks, "the build was not sampled")
		j.noMore(j.attempts.panel, "the build was not sampled")
		if !j.drawLane() {
			expect(j, "Build.Names", 0, len(j.b.Names))
			expect(j, "Build.NextName", 0, j.b.NextName)
		}
		if _, made := j.proofs[build.PurposeSeats]; made {
			j.deviate("Build.Draws", "no draw of seats: the build was not sampled", show(build.PurposeSeats))
		}
		if w.opened() {
			j.deliver(build.Unsampled, w.result())
		} else {
			expect(j, w.field("State"), build.AttemptMismatched, w.State)
			j.ending.verdict = build.Failed
		}
		return
	}
	if !j.seats() {
		j.ending.verdict = build.TooFew
		j.noMore(j.attempts.rechecks, "too few were drawn")
		j.noMore(j.attempts.panel, "too few were drawn")
		return
	}
	j.firstRound()
}

func (j *judge) deliver(verdict build.State, result [32]byte) {
	j.ending.verdict, j.ending.delivers, j.ending.result = verdict, true, result
}

// deliverBuilders is what verdicts that confirm no result deliver: the builder's
// own, labelled, if it opened one and was not slashed.
func (j *judge) deliverBuilders(verdict build.State) {
	j.ending.verdict = verdict
	if w := j.attempts.winner; w.opened() && !j.ending.slashed[w.index] {
		j.deliver(verdict, w.result())
	}
}

func (j *judge) noMore(list []at, why string) {
	for _, a := range list {
		j.deviate(a.field("Round"), "no such attempt: "+why, a.Round.String())
	}
}

// mismatches slashes whoever lodged an opening that matches nothing: the hold of
// its first or panel seat, whichever the attempt was.
func (j *judge) mismatches() {
	for i := range j.b.Attempts {
		m := &j.b.Attempts[i]
		if m.State != build.AttemptMismatched {
			continue
		}
		for k := range j.b.Attempts {
			a := &j.b.Attempts[k]
			if a.Worker == m.Worker && a.Round != build.RoundRecheck && a.State != build.AttemptSilent {
				j.ending.slashed[k] = true
				break
			}
		}
		j.notProven("that nothing lodged by %s matched its commitment: t coordinators signed so, and the log has their signatures", j.who(m.Worker))
	}
}

// sampling makes the draw again that says whether anybody rebuilds the build.
func (j *judge) sampling() {
	var want build.Sampling
	if j.b.Terms.SamplePPM < ppm {
		seed, made := j.seed(build.PurposeSample)
		switch {
		case !made:
			j.deviate("Build.Draws", "the sampling's", "none")
			return
		case sampled(seed, j.b.Terms.SamplePPM):
			want = build.Sampled
		default:
			want = build.SampledOut
		}
	} else if _, made := j.proofs[build.PurposeSample]; made {
		j.deviate("Build.Draws", "none of a sampling: every build is validated", show(build.PurposeSample))
	}
	expect(j, "Build.Sampling", want, j.b.Sampling)
}

// seats holds the validators to the permutation. It says whether all seats were
// filled to the end.
func (j *judge) seats() bool {
	b, k := j.b, j.b.Terms.Validators
	seed, made := j.seed(build.PurposeSeats)
	if !made {
		j.deviate("Build.Draws", "the draw of seats", "none")
		return false
	}
	w := j.attempts.winner
	others := slices.DeleteFunc(slices.Clone(b.Eligible), func(c build.Candidate) bool { return c.Domain == w.Domain })
	j.expectNames(names(seed, others))
	last := -1
	holders := map[uint32]at{} // of each seat, the last
	for i, a := range j.attempts.seats {
		last = j.inOrder(a, last)
		before, taken := holders[a.Seat]
		switch {
		case i < int(k):
			expect(j, a.field("Seat"), uint32(i+1), a.Seat)
		case !taken || before.State != build.AttemptSilent:
			j.deviatef(a.field("Seat"), "a seat that fell silent", "%d", a.Seat)
		}
		holders[a.Seat] = a
	}
	missing := max(0, int(k)-len(holders))
	empty := 0
	for _, a := range holders {
		if a.State == build.AttemptSilent {
			empty++
		}
	}
	if empty > 1 || empty == 1 && missing > 0 {
		j.deviatef("Build.Attempts", "an end as soon as one seat finds nobody", "%d seats fell silent and were not filled, %d never were", empty, missing)
	}
	full := missing == 0 && empty == 0
	j.nextName(last, !full)
	for _, a := range append([]at{*w}, j.attempts.seats...) {
		switch {
		case a.State == build.AttemptSilent && a.index != w.index:
		case full && a.State != build.AttemptOpened && a.State != build.AttemptMismatched:
			j.deviate(a.field("State"), "opened, or found to match nothing", stateName(a.State))
		case !full && a.State != build.AttemptCommitted && a.State != build.AttemptReleased:
			j.deviate(a.field("State"), "committed or released, but not opened: seats were missing", stateName(a.State))
		}
	}
	if skipped := last + 1 - len(j.attempts.seats); skipped > 0 {
		j.notChecked("that %d names before the last seat's were away or without stake at their turn", skipped)
	}
	if full {
		j.proven("%d validators hold the seats of the permutation in its order, silent ones replaced by the next names", k)
	}
	return full
}

// inOrder holds an attempt to a later place of the permutation than the one before.
func (j *judge) inOrder(a at, last int) int {
	here := place(j.b.Names, a.Attempt)
	if here <= last {
		j.deviate(a.field("Worker"), fmt.Sprintf("a name of the permutation after place %d", last), fmt.Sprintf("%s, place %d", show(a.Worker), here))
		return last
	}
	return here
}

// nextName is the first unused name: behind the last that was used, or behind all
// where a seat found nobody.
func (j *judge) nextName(last int, exhausted bool) {
	if len(j.attempts.panel) > 0 || j.b.Panelled {
		return // the panel went on from here
	}
	want := uint32(last + 1)
	if exhausted {
		want = uint32(len(j.b.Names))
	}
	expect(j, "Build.NextName", want, j.b.NextName)
}

// firstParties are builder and validators in the order of their seats.
func (j *judge) firstParties() []at {
	out := []at{*j.attempts.winner}
	for seat := uint32(1); seat <= j.b.Terms.Validators; seat++ {
		for _, a := range j.attempts.seats {
			if a.Seat == seat && a.State != build.AttemptSilent {
				out = append(out, a)
			}
		}
	}
	return out
}

// firstRound compares the first results; where they differ, all build once more.
func (j *judge) firstRound() {
	parties := j.firstParties()
	equal := true
	for _, a := range parties {
		equal = equal && a.opened() && a.result() == parties[0].result()
	}
	if equal {
		j.noMore(j.attempts.rechecks, "all results are equal")
		j.noMore(j.attempts.panel, "all results are equal")
		j.deliver(build.Agreed, parties[0].result())
		return
	}
	if changed := j.recheck(parties); changed {
		j.noMore(j.attempts.panel, "every recheck differs from its author's first result")
		j.deliverBuilders(build.NonDeterministic)
		return
	}
	j.panel(parties)
}

// recheck says whether every party's second result differs from its own first.
func (j *judge) recheck(parties []at) bool {
	again := j.attempts.rechecks
	changed, n := true, 0
	for _, a := range parties {
		if !a.opened() {
			changed = false
			continue
		}
		if n >= len(again) {
			j.deviatef("Build.Attempts", "a recheck by everybody who opened", "%d rechecks", len(again))
			return false
		}
		r := again[n]
		n++
		expect(j, r.field("Worker"), a.Worker, r.Worker)
		expect(j, r.field("Domain"), a.Domain, r.Domain)
		expect(j, r.field("Seat"), a.Seat, r.Seat)
		switch r.State {
		case build.AttemptOpened, build.AttemptMismatched, build.AttemptSilent:
		default:
			j.deviate(r.field("State"), "opened, found to match nothing, or silent", stateName(r.State))
		}
		changed = changed && r.opened() && r.result() != a.result()
	}
	for _, r := range again[n:] {
		j.deviate(r.field("Round"), "one recheck by each that opened", "one more")
	}
	return changed
}

// panel seats the next domains of the permutation, and judges by what they opened.
func (j *judge) panel(parties []at) {
	used := -1
	for _, a := range j.attempts.seats {
		used = max(used, place(j.b.Names, a.Attempt))
	}
	size := panelSize(j.b.Terms.Validators, len(j.b.Names)-used-1)
	if size < 3 {
		j.noMore(j.attempts.panel, "fewer than three domains are left")
		j.undecided()
		return
	}
	seated := j.seatPanel(used, size)
	if seated < 3 {
		j.undecided()
		return
	}
	j.decide(parties)
}

// panelSize is the largest odd number of at most 2k+1 and of the domains left.
func panelSize(k uint32, left int) int {
	size := int(min(2*int64(k)+1, int64(left)))
	if size%2 == 0 {
		size--
	}
	return size
}

// seatPanel holds a panel to the names behind the last that was used, and returns
// how many of its seats count: an even panel's last is let go, and with fewer than
// three nobody is asked to build.
func (j *judge) seatPanel(used, size int) int {
	seated, last, replacing := 0, used, false
	for _, a := range j.attempts.panel {
		last = j.inOrder(a, last)
		if !replacing && int64(a.Seat) == int64(seated)+1 {
			seated++
			continue
		}
		replacing = true
		if before := j.seatBefore(a); before == nil || before.State != build.AttemptSilent {
			j.deviatef(a.field("Seat"), "the next seat, or one that fell silent", "%d", a.Seat)
		}
	}
	j.ending.panelled, j.ending.panelSeats = true, uint32(size)
	if seated > size {
		j.deviatef("Build.Attempts", fmt.Sprintf("a panel of at most %d", size), "%d seats", seated)
	}
	want := uint32(last + 1)
	if seated < size || j.unfilled() {
		want = uint32(len(j.b.Names))
	}
	expect(j, "Build.NextName", want, j.b.NextName)
	counts := seated
	switch {
	case seated < 3:
		counts = 0
	case seated%2 == 0:
		counts--
	}
	if seated >= 3 {
		j.ending.panelSeats = uint32(counts)
	}
	for _, a := range j.attempts.panel {
		switch a.State {
		case build.AttemptReleased:
			if int64(a.Seat) <= int64(counts) {
				j.deviate(a.field("State"), "opened, found to match nothing, or silent", stateName(a.State))
			}
		case build.AttemptOpened, build.AttemptMismatched, build.AttemptSilent:
			if int64(a.Seat) > int64(counts) {
				j.deviate(a.field("State"), "released: the seat does not count", stateName(a.State))
			}
		default:
			j.deviate(a.field("State"), "opened, found to match nothing, silent or released", stateName(a.State))
		}
	}
	if counts > 0 {
		j.proven("a panel of %d holds the next names of the permutation in its order", counts)
	}
	return counts
}

// seatBefore is who held a panel's seat before.
func (j *judge) seatBefore(a at) *at {
	var before *at
	for _, x := range j.attempts.panel {
		if x.index < a.index && x.Seat == a.Seat {
			before = &x
		}
	}
	return before
}

// unfilled says whether a panel's seat fell silent and found nobody else.
func (j *judge) unfilled() bool {
	last := map[uint32]build.AttemptState{}
	for _, a := range j.attempts.panel {
		last[a.Seat] = a.State
	}
	for _, s := range last {
		if s == build.AttemptSilent {
			return true
		}
	}
	return false
}

// undecided is what ends a difference that nobody is left to decide.
func (j *judge) undecided() {
	if j.house {
		j.deliverBuilders(build.EnvironmentDependent)
		return
	}
	j.ending.verdict = build.Unverified
}

package transcript

import (
	"fmt"
	"slices"

	"gavel/raftfsm/build"
)

// openedPanel are the panel's opened seats, and how many have each result.
func (j *judge) openedPanel() (opened []at, count map[[32]byte]int) {
	count = map[[32]byte]int{}
	for _, a := range j.attempts.panel {
		if a.opened() {
			opened = append(opened, a)
			count[a.result()]++
		}
	}
	return opened, count
}

// decide judges by the opened panel seats, PROTOCOL section 8.
func (j *judge) decide(parties []at) {
	known := map[[32]byte]bool{}
	for _, a := range parties {
		if a.opened() {
			known[a.result()] = true
		}
	}
	opened, count := j.openedPanel()
	n := len(opened)
	if n < 3 {
		j.ending.verdict = build.Unverified
		return
	}
	for digest, c := range count { // at most one of them has two thirds
		switch {
		case 3*c < 2*n:
		case !known[digest]:
			j.deliverBuilders(build.NonDeterministic)
			return
		default:
			j.slash(append(slices.Clone(parties), opened...), digest)
			j.deliver(build.Judged, digest)
			return
		}
	}
	if len(count) == n {
		j.deliverBuilders(build.NonDeterministic)
		return
	}
	j.deliverBuilders(build.EnvironmentDependent)
}

// slash takes S of everybody whose own result is not the one that was decided on,
// but never for having hit a limit.
func (j *judge) slash(list []at, decided [32]byte) {
	for _, a := range list {
		if a.opened() && a.result() != decided && !a.limited() {
			j.ending.slashed[a.index] = true
		}
	}
}

// unbuilt decides between the ends of a build that nobody built.
func (j *judge) unbuilt() {
	b := j.b
	for _, list := range [][]at{j.attempts.seats, j.attempts.rechecks, j.attempts.panel} {
		j.noMore(list, "nobody committed as builder")
	}
	expect(j, "Build.Sampling", 0, b.Sampling)
	for _, purpose := range []string{build.PurposeSample, build.PurposeSeats, build.PurposeSeal} {
		if _, made := j.proofs[purpose]; made {
			j.deviate("Build.Draws", "no draw after a commitment: there is none", show(purpose))
		}
	}
	if _, made := j.proofs[build.PurposeBuilder]; !made {
		if j.stale() {
			j.notChecked("the permutation that is left of an earlier draw")
		} else {
			expect(j, "Build.Names", 0, len(b.Names))
			expect(j, "Build.NextName", 0, b.NextName)
		}
	}
	j.ending.among = j.unbuiltEnds()
	if b.Verdict == build.NoBids && (len(b.Attempts) > build.MaxAttempts-build.MaxWorkers || len(b.Transfers) > build.MaxTransfers-2*build.MaxWorkers) {
		j.ending.among = append(j.ending.among, build.NoBids) // it was given up after too many auctions
	}
	_, auctioneer := j.proofs[build.PurposeAuctioneer]
	if b.Verdict == build.Cancelled && !auctioneer && b.VerdictAt >= b.Terms.DeadlineMillis {
		j.deviatef("Build.VerdictAt", fmt.Sprintf("before the deadline %d, at which the build expires in the queue", b.Terms.DeadlineMillis), "%d", b.VerdictAt)
	}
	if (b.Verdict == build.NoBids || b.Verdict == build.Failed && !j.drawLane()) && b.Auctioneer == ([32]byte{}) {
		j.deviate("Build.Auctioneer", "one that closed or cleared the auction", "none")
	}
	if b.Verdict == build.Expired && b.VerdictAt < b.Terms.DeadlineMillis {
		j.deviatef("Build.VerdictAt", fmt.Sprintf("the deadline %d or later", b.Terms.DeadlineMillis), "%d", b.VerdictAt)
	}
}

// quiet is how many auctions without a bid end a build.
const quiet = 4

// unbuiltEnds are the verdicts that the record allows where nobody built.
func (j *judge) unbuiltEnds() []build.State {
	b := j.b
	_, awarded := j.proofs[build.PurposeAward]
	switch {
	case j.t.Pool.Lane == build.LaneBatch:
		if b.Allotted != ([32]byte{}) {
			return []build.State{build.Expired}
		}
		return []build.State{build.Expired, build.Cancelled}
	case j.drawLane():
		if _, drawn := j.proofs[build.PurposeBuilder]; drawn {
			return []build.State{build.Failed}
		}
		return []build.State{build.Expired, build.Cancelled}
	case len(b.Penalties) > 0:
		return []build.State{build.Failed}
	case awarded && b.Verdict == build.NoBids:
		for _, s := range j.ranking() {
			if s.score >= 0 && !b.Bids[s.index].Skipped {
				return []build.State{build.Cancelled}
			}
		}
		return []build.State{build.NoBids}
	case awarded, b.RevealsDone && j.revealed() > 0:
		return []build.State{build.Cancelled}
	case b.RevealsDone:
		return []build.State{build.NoBids}
	case len(b.Bids) > 0:
		return []build.State{build.Cancelled}
	case b.BiddingDone && b.AuctionNumber+1 >= quiet:
		return []build.State{build.Cancelled, build.NoBids}
	case b.BiddingDone:
		return []build.State{build.Cancelled}
	}
	return []build.State{build.Cancelled, build.Expired}
}

// settled holds the verdict, what is delivered and what a settled record must not
// have any more.
func (j *judge) settled() {
	b, e := j.b, &j.ending
	expect(j, "Build.State", build.Settled, b.State)
	expect(j, "Build.Deadline", 0, b.Deadline)
	expect(j, "Build.ActDeadline", 0, b.ActDeadline)
	expect(j, "Build.Used", 0, len(b.Used))
	if want, ok := j.dispatched(); ok {
		expect(j, "Build.Dispatched", want, b.Dispatched)
	}
	expect(j, "Build.Panelled", e.panelled, b.Panelled)
	expect(j, "Build.PanelSeats", e.panelSeats, b.PanelSeats)
	if b.SettledOrder == 0 {
		j.deviate("Build.SettledOrder", "at least 1", "0")
	}
	if len(e.among) > 0 {
		if !slices.Contains(e.among, b.Verdict) {
			j.deviate("Build.Verdict", fmt.Sprint(e.among), b.Verdict.String())
		}
		e.verdict = b.Verdict
	}
	for i := range b.Attempts {
		expect(j, attemptField(i, "Slashed"), e.slashed[i], b.Attempts[i].Slashed)
	}
	if e.delivers && b.Verdict == build.Failed {
		j.undelivered()
		return
	}
	if expect(j, "Build.Verdict", e.verdict, b.Verdict) && len(e.among) == 0 {
		j.proven("the verdict %v follows from the openings", b.Verdict)
	}
	expect(j, "Build.Delivers", e.delivers, b.Delivers)
	expect(j, "Build.Delivered", e.result, b.Delivered)
	if !e.delivers {
		expect(j, "Build.Uploader", 0, b.Uploader)
		for i := range b.Attempts {
			expect(j, attemptField(i, "UploadTried"), false, b.Attempts[i].UploadTried)
		}
		return
	}
	j.delivered()
}

// holders are the attempts that hold the delivered result, in the order in which
// they are asked for it: the builder, the seats, the panel.
func (j *judge) holders() []at {
	var out []at
	add := func(a at) {
		if a.opened() && !j.ending.slashed[a.index] && a.result() == j.ending.result {
			out = append(out, a)
		}
	}
	if w := j.attempts.winner; w != nil {
		add(*w)
	}
	for _, list := range [][]at{j.attempts.seats, j.attempts.panel} {
		list = slices.Clone(list)
		slices.SortStableFunc(list, func(a, b at) int { return int(a.Seat) - int(b.Seat) })
		for _, a := range list {
			add(a)
		}
	}
	return out
}

// asked holds who was asked to upload to the order of asking: the first holders,
// and nobody else.
func (j *judge) asked() (holders []at, tried int) {
	holders = j.holders()
	asked := map[int]bool{}
	for _, a := range holders {
		if a.UploadTried {
			tried++
		}
	}
	for _, a := range holders[:tried] {
		asked[a.index] = true
	}
	for i := range j.b.Attempts {
		expect(j, attemptField(i, "UploadTried"), asked[i], j.b.Attempts[i].UploadTried)
	}
	return holders, tried
}

// delivered holds the uploader to the result; the first whose outputs were stored
// settled the build.
func (j *judge) delivered() {
	b := j.b
	if _, tried := j.asked(); tried == 0 {
		j.deviate("Build.Attempts", "a holder of the result that was asked for it", "none was")
	}
	if int64(b.Uploader) >= int64(len(b.Attempts)) {
		j.deviatef("Build.Uploader", "an attempt", "%d of %d", b.Uploader, len(b.Attempts))
		return
	}
	for i := range b.Attempts {
		a := at{&b.Attempts[i], i}
		switch holds := a.opened() && a.Round != build.RoundRecheck && a.result() == j.ending.result; {
		case i == int(b.Uploader) && !holds:
			j.deviatef("Build.Uploader", "an attempt that holds what is delivered", "%d", i)
		case holds:
			expect(j, a.field("Stored"), i == int(b.Uploader), a.Stored)
		}
	}
	j.notProven("that the outputs are stored: t coordinators signed so, and the log has their signatures")
}

// undelivered holds a build that failed because nobody who held its result
// delivered it.
func (j *judge) undelivered() {
	b := j.b
	holders, tried := j.asked()
	if tried < len(holders) || len(holders) == 0 {
		j.deviatef("Build.Verdict", j.ending.verdict.String(), "%v, though only %d of %d holders were asked for the result", b.Verdict, tried, len(holders))
	} else {
		expect(j, "Build.Uploader", uint32(holders[len(holders)-1].index), b.Uploader)
	}
	for _, a := range holders {
		expect(j, a.field("Stored"), false, a.Stored)
	}
	expect(j, "Build.Delivers", false, b.Delivers)
	expect(j, "Build.Delivered", j.ending.result, b.Delivered)
	j.ending.verdict, j.ending.delivers = build.Failed, false
	j.notChecked("that nobody who held the result delivered it in time")
}

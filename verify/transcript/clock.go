package transcript

import (
	"fmt"
	"slices"

	"gavel/raftfsm/build"
)

// clock holds the farm times to the order in which things can have happened. The
// times themselves are the leader's ticks: a replay of the log has them.
func (j *judge) clock() {
	b, p := j.b, &j.t.Params
	if d := b.Terms.DeadlineMillis - b.SubmittedAt; b.Contest == nil && (d <= 0 || d > p.MaxDeadlineMillis) {
		j.deviatef("Build.SubmittedAt", fmt.Sprintf("1 to %d ms before the deadline", p.MaxDeadlineMillis), "%d ms", d)
	}
	if j.t.Pool.Lane == build.LaneBatch && b.Contest == nil && b.Terms.DeadlineMillis < b.SubmittedAt+j.t.Pool.Batch.EpochMillis {
		j.deviatef("Build.SubmittedAt", "an epoch before the deadline", "%d", b.SubmittedAt)
	}
	j.after("Build.SubmittedAt", b.SubmittedAt, "time began", 0)
	if b.OpenedAt != 0 {
		j.after("Build.OpenedAt", b.OpenedAt, "submission", b.SubmittedAt)
	}
	j.after("Build.VerdictAt", b.VerdictAt, "submission", b.SubmittedAt)
	j.after("Build.VerdictAt", b.VerdictAt, "bidding opened", b.OpenedAt)
	j.after("Build.SettledAt", b.SettledAt, "the verdict", b.VerdictAt)
	if !j.ending.delivers && !b.Posted {
		expect(j, "Build.SettledAt", b.VerdictAt, b.SettledAt)
	}
	j.awardTimes()
	var committed, started int64 // the last of the first round
	for i := range b.Attempts {
		a := at{&b.Attempts[i], i}
		j.attemptTimes(a)
		if a.Round == build.RoundFirst {
			committed, started = max(committed, a.CommittedAt), max(started, a.StartedAt)
		}
	}
	for _, a := range j.attempts.rechecks {
		j.after(a.field("AssignedAt"), a.AssignedAt, "all first commitments", committed)
	}
	j.together(j.attempts.rechecks)
	j.together(j.attempts.seats[:min(len(j.attempts.seats), int(min(b.Terms.Validators, build.MaxSeats)))])
	first := 0
	for first < len(j.attempts.panel) && int64(j.attempts.panel[first].Seat) == int64(first)+1 {
		first++
	}
	j.together(j.attempts.panel[:first])
	var again int64
	for _, a := range j.attempts.rechecks {
		again = max(again, a.CommittedAt)
	}
	for _, a := range j.attempts.panel {
		if b.Contest != nil {
			continue
		}
		j.after(a.field("AssignedAt"), a.AssignedAt, "the gap after the first round began", started+p.PanelGapMillis)
		j.after(a.field("AssignedAt"), a.AssignedAt, "all rechecks", max(committed, again))
	}
	if w := j.attempts.winner; w != nil {
		for _, a := range j.attempts.seats {
			j.after(a.field("AssignedAt"), a.AssignedAt, "the builder's commitment", w.CommittedAt)
		}
	}
}

// after holds a moment to one that it cannot precede.
func (j *judge) after(field string, at int64, what string, before int64) {
	if at < before {
		j.deviatef(field, fmt.Sprintf("not before %s at %d", what, before), "%d", at)
	}
}

// awardTimes holds the award's times to the leases that it gave.
func (j *judge) awardTimes() {
	b := j.b
	var last int64
	for _, a := range j.attempts.builders {
		j.after(a.field("AssignedAt"), a.AssignedAt, "the award before", last)
		last = a.AssignedAt
	}
	expect(j, "Build.AwardedAt", last, b.AwardedAt)
	j.firstAward()
	for _, w := range j.awards {
		j.after(w.attempt.field("AssignedAt"), w.attempt.AssignedAt, "bidding was over", b.OpenedAt+j.t.Params.BiddingMillis)
	}
	if len(j.attempts.builders) > 0 && len(j.awards) == 0 && j.attempts.winner != nil {
		j.after(j.attempts.winner.field("AssignedAt"), last, "the build was first given out", b.OpenedAt)
	}
}

// firstAward is the first award since the last auction opened, from which a
// successor's lateness is counted; where that had none, one of an earlier auction
// is left. Farm time 0 is no time.
func (j *judge) firstAward() {
	b := j.b
	earlier := map[int64]bool{}
	for _, a := range j.attempts.builders {
		if a.AssignedAt >= b.OpenedAt && a.AssignedAt > 0 {
			expect(j, "Build.FirstAwardedAt", a.AssignedAt, b.FirstAwardedAt)
			return
		}
		earlier[a.AssignedAt] = true
	}
	if b.FirstAwardedAt != 0 && !earlier[b.FirstAwardedAt] {
		j.deviatef("Build.FirstAwardedAt", "the time of an award, or none", "%d", b.FirstAwardedAt)
	}
}

// attemptTimes holds one attempt's times to its lease.
func (j *judge) attemptTimes(a at) {
	b, p := j.b, &j.t.Params
	j.after(a.field("AssignedAt"), a.AssignedAt, "submission", b.SubmittedAt)
	if a.StartedAt != 0 {
		j.after(a.field("StartedAt"), a.StartedAt, "it was assigned", a.AssignedAt)
		j.after("Build.VerdictAt", b.VerdictAt, "the last start", a.StartedAt)
	}
	j.after("Build.VerdictAt", b.VerdictAt, "the last lease was given", a.AssignedAt)
	if a.committed() {
		j.after(a.field("CommittedAt"), a.CommittedAt, "it was started", max(a.StartedAt, a.AssignedAt))
		j.after("Build.VerdictAt", b.VerdictAt, "the last commitment", a.CommittedAt)
	}
	j.after(a.field("LeaseUntil"), a.LeaseUntil, "the lease's least end", max(a.AssignedAt, a.StartedAt)+p.LeaseMillis)
	if a.committed() {
		j.after(a.field("LeaseUntil"), a.LeaseUntil, "it was committed, and a moment", a.CommittedAt+1)
	}
	if a.UploadTried {
		j.uploadTimes(a)
		return
	}
	builds := int64(1)
	if b.Terms.Vary != 0 && a.Round != build.RoundRecheck && a.Seat != 0 {
		builds = 15
	}
	bound := builds*b.Terms.TimeoutMillis + p.GraceMillis + megabytes(b.Terms.InputBytes)*p.MillisPerMB
	if a.StartedAt != 0 || a.committed() {
		expect(j, a.field("BoundUntil"), a.StartedAt+bound, a.BoundUntil)
	} else if d := a.BoundUntil - a.AssignedAt; bound > 0 && (d < bound || d%bound != 0) {
		j.deviatef(a.field("BoundUntil"), fmt.Sprintf("a multiple of %d ms after %d", bound, a.AssignedAt), "%d", a.BoundUntil)
	}
	if a.committed() {
		j.after(a.field("BoundUntil"), a.BoundUntil, "it was committed, and a moment", a.CommittedAt+1)
	}
}

// uploadTimes holds an uploader's lease to when it was asked: the first at the
// verdict, each other when the one before had its time.
func (j *judge) uploadTimes(a at) {
	asked, b := j.askedAt(a), j.b
	j.after(a.field("LeaseUntil"), a.LeaseUntil, "the uploader's lease began", asked+j.t.Params.LeaseMillis)
	if asked > b.SettledAt {
		j.deviatef(a.field("BoundUntil"), fmt.Sprintf("counted back by the upload's bound, at most %d", b.SettledAt), "%d", asked)
	}
	holders := j.holders()
	at := slices.IndexFunc(holders, func(h at) bool { return h.index == a.index })
	switch {
	case at == 0 && j.ending.delivers:
		expect(j, a.field("BoundUntil"), b.VerdictAt-asked+a.BoundUntil, a.BoundUntil)
	case at > 0:
		before := holders[at-1]
		j.after(a.field("BoundUntil"), asked, "counted back, the time of whoever was asked before was up", min(before.LeaseUntil, before.BoundUntil))
	}
	if at == len(holders)-1 && !j.ending.delivers {
		j.after("Build.VerdictAt", b.VerdictAt, "the last upload's time was up", min(a.LeaseUntil, a.BoundUntil))
	}
}

// askedAt is when an attempt's author was asked to upload, by its bound.
func (j *judge) askedAt(a at) int64 {
	p, s := &j.t.Params, &a.Opening.Summary
	const most = 4 << 30
	return a.BoundUntil - p.UploadMillis - megabytes(min(s.ManifestBytes, most)+min(s.OutputBytes, most))*p.MillisPerMB
}

// megabytes rounds up.
func megabytes(n uint64) int64 { return int64((n + 1<<20 - 1) >> 20) }

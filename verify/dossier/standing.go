package dossier

import (
	"encoding/hex"
	"slices"

	"gavel/raftfsm"
	"gavel/verify/attest"
	"gavel/verify/evidence"
)

// stoodBy fails a summary that does not stand by the file, or did not yet.
func (q *inquiry) stoodBy(r *attest.Report) {
	if as := q.trust.AsOf; !as.IsZero() && r.Summary != nil && r.Summary.WallMillis > as.UnixMilli() {
		q.report.fail("on %s there was no such summary: by its own clock it was made on %s", date(as.Unix()), date(r.Summary.WallMillis/1000))
	}
	if r.Failed() {
		q.report.fail("the summary is genuine and says FAILED: the farm delivered this file and does not stand by it")
	}
}

// standing says whether what was signed still stands: nobody took it back.
func (q *inquiry) standing() {
	if q.status == nil {
		q.report.notProven("that the result was not withdrawn and no key revoked since: no status list is at hand")
		return
	}
	when := q.asOf
	until, dated := q.statusTime()
	as := q.trust.AsOf
	stands := func(wallMillis int64) bool { return as.IsZero() || wallMillis <= as.UnixMilli() }
	switch {
	case !dated:
		q.report.notProven("as of when the status list is true: of those who signed it too few say at what time")
	case !as.IsZero() && as.Unix() > until:
		q.report.notProven("what became of it between %s, when the status list was signed, and %s", date(until), date(as.Unix()))
	}
	if q.summary != nil {
		id := q.summary.Summary.Build
		w, leaf, ok := q.status.Withdrawn(id)
		switch {
		case ok && stands(w.WallMillis):
			q.report.fail("the result was withdrawn on %s (leaf %d of the log): challenge %s found another result: %s", date(w.WallMillis/1000), leaf, w.Challenge, w.Reason)
		case ok:
			q.report.claimed("the result was withdrawn later, on %s (leaf %d of the log)", date(w.WallMillis/1000), leaf)
		case !dated:
			q.report.proven("no withdrawal is known in the first %d leaves of the log: %d coordinators signed the status list", q.status.Size, len(when.Cosigners))
		default:
			q.report.proven("no withdrawal is known as of %s: %d coordinators signed the status list of %d leaves", date(until), len(when.Cosigners), q.status.Size)
		}
	}
	q.revocations(stands)
}

// statusTime is when the status list was true for certain: the time of whichever
// coordinator completes a majority, counted from the latest. A list that is old
// gets no younger by a few who sign it again, with whatever time they like.
func (q *inquiry) statusTime() (unix int64, dated bool) {
	var times []int64
	for _, name := range q.asOf.Cosigners {
		if at, says := q.asOf.Times[name]; says {
			times = append(times, at)
		}
	}
	quorum := evidence.Trust(q.trust.Genesis).Quorum
	if len(times) < quorum {
		return 0, false
	}
	slices.Sort(times)
	return times[len(times)-quorum], true
}

// revocations looks for signers whose keys were revoked, or for the cluster's key
// replaced, before what they signed was logged: it may be somebody else's. Of others a
// key that was replaced may have signed what is logged later.
func (q *inquiry) revocations(stands func(wallMillis int64) bool) {
	for _, e := range q.status.Events {
		leaf, err := evidence.Read(e.Entry)
		if err != nil || leaf.Key == nil || !leaf.Key.Revoked && leaf.Key.Role != raftfsm.RoleCluster {
			continue
		}
		k, became, why := leaf.Key, "replaced", ""
		if k.Revoked {
			became = "revoked"
		}
		if k.Reason != "" {
			why = ": " + k.Reason
		}
		for i, r := range []*attest.Report{q.bundle, q.summary} {
			what := []string{"the bundle", "the summary"}[i]
			if r == nil || i > 0 && r == q.bundle || hex.EncodeToString(r.PKIX) != string(k.OldKey) {
				continue
			}
			before := r.Log != nil && r.Log.Index < e.Leaf
			switch {
			case !stands(k.WallMillis):
				q.report.claimed("the key that signed %s was %s later, on %s%s", what, became, date(k.WallMillis/1000), why)
			case before:
				q.report.claimed("the key that signed %s was %s on %s, after the statement was logged (leaf %d against %d)%s", what, became, date(k.WallMillis/1000), r.Log.Index, e.Leaf, why)
			default:
				q.report.fail("the key that signed %s was %s on %s (leaf %d of the log), and the statement was not logged before%s", what, became, date(k.WallMillis/1000), e.Leaf, why)
			}
		}
	}
}

package dossier

import (
	"encoding/hex"

	"gavel/verify/attest"
	"gavel/verify/evidence"
)

// standing says whether what was signed still stands: nobody took it back.
func (q *inquiry) standing() {
	if q.status == nil {
		q.report.notProven("that the result was not withdrawn and no key revoked since: no status list is at hand")
		return
	}
	when := q.asOf
	until := latest(when)
	as := q.trust.AsOf
	stands := func(wallMillis int64) bool { return as.IsZero() || wallMillis <= as.UnixMilli() }
	if !as.IsZero() && as.Unix() > until {
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
		default:
			q.report.proven("no withdrawal is known as of %s: %d coordinators signed the status list of %d leaves", date(until), len(when.Cosigners), q.status.Size)
		}
	}
	q.revocations(stands)
}

// revocations looks for signers whose keys were revoked before what they signed
// was logged: it may be somebody else's.
func (q *inquiry) revocations(stands func(wallMillis int64) bool) {
	for _, e := range q.status.Events {
		leaf, err := evidence.Read(e.Entry)
		if err != nil || leaf.Key == nil || !leaf.Key.Revoked {
			continue
		}
		k := leaf.Key
		for what, r := range map[string]*attest.Report{"the bundle": q.bundle, "the summary": q.summary} { // order does not matter: at most one message each
			if r == nil || hex.EncodeToString(r.PKIX) != string(k.OldKey) {
				continue
			}
			before := r.Log != nil && r.Log.Index < e.Leaf
			switch {
			case !stands(k.WallMillis):
				q.report.claimed("the key that signed %s was revoked later, on %s: %s", what, date(k.WallMillis/1000), k.Reason)
			case before:
				q.report.claimed("the key that signed %s was revoked on %s, after the statement was logged (leaf %d against %d): %s", what, date(k.WallMillis/1000), r.Log.Index, e.Leaf, k.Reason)
			default:
				q.report.fail("the key that signed %s was revoked on %s (leaf %d of the log), and the statement was not logged before: %s", what, date(k.WallMillis/1000), e.Leaf, k.Reason)
			}
		}
	}
}

package dossier

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"time"

	"gavel/verify/attest"
	"gavel/verify/keys"
	"gavel/verify/policy"
)

// Hold holds what was found out to somebody's demands, at a time by the reader's
// clock. Each rule that is broken is a failure; so is a farm that nobody has named,
// for anybody can make one that keeps every rule.
func (r *Report) Hold(p *policy.Policy, now time.Time) {
	e := r.evidence
	if !r.named && p.Clusters == nil && p.Builders == nil {
		r.fail("the policy was held to whatever farm this is: name the farm as you know it from elsewhere (--cluster or --genesis), or list its key in the policy's clusters")
	}
	e.NowMillis = now.UnixMilli()
	r.Violations = p.Check(&e)
	for _, v := range r.Violations {
		r.fail("the policy's %s", v)
	}
	if len(r.Violations) == 0 {
		r.proven("every rule of the policy is kept")
	}
}

// evidence is what the check found out, as a policy wants it.
func (q *inquiry) evidence() policy.Evidence {
	// A builder whose key is named speaks for itself, and for no summary.
	q.report.named = q.trust.Pinned || len(q.trust.Key) > 0 && (q.summary == nil || bytes.Equal(q.summary.PKIX, q.trust.Key))
	e := policy.Evidence{Simulated: q.report.Simulated}
	// Who are coordinators is genesis' word: one that is taken as given shows nothing.
	// A summary that is not in the log shows nothing either, even if what it counts is.
	if b, s := q.bundleAt, q.summaryAt; b != nil && s != nil && q.trust.Pinned {
		e.Logged, e.Cosigners, e.Witnesses = true, both(b.Cosigners, s.Cosigners), both(b.Witnesses, s.Witnesses)
	}
	// Whose the group key is says the reader, or a majority by cosigning the summary:
	// whoever has the cluster's key alone can make a group and a transcript to it.
	e.Recomputed = q.recomputed && (len(q.trust.GroupKeys) > 0 || e.Logged)
	var statement *attest.Recipe
	if q.bundle != nil && q.bundle.Summary == nil {
		if r, err := attest.ReadRecipe(q.files.Bundle, nil); err == nil { // its signature was checked
			statement = r
		}
	}
	if q.summary == nil {
		if statement != nil {
			e.Agreed = []policy.Party{{Operator: statement.Builder.Operator, Key: keys.ID(q.bundle.PKIX)}}
			e.Platform, e.Source = statement.Platform, statement.Source
		}
		return e
	}
	s := q.summary.Summary
	e.Summarised, e.ClusterKey, e.Verdict, e.DomainKind = true, keys.ID(q.summary.PKIX), s.Verdict.String(), s.DomainKind.String()
	e.Platform, e.WallMillis, e.Simulated = s.Platform, s.WallMillis, e.Simulated || s.Simulated
	for _, a := range s.Agreed {
		// Who agreed is the cluster's word; whose key it was, that of its own signature.
		party := policy.Party{Domain: a.Domain, Operator: a.Operator}
		if key := q.signed[a.Worker]; key != nil {
			party.Key = keys.ID(key)
		}
		e.Agreed = append(e.Agreed, party)
	}
	e.Expected = len(s.Expected)
	for _, x := range s.Expected {
		if x.Match {
			e.Matched++
		}
	}
	e.Source = q.source(statement)
	return e
}

// both are the names in both lists.
func both(a, b []string) (out []string) {
	for _, name := range a {
		if slices.Contains(b, name) {
			out = append(out, name)
		}
	}
	return out
}

// source is the commit that the build's provenance names: that of the bundle, or
// of one that lies beside it and that the summary counts among its inputs. The
// action's digest is in each, so that all name the same.
func (q *inquiry) source(statement *attest.Recipe) string {
	if statement != nil {
		return statement.Source
	}
	for _, raw := range q.files.Provenances {
		r, err := attest.ReadRecipe(raw, nil)
		if err != nil {
			continue
		}
		envelope, err := attest.Unbundled(raw)
		if err == nil && contains(q.summary.Summary.Inputs, sha256.Sum256(envelope)) {
			return r.Source
		}
	}
	return ""
}

package dossier

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/evidence"
	"gavel/verify/keys"
)

// party lists the keys of who the transcript says built: one of them signed.
func (q *inquiry) party() (out [][]byte) {
	var t build.Transcript
	if wire.Decode(q.files.Transcript, &t) != nil {
		return nil
	}
	for _, i := range evidence.Agreeing(&t.Build) {
		if p, ok := t.Party(t.Build.Attempts[i].Worker); ok {
			out = append(out, p.Key)
		}
	}
	return out
}

// maxTried is how many keys are tried on a bundle that names none of them: Gavel's own
// name theirs, and a transcript of anybody's making has thousands of keys.
const maxTried = 64

// likely are those of the keys that may have signed a bundle: the one that it names, or
// else the first.
func likely(candidates [][]byte, bundle []byte) [][]byte {
	if id, ok := attest.Hint(bundle); ok {
		named := func(pkix []byte) bool { return keys.ID(pkix) == id }
		if i := slices.IndexFunc(candidates, named); i >= 0 {
			return candidates[i : i+1]
		}
	}
	return candidates[:min(len(candidates), maxTried)]
}

// statements checks the provenances that come along.
func (q *inquiry) statements() {
	if q.summary == nil {
		return
	}
	if b := q.bundle; b != nil && b != q.summary && len(q.report.Failures) == 0 { // openSummary found it among the inputs
		q.signed = map[ID][]byte{keys.ID(b.PKIX): b.PKIX}
	}
	if q.record == nil {
		return
	}
	t, s := q.record.Transcript, q.summary.Summary
	all := evidence.Agreeing(&t.Build)
	agreeing := map[[32]byte][]*build.Attempt{} // by the key's id
	for _, i := range all {
		a := &t.Build.Attempts[i]
		if p, ok := t.Party(a.Worker); ok {
			agreeing[keys.ID(p.Key)] = append(agreeing[keys.ID(p.Key)], a)
		}
	}
	signed := map[ID][]byte{}
	for _, raw := range append([][]byte{q.files.Bundle}, q.files.Provenances...) {
		id, _ := attest.Hint(raw)
		if len(agreeing[id]) == 0 {
			continue
		}
		p, _ := t.Party(agreeing[id][0].Worker)
		pub, err := keys.ParsePKIX(p.Key)
		if err != nil {
			continue
		}
		r, err := attest.VerifyBundle(raw, q.files.Artifact, pub)
		if err != nil || r.Predicate != attest.PredicateSLSA || r.InvocationID != hex.EncodeToString(t.Build.ID[:]) {
			continue
		}
		envelope, err := attest.Envelope(r.Statement, r.Signature)
		own := func(a *build.Attempt) bool { return bytes.Equal(r.Signature, a.Opening.Signature) }
		if err == nil && contains(s.Inputs, sha256.Sum256(envelope)) && slices.ContainsFunc(agreeing[id], own) {
			signed[p.ID] = p.Key
		}
	}
	q.signed = signed
	if len(signed) > 0 {
		q.report.proven("%d of %d who built and got this result signed so themselves, with what they built from", len(signed), len(all))
	}
	if len(signed) < len(all) {
		q.report.notProven("that the other %d signed so themselves: their statements are not at hand", len(all)-len(signed))
	}
}

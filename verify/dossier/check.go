package dossier

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/evidence"
	"gavel/verify/keys"
	"gavel/verify/tlog"
	"gavel/verify/transcript"
)

// Files are a dossier. Only Bundle is needed.
type Files struct {
	Artifact    [32]byte // SHA-256 of the file in question
	Bundle      []byte   // a provenance's or the summary's, Sigstore v0.3
	Summary     []byte   // the summary's, where Bundle is a provenance
	Provenances [][]byte // bundles of who built
	Transcript  []byte   // canonical build.Transcript
	Manifest    []byte   // canonical build.Manifest of the delivered result
	Status      []byte   // a status list, as the log serves it
}

// ErrUnusable says that there is nothing to check: the bundle is none, or nobody
// is named whose word should count.
var ErrUnusable = errors.New("not a usable dossier")

// inquiry is one check under way.
type inquiry struct {
	files  *Files
	trust  *Trust
	report *Report

	status  *evidence.Status
	asOf    *tlog.Opened // the note under it
	bundle  *attest.Report
	summary *attest.Report
	record  *transcript.Report
	// bundleAt and summaryAt are where they stand in the log, nil where that is not proven.
	bundleAt, summaryAt *Logged
	// signed are the keys, by worker, whose provenance for the file was checked and
	// is among the summary's inputs.
	signed map[ID][]byte
	// recomputed says that the record deviates in nothing, and that the summary says
	// what it does.
	recomputed bool
}

// Check holds a dossier's parts to each other and to what is trusted. What does
// not hold is in Report.Failures; an error wraps ErrUnusable.
func Check(f *Files, t *Trust) (*Report, error) {
	q := &inquiry{files: f, trust: t, report: &Report{SHA256: hex.EncodeToString(f.Artifact[:]), Failures: []string{}}}
	if t.Genesis == nil && len(t.Key) == 0 {
		return nil, fmt.Errorf("%w: whose word counts? name the farm's genesis, or the signer's key", ErrUnusable)
	}
	if err := t.usable(); err != nil {
		return nil, err
	}
	q.openStatus()
	if err := q.openBundle(); err != nil {
		return nil, err
	}
	if q.bundle == nil { // nothing that lies beside it is about this file
		q.remarks()
		q.report.evidence = q.evidence()
		return q.report, nil
	}
	q.openSummary()
	q.bundleAt = q.inLog("the bundle's statement", q.bundle)
	q.summaryAt = q.bundleAt
	if q.summary != nil && q.summary != q.bundle {
		q.summaryAt = q.inLog("the summary", q.summary)
	}
	if q.report.Log = q.bundleAt; q.report.Log == nil {
		q.report.Log = q.summaryAt
	}
	q.judge()
	q.statements()
	q.standing()
	q.remarks()
	q.report.evidence = q.evidence()
	return q.report, nil
}

// openStatus reads the status list, if there is one, by the keys of genesis or by
// one that it says took the cluster's key's place: the majority that signed it
// stands for that.
func (q *inquiry) openStatus() {
	g := q.trust.Genesis
	if len(q.files.Status) == 0 || g == nil {
		return
	}
	var err error
	if q.status, q.asOf, err = evidence.OpenStatus(q.files.Status, evidence.Trust(g), clusterKeys(g, q.files.Status)...); err != nil {
		q.report.fail("the status list: %v", err)
	}
}

// clusterKeys are the cluster's keys that a status list speaks of, unchecked, and
// that of genesis, first.
func clusterKeys(g *raftfsm.Genesis, status []byte) [][]byte {
	out := [][]byte{g.ClusterKey}
	s, err := evidence.ReadUnverifiedStatus(status)
	if err != nil {
		return out
	}
	events, _ := s.KeyEvents(build.ClusterKeyID(g.Digest()))
	for _, e := range events {
		if key, err := hex.DecodeString(string(e.NewKey)); err == nil && len(key) > 0 {
			out = append(out, key)
		}
	}
	return out
}

// openBundle checks the bundle's own signature and subject.
func (q *inquiry) openBundle() error {
	candidates := [][]byte{q.trust.Key}
	if len(q.trust.Key) == 0 {
		candidates = append(q.clusterKeys(), q.party()...)
	}
	var err error
	for _, pkix := range likely(candidates, q.files.Bundle) {
		pub, parseErr := keys.ParsePKIX(pkix)
		if parseErr != nil {
			return fmt.Errorf("%w: the signer's key: %w", ErrUnusable, parseErr)
		}
		if q.bundle, err = attest.VerifyBundle(q.files.Bundle, q.files.Artifact, pub); err == nil {
			break
		}
		if !errors.Is(err, attest.ErrSignature) {
			break
		}
	}
	switch {
	case errors.Is(err, attest.ErrBundle):
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	case errors.Is(err, attest.ErrSignature) && len(q.trust.Key) == 0:
		q.bundle = nil
		q.report.fail("the bundle is signed by none of the %d keys that genesis and transcript name for it, or its payload or signature were changed; a key that took another's place is named by a newer status list", len(candidates))
		return nil
	case err != nil:
		q.bundle = nil
		q.report.fail("%v", err)
		return nil
	}
	b := q.bundle
	q.report.Bundle = b
	q.report.Subjects, q.report.Simulated = b.Subjects, b.Simulated
	q.report.Proven = append(q.report.Proven, b.Proven...)
	q.report.Claimed = append(q.report.Claimed, b.Claimed...)
	q.stoodBy(b)
	return nil
}

// clusterKeys are those of the cluster that the checked status list names.
func (q *inquiry) clusterKeys() [][]byte {
	g := q.trust.Genesis
	if g == nil {
		return nil
	}
	if q.status == nil {
		return [][]byte{g.ClusterKey}
	}
	return clusterKeys(g, q.files.Status)
}

// openSummary checks the cluster's summary that goes with a provenance.
func (q *inquiry) openSummary() {
	if q.bundle != nil && q.bundle.Summary != nil {
		q.summary = q.bundle
	} else if len(q.files.Summary) > 0 {
		var err error
		for _, pkix := range q.clusterKeys() {
			pub, parseErr := keys.ParsePKIX(pkix)
			if parseErr != nil {
				continue
			}
			if q.summary, err = attest.VerifyBundle(q.files.Summary, q.files.Artifact, pub); err == nil {
				break
			}
		}
		switch {
		case err != nil:
			q.summary = nil
			q.report.fail("the summary: %v", err)
		case q.summary != nil:
			q.report.Claimed = append(q.report.Claimed, q.summary.Claimed...)
			q.report.proven("the cluster's key signed a summary about the same file")
			q.stoodBy(q.summary)
		}
	}
	if q.summary == nil || q.summary.Summary == nil {
		q.summary = nil
		// Where a summary counts it, the farm's clock says when; a machine's may be wrong.
		if as := q.trust.AsOf; !as.IsZero() && q.bundle != nil && q.bundle.Finished.After(as) {
			q.report.fail("on %s there was no such statement: by its own clock the build ended on %s", date(as.Unix()), date(q.bundle.Finished.Unix()))
		}
		if q.bundle != nil && len(q.trust.Key) == 0 && !slices.ContainsFunc(q.clusterKeys(), func(key []byte) bool { return bytes.Equal(key, q.bundle.PKIX) }) {
			// Its key is one that the transcript names, which anybody can write.
			q.report.fail("nobody speaks for the key %s that signed the bundle: lay the cluster's summary beside it, or name the key with --key", keys.Fingerprint(keys.ID(q.bundle.PKIX)))
		}
		return
	}
	s := q.summary.Summary
	q.report.Build, q.report.Cluster = hex.EncodeToString(s.Build[:]), hex.EncodeToString(s.Cluster[:])
	q.report.Level, q.report.Verdict = s.Level(), s.Verdict.String()
	if g := q.trust.Genesis; g != nil && ID(s.Cluster) != g.Digest() {
		q.report.fail("the summary is of cluster %x, the genesis is that of %x", s.Cluster[:6], g.Digest())
	}
	if q.bundle != nil && q.bundle != q.summary {
		envelope, err := attest.Envelope(q.bundle.Statement, q.bundle.Signature)
		if err != nil || !contains(s.Inputs, sha256.Sum256(envelope)) {
			q.report.fail("the summary was made without this provenance: it is not among its inputs")
		} else {
			q.report.proven("the summary counts this provenance among its inputs")
		}
	}
}

// ID names builds and transcripts.
type ID = build.ID

func contains(list [][32]byte, x [32]byte) bool {
	for i := range list {
		if list[i] == x {
			return true
		}
	}
	return false
}

// inLog checks that a statement is in the log under a checkpoint that a majority
// signed, and says where; nil is nowhere that it could prove.
func (q *inquiry) inLog(what string, r *attest.Report) *Logged {
	switch {
	case r == nil:
		return nil
	case r.Log == nil:
		q.report.notProven("that %s is in the log: its bundle carries no log entry", what)
		return nil
	case q.trust.Genesis == nil:
		q.report.notProven("that %s is in the log: the farm's genesis, which says whose checkpoints count, is not at hand", what)
		return nil
	}
	e := r.Log
	var opened *tlog.Opened
	var err error
	for _, key := range q.clusterKeys() {
		trust := evidence.Trust(q.trust.Genesis)
		if q.status != nil {
			trust = evidence.Unrevoked(trust, e.Size, q.status.Events)
		}
		trust.LogKey, trust.Witnesses, trust.WitnessQuorum = key, q.trust.Witnesses, q.trust.WitnessQuorum
		if opened, err = trust.Open(e.Checkpoint); err == nil {
			break
		}
	}
	if err != nil {
		q.report.fail("the checkpoint that goes with %s: %v", what, err)
		return nil
	}
	if opened.Size != e.Size || opened.Root != e.Root {
		q.report.fail("the log entry of %s is of a tree of %d leaves, its checkpoint of another", what, e.Size)
		return nil
	}
	if err := tlog.VerifyInclusion(e.Index, e.Size, tlog.LeafHash(e.Body), e.Root, e.Proof); err != nil {
		q.report.fail("the log's proof of %s: %v", what, err)
		return nil
	}
	at := &Logged{Leaf: e.Index, Size: e.Size, Cosigners: opened.Cosigners, Witnesses: opened.Witnesses, CosignedUnix: latest(opened)}
	q.report.proven("%s is leaf %d of %d of the log, under a checkpoint that %d of %d coordinators signed%s",
		what, e.Index, e.Size, len(opened.Cosigners), len(q.trust.Genesis.Coordinators), witnessed(opened))
	if len(q.trust.Witnesses) > 0 && len(opened.Witnesses) == 0 {
		q.report.notProven("that any witness saw the log with %s: none of the %d named cosigned its checkpoint, and no number of them was demanded", what, len(q.trust.Witnesses))
	}
	if as := q.trust.AsOf; !as.IsZero() && at.CosignedUnix > as.Unix() {
		q.report.notProven("that %s was in the log on %s: its checkpoint was signed on %s", what, date(as.Unix()), date(at.CosignedUnix))
	}
	return at
}

func witnessed(o *tlog.Opened) string {
	if len(o.Witnesses) == 0 {
		return ""
	}
	return fmt.Sprintf(" and %d witnesses cosigned", len(o.Witnesses))
}

// latest is when the last of the cosigners had signed.
func latest(o *tlog.Opened) (unix int64) {
	for _, t := range o.Times { // order does not matter: a maximum
		unix = max(unix, t)
	}
	return unix
}

func date(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// judge recomputes the build from its transcript.
func (q *inquiry) judge() {
	if q.summary == nil {
		q.report.notProven("that anyone else built it and got the same file: the cluster's summary is not at hand")
		return
	}
	s := q.summary.Summary
	if len(q.files.Transcript) == 0 {
		q.report.notProven("that the draw was fair and the verdict follows from what was committed to: the transcript %x is not at hand", s.Transcript)
		return
	}
	trust := transcript.Trust{GroupKeys: q.groupKeys(), Cluster: s.Cluster}
	if g := q.trust.Genesis; g != nil {
		trust.Founding = &transcript.Founding{Simulated: g.Simulated, Params: g.Params, Coordinators: g.Coordinators, Pools: g.Pools}
	}
	if q.status != nil {
		trust.Keys = q.replacedKeys()
	}
	record, err := transcript.Judge(q.files.Transcript, s.Transcript, s.Certificate, trust)
	if err != nil {
		q.report.fail("the transcript: %v", err)
		return
	}
	q.record = record
	for _, d := range record.Deviations {
		q.report.fail("the transcript deviates from the rules in %v", d)
	}
	if len(record.Deviations) > 0 {
		return
	}
	q.report.Proven = append(q.report.Proven, record.Proven...)
	q.report.NotProven = append(q.report.NotProven, record.NotProven...)
	q.report.NotProven = append(q.report.NotProven, record.NotChecked...)
	f := &record.Facts
	q.report.Domains, q.report.Operators, q.report.DomainKind = f.Domains, f.Operators, f.DomainKind.String()
	q.report.Validators, q.report.Eligible, q.report.WallMillis, q.report.Simulated = f.Validators, f.Eligible, f.WallMillis, f.Simulated
	q.compareSummary(record.Transcript)
}

// groupKeys are the coordinators' group keys: those that the reader trusts and what
// they were handed over to, or the summary's as given.
func (q *inquiry) groupKeys() [][96]byte {
	s := q.summary.Summary
	switch {
	case len(q.trust.GroupKeys) == 0:
		return [][96]byte{s.GroupKey}
	case q.status == nil:
		return q.trust.GroupKeys
	}
	known := q.status.GroupKeys(s.Cluster, q.trust.GroupKeys...)
	if slices.Contains(known, s.GroupKey) && !slices.Contains(q.trust.GroupKeys, s.GroupKey) {
		q.report.proven("the group key %x… is what the trusted one was handed over to: each signed for the next", s.GroupKey[:8])
	}
	return known
}

// replacedKeys are the keys that took another's place, by account.
func (q *inquiry) replacedKeys() map[[32]byte][][]byte {
	out := map[[32]byte][][]byte{}
	for _, e := range q.status.Events {
		leaf, err := evidence.Read(e.Entry)
		if err != nil || leaf.Key == nil || leaf.Key.NewKey == "" {
			continue
		}
		if key, err := hex.DecodeString(string(leaf.Key.NewKey)); err == nil {
			out[leaf.Key.Account] = append(out[leaf.Key.Account], key)
		}
	}
	return out
}

// compareSummary holds the summary to the transcript: the cluster's key may have
// signed what the record does not say.
func (q *inquiry) compareSummary(t *build.Transcript) {
	s := q.summary.Summary
	item := &raftfsm.CertifiedItem{Build: s.Build, Transcript: s.Transcript, Certificate: s.Certificate}
	var m *build.Manifest
	if len(q.files.Manifest) > 0 {
		m = new(build.Manifest)
		if err := wire.Decode(q.files.Manifest, m); err != nil {
			q.report.fail("the manifest: %v", err)
			return
		}
	}
	differs, err := evidence.CompareSummary(s, item, t, m)
	if err != nil {
		q.report.fail("the summary: %v", err)
		return
	}
	for _, d := range differs {
		q.report.fail("the summary says otherwise than the transcript in %s", d)
	}
	if len(differs) > 0 {
		return
	}
	q.recomputed = true
	q.report.proven("the summary says what the transcript does: %v, %s, %d independent parties by %s", s.Verdict, s.Level(), q.report.Domains, q.report.DomainKind)
	if m == nil {
		q.report.notProven("that the file is in the result that was agreed on: its manifest is not at hand, and the summary's list of files is the cluster's word")
	} else {
		q.report.proven("the file is in the result %x that was agreed on", s.Result[:8])
	}
	if len(q.trust.GroupKeys) == 0 {
		q.report.notProven("that the group key %x… is the coordinators': it was taken from the summary; gavel audit follows it from genesis", s.GroupKey[:8])
	}
}

// remarks end every report.
func (q *inquiry) remarks() {
	if q.trust.Genesis != nil && !q.trust.Pinned {
		q.report.notProven("that the genesis is the farm's you mean: it was taken as given; its cluster is %x", q.trust.Genesis.Digest())
	}
	if len(q.trust.Key) > 0 && q.trust.Genesis == nil {
		q.report.notProven("that the key belongs to whom you think: it was taken as given")
	}
	if q.bundle != nil && q.bundle.Predicate == attest.PredicateSLSA {
		q.report.notProven("that what it claims of command, inputs and machine is true: gavel rebuild shows it")
	}
	q.report.notProven("that the parties are independent of each other: whom they belong to is the farm's word")
	q.report.notProven("that the file does no harm: reproduced is not harmless")
}

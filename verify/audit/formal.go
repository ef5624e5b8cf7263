package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/verify/attest"
	"gavel/verify/evidence"
)

// formal checks leaves that no replay reaches: what each must be by itself.
func (a *auditor) formal(ctx context.Context, leaves []leaf) error {
	for i := range leaves {
		x := &leaves[i]
		var err error
		switch {
		case x.raw == nil: // which the walk reports
		case x.of == nil:
			a.report.deviate(x.index, "leaf", "one of a farm's log", fmt.Sprint(x.err))
		case x.of.Epoch != nil:
			err = a.formalEpoch(ctx, x)
		case x.of.Build != nil:
			err = a.formalBuild(ctx, x)
		case x.of.Record != nil:
			a.provenance(x)
		case x.of.Handover != nil:
			a.formalHandover(x)
		case x.of.Key != nil:
			if key, err := x.of.ClusterKeyAfter(a.clusterKey()); err == nil && !equal(key, a.clusterKey()) {
				a.clusterKeys = append(a.clusterKeys, key)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// formalEpoch holds an epoch that is not replayed to its chain, its entries to
// it, and its movements to the naive ledger.
func (a *auditor) formalEpoch(ctx context.Context, x *leaf) error {
	e := x.of.Epoch
	if want := a.lastEpoch + 1; e.Number != want {
		a.report.deviate(x.index, "number", fmt.Sprint(want), fmt.Sprint(e.Number))
	}
	if raftfsm.ID(e.Before) != a.lastChain {
		a.report.deviate(x.index, "before", hexOf(a.lastChain), e.Before.String())
	}
	a.lastEpoch, a.lastChain = e.Number, raftfsm.ID(e.Chain)
	entries, there, err := a.epochEntries(ctx, e.Number, x.index)
	switch {
	case err != nil:
		return err
	case !there:
		a.withheld = append(a.withheld, withheld{e.Number, x.index})
		return nil
	}
	a.publishedAfter()
	if entries == nil || e.Number == a.epochs+1 && a.report.Stopped != "" {
		return nil // what is wrong with it is reported
	}
	if err := evidence.CheckEntries(entries, e.First, e.Last, e.Entries, raftfsm.ID(e.Before), raftfsm.ID(e.Chain)); err != nil {
		a.report.deviate(x.index, evidence.EpochPath(e.Number), "the entries of its leaf", err.Error())
		return nil
	}
	for i := range entries {
		if entries[i].Index > a.index {
			a.index = entries[i].Index
			a.receipts.entry(a, x.index, &entries[i])
			a.take(x.index, &entries[i])
		}
	}
	return nil
}

// withheld is an epoch whose entries the log does not show.
type withheld struct{ number, at uint64 }

// publishedAfter reports epochs that are withheld although later ones are not:
// each is published before those after it.
func (a *auditor) publishedAfter() {
	for _, w := range a.withheld {
		a.report.deviate(w.at, evidence.EpochPath(w.number), "the epoch's entries, since later ones are published", "no such file")
		a.report.Stopped = fmt.Sprintf("at epoch %d, whose entries are missing", w.number)
		a.bookSpoiled = true
	}
	a.withheld = nil
}

// formalBuild holds a build without a result to its transcript and certificate.
func (a *auditor) formalBuild(ctx context.Context, x *leaf) error {
	b := x.of.Build
	path := evidence.TranscriptPath(raftfsm.ID(b.Transcript))
	raw, err := a.read(ctx, path, maxFileBytes)
	if want, got, ok := absent(err); ok {
		a.report.deviate(x.index, path, want, got)
		return nil
	}
	if err != nil {
		return err
	}
	t, err := build.ReadTranscript(raw, raftfsm.ID(b.Transcript))
	if err != nil {
		a.report.deviate(x.index, path, "the transcript that it is named after", err.Error())
		return nil
	}
	if t.Build.ID != raftfsm.ID(b.Build) || t.Build.Verdict.String() != b.Verdict {
		a.report.deviate(x.index, "build", fmt.Sprintf("%x, %v", t.Build.ID, t.Build.Verdict), b.Build.String()+", "+b.Verdict)
	}
	c := build.Certificate{}
	for _, digest := range b.Certificate.Transcripts {
		c.Transcripts = append(c.Transcripts, raftfsm.ID(digest))
	}
	if _, err := hex.Decode(c.Signature[:], []byte(b.Certificate.Signature)[:min(len(b.Certificate.Signature), 2*len(c.Signature))]); err != nil || len(b.Certificate.Signature) != 2*len(c.Signature) {
		a.report.deviate(x.index, "certificate.signature", "48 bytes in hex", string(b.Certificate.Signature))
		return nil
	}
	a.certificate(x.index, raftfsm.ID(b.Transcript), &c)
	return nil
}

// groupKey is the group's key by the last entry that is replayed and the handovers
// after it, which the log has before their entries are published. It is not known
// where the entries that made the first one are not published.
func (a *auditor) groupKey() (key beacon.GroupKey, known bool) {
	if n := len(a.handedTo); n > 0 {
		return a.handedTo[n-1], true
	}
	k := a.replay.State().Keys()
	return k.Group.Key, k.Done
}

// formalHandover holds a handover that is not replayed to the key before it.
func (a *auditor) formalHandover(x *leaf) {
	before, after, err := x.of.Handover.Check(a.cluster)
	if key, known := a.groupKey(); err == nil && known && key != before {
		err = fmt.Errorf("it is by %x…", before[:8])
	}
	if err != nil {
		a.report.deviate(x.index, "signature", "the old group's, for the new key", err.Error())
		return
	}
	a.handedTo = append(a.handedTo, after)
}

// certificate checks the group's signature under a transcript.
func (a *auditor) certificate(at uint64, transcript raftfsm.ID, c *build.Certificate) {
	listed := false
	for _, digest := range c.Transcripts {
		listed = listed || digest == transcript
	}
	msg := beacon.Message(a.cluster, build.PurposeCertificate, build.CertificateSubject(c.Transcripts), 0)
	key, known := a.groupKey()
	var err error
	switch {
	case !listed:
		err = errors.New("it does not list the transcript")
	case known:
		err = beacon.Verify(key, msg, beacon.Signature(c.Signature))
	default:
		a.report.warn("the certificate under transcript %x… is not checked: the entries that made the group's key are not published yet", transcript[:8])
	}
	if err != nil {
		a.report.deviate(at, "certificate", "the group's, under the build's transcript", err.Error())
	}
}

// pending checks the leaves after the last epoch that is published. Those of
// builds that had settled by then can be derived all the same, but for their
// certificates, which are checked by themselves.
func (a *auditor) pending(ctx context.Context, leaves []leaf) error {
	for len(leaves) > 0 {
		x := &leaves[0]
		if x.of == nil || x.of.Record == nil && x.of.Build == nil || len(a.waiting) == 0 {
			if err := a.formal(ctx, leaves[:1]); err != nil {
				return err
			}
			leaves = leaves[1:]
			continue
		}
		item, err := a.pendingItem(ctx, x)
		if err != nil {
			return err
		}
		n, err := a.slotCount(ctx, item)
		if err != nil {
			return err
		}
		n = min(n, len(leaves))
		if err := a.align(ctx, []raftfsm.Item{{Certified: item}}, leaves[:n]); err != nil {
			return err
		}
		leaves = leaves[n:]
	}
	return nil
}

// pendingItem is what the first settled build that waits must be logged as, with
// the certificate that its leaf or summary names.
func (a *auditor) pendingItem(ctx context.Context, x *leaf) (*raftfsm.CertifiedItem, error) {
	w := a.waiting[0]
	item := &raftfsm.CertifiedItem{Build: w.Build, Transcript: w.Digest}
	if b := x.of.Build; b != nil {
		for _, digest := range b.Certificate.Transcripts {
			item.Certificate.Transcripts = append(item.Certificate.Transcripts, raftfsm.ID(digest))
		}
		raw, _ := hex.DecodeString(string(b.Certificate.Signature)) // of another length it does not verify
		copy(item.Certificate.Signature[:], raw)
	} else {
		raw, err := a.read(ctx, evidence.SummaryPath(w.Build), maxFileBytes)
		if _, _, ok := absent(err); ok {
			return item, nil // which the summary's check says, if it must be there
		}
		if err != nil {
			return nil, err
		}
		statement, _, err := attest.ReadEnvelope(raw)
		if err != nil {
			return item, nil
		}
		s, err := attest.ParseSummary(statement)
		if err != nil {
			return item, nil
		}
		item.Certificate = s.Certificate
	}
	a.certificate(x.index, item.Transcript, &item.Certificate)
	return item, nil
}

// slotCount is how many leaves an item has.
func (a *auditor) slotCount(ctx context.Context, item *raftfsm.CertifiedItem) (int, error) {
	raw := a.transcripts[item.Transcript]
	slots, err := a.certified(ctx, item)
	a.transcripts[item.Transcript] = raw // align derives them once more
	return len(slots), err
}

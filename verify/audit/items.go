package audit

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/evidence"
)

// slot is a leaf that the log must have next.
type slot struct {
	what string   // for a person
	key  [32]byte // equal to that of the leaf that belongs here
	// check holds the leaf to what it must be; beside holds the files that go with
	// it, also where the leaf is missing.
	check  func(x *leaf)
	beside func(at uint64)
}

// keyOf names a leaf by what its content must not change to still be the same
// leaf: an epoch's number, a build, an account's key, a signature.
func keyOf(l *evidence.Leaf) [32]byte {
	switch {
	case l.Epoch != nil:
		return wire.NewHasher("audit-epoch").U64(l.Epoch.Number).Sum()
	case l.Build != nil:
		return wire.NewHasher("audit-build").Fixed(l.Build.Build).Sum()
	case l.Record != nil:
		return recordKey(l.Record.Signature, l.Record.PKIX)
	case l.Key != nil:
		return wire.NewHasher("audit-key").Fixed(l.Key.Account).U64(l.Key.Index).Sum()
	case l.Withdrawal != nil:
		return wire.NewHasher("audit-withdrawal").Fixed(l.Withdrawal.Build).Sum()
	case l.Handover != nil:
		return wire.NewHasher("audit-handover").U64(l.Handover.Round).Sum()
	}
	return [32]byte{}
}

func recordKey(sig, pkix []byte) [32]byte {
	return wire.NewHasher("audit-record").Var(sig).Var(pkix).Sum()
}

// describe is what a leaf of the log is, for a person.
func (a *auditor) describe(x *leaf) string {
	switch {
	case x.of == nil:
		return fmt.Sprintf("no leaf: %v", x.err)
	case x.of.Epoch != nil:
		return fmt.Sprintf("epoch %d", x.of.Epoch.Number)
	case x.of.Build != nil:
		return fmt.Sprintf("build %x without a result", x.of.Build.Build[:8])
	case x.of.Record != nil && a.isClusterKey(x.of.Record.PKIX):
		return fmt.Sprintf("a summary signed %x…", x.of.Record.Signature[:8])
	case x.of.Record != nil:
		return fmt.Sprintf("a provenance signed by %s", a.keyName(x.of.Record.PKIX))
	case x.of.Key != nil:
		return fmt.Sprintf("a change of the key of %x", x.of.Key.Account[:8])
	case x.of.Withdrawal != nil:
		return fmt.Sprintf("the withdrawal of build %x", x.of.Withdrawal.Build[:8])
	case x.of.Handover != nil:
		return fmt.Sprintf("handover %d of the group key", x.of.Handover.Round)
	}
	return "a leaf of another kind"
}

func (a *auditor) keyName(pkix []byte) string {
	id := build.AccountID(pkix)
	return fmt.Sprintf("%s %x", a.replay.State().Name(id), id[:8])
}

// slots are the leaves of an item.
func (a *auditor) slots(ctx context.Context, item *raftfsm.Item) ([]slot, error) {
	switch {
	case item.Epoch != nil:
		want, err := evidence.EpochLeaf(item.Epoch)
		return []slot{a.exact(fmt.Sprintf("epoch %d", item.Epoch.Number), want, nil)}, err
	case item.Key != nil:
		want, err := evidence.KeyLeaf(item.Key)
		return []slot{a.exact(fmt.Sprintf("the key of %x", item.Key.Account[:8]), want, nil)}, err
	case item.Withdrawal != nil:
		want, err := evidence.WithdrawalLeaf(item.Withdrawal)
		return []slot{a.exact(fmt.Sprintf("the withdrawal of build %x", item.Withdrawal.Build[:8]), want, nil)}, err
	case item.Handover != nil:
		want, err := evidence.HandoverLeaf(item.Handover)
		return []slot{a.exact(fmt.Sprintf("handover %d of the group key", item.Handover.Round), want, nil)}, err
	case item.Certified != nil:
		return a.certified(ctx, item.Certified)
	}
	return nil, fmt.Errorf("%w: the state machine leaves an item of a kind that this version does not know", ErrUnusable)
}

// exact is a leaf whose every byte is known.
func (a *auditor) exact(what string, want []byte, beside func(at uint64)) slot {
	of, err := evidence.Read(want)
	if err != nil {
		of = &evidence.Leaf{} // it was derived a moment ago
	}
	return slot{what: what, key: keyOf(of), beside: beside, check: func(x *leaf) {
		if bytes.Equal(x.raw, want) {
			return
		}
		differing(want, x.raw, func(field, want, got string) { a.report.deviate(x.index, field, want, got) })
	}}
}

// certified are the leaves of a settled build. Which of its authors' statements
// are among them only the summary says; it is held to the build afterwards.
func (a *auditor) certified(ctx context.Context, item *raftfsm.CertifiedItem) ([]slot, error) {
	raw := a.transcripts[item.Transcript]
	delete(a.transcripts, item.Transcript)
	a.waiting = slices.DeleteFunc(a.waiting, func(w raftfsm.TranscriptOf) bool { return w.Digest == item.Transcript })
	t, err := build.ReadTranscript(raw, item.Transcript)
	if err != nil {
		return nil, fmt.Errorf("%w: reading the transcript that the replay has made of build %x: %w", ErrUnusable, item.Build, err)
	}
	c := &certified{a: a, item: item, transcript: t, raw: raw, name: fmt.Sprintf("build %x", item.Build[:8])}
	if err := c.load(ctx); err != nil {
		return nil, err
	}
	if c.content == nil || c.summary == nil && c.unstatable() {
		want, err := evidence.BuildLeaf(item, t.Build.Verdict)
		return []slot{a.exact(c.name+" without a result", want, c.beside)}, err
	}
	var out []slot
	for _, i := range c.logged() {
		attempt := &t.Build.Attempts[i]
		party, _ := t.Party(attempt.Worker)
		out = append(out, slot{
			what:  fmt.Sprintf("the provenance of %s for %s", party.Name, c.name),
			key:   recordKey(attempt.Opening.Signature, party.Key),
			check: a.provenance,
		})
	}
	return append(out, c.summarySlot()), nil
}

// provenance checks of a statement that is not published what can be: that an
// ECDSA signature is over the digest that the leaf names. Ed25519 signs no digest.
func (a *auditor) provenance(x *leaf) {
	if r := x.of.Record; !ecdsaHolds(r) {
		a.report.deviate(x.index, "signature", "the author's over the digest "+hex.EncodeToString(r.Digest), "another")
	}
}

// unstatable says that the result has in it what no summary can carry, so that
// its transcript alone speaks for the build.
func (c *certified) unstatable() bool {
	if c.manifest == nil {
		return false
	}
	of, err := evidence.NewCertified(c.item, c.transcript, c.manifest)
	if err != nil {
		return false
	}
	_, err = of.Summary(nil, nil).Statement()
	return err != nil
}

// logged lists the attempts whose provenance is in the log: those that agree,
// without whom the summary says was left out, and who can have made none.
func (c *certified) logged() (out []int) {
	b := &c.transcript.Build
	leftOut := map[[32]byte]int{}
	if c.summary != nil {
		for _, l := range c.summary.LeftOut {
			leftOut[l.Worker]++
		}
	}
	for _, i := range evidence.Agreeing(b) {
		attempt := &b.Attempts[i]
		if leftOut[attempt.Worker] > 0 {
			leftOut[attempt.Worker]--
			continue
		}
		party, ok := c.transcript.Party(attempt.Worker)
		if !ok || len(party.Key) == 0 || len(attempt.Opening.Signature) == 0 {
			continue
		}
		out = append(out, i)
	}
	return out
}

// summarySlot is the leaf of the build's summary.
func (c *certified) summarySlot() slot {
	s := slot{what: "the summary of " + c.name, beside: c.beside, check: func(*leaf) {}}
	if c.envelope == nil {
		return s // the file is at fault, and reported; any of the cluster's fits
	}
	key := c.a.clusterKey()
	s.key = recordKey(c.signature, key)
	want, err := attest.Leaf(c.statement, c.signature, key)
	s.check = func(x *leaf) {
		if err == nil && !bytes.Equal(x.raw, want) {
			differing(want, x.raw, func(field, want, got string) { c.a.report.deviate(x.index, field, want, got) })
		}
	}
	return s
}

// isClusterKey says whether a key is or was the cluster's.
func (a *auditor) isClusterKey(pkix []byte) bool {
	return slices.ContainsFunc(a.clusterKeys, func(k []byte) bool { return bytes.Equal(k, pkix) })
}

func (a *auditor) clusterKey() []byte { return a.clusterKeys[len(a.clusterKeys)-1] }

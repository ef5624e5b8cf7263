package audit

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/evidence"
	"gavel/verify/keys"
)

// certified is a settled build with the files that the log's directory has of it.
type certified struct {
	a          *auditor
	item       *raftfsm.CertifiedItem
	transcript *build.Transcript
	raw        []byte // the transcript as the replay made it
	name       string

	content  *raftfsm.ID // names the delivered result's manifest
	manifest *build.Manifest
	// The summary as its file has it; envelope is nil where there is no good file.
	envelope, statement, signature []byte
	summary                        *attest.Summary
	faults                         []Deviation // of files, without their leaf
}

func (c *certified) fault(field, want, got string) {
	c.faults = append(c.faults, Deviation{Field: field, Want: want, Got: got})
}

// load reads the build's files. What is wrong with them is reported once the
// leaf's index is known.
func (c *certified) load(ctx context.Context) error {
	path := evidence.TranscriptPath(c.item.Transcript)
	raw, err := c.read(ctx, path)
	switch {
	case err != nil:
		return err
	case raw != nil && !bytes.Equal(raw, c.raw):
		c.fault(path, "the transcript that it is named after", fmt.Sprintf("%d bytes that hash to %x", len(raw), build.TranscriptDigest(raw)))
	}
	if content, _, ok := evidence.DeliveredManifest(&c.transcript.Build); ok {
		c.content = &content
	}
	if c.content == nil {
		return nil
	}
	if err := c.loadManifest(ctx); err != nil {
		return err
	}
	return c.loadSummary(ctx)
}

// read is a file's content; one that is missing or too large is a fault.
func (c *certified) read(ctx context.Context, path string) ([]byte, error) {
	raw, err := c.a.read(ctx, path, maxFileBytes)
	if want, got, ok := absent(err); ok {
		c.fault(path, want, got)
		return nil, nil
	}
	return raw, err
}

func (c *certified) loadManifest(ctx context.Context) error {
	path := evidence.ManifestPath(*c.content)
	raw, err := c.read(ctx, path)
	if err != nil || raw == nil {
		return err
	}
	m := new(build.Manifest)
	if got := hexOf(sha256.Sum256(raw)); got != hexOf(*c.content) {
		c.fault(path, "the manifest that it is named after", fmt.Sprintf("%d bytes with SHA-256 %s", len(raw), got))
		return nil
	}
	if err := wire.Decode(raw, m); err != nil {
		c.fault(path, "a canonical manifest", err.Error())
		return nil
	}
	c.manifest = m
	return nil
}

func (c *certified) loadSummary(ctx context.Context) error {
	path := evidence.SummaryPath(c.item.Build)
	raw, err := c.a.read(ctx, path, maxFileBytes)
	if want, got, ok := absent(err); ok {
		if !errors.Is(err, fs.ErrNotExist) || !c.unstatable() {
			c.fault(path, want, got)
		}
		return nil
	}
	if err != nil {
		return err
	}
	statement, sig, err := attest.ReadEnvelope(raw)
	if err == nil {
		err = keys.Verify(c.a.clusterKey(), attest.Payload(statement), sig)
	}
	if err != nil {
		c.fault(path, "an envelope signed by the cluster's key", err.Error())
		return nil
	}
	c.envelope, c.statement, c.signature = raw, statement, sig
	if c.summary, err = attest.ParseSummary(statement); err != nil {
		c.fault(path, "a summary of the cluster", err.Error())
	}
	return nil
}

// beside reports what is wrong with the build's files, and holds what the summary
// says to the build.
func (c *certified) beside(at uint64) {
	for _, f := range c.faults {
		c.a.report.deviate(at, f.Field, f.Want, f.Got)
	}
	if c.summary == nil || c.manifest == nil {
		return
	}
	of, err := evidence.NewCertified(c.item, c.transcript, c.manifest)
	if err != nil {
		c.a.report.deviate(at, evidence.ManifestPath(*c.content), "the delivered result", err.Error())
		return
	}
	logged := c.logged()
	if got := len(c.summary.Inputs); got != len(logged) {
		c.a.report.deviate(at, "predicate.inputAttestations", fmt.Sprintf("%d, one for each provenance", len(logged)), fmt.Sprint(got))
	}
	c.leftOut(at, len(logged))
	// The digests of statements that are not published, and why one was left out,
	// are the cluster's word.
	want, err := of.Summary(c.summary.Inputs, c.summary.LeftOut).Statement()
	if err != nil {
		c.a.report.deviate(at, evidence.SummaryPath(c.item.Build), "a summary that can be stated", err.Error())
		return
	}
	if !bytes.Equal(want, c.statement) {
		differing(want, c.statement, func(field, want, got string) { c.a.report.deviate(at, field, want, got) })
	}
}

// leftOut holds the reasons that can be checked: who is left out must be of those
// who agree, and is named as it is.
func (c *certified) leftOut(at uint64, logged int) {
	b := &c.transcript.Build
	agreeing := evidence.Agreeing(b)
	if len(agreeing) != logged+len(c.summary.LeftOut) {
		c.a.report.deviate(at, "predicate.gavel_left_out", fmt.Sprintf("all of the %d that agree but %d", len(agreeing), logged), fmt.Sprint(len(c.summary.LeftOut)))
		return
	}
	next := 0
	for _, l := range c.summary.LeftOut {
		for next < len(agreeing) && b.Attempts[agreeing[next]].Worker != l.Worker {
			next++
		}
		if next == len(agreeing) {
			c.a.report.deviate(at, "predicate.gavel_left_out", "those who agree, in order", hexOf(l.Worker))
			return
		}
		attempt := &b.Attempts[agreeing[next]]
		next++
		want := ""
		if party, ok := c.transcript.Party(l.Worker); !ok || len(party.Key) == 0 {
			want = evidence.WhyNoAccount
		} else if len(attempt.Opening.Signature) == 0 {
			want = evidence.WhyUnsigned
		}
		signedBadly := l.Why == evidence.WhyForged || l.Why == evidence.WhyUnstated
		if want != "" && l.Why != want || want == "" && !signedBadly {
			c.a.report.deviate(at, "predicate.gavel_left_out why", want, l.Why)
		}
	}
}

// ecdsaHolds checks the one kind of signature that a digest suffices for.
func ecdsaHolds(r *attest.Record) bool {
	pub, err := keys.ParsePKIX(r.PKIX)
	if err != nil {
		return false
	}
	key, ok := pub.(*ecdsa.PublicKey)
	return !ok || ecdsa.VerifyASN1(key, r.Digest, r.Signature)
}

package evidence

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/keys"
)

// Certified is a settled build that delivers a result, with all that its leaves
// follow from but the statements of those who built.
type Certified struct {
	Item       *raftfsm.CertifiedItem
	Transcript *build.Transcript // whose digest is Item.Transcript
	Manifest   *build.Manifest   // of the delivered result
}

// ErrManifest says that a manifest is not of the result that was delivered.
var ErrManifest = errors.New("the manifest is not that of the delivered result")

// NewCertified puts a build together; the manifest must be of its result.
func NewCertified(item *raftfsm.CertifiedItem, t *build.Transcript, m *build.Manifest) (*Certified, error) {
	if t.Build.ID != item.Build || !t.Build.Delivers {
		return nil, fmt.Errorf("deriving leaves: the transcript is of build %x and delivers %t, want build %x that delivers", t.Build.ID, t.Build.Delivers, item.Build)
	}
	if got := m.Summarise(); got.Digest() != t.Build.Delivered {
		return nil, fmt.Errorf("deriving leaves of build %x: %w", item.Build, ErrManifest)
	}
	return &Certified{item, t, m}, nil
}

// Agreeing lists the indexes of the attempts whose opened result is the delivered
// one, in order: a provenance of each is due. A recheck makes no statement.
func Agreeing(b *build.Build) []int {
	var out []int
	for i := range b.Attempts {
		a := &b.Attempts[i]
		if a.Round != build.RoundRecheck && a.State == build.AttemptOpened && b.Delivers && a.Result() == b.Delivered {
			out = append(out, i)
		}
	}
	return out
}

// DeliveredManifest names the manifest of the delivered result: SHA-256 and bytes.
func DeliveredManifest(b *build.Build) (content ID, manifestBytes uint64, ok bool) {
	for _, i := range Agreeing(b) {
		s := &b.Attempts[i].Opening.Summary
		return s.Content, s.ManifestBytes, true
	}
	return ID{}, 0, false
}

// Provenance is a statement of one of a build's authors as it is logged.
type Provenance struct {
	Attempt              int // index in Build.Attempts
	Statement, Signature []byte
	Key                  []byte // the author's, PKIX DER
	Envelope, Leaf       []byte
}

// Summary is the verification summary with the statements given as its inputs:
// the SHA-256 of each envelope, in order.
func (c *Certified) Summary(inputs [][32]byte, leftOut []attest.LeftOut) *attest.Summary {
	t, b := c.Transcript, &c.Transcript.Build
	result := c.Manifest.Summarise()
	s := &attest.Summary{
		Cluster: t.Cluster, Build: b.ID, Simulated: t.Simulated, WallMillis: t.WallMillis,
		Pool: t.Pool.Name, PolicySHA256: Policy(t), Platform: b.Terms.Platform,
		Verdict: b.Verdict, Validators: b.Terms.Validators, Domains: b.Domains, DomainKind: t.Pool.Domain,
		LeftOut: leftOut, Inputs: inputs,
		Status: result.Status, ExitCode: result.ExitCode, Signal: result.Signal, Result: b.Delivered, Manifest: result.Content,
		Subjects: attest.SubjectsOf(c.Manifest), GroupKey: t.GroupKey, Draws: b.Draws,
		Transcript: c.Item.Transcript, Certificate: c.Item.Certificate, Expected: Expected(b, c.Manifest),
	}
	for _, i := range Agreeing(b) {
		a := &b.Attempts[i]
		of := attest.Agreement{Domain: a.Domain, Worker: a.Worker}
		if p, ok := t.Party(a.Worker); ok {
			of.Operator = p.Operator
		}
		s.Agreed = append(s.Agreed, of)
	}
	slices.SortFunc(s.Agreed, func(x, y attest.Agreement) int {
		if x.Domain != y.Domain {
			return bytes.Compare([]byte(x.Domain), []byte(y.Domain))
		}
		return wire.Compare32(x.Worker, y.Worker)
	})
	return s
}

// Policy is the SHA-256 of the rules that applied: the canonical pool, then the
// canonical parameters.
func Policy(t *build.Transcript) ID {
	return sha256.Sum256(append(wire.Encode(&t.Pool), wire.Encode(&t.Params)...))
}

// Expected compares what the terms expect of outputs with the delivered result.
func Expected(b *build.Build, m *build.Manifest) []attest.Expectation {
	var out []attest.Expectation
	for _, e := range b.Terms.Expect {
		match := slices.ContainsFunc(m.Outputs, func(o build.Output) bool {
			return o.Path == e.Path && o.Type == build.OutputFile && o.Digest == e.Digest
		})
		out = append(out, attest.Expectation{Path: e.Path, SHA256: e.Digest, Match: match})
	}
	return out
}

// Leaves are a certified build's leaves and what they are about.
type Leaves struct {
	Provenances  []Provenance
	Summary      []byte // the VSA's statement
	Signature    []byte // the cluster's under it
	Envelope     []byte // the VSA's, as it is served
	SummaryLeaf  []byte
	LeftOut      []attest.LeftOut
	SummaryInput [][32]byte
}

// All are the leaves in the order of the log.
func (l *Leaves) All() [][]byte {
	out := make([][]byte, 0, len(l.Provenances)+1)
	for i := range l.Provenances {
		out = append(out, l.Provenances[i].Leaf)
	}
	return append(out, l.SummaryLeaf)
}

// Statement returns what the author of an attempt states, or why nothing can be.
type Statement func(attempt int) (statement []byte, err error)

// Leaves derives a build's leaves from what its authors state and the cluster
// signs. An author whose signature is missing or does not hold is left out and
// named. A statement's error that wraps attest.ErrProvenance leaves its author out
// too; any other ends the derivation, to be tried again.
func (c *Certified) Leaves(of Statement, sign func(statement []byte) ([]byte, error), clusterKey []byte) (*Leaves, error) {
	out := &Leaves{}
	for _, i := range Agreeing(&c.Transcript.Build) {
		a := &c.Transcript.Build.Attempts[i]
		p, why, err := c.provenance(i, of)
		if err != nil {
			return nil, err
		}
		if why != "" {
			out.LeftOut = append(out.LeftOut, attest.LeftOut{Worker: a.Worker, Why: why})
			continue
		}
		out.Provenances = append(out.Provenances, *p)
		out.SummaryInput = append(out.SummaryInput, sha256.Sum256(p.Envelope))
	}
	var err error
	if out.Summary, err = c.Summary(out.SummaryInput, out.LeftOut).Statement(); err != nil {
		return nil, fmt.Errorf("stating the summary of build %x: %w", c.Item.Build, err)
	}
	if out.Signature, err = sign(out.Summary); err != nil {
		return nil, fmt.Errorf("signing the summary of build %x: %w", c.Item.Build, err)
	}
	if out.Envelope, err = attest.Envelope(out.Summary, out.Signature); err != nil {
		return nil, err
	}
	out.SummaryLeaf, err = attest.Leaf(out.Summary, out.Signature, clusterKey)
	return out, err
}

// Why an author's statement is left out.
const (
	WhyUnsigned  = "it signed no statement"
	WhyUnstated  = "its result cannot be stated"
	WhyForged    = "its signature does not hold"
	WhyNoAccount = "its key is not known"
)

func (c *Certified) provenance(attempt int, of Statement) (p *Provenance, why string, err error) {
	a := &c.Transcript.Build.Attempts[attempt]
	party, ok := c.Transcript.Party(a.Worker)
	switch {
	case !ok || len(party.Key) == 0:
		return nil, WhyNoAccount, nil
	case len(a.Opening.Signature) == 0:
		return nil, WhyUnsigned, nil
	}
	statement, err := of(attempt)
	if errors.Is(err, attest.ErrProvenance) {
		return nil, WhyUnstated, nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("stating the provenance of build %x: %w", c.Item.Build, err)
	}
	if keys.Verify(party.Key, attest.Payload(statement), a.Opening.Signature) != nil {
		return nil, WhyForged, nil
	}
	p = &Provenance{Attempt: attempt, Statement: statement, Signature: a.Opening.Signature, Key: party.Key}
	if p.Envelope, err = attest.Envelope(statement, p.Signature); err != nil {
		return nil, "", err
	}
	p.Leaf, err = attest.Leaf(statement, p.Signature, p.Key)
	return p, "", err
}

// CompareSummary names the fields in which a summary says otherwise than the
// transcript and, where it is at hand, the manifest of the delivered result. What
// only the manifest shows is not compared without it.
func CompareSummary(s *attest.Summary, item *raftfsm.CertifiedItem, t *build.Transcript, m *build.Manifest) ([]string, error) {
	c := &Certified{item, t, m}
	if m != nil {
		var err error
		if c, err = NewCertified(item, t, m); err != nil {
			return nil, err
		}
	} else {
		c.Manifest = &build.Manifest{}
	}
	want := c.Summary(s.Inputs, s.LeftOut)
	if m == nil {
		want.Status, want.ExitCode, want.Signal, want.Subjects = s.Status, s.ExitCode, s.Signal, s.Subjects
		if content, _, ok := DeliveredManifest(&t.Build); ok {
			want.Manifest = content
		}
		for i := range want.Expected {
			if i < len(s.Expected) {
				want.Expected[i].Match = s.Expected[i].Match
			}
		}
	}
	return differences(want, s), nil
}

package publish

import (
	"context"
	"errors"
	"fmt"

	"gavel/api/action"
	"gavel/cas"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// LoggedBuild is a build whose leaves a log has.
type LoggedBuild struct {
	Item  uint64 // its number
	Build ID
	Place Place
}

// Place is where a certified build's leaves are: provenances of these attempts
// from First on, then the summary.
type Place struct {
	First      uint64
	Attempts   []uint32
	Summary    bool // there is one: the build delivered a result
	Transcript ID
}

// Code is the canonical encoding.
func (p *Place) Code(c *wire.Coder) {
	c.U64(&p.First)
	wire.List(c, &p.Attempts, build.MaxAttempts, (*wire.Coder).U32)
	c.Bool(&p.Summary)
	c.Bytes32(&p.Transcript)
}

// derived is what an item comes to.
type derived struct {
	leaves [][]byte
	files  []tlog.File
	build  ID     // of a certified build
	place  *Place // First is yet to be set
	// clusterKey is in use from now on; empty leaves it.
	clusterKey []byte
}

// keyAfter is the cluster's key for the next item.
func (d *derived) keyAfter(key []byte) []byte {
	if len(d.clusterKey) > 0 {
		return d.clusterKey
	}
	return key
}

// derive makes the leaves of an item and the files that go with them. An error
// is worth another try: what is missing may yet arrive.
func (p *Publisher) derive(ctx context.Context, item *raftfsm.Item, clusterKey []byte) (*derived, error) {
	switch {
	case item.Epoch != nil:
		leaf, err := evidence.EpochLeaf(item.Epoch)
		return &derived{leaves: [][]byte{leaf}}, err
	case item.Certified != nil:
		return p.deriveCertified(ctx, item.Certified, clusterKey)
	case item.Key != nil:
		leaf, err := evidence.KeyLeaf(item.Key)
		d := &derived{leaves: [][]byte{leaf}}
		if item.Key.Role == raftfsm.RoleCluster {
			d.clusterKey = item.Key.NewKey
		}
		return d, err
	case item.Withdrawal != nil:
		leaf, err := evidence.WithdrawalLeaf(item.Withdrawal)
		return &derived{leaves: [][]byte{leaf}}, err
	case item.Handover != nil:
		leaf, err := evidence.HandoverLeaf(item.Handover)
		return &derived{leaves: [][]byte{leaf}}, err
	}
	return nil, errors.New("deriving leaves: an item of no known kind")
}

func (p *Publisher) deriveCertified(ctx context.Context, item *raftfsm.CertifiedItem, clusterKey []byte) (*derived, error) {
	raw, err := p.transcriptBytes(ctx, item.Transcript)
	if err != nil {
		return nil, err
	}
	t, err := build.ReadTranscript(raw, item.Transcript)
	if err != nil {
		return nil, err
	}
	out := &derived{build: item.Build, place: &Place{Transcript: item.Transcript}}
	out.files = []tlog.File{{Path: evidence.TranscriptPath(item.Transcript), Content: raw}}
	content, size, delivered := evidence.DeliveredManifest(&t.Build)
	if !delivered {
		return out, out.undelivered(item, t)
	}
	m, err := p.config.Blobs.Manifest(ctx, t.Build.Requester, cas.OfSum(content, int64(size)))
	if err != nil {
		return nil, fmt.Errorf("reading the delivered result of build %x: %w", item.Build, err)
	}
	a, err := p.config.Blobs.Action(ctx, t.Build.Requester, cas.OfSum(t.Build.Terms.ActionDigest, int64(t.Build.Terms.ActionBytes)))
	if err != nil {
		return nil, fmt.Errorf("reading the action of build %x: %w", item.Build, err)
	}
	signer, err := p.clusterSigner(clusterKey)
	if err != nil {
		return nil, err
	}
	c, err := evidence.NewCertified(item, t, m)
	if err != nil {
		return nil, err
	}
	leaves, err := c.Leaves(func(attempt int) ([]byte, error) { return Statement(t, attempt, a, m) }, func(statement []byte) ([]byte, error) { return attest.Sign(statement, signer) }, clusterKey)
	if errors.Is(err, attest.ErrSummary) {
		// A name in it that JSON cannot carry: the transcript alone speaks for the build.
		return out, out.undelivered(item, t)
	}
	if err != nil {
		return nil, err
	}
	out.leaves = leaves.All()
	out.place.Summary = true
	for i := range leaves.Provenances {
		out.place.Attempts = append(out.place.Attempts, uint32(leaves.Provenances[i].Attempt))
	}
	out.files = append(out.files,
		tlog.File{Path: evidence.ManifestPath(content), Content: m.Bytes()},
		tlog.File{Path: evidence.SummaryPath(item.Build), Content: leaves.Envelope})
	return out, nil
}

func (d *derived) undelivered(item *raftfsm.CertifiedItem, t *build.Transcript) error {
	leaf, err := evidence.BuildLeaf(item, t.Build.Verdict)
	d.leaves = [][]byte{leaf}
	return err
}

// Statement is what the author of an attempt must have signed, as a transcript
// names it. Errors that wrap attest.ErrProvenance say that there is none.
func Statement(t *build.Transcript, attempt int, a *action.Action, m *build.Manifest) ([]byte, error) {
	of := &t.Build.Attempts[attempt]
	party, ok := t.Party(of.Worker)
	if !ok {
		return nil, fmt.Errorf("%w: worker %x is not a party of the build", attest.ErrProvenance, of.Worker)
	}
	worker := build.Worker{ID: of.Worker, Name: party.Name, Operator: party.Operator}
	by := action.AuthorOf(t.Cluster, t.Build.ID, of, worker, t.Simulated)
	return a.Provenance(by, m).Statement()
}

package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// catchUp takes over from a peer what this node's journal has not, because it got
// a snapshot in place of entries. A majority has cosigned what is taken over, and
// this node's log is the beginning of it.
func (p *Publisher) catchUp(ctx context.Context, at position) error {
	errs := []error{fmt.Errorf("this node missed items of the log from %d on, and no peer gave them", at.Logged)}
	for i := range p.config.Genesis.Coordinators {
		m := &p.config.Genesis.Coordinators[i]
		if m.ID == p.config.Self {
			continue
		}
		err := p.takeOver(ctx, at, peerLog{p.config.Peers, m.ID})
		if err == nil {
			p.config.Log.Info("took over what this node missed of the log", "from", m.Name, "items", p.journal.position().Logged-at.Logged)
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", m.Name, err))
	}
	return errors.Join(errs...)
}

// peerLog is a peer's log as a source.
type peerLog struct {
	peers Peers
	id    ID
}

// Read implements tlog.Source.
func (l peerLog) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	return l.peers.ReadLog(ctx, l.id, path, limit)
}

// takeOver appends the leaves that a peer's log has beyond this node's, as far as
// the peer shows all that lies beside them.
func (p *Publisher) takeOver(ctx context.Context, at position, from peerLog) error {
	leaves, err := p.readMissed(ctx, at, from)
	if err != nil {
		return err
	}
	leaves, err = p.copyEpochs(ctx, leaves, from)
	if err != nil {
		return err
	}
	to, spans, err := through(at, leaves)
	if err != nil {
		return err
	}
	if to.Logged == at.Logged {
		return errors.New("it shows nothing yet of what this node misses next")
	}
	builds, err := p.copyBuilds(ctx, at, spans, from)
	if err != nil {
		return err
	}
	leaves = leaves[:to.Leaves-at.Leaves]
	// A crash between two batches leaves the log ahead of the journal: what is there is
	// taken over once more, and is equal.
	for n := 0; n < len(leaves); n += maxAppended {
		if err := p.log().AppendAt(at.Leaves+uint64(n), leaves[n:min(n+maxAppended, len(leaves))]); err != nil {
			return err
		}
	}
	return p.advance(to, at.Leaves, leaves, builds)
}

// readMissed reads the leaves of a peer's log beyond those of this node's, proven
// against the peer's cosigned checkpoint.
func (p *Publisher) readMissed(ctx context.Context, at position, from peerLog) ([][]byte, error) {
	note, err := tlog.ReadCheckpoint(ctx, from)
	if err != nil {
		return nil, err
	}
	_, key, err := p.openOwn(p.origin, note)
	if err != nil {
		return nil, err
	}
	trust := p.trust(key)
	opened, err := trust.Open(note)
	if err != nil {
		return nil, err
	}
	if opened.Size <= at.Leaves || opened.Size-at.Leaves > maxCatchUpLeaves {
		return nil, fmt.Errorf("its log has %d leaves, this node's %d: want more, and at most %d", opened.Size, at.Leaves, maxCatchUpLeaves)
	}
	reader, err := tlog.NewReader(ctx, from, opened.Checkpoint)
	if err != nil {
		return nil, err
	}
	own, err := p.log().RootAt(at.Leaves)
	if err != nil {
		return nil, err
	}
	err = reader.Extends(ctx, tlog.Checkpoint{Origin: opened.Origin, Size: at.Leaves, Root: own})
	if errors.Is(err, tlog.ErrRewritten) {
		return nil, fmt.Errorf("%w: %w", ErrInconsistent, err)
	}
	if err != nil {
		return nil, err
	}
	var missed [][]byte
	for leaf, err := range reader.Entries(ctx, at.Leaves, opened.Size) {
		if err != nil {
			return nil, err
		}
		missed = append(missed, leaf.Entry)
	}
	return missed, nil
}

// span is where the leaves of one item are.
type span struct {
	first  uint64
	leaves []*evidence.Leaf
}

// build is the build that the span is about, and whether it delivered: then only
// the span's summary says which.
func (x *span) build() (of *evidence.Build, delivered, certified bool) {
	last := x.leaves[len(x.leaves)-1]
	return last.Build, last.Record != nil, last.Record != nil || last.Build != nil
}

// through is the position after the whole items in leaves, and where each is.
func through(at position, leaves [][]byte) (to position, spans []span, err error) {
	to = at
	open := span{first: at.Leaves}
	for i, raw := range leaves {
		leaf, err := evidence.Read(raw)
		if err != nil {
			return at, nil, fmt.Errorf("leaf %d: %w", at.Leaves+uint64(i), err)
		}
		open.leaves = append(open.leaves, leaf)
		if !leaf.Ends(to.Key) {
			continue
		}
		spans, open = append(spans, open), span{first: at.Leaves + uint64(i) + 1}
		to.Logged++
		if to.Key, err = leaf.ClusterKeyAfter(to.Key); err != nil {
			return at, nil, err
		}
	}
	to.Leaves = open.first
	return to, spans, nil
}

// copyEpochs copies the entries of epochs, and returns the leaves up to the first
// whose entries the peer does not show yet.
func (p *Publisher) copyEpochs(ctx context.Context, leaves [][]byte, from peerLog) ([][]byte, error) {
	for i, raw := range leaves {
		leaf, err := evidence.Read(raw)
		if err != nil {
			return nil, err
		}
		if leaf.Epoch == nil {
			continue
		}
		entries, err := from.Read(ctx, evidence.EpochPath(leaf.Epoch.Number), maxEpochBytes)
		if errors.Is(err, fs.ErrNotExist) {
			return leaves[:i], nil
		}
		if err == nil {
			err = checkEpoch(leaf.Epoch, entries)
		}
		if err == nil {
			err = p.log().PutFile(evidence.EpochPath(leaf.Epoch.Number), entries)
		}
		if err != nil {
			return nil, fmt.Errorf("the entries of epoch %d: %w", leaf.Epoch.Number, err)
		}
	}
	return leaves, nil
}

// copyBuilds copies what lies beside the leaves of builds. Which build a span is of
// the peer says; its leaves tell whether that is so.
func (p *Publisher) copyBuilds(ctx context.Context, at position, spans []span, from peerLog) ([]LoggedBuild, error) {
	var builds []LoggedBuild
	var listed []LoggedBuild
	for i := range spans {
		if _, _, certified := spans[i].build(); !certified {
			continue
		}
		item := at.Logged + uint64(i)
		if len(listed) == 0 {
			call, cancel := context.WithTimeout(ctx, peerTimeout)
			var err error
			listed, err = p.config.Peers.LoggedBuilds(call, from.id, item, at.Logged+uint64(len(spans)))
			cancel()
			if err != nil {
				return nil, err
			}
		}
		if len(listed) == 0 || listed[0].Item != item {
			return nil, fmt.Errorf("it does not say which build leaf %d is about", spans[i].first)
		}
		if err := p.copyBuild(ctx, &listed[0], &spans[i], from); err != nil {
			return nil, fmt.Errorf("build %x: %w", listed[0].Build, err)
		}
		builds, listed = append(builds, listed[0]), listed[1:]
	}
	return builds, nil
}

// checkEpoch holds served entries to the leaf of their epoch.
func checkEpoch(e *evidence.Epoch, raw []byte) error {
	var entries evidence.EpochEntries
	if err := wire.Decode(raw, &entries); err != nil {
		return err
	}
	return evidence.CheckEntries(entries, e.First, e.Last, e.Entries, ID(e.Before), ID(e.Chain))
}

// copyBuild copies a build's transcript, and of one that delivered its summary
// and manifest, each held to the build's leaves.
func (p *Publisher) copyBuild(ctx context.Context, b *LoggedBuild, at *span, from peerLog) error {
	raw, err := from.Read(ctx, evidence.TranscriptPath(b.Place.Transcript), build.MaxTranscriptBytes)
	if err != nil {
		return err
	}
	t, err := build.ReadTranscript(raw, b.Place.Transcript)
	if err != nil {
		return err
	}
	if t.Build.ID != b.Build {
		return fmt.Errorf("its transcript is of build %x", t.Build.ID)
	}
	if err := checkPlace(b, at, t); err != nil {
		return err
	}
	files := []tlog.File{{Path: evidence.TranscriptPath(b.Place.Transcript), Content: raw}}
	if b.Place.Summary {
		envelope, err := from.Read(ctx, evidence.SummaryPath(b.Build), attest.MaxBundleBytes)
		if err != nil {
			return err
		}
		if err := checkSummary(b, at, envelope); err != nil {
			return err
		}
		content, _, _ := evidence.DeliveredManifest(&t.Build)
		manifest, err := from.Read(ctx, evidence.ManifestPath(content), maxFileBytes)
		if err != nil {
			return err
		}
		if sha256.Sum256(manifest) != content {
			return fmt.Errorf("its manifest is not %x", content)
		}
		files = append(files, tlog.File{Path: evidence.SummaryPath(b.Build), Content: envelope}, tlog.File{Path: evidence.ManifestPath(content), Content: manifest})
	}
	return p.log().PutFiles(files)
}

// checkPlace holds where a peer says that a build's leaves are to the leaves.
func checkPlace(b *LoggedBuild, at *span, t *build.Transcript) error {
	of, delivered, _ := at.build()
	if b.Place.First != at.first || b.Place.Summary != delivered || len(b.Place.Attempts) != len(at.leaves)-1 {
		return fmt.Errorf("it has %d leaves at %d, the peer says otherwise", len(at.leaves), at.first)
	}
	if of != nil && (ID(of.Build) != b.Build || ID(of.Transcript) != b.Place.Transcript) {
		return fmt.Errorf("leaf %d is about build %s", at.first, of.Build)
	}
	for i, attempt := range b.Place.Attempts {
		if int64(attempt) >= int64(len(t.Build.Attempts)) || at.leaves[i].Record == nil || !bytes.Equal(at.leaves[i].Record.Signature, t.Build.Attempts[attempt].Opening.Signature) {
			return fmt.Errorf("leaf %d is not of its attempt %d", at.first+uint64(i), attempt)
		}
	}
	return nil
}

// checkSummary holds a summary to the leaf that was made of it, and to its build.
func checkSummary(b *LoggedBuild, at *span, envelope []byte) error {
	statement, sig, err := attest.ReadEnvelope(envelope)
	if err != nil {
		return err
	}
	record := at.leaves[len(at.leaves)-1].Record
	if err := record.Check(statement); err != nil {
		return fmt.Errorf("its summary: %w", err)
	}
	s, err := attest.ParseSummary(statement)
	if err != nil {
		return fmt.Errorf("its summary: %w", err)
	}
	if !bytes.Equal(sig, record.Signature) || s.Build != b.Build || s.Transcript != b.Place.Transcript {
		return errors.New("its summary is another's")
	}
	return nil
}

package publish

import (
	"context"
	"errors"
	"fmt"

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

// takeOver appends the leaves that a peer's log has beyond this node's.
func (p *Publisher) takeOver(ctx context.Context, at position, from peerLog) error {
	leaves, err := p.readMissed(ctx, at, from)
	if err != nil {
		return err
	}
	to, kept, err := through(at, leaves)
	if err != nil {
		return err
	}
	builds, err := p.copyBeside(ctx, at, to, leaves[:kept], from)
	if err != nil {
		return err
	}
	if err := p.log().AppendAt(at.Leaves, leaves[:kept]); err != nil {
		return err
	}
	return p.advance(to, at.Leaves, leaves[:kept], builds)
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

// through is the position after the whole items in leaves, and how many leaves
// those are.
func through(at position, leaves [][]byte) (to position, kept int, err error) {
	to = at
	for i, raw := range leaves {
		leaf, err := evidence.Read(raw)
		if err != nil {
			return at, 0, fmt.Errorf("leaf %d: %w", at.Leaves+uint64(i), err)
		}
		if !leaf.Ends(to.Key) {
			continue
		}
		kept = i + 1
		to.Logged++
		if to.Key, err = leaf.ClusterKeyAfter(to.Key); err != nil {
			return at, 0, err
		}
	}
	to.Leaves = at.Leaves + uint64(kept)
	return to, kept, nil
}

// copyBeside copies what lies beside the leaves that are taken over.
func (p *Publisher) copyBeside(ctx context.Context, at, to position, leaves [][]byte, from peerLog) ([]LoggedBuild, error) {
	for _, raw := range leaves {
		leaf, err := evidence.Read(raw)
		if err != nil {
			return nil, err
		}
		if leaf.Epoch == nil {
			continue
		}
		// The peer may not show it yet; this node will, if it has all of its entries.
		entries, err := from.Read(ctx, evidence.EpochPath(leaf.Epoch.Number), maxEpochBytes)
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
	var builds []LoggedBuild
	for next := at.Logged; next < to.Logged; {
		call, cancel := context.WithTimeout(ctx, peerTimeout)
		more, err := p.config.Peers.LoggedBuilds(call, from.id, next, to.Logged)
		cancel()
		if err != nil {
			return nil, err
		}
		if len(more) == 0 {
			break
		}
		for i := range more {
			if err := p.copyBuild(ctx, &more[i], from); err != nil {
				return nil, fmt.Errorf("build %x: %w", more[i].Build, err)
			}
		}
		builds = append(builds, more...)
		next = more[len(more)-1].Item + 1
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
// and manifest; what the summary names is what is taken.
func (p *Publisher) copyBuild(ctx context.Context, b *LoggedBuild, from peerLog) error {
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
	files := []tlog.File{{Path: evidence.TranscriptPath(b.Place.Transcript), Content: raw}}
	if b.Place.Summary {
		envelope, err := from.Read(ctx, evidence.SummaryPath(b.Build), attest.MaxBundleBytes)
		if err != nil {
			return err
		}
		content, _, _ := evidence.DeliveredManifest(&t.Build)
		manifest, err := from.Read(ctx, evidence.ManifestPath(content), maxFileBytes)
		if err != nil {
			return err
		}
		files = append(files, tlog.File{Path: evidence.SummaryPath(b.Build), Content: envelope}, tlog.File{Path: evidence.ManifestPath(content), Content: manifest})
	}
	return p.log().PutFiles(files)
}

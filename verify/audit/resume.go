package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gavel/raftfsm"
	"gavel/raftfsm/wire"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// Resumer keeps the state of an audit, so that an interrupted one goes on and a
// later one of the same log begins where this ended. It is the auditor's own: who
// can write it can have an audit skip what lies before.
type Resumer interface {
	// Load returns nil where there is none.
	Load() ([]byte, error)
	Save(state []byte) error
}

// ResumeFile keeps the state in a file.
type ResumeFile string

// resumeMagic begins every file with a state.
const resumeMagic = "gavel audit state\n"

// Load reads the file.
func (f ResumeFile) Load() ([]byte, error) {
	raw, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	state, ours := bytes.CutPrefix(raw, []byte(resumeMagic))
	if err == nil && !ours {
		return raw, nil // garbage, which the audit says
	}
	return state, err
}

// foreign says that there is a file that no audit wrote: Save would write over it.
func (f ResumeFile) foreign() bool {
	file, err := os.Open(string(f))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer func() { _ = file.Close() }()
	head := make([]byte, len(resumeMagic))
	_, err = io.ReadFull(file, head)
	return err != nil || string(head) != resumeMagic
}

// Save replaces the file; a crash leaves the old one or the new one.
func (f ResumeFile) Save(state []byte) error {
	if err := os.MkdirAll(filepath.Dir(string(f)), 0o700); err != nil {
		return err
	}
	next := string(f) + ".new"
	if err := os.WriteFile(next, append([]byte(resumeMagic), state...), 0o600); err != nil {
		return err
	}
	return os.Rename(next, string(f))
}

// saveEvery is how often a state is saved while an audit runs: it encodes the
// whole of the replicated state.
const saveEvery = 30 * time.Second

// resumeVersion is the version of the state's encoding.
const resumeVersion = 1

// resumeState is an audit that found nothing, at the end of an epoch.
type resumeState struct {
	Cluster  raftfsm.ID
	Note     []byte // the checkpoint under which it was made
	Leaves   uint64 // compared; the last of them is the epoch's
	Position tlog.Position
	Epochs   uint64
	Index    uint64
	Counts   [8]uint64
	Keys     [][]byte // of the cluster, the newest last
	Waiting  []raftfsm.TranscriptOf
	Recent   [][32]byte
	Events   []event
	Files    map[string][32]byte // what was read, by path: SHA-256
	Book     book
	Snapshot []byte
}

// Code is the canonical encoding.
func (r *resumeState) Code(c *wire.Coder) {
	version := uint8(resumeVersion)
	c.U8(&version)
	if c.Decoding() && version != resumeVersion {
		c.Refuse("resume state version %d, this binary reads %d", version, resumeVersion)
	}
	c.Bytes32(&r.Cluster)
	c.Blob(&r.Note, tlog.MaxNoteBytes)
	c.U64(&r.Leaves)
	c.U64(&r.Position.Size)
	wire.List(c, &r.Position.Hashes, 8, func(c *wire.Coder, level *[][32]byte) {
		wire.List(c, level, 256, (*wire.Coder).Bytes32)
	})
	c.U64(&r.Epochs)
	c.U64(&r.Index)
	for i := range r.Counts {
		c.U64(&r.Counts[i])
	}
	wire.List(c, &r.Keys, 1<<16, func(c *wire.Coder, k *[]byte) { c.Blob(k, 512) })
	wire.List(c, &r.Waiting, raftfsm.MaxLive+raftfsm.MaxSettled, func(c *wire.Coder, t *raftfsm.TranscriptOf) {
		c.Bytes32(&t.Build)
		c.Bytes32(&t.Digest)
		c.Blob(&t.Bytes, maxFileBytes)
	})
	wire.List(c, &r.Recent, maxSegmentLeaves, (*wire.Coder).Bytes32)
	wire.List(c, &r.Events, 1<<24, func(c *wire.Coder, e *event) {
		c.U64(&e.index)
		c.Blob(&e.raw, tlog.MaxEntryBytes)
	})
	wire.SortedMap(c, &r.Files, 1<<28, comparePaths, func(c *wire.Coder, p *string) { c.String(p, 256) }, func(c *wire.Coder, d *[32]byte) { c.Bytes32(d) })
	r.Book.Code(c)
	c.Blob(&r.Snapshot, MaxResumeBytes)
}

func comparePaths(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// counts are the report's, in their order in the state.
func (r *Report) counts() []*uint64 {
	return []*uint64{&r.Leaves, &r.Builds, &r.Undelivered, &r.Epochs, &r.Entries, &r.Commands, &r.Auctions, &r.Draws, &r.Transfers}
}

// readResume decodes a state and checks the digest that it ends with.
func readResume(raw []byte) (*resumeState, error) {
	n := len(raw) - sha256.Size
	if n < 0 || len(raw) > MaxResumeBytes {
		return nil, fmt.Errorf("resume state of %d bytes, want %d to %d", len(raw), sha256.Size, MaxResumeBytes)
	}
	if resumeDigest(raw[:n]) != [32]byte(raw[n:]) {
		return nil, errors.New("resume state was changed: its digest differs")
	}
	r := new(resumeState)
	if err := wire.Decode(raw[:n], r); err != nil {
		return nil, fmt.Errorf("resume state: %w", err)
	}
	return r, nil
}

func resumeDigest(raw []byte) [32]byte { return wire.NewHasher("audit-resume").Var(raw).Sum() }

// keep saves the state now and then and when the context ends, and holds the last one
// until the end of the audit. Once something deviates the last good one stays: who goes
// on from there finds it again.
func (a *auditor) keep(ctx context.Context, s *segment, last bool) error {
	if s != nil {
		a.stoppable = s.last > 0 && !a.halted && a.report.Clean()
		if p, ok := a.leaves.positionOf(s.end()); ok && a.stoppable {
			a.boundary, a.position = s.end(), p
		} else {
			a.stoppable = false
		}
	}
	interrupted := ctx.Err() != nil
	if a.o.Resume != nil && a.stoppable && (last || interrupted || time.Since(a.saved) >= saveEvery) {
		a.state = a.resumable()
		if !last || interrupted {
			if err := a.save(); err != nil {
				return err
			}
		}
	}
	if interrupted {
		return ctx.Err()
	}
	return nil
}

// save saves the state that is held, unless something deviates by now.
func (a *auditor) save() error {
	if a.state == nil || !a.report.Clean() {
		return nil
	}
	if err := a.o.Resume.Save(a.state); err != nil {
		return fmt.Errorf("saving the state of the audit: %w", err)
	}
	a.state, a.saved = nil, time.Now()
	return nil
}

// resumable is the state at the last boundary; nil where the log is not good up to it,
// or its checkpoint not by the keys known there, by which the state will be judged.
// Files that each audit holds to the log anew are no part of it: they change as it grows.
func (a *auditor) resumable() []byte {
	a.prove(true)
	if _, err := a.signatures(a.note); err != nil || !a.report.Clean() {
		return nil
	}
	files := maps.Clone(a.digests)
	for _, path := range []string{evidence.GenesisPath, evidence.StatusPath, evidence.TrustedRootPath} {
		delete(files, path)
	}
	r := &resumeState{
		Cluster: a.cluster, Note: a.note, Leaves: a.boundary + 1, Position: a.position, Epochs: a.epochs, Index: a.index,
		Keys: a.clusterKeys, Events: a.events, Files: files, Book: *a.book, Snapshot: a.replay.Snapshot(),
	}
	for i, n := range a.report.counts()[1:] {
		r.Counts[i] = *n
	}
	for _, w := range a.waiting {
		r.Waiting = append(r.Waiting, raftfsm.TranscriptOf{Build: w.Build, Digest: w.Digest, Bytes: a.transcripts[w.Digest]})
	}
	r.Recent = wire.SortedKeys(a.recent, wire.Compare32)
	raw := wire.Encode(r)
	digest := resumeDigest(raw)
	return append(raw, digest[:]...)
}

// resume goes on from a state, if there is a good one of this log.
func (a *auditor) resume(ctx context.Context, marks []uint64) error {
	a.saved = time.Now()
	if a.o.Resume == nil {
		return nil
	}
	raw, err := a.o.Resume.Load()
	if err != nil {
		return fmt.Errorf("loading the state of an earlier audit: %w", err)
	}
	if raw == nil {
		return nil
	}
	r, err := readResume(raw)
	if err == nil {
		err = a.resumeFrom(ctx, r, marks)
	}
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		a.report.warn("the state of an earlier audit is of no use, and the log is audited from its beginning: %v", err)
		return nil
	}
	a.report.Resumed = r.Leaves
	return nil
}

// resumeFrom takes over a state that fits the log. Nothing of the audit is changed
// where it does not.
func (a *auditor) resumeFrom(ctx context.Context, r *resumeState, marks []uint64) error {
	earlier, err := tlog.ReadUnverified(r.Note)
	switch {
	case err != nil:
		return err
	case r.Cluster != a.cluster:
		return fmt.Errorf("it is of cluster %x", r.Cluster[:8])
	case r.Leaves == 0 || r.Leaves > a.checkpoint.Size || r.Position.Size >= r.Leaves || earlier.Size < r.Leaves:
		return fmt.Errorf("it is of %d leaves, the log has %d", r.Leaves, a.checkpoint.Size)
	case len(r.Keys) == 0 || string(r.Keys[0]) != string(a.genesis.ClusterKey):
		return errors.New("it begins with another cluster key")
	}
	for _, m := range marks[:len(a.since)] {
		if m < r.Leaves {
			return fmt.Errorf("a checkpoint of %d leaves is to be compared, and it begins with leaf %d", m, r.Leaves)
		}
	}
	for _, x := range a.receipts.open {
		if x.Index <= r.Index {
			return fmt.Errorf("receipt %s is for an earlier entry", x.Name)
		}
	}
	trusted := auditor{trust: a.trust, clusterKeys: r.Keys}
	if _, err := trusted.signatures(r.Note); err != nil {
		return err
	}
	replay, err := raftfsm.ResumeReplay(a.genesis, r.Snapshot)
	if err != nil {
		return err
	}
	// What another auditor compared before is compared too.
	marks = append(marks, earlier.Size)
	walk := tlog.NewWalk(a.src, a.checkpoint.Size, marks...)
	if a.o.List == nil {
		if walk, err = tlog.ResumeWalk(a.src, a.checkpoint.Size, r.Position, marks...); err != nil {
			return err
		}
	} else if err := a.sameFiles(ctx, r.Files); err != nil {
		return err
	}
	reader := &leafReader{walk: walk, resumed: r.Leaves - 1}
	s, err := reader.next(ctx, r.Epochs-1)
	if err != nil {
		return err
	}
	e := s.leaves[0].of
	if e == nil || e.Epoch == nil || len(s.leaves) != 1 || e.Epoch.Number != r.Epochs || raftfsm.ID(e.Epoch.State) != replay.Hash() || raftfsm.ID(e.Epoch.Chain) != replay.Chain() {
		return fmt.Errorf("leaf %d is not the epoch that it ends with", r.Leaves-1)
	}
	a.takeOver(r, replay, reader)
	a.o.Since = append(slices.Clone(a.o.Since), Note{"the checkpoint of the audit that this one continues", r.Note})
	a.since = append(a.since, earlier)
	return nil
}

func (a *auditor) takeOver(r *resumeState, replay *raftfsm.Replay, reader *leafReader) {
	a.leaves, a.replay, a.book, a.clusterKeys = reader, replay, &r.Book, r.Keys
	a.epochs, a.lastEpoch, a.index, a.lastChain = r.Epochs, r.Epochs, r.Index, replay.Chain()
	a.report.Leaves, a.events = r.Leaves, r.Events
	for i, n := range a.report.counts()[1:] {
		*n = r.Counts[i]
	}
	for _, w := range r.Waiting {
		a.transcripts[w.Digest] = w.Bytes
		a.waiting = append(a.waiting, raftfsm.TranscriptOf{Build: w.Build, Digest: w.Digest})
	}
	a.recent = map[[32]byte]bool{}
	for _, k := range r.Recent {
		a.recent[k] = true
	}
	for path, digest := range r.Files { // into a map
		a.digests[path], a.known[path] = digest, true
	}
}

// sameFiles says whether the files that an earlier audit has read are as they were.
func (a *auditor) sameFiles(ctx context.Context, files map[string][32]byte) error {
	for _, path := range wire.SortedKeys(files, comparePaths) {
		raw, err := a.src.Read(ctx, path, max(maxEpochBytes, maxFileBytes))
		if err != nil {
			return err
		}
		if sha256.Sum256(raw) != files[path] {
			return fmt.Errorf("%s has changed since", path)
		}
	}
	return nil
}

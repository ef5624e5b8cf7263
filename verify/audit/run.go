package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/wire"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// Options say what an audit trusts and what it compares with.
type Options struct {
	// Cluster is the id, the digest of the genesis, that the auditor trusts; nil
	// takes the log's own genesis, with a warning.
	Cluster *raftfsm.ID
	// Since are signed checkpoints of the same log, seen before or elsewhere.
	Since []Note
	// Receipts must be accounted for.
	Receipts []*Receipt
	// List lists the files that there are, where all must be accounted for.
	List func() ([]string, error)
	// Sums reads the list of files that an export has, or returns fs.ErrNotExist; nil
	// where there is none to be expected.
	Sums func() ([]byte, error)
	// Progress, if set, is told now and then.
	Progress func(Progress)
	// Resume keeps the state of an interrupted audit; nil: none is kept.
	Resume Resumer
}

// Note is a signed checkpoint and where it is from.
type Note struct {
	Name string
	Text []byte
}

// Progress is how far an audit is.
type Progress struct{ Leaves, Size, Builds, Deviations uint64 }

// auditor is an audit under way.
type auditor struct {
	src        tlog.Source
	o          Options
	report     *Report
	genesis    *raftfsm.Genesis
	cluster    raftfsm.ID
	trust      tlog.Trust
	checkpoint tlog.Checkpoint
	note       []byte            // the signed checkpoint
	since      []tlog.Checkpoint // of o.Since
	leaves     *leafReader

	replay      *raftfsm.Replay
	book        *book
	receipts    receipts
	credit      []credited
	clusterKeys [][]byte          // the newest last
	handedTo    []beacon.GroupKey // by handovers whose entries are not published, the newest last
	// transcripts are of builds that settled and are not certified; waiting lists
	// them in order.
	transcripts map[raftfsm.ID][]byte
	waiting     []raftfsm.TranscriptOf
	recent      map[[32]byte]bool // keys of the last segment's leaves

	epochs    uint64 // replayed
	index     uint64 // of the last entry read
	lastEpoch uint64 // by the log's leaves
	lastChain raftfsm.ID
	lastRead  struct {
		number  uint64
		entries evidence.EpochEntries
		there   bool
	}
	withheld    []withheld
	halted      bool // nothing is derived any more
	untold      bool // because the rest is not published
	bookSpoiled bool
	status      []byte              // the served list, nil for none
	trustedRoot []byte              // the served file
	noRoot      error               // why there is none
	events      []event             // leaves that it repeats
	known       map[string]bool     // files that were accounted for
	digests     map[string][32]byte // of those that were read
	// The end of the last epoch up to which all is good, to resume from.
	boundary  uint64
	position  tlog.Position
	stoppable bool
	state     []byte // at the last boundary, not saved yet
	saved     time.Time
}

// Run audits a log. The error is of ErrUnusable where there is none, or the
// context's or the source's own; whatever is wrong with the log is in the report.
func Run(ctx context.Context, src tlog.Source, o Options) (*Report, error) {
	a, err := run(ctx, src, o)
	if a.report.Resumed > 0 && (err == nil && !a.report.Clean() || errors.Is(err, ErrUnusable)) {
		// The state that it resumed from may be the cause, or what lies before it.
		again := a.o
		again.Resume = nil
		a, err = run(ctx, src, again)
	}
	if err != nil {
		return nil, err
	}
	return a.report, nil
}

func run(ctx context.Context, src tlog.Source, o Options) (*auditor, error) {
	a := &auditor{
		src: src, o: o, report: &Report{Deviations: []Deviation{}, Warnings: []string{}, NotProven: []string{}, Cosigners: []string{}},
		transcripts: map[raftfsm.ID][]byte{}, known: map[string]bool{}, digests: map[string][32]byte{},
	}
	err := a.audit(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("auditing was interrupted after %d leaves: %w", a.report.Leaves, ctx.Err())
	}
	return a, err
}

func (a *auditor) audit(ctx context.Context) error {
	if ok, err := a.begin(ctx); err != nil || !ok {
		return err
	}
	err := a.walk(ctx)
	if err == nil {
		err = a.finish(ctx)
	}
	return errors.Join(err, a.save())
}

// begin reads genesis and checkpoint. It is not ok where the genesis deviates so
// that nothing can be replayed.
func (a *auditor) begin(ctx context.Context) (ok bool, err error) {
	raw, err := a.read(ctx, evidence.GenesisPath, maxGenesisBytes)
	if err != nil {
		return false, fmt.Errorf("%w: reading its genesis: %w", ErrUnusable, err)
	}
	g := new(raftfsm.Genesis)
	if err := wire.Decode(raw, g); err != nil {
		a.report.beside(evidence.GenesisPath, "a canonical genesis", err.Error())
		return false, nil
	}
	a.genesis, a.cluster = g, g.Digest()
	a.report.Cluster, a.report.Simulated = hexOf(a.cluster), g.Simulated
	if a.o.Cluster != nil && *a.o.Cluster != a.cluster {
		a.report.beside(evidence.GenesisPath+" digest", hexOf(*a.o.Cluster), hexOf(a.cluster))
		return false, nil
	}
	if a.replay, err = raftfsm.NewReplay(g); err != nil {
		a.report.beside(evidence.GenesisPath, "one that its admin signed and a cluster starts from", err.Error())
		return false, nil
	}
	if a.o.Cluster == nil {
		a.report.warn("the genesis is the log's own: compare cluster %x… with an id that you trust, or give it with --cluster", a.cluster[:8])
	}
	a.trust, a.book, a.clusterKeys = evidence.Trust(g), newBook(g), [][]byte{g.ClusterKey}
	a.report.Origin = a.trust.Origin
	if err := a.newReceipts(a.o.Receipts); err != nil {
		return false, err
	}
	return true, a.readCheckpoints(ctx)
}

// readCheckpoints reads the log's checkpoint and those that it is compared with.
// Whether their signatures hold is said at the end: the log tells by which key.
func (a *auditor) readCheckpoints(ctx context.Context) error {
	a.known[tlog.CheckpointPath] = true
	note, err := tlog.ReadCheckpoint(ctx, a.src)
	if err != nil {
		return fmt.Errorf("%w: reading its checkpoint: %w", ErrUnusable, err)
	}
	if a.checkpoint, err = tlog.ReadUnverified(note); err != nil {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	a.note, a.report.Root = note, hexOf(a.checkpoint.Root)
	for _, n := range a.o.Since {
		c, err := tlog.ReadUnverified(n.Text)
		if err != nil || c.Origin != a.trust.Origin {
			return fmt.Errorf("%w: %s is no checkpoint of log %s: %w", ErrUnusable, n.Name, a.trust.Origin, errors.Join(err, errOrigin))
		}
		a.since = append(a.since, c)
	}
	a.trustedRoot, err = a.read(ctx, evidence.TrustedRootPath, maxFileBytes)
	if _, _, ok := absent(err); ok {
		a.noRoot = err
		return nil
	}
	return err
}

var errOrigin = errors.New("its first line is the log's name")

// signatures checks who signed a checkpoint: the log's key, as it was then, and a
// majority of coordinators.
func (a *auditor) signatures(note []byte) (opened *tlog.Opened, err error) {
	c, err := tlog.ReadUnverified(note)
	if err != nil {
		return nil, err
	}
	trust := evidence.Unrevoked(a.trust, c.Size, a.logged())
	for _, key := range slices.Backward(a.clusterKeys) {
		trust.LogKey = key
		if opened, err = trust.Open(note); err == nil {
			return opened, nil
		}
	}
	return nil, err
}

// signed reports a checkpoint whose signatures do not suffice.
func (a *auditor) signed() error {
	opened, err := a.signatures(a.note)
	if err == nil {
		a.report.Cosigners = append(a.report.Cosigners, opened.Cosigners...)
		a.strangers(tlog.CheckpointPath, a.note, opened)
	} else {
		a.report.beside(tlog.CheckpointPath, fmt.Sprintf("signed by the log's key and %d of %d coordinators", a.trust.Quorum, len(a.trust.Cosigners)), err.Error())
	}
	for i, n := range a.o.Since {
		if _, err := a.signatures(n.Text); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrUnusable, n.Name, err)
		}
		a.consistent(n.Name, a.since[i])
	}
	return nil
}

// strangers reports signatures under a note by nobody whom the genesis names, where
// every byte must be accounted for; elsewhere witnesses may sign.
func (a *auditor) strangers(name string, note []byte, opened *tlog.Opened) {
	_, lines, _ := bytes.Cut(note, []byte("\n\n"))
	known, all := 1+len(opened.Cosigners)+len(opened.Witnesses), bytes.Count(lines, []byte("\n"))
	switch {
	case known == all:
	case a.o.List == nil:
		a.report.warn("%s has %d signatures by others than the cluster and its coordinators, which were not checked", name, all-known)
	default:
		a.report.beside(name+" signatures", fmt.Sprintf("%d, by the cluster and its coordinators", known), fmt.Sprint(all))
	}
}

// walk goes through all leaves.
func (a *auditor) walk(ctx context.Context) error {
	marks := make([]uint64, len(a.since))
	for i := range a.since {
		marks[i] = a.since[i].Size
	}
	if size, ok, err := a.loadStatus(ctx); err != nil {
		return err
	} else if ok {
		marks = append(marks, size)
	}
	a.leaves = &leafReader{walk: tlog.NewWalk(a.src, a.checkpoint.Size, marks...)}
	if err := a.resume(ctx, marks); err != nil {
		return err
	}
	for {
		s, err := a.leaves.next(ctx, max(a.epochs, a.lastEpoch))
		if errors.Is(err, io.EOF) {
			a.prove(true)
			return a.keep(ctx, nil, true)
		}
		if err != nil {
			return err
		}
		if err := a.segment(ctx, s); err != nil {
			return err
		}
		a.count(s) // now it is known which keys are the cluster's
		a.tell()
		if err := a.keep(ctx, s, false); err != nil {
			return err
		}
	}
}

func (a *auditor) count(s *segment) {
	a.report.Leaves += uint64(len(s.leaves))
	for i := range s.leaves {
		switch x := s.leaves[i].of; {
		case x == nil:
		case x.IsEvent():
			a.events = append(a.events, event{s.leaves[i].index, s.leaves[i].raw})
		case x.Record != nil && a.isClusterKey(x.Record.PKIX):
			a.report.Builds++
		case x.Build != nil:
			a.report.Undelivered++
		}
	}
}

func (a *auditor) tell() {
	if a.o.Progress != nil {
		a.o.Progress(Progress{a.report.Leaves, a.checkpoint.Size, a.report.Builds, uint64(len(a.report.Deviations)) + a.report.MoreDeviations})
	}
}

// segment replays the epochs of a segment and compares its leaves.
func (a *auditor) segment(ctx context.Context, s *segment) error {
	if a.halted {
		return a.beyond(ctx, s.leaves)
	}
	if s.last == 0 {
		return a.end(ctx, s.leaves)
	}
	var items []raftfsm.Item
	for a.epochs < s.last && !a.halted {
		left, err := a.replayEpoch(ctx, s.of(a.epochs+1))
		if err != nil {
			return err
		}
		items = append(items, left...)
	}
	if !a.halted {
		a.report.Epochs = a.epochs
		if err := a.align(ctx, items, s.leaves); err != nil {
			return err
		}
		a.lastEpoch, a.lastChain = s.last, a.replay.Chain()
		return nil
	}
	if a.untold && len(items) == 0 {
		return a.end(ctx, s.leaves)
	}
	n, err := a.prefix(ctx, items, s.leaves)
	if err != nil {
		return err
	}
	return a.beyond(ctx, s.leaves[n:])
}

// end checks the leaves after the last epoch that is published.
func (a *auditor) end(ctx context.Context, leaves []leaf) error {
	if err := a.keep(ctx, nil, true); err != nil {
		return err
	}
	a.untold, a.halted, a.stoppable = true, true, false
	return a.pending(ctx, leaves)
}

// beyond checks leaves that the replay does not reach.
func (a *auditor) beyond(ctx context.Context, leaves []leaf) error {
	if a.untold {
		return a.pending(ctx, leaves)
	}
	return a.formal(ctx, leaves)
}

// stop ends deriving: what follows from a state that is not the log's says nothing.
func (a *auditor) stop(format string, args ...any) {
	a.halted = true
	a.report.Stopped = fmt.Sprintf(format, args...)
}

// finish compares what can be compared only at the end.
func (a *auditor) finish(ctx context.Context) error {
	faults, err := a.leaves.walk.Finish(ctx, a.checkpoint.Root)
	if err != nil {
		return err
	}
	a.faults(faults)
	if err := a.signed(); err != nil {
		return err
	}
	a.checkStatus()
	a.checkTrustedRoot()
	if why := a.book.sum(); why != "" && !a.bookSpoiled {
		a.report.beside("sum of all accounts", "what was minted and not burned", why)
	}
	a.receipts.rest(a)
	a.report.Unpublished, a.report.Withdrawn = uint64(len(a.withheld)), a.withdrawn()
	a.doubt()
	if err := a.unaccounted(ctx); err != nil {
		return err
	}
	return a.nothingReplayed()
}

// nothingReplayed is an error where the log has results and not one epoch that shows
// how they came about: that nothing deviates would be no news.
func (a *auditor) nothingReplayed() error {
	if a.report.Builds == 0 || a.report.Epochs > 0 || !a.report.Clean() {
		return nil
	}
	of := "of its first epoch"
	if n := a.report.Unpublished; n > 1 {
		of = fmt.Sprintf("of all its %d epochs", n)
	}
	return fmt.Errorf("%w: nothing of its market was replayed: the entries %s are not published, or were taken out. Wait a moment and audit again, or get a whole export", ErrUnusable, of)
}

func (a *auditor) faults(faults []tlog.Fault) {
	for _, f := range faults {
		if f.Index >= a.checkpoint.Size {
			a.report.beside(f.Path+" "+f.Field, f.Want, f.Got)
			continue
		}
		a.report.deviate(f.Index, f.Path+" "+f.Field, f.Want, f.Got)
	}
}

// consistent says whether the log is the one that an earlier checkpoint was of.
func (a *auditor) consistent(name string, c tlog.Checkpoint) {
	root, ok := a.leaves.walk.RootAt(c.Size)
	switch {
	case c.Size > a.checkpoint.Size:
		a.report.beside(name+" size", fmt.Sprintf("at least %d leaves: a checkpoint of as many is signed", c.Size), fmt.Sprintf("%d: the log has shrunk", a.checkpoint.Size))
	case !ok || root != c.Root:
		a.report.beside(name+" root", fmt.Sprintf("%x for %d leaves: it is signed, and so is one that disagrees", c.Root, c.Size), hexOf(root))
	}
}

// doubt says what an audit of a log alone cannot show.
func (a *auditor) doubt() {
	r := a.report
	r.NotProven = append(r.NotProven,
		"that the log shows every command: an omission shows by its sender's receipt (--receipt)",
		"that everybody is shown this log: compare checkpoints (--since), and ask for witnesses",
		"what authors' statements say: the log has their digests and signatures; check a bundle with gavel verify",
		"that fewer than a majority of coordinators colluded: together they could foresee draws and open what was sealed",
	)
	if r.Simulated {
		r.NotProven = append(r.NotProven, "that its workers are independent: the farm says that it is SIMULATED, one machine playing all parts")
	}
	if r.Unpublished > 0 {
		r.NotProven = append(r.NotProven, fmt.Sprintf("what lies in the last %s, whose entries are not published yet", epochs(r.Unpublished)))
	}
}

func equal(a, b []byte) bool { return bytes.Equal(a, b) }

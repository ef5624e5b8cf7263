package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"gavel/api/action"
	"gavel/cas"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/evidence"
	"gavel/verify/keys"
	"gavel/verify/tlog"
)

// Blobs reads what statements are derived from, as a requester sees it.
type Blobs interface {
	Action(ctx context.Context, requester ID, d cas.Digest) (*action.Action, error)
	Manifest(ctx context.Context, requester ID, d cas.Digest) (*build.Manifest, error)
}

// State is the replicated state of this node.
type State interface {
	Read(fn func(*raftfsm.State))
	Changed() <-chan struct{}
}

// Peers reaches the other coordinators.
type Peers interface {
	// Cosign asks for a coordinator's signature line under a checkpoint.
	Cosign(ctx context.Context, at ID, checkpoint []byte) (line []byte, err error)
	// ReadLog reads a file of a coordinator's log.
	ReadLog(ctx context.Context, at ID, path string, limit int64) ([]byte, error)
	// LoggedBuilds lists builds in a coordinator's log, from one item to before
	// another, in order; there may be more beyond the last.
	LoggedBuilds(ctx context.Context, at ID, from, to uint64) ([]LoggedBuild, error)
}

// Config is what Open needs.
type Config struct {
	Genesis *raftfsm.Genesis
	Self    ID             // which coordinator this node is
	Dir     string         // the node's own; takes evidence.db and tlog/
	Cluster []*keys.Signer // the cluster's keys: they sign checkpoints and summaries, each while it is in use
	Signer  *keys.Signer   // this coordinator's: cosigns
	State   State
	Blobs   Blobs
	Peers   Peers
	// Witnesses cosign checkpoints beside the coordinators.
	Witnesses []*tlog.WitnessClient
	Log       *slog.Logger
}

// Publisher writes this node's log.
type Publisher struct {
	config  Config
	self    *build.Coordinator
	journal *journal
	tiles   *tlog.Log
	origin  string
	grown   chan struct{} // room for one: the log has leaves without a checkpoint
	shown   chan struct{} // room for one: there is a new checkpoint
	rooted  uint64        // leaves that trusted_root.json is of; signCheckpoints'

	cosigning sync.Mutex // one checkpoint at a time: the last cosigned is on disk first
}

// LogDir is where a coordinator with this directory keeps its log, as it is served.
func LogDir(dir string) string { return filepath.Join(dir, "tlog") }

// trust is whose word makes a checkpoint good: this key of the cluster's and a
// majority of coordinators, by their keys of now.
func (p *Publisher) trust(clusterKey []byte) tlog.Trust {
	t := evidence.Trust(p.config.Genesis)
	t.LogKey = clusterKey
	p.config.State.Read(func(s *raftfsm.State) {
		for i := range p.config.Genesis.Coordinators {
			if a, ok := s.Account(p.config.Genesis.Coordinators[i].ID); ok {
				t.Cosigners[i].PKIX = bytes.Clone(a.Key)
			}
		}
	})
	return t
}

// revoked are the coordinators whose word counts no longer.
func (p *Publisher) revoked() map[ID]bool {
	out := map[ID]bool{}
	p.config.State.Read(func(s *raftfsm.State) {
		for i := range p.config.Genesis.Coordinators {
			if id := p.config.Genesis.Coordinators[i].ID; s.KeyRevoked(id) {
				out[id] = true
			}
		}
	})
	return out
}

// Open opens the journal and the log, and writes what never changes beside it.
// Entries must be handed to Take from the first that the state machine applies.
func Open(c Config) (_ *Publisher, err error) {
	p := &Publisher{config: c, origin: tlog.Origin(c.Genesis.Digest()), grown: make(chan struct{}, 1), shown: make(chan struct{}, 1)}
	for i := range c.Genesis.Coordinators {
		if c.Genesis.Coordinators[i].ID == c.Self {
			p.self = &c.Genesis.Coordinators[i]
		}
	}
	if p.self == nil {
		return nil, errors.New("opening the log: this node is no coordinator of the genesis")
	}
	if p.tiles, err = tlog.OpenLog(LogDir(c.Dir)); err != nil {
		return nil, err
	}
	if err := p.log().PutFile(evidence.GenesisPath, wire.Encode(c.Genesis)); err != nil {
		return nil, err
	}
	if p.journal, err = openJournal(filepath.Join(c.Dir, "evidence.db"), c.Genesis.ClusterKey); err != nil {
		return nil, err
	}
	at := p.journal.position()
	if _, err := p.clusterSigner(at.Key); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the log: %w", err), p.journal.close())
	}
	if err := p.putTrustedRoot(min(at.Leaves, p.log().Published().Size)); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the log: %w", err), p.journal.close())
	}
	return p, nil
}

// log is this node's log.
func (p *Publisher) log() *tlog.Log { return p.tiles }

// reopen reads the log anew where an error says that a write to it has failed.
func (p *Publisher) reopen(err error) {
	if !errors.Is(err, tlog.ErrReopen) {
		return
	}
	if err := p.log().Reopen(); err != nil {
		p.config.Log.Error("opening the log again", "error", err)
	}
}

// Take keeps what one applied entry leaves. It is called in order, under the
// state's lock, and returns at once unless the disk is far behind.
func (p *Publisher) Take(a raftfsm.Applied) { p.journal.take(a) }

// Durable returns once all up to the entry at index is on disk: before Raft
// forgets it.
func (p *Publisher) Durable(index uint64) error { return p.journal.durable(index) }

// Close writes what is queued and closes the files.
func (p *Publisher) Close() error { return p.journal.close() }

// Run publishes until ctx ends.
func (p *Publisher) Run(ctx context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() { p.logItems(ctx) })
	loops.Go(func() { p.showEpochs(ctx) })
	loops.Go(func() { p.signCheckpoints(ctx) })
	loops.Go(func() { p.showStatus(ctx) })
	loops.Wait()
}

// logItems appends what the journal has, in order, until ctx ends.
func (p *Publisher) logItems(ctx context.Context) {
	for {
		n, err := p.logBatch(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.config.Log.Warn("logging waits", "error", err)
			p.reopen(err)
			if !pause(ctx, retryPause) {
				return
			}
		case n == 0:
			select {
			case <-p.journal.news:
			case <-ctx.Done():
				return
			}
		}
	}
}

// logBatch appends the leaves of the next items that are there and returns how
// many items it was. A crash after the append repeats it, and nothing changes.
func (p *Publisher) logBatch(ctx context.Context) (items int, err error) {
	at := p.journal.position()
	to := at
	var leaves [][]byte
	var builds []LoggedBuild
	var beside []tlog.File
	besideBytes := 0
	for items < maxBatchItems && besideBytes < maxBatchFileBytes && to.Logged < at.Items {
		item, err := p.journal.item(to.Logged)
		if err != nil {
			return 0, err
		}
		if item == nil && items == 0 {
			// This node was away when it came up, and got a snapshot instead.
			return 1, p.catchUp(ctx, at)
		}
		if item == nil {
			break
		}
		d, err := p.derive(ctx, item, to.Key)
		if errors.Is(err, cas.ErrNotFound) && items == 0 {
			// The store was lost or damaged, for a sweep takes nothing that leaves are made
			// of: those who had logged it have the leaves.
			if missed := p.catchUp(ctx, at); missed != nil {
				return 0, fmt.Errorf("item %d: %w", to.Logged, errors.Join(err, missed))
			}
			return 1, nil
		}
		if err != nil && items == 0 {
			return 0, fmt.Errorf("item %d: %w", to.Logged, err)
		}
		if err != nil {
			break // what comes before it is logged; then it is tried again
		}
		beside = append(beside, d.files...)
		for _, f := range d.files {
			besideBytes += len(f.Content)
		}
		if d.place != nil {
			d.place.First = to.Leaves
			builds = append(builds, LoggedBuild{to.Logged, d.build, *d.place})
		}
		leaves = append(leaves, d.leaves...)
		to.Logged, to.Leaves, to.Key = to.Logged+1, to.Leaves+uint64(len(d.leaves)), d.keyAfter(to.Key)
		items++
	}
	if items == 0 {
		return 0, nil
	}
	// What a leaf names is there before the leaf.
	if err := p.log().PutFiles(beside); err != nil {
		return 0, err
	}
	if err := p.log().AppendAt(at.Leaves, leaves); err != nil {
		return 0, err
	}
	return items, p.advance(to, at.Leaves, leaves, builds)
}

// advance remembers how far the log has come and has a checkpoint made.
func (p *Publisher) advance(to position, first uint64, leaves [][]byte, builds []LoggedBuild) error {
	if err := p.journal.logged(to, first, leaves, builds); err != nil {
		return err
	}
	select {
	case p.grown <- struct{}{}:
	default:
	}
	return nil
}

// clusterSigner is the cluster's key pkix, of which this node has a copy.
func (p *Publisher) clusterSigner(pkix []byte) (*keys.Signer, error) {
	for _, s := range p.config.Cluster {
		if bytes.Equal(s.Public, pkix) {
			return s, nil
		}
	}
	return nil, fmt.Errorf("the cluster's key is %s now and this node has no copy of it: name its file as cluster_key or next_cluster_key of the configuration", keys.Fingerprint(keys.ID(pkix)))
}

// transcriptBytes returns a transcript: this node's own, or a peer's that has its
// digest.
func (p *Publisher) transcriptBytes(ctx context.Context, digest ID) ([]byte, error) {
	raw, err := p.journal.transcript(digest)
	if err != nil || len(raw) > 0 {
		return raw, err
	}
	return p.readPeers(ctx, evidence.TranscriptPath(digest), build.MaxTranscriptBytes, func(raw []byte) error {
		_, err := build.ReadTranscript(raw, digest)
		return err
	})
}

// readPeers asks one peer after another for a file of the log, until one has it
// as check wants it.
func (p *Publisher) readPeers(ctx context.Context, path string, limit int64, check func([]byte) error) ([]byte, error) {
	errs := []error{fmt.Errorf("%s is not here and no peer gave it", path)}
	for i := range p.config.Genesis.Coordinators {
		m := &p.config.Genesis.Coordinators[i]
		if m.ID == p.config.Self {
			continue
		}
		call, cancel := context.WithTimeout(ctx, peerTimeout)
		raw, err := p.config.Peers.ReadLog(call, m.ID, path, limit)
		cancel()
		if err == nil {
			err = check(raw)
		}
		if err == nil {
			return raw, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", m.Name, err))
	}
	return nil, errors.Join(errs...)
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

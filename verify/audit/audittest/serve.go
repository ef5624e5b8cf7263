package audittest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// Served is what a coordinator serves of a world, taken apart, so that a test can
// change anything in it and make the rest consistent again: it plays an attacker
// who has the cluster's key and every coordinator's, but not the group's.
type Served struct {
	World   *World
	Genesis *raftfsm.Genesis
	// Entries are the records of all epochs; Items what they left, in order. An
	// epoch's entries are found by its First and Last.
	Entries []raftfsm.Entry
	Items   []raftfsm.Item
	// Transcripts by the digest under which they were certified.
	Transcripts map[raftfsm.ID][]byte
	// Summarise, if set, changes what the cluster says of a build before it signs.
	Summarise func(*attest.Summary)

	// Leaves and Files are made by Derive. A file's path is relative.
	Leaves [][]byte
	Files  map[string][]byte
	// Of says to which item a leaf belongs.
	Of []int

	signer *Party // the cluster's key where Derive stands
}

// Serve takes a world apart.
func (w *World) Serve() (*Served, error) {
	s := &Served{World: w, Genesis: w.Genesis, Transcripts: map[raftfsm.ID][]byte{}}
	for i := range w.Applied {
		a := &w.Applied[i]
		var e raftfsm.Entry
		if err := wire.Decode(a.Record, &e); err != nil {
			return nil, err
		}
		s.Entries = append(s.Entries, e)
		for j := range a.Transcripts {
			s.Transcripts[a.Transcripts[j].Digest] = a.Transcripts[j].Bytes
		}
		for _, item := range a.Items {
			if item.Epoch != nil {
				epoch := *item.Epoch
				item.Epoch = &epoch
			}
			if item.Certified != nil {
				certified := *item.Certified
				item.Certified = &certified
			}
			s.Items = append(s.Items, item)
		}
	}
	return s, s.Derive()
}

// Rechain binds the entries anew: what an attacker does who changed one.
func (s *Served) Rechain() {
	var at raftfsm.ID
	for i := range s.Items {
		e := s.Items[i].Epoch
		if e == nil {
			continue
		}
		e.Before, e.Entries = at, 0
		for j := range s.Entries {
			if x := &s.Entries[j]; x.Index >= e.First && x.Index <= e.Last {
				at = raftfsm.Chain(at, x.Index, wire.Encode(x))
				e.Entries++
			}
		}
		e.Chain = at
	}
}

// Derive makes leaves and files from entries, items and transcripts.
func (s *Served) Derive() error {
	s.Leaves, s.Of, s.Files = nil, nil, map[string][]byte{evidence.GenesisPath: wire.Encode(s.Genesis)}
	s.signer = s.World.clusterKeys[string(s.Genesis.ClusterKey)]
	for i := range s.Items {
		leaves, err := s.item(&s.Items[i])
		if err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
		for range leaves {
			s.Of = append(s.Of, i)
		}
		s.Leaves = append(s.Leaves, leaves...)
	}
	root, err := evidence.TrustedRoot(s.Genesis, s.events())
	if err != nil {
		return err
	}
	s.Files[evidence.TrustedRootPath] = root
	return nil
}

// events are the leaves about keys and withdrawals.
func (s *Served) events() []evidence.Event {
	out := []evidence.Event{}
	for i, leaf := range s.Leaves {
		if of, err := evidence.Read(leaf); err == nil && of.IsEvent() {
			out = append(out, evidence.Event{Leaf: uint64(i), Entry: leaf})
		}
	}
	return out
}

// status is the list of all changes of keys and withdrawals, signed as a
// checkpoint is.
func (s *Served) status(size uint64, root [32]byte) ([]byte, error) {
	origin := tlog.Origin(s.Genesis.Digest())
	list := evidence.Status{Type: evidence.TypeStatus, Origin: origin, Size: size, Root: root, Events: s.events()}
	raw, err := list.Bytes()
	if err != nil {
		return nil, err
	}
	note, err := s.note(evidence.StatusCheckpoint(origin, size, raw))
	if err != nil {
		return nil, err
	}
	return evidence.SignedStatus(raw, note)
}

func (s *Served) item(item *raftfsm.Item) ([][]byte, error) {
	if e := item.Epoch; e != nil {
		var entries evidence.EpochEntries
		for i := range s.Entries {
			if x := s.Entries[i]; x.Index >= e.First && x.Index <= e.Last {
				entries = append(entries, x)
			}
		}
		s.Files[evidence.EpochPath(e.Number)] = wire.Encode(&entries)
		leaf, err := evidence.EpochLeaf(e)
		return [][]byte{leaf}, err
	}
	switch {
	case item.Certified != nil:
		return s.certified(item.Certified)
	case item.Withdrawal != nil:
		leaf, err := evidence.WithdrawalLeaf(item.Withdrawal)
		return [][]byte{leaf}, err
	case item.Key != nil:
		if item.Key.Role == raftfsm.RoleCluster && len(item.Key.NewKey) > 0 {
			s.signer = s.World.clusterKeys[string(item.Key.NewKey)]
		}
		leaf, err := evidence.KeyLeaf(item.Key)
		return [][]byte{leaf}, err
	case item.Handover != nil:
		leaf, err := evidence.HandoverLeaf(item.Handover)
		return [][]byte{leaf}, err
	}
	return nil, errors.New("an item of a kind that this version does not know")
}

func (s *Served) certified(item *raftfsm.CertifiedItem) ([][]byte, error) {
	raw := s.Transcripts[item.Transcript]
	s.Files[evidence.TranscriptPath(item.Transcript)] = raw
	t := new(build.Transcript)
	if err := wire.Decode(raw, t); err != nil {
		return nil, err
	}
	content, _, delivered := evidence.DeliveredManifest(&t.Build)
	if !delivered {
		leaf, err := evidence.BuildLeaf(item, t.Build.Verdict)
		return [][]byte{leaf}, err
	}
	m := s.World.Manifests[content]
	c, err := evidence.NewCertified(item, t, m)
	if err != nil {
		return nil, err
	}
	sign := func(statement []byte) ([]byte, error) { return s.signer.Sign(attest.Payload(statement)) }
	leaves, err := c.Leaves(func(attempt int) ([]byte, error) {
		return s.World.Provenance(&t.Build, &t.Build.Attempts[attempt]).Statement()
	}, sign, s.signer.PKIX)
	if err != nil {
		return nil, err
	}
	if s.Summarise != nil {
		if err := s.resummarise(c, leaves, sign); err != nil {
			return nil, err
		}
	}
	s.Files[evidence.ManifestPath(content)] = m.Bytes()
	s.Files[evidence.SummaryPath(item.Build)] = leaves.Envelope
	return leaves.All(), nil
}

// resummarise signs another summary.
func (s *Served) resummarise(c *evidence.Certified, l *evidence.Leaves, sign func([]byte) ([]byte, error)) (err error) {
	summary := c.Summary(l.SummaryInput, l.LeftOut)
	s.Summarise(summary)
	if l.Summary, err = summary.Statement(); err != nil {
		return err
	}
	if l.Signature, err = sign(l.Summary); err != nil {
		return err
	}
	if l.Envelope, err = attest.Envelope(l.Summary, l.Signature); err != nil {
		return err
	}
	l.SummaryLeaf, err = attest.Leaf(l.Summary, l.Signature, s.signer.PKIX)
	return err
}

// Copy is a Served whose slices and files may be changed without changing s.
func (s *Served) Copy() *Served {
	c := *s
	c.Entries = append([]raftfsm.Entry(nil), s.Entries...)
	c.Items = append([]raftfsm.Item(nil), s.Items...)
	for i := range c.Items {
		if e := c.Items[i].Epoch; e != nil {
			epoch := *e
			c.Items[i].Epoch = &epoch
		}
		if x := c.Items[i].Certified; x != nil {
			certified := *x
			c.Items[i].Certified = &certified
		}
	}
	c.Leaves = append([][]byte(nil), s.Leaves...)
	c.Of = append([]int(nil), s.Of...)
	c.Files, c.Transcripts = maps.Clone(s.Files), maps.Clone(s.Transcripts)
	return &c
}

// Checkpoint is signed by the cluster's key and cosigned by all coordinators.
func (s *Served) Checkpoint(size uint64, root [32]byte) ([]byte, error) {
	return s.note(tlog.Checkpoint{Origin: tlog.Origin(s.Genesis.Digest()), Size: size, Root: root})
}

// FirstClusterKey is the key that the cluster had first.
func (w *World) FirstClusterKey() *Party { return w.clusterKeys[string(w.Genesis.ClusterKey)] }

// FirstCheckpoint is signed as Checkpoint's is, and by the key that the cluster had first.
func (s *Served) FirstCheckpoint(size uint64, root [32]byte) ([]byte, error) {
	return s.noteBy(s.World.FirstClusterKey(), tlog.Checkpoint{Origin: tlog.Origin(s.Genesis.Digest()), Size: size, Root: root})
}

func (s *Served) note(c tlog.Checkpoint) ([]byte, error) { return s.noteBy(s.World.ClusterKey, c) }

func (s *Served) noteBy(cluster *Party, c tlog.Checkpoint) ([]byte, error) {
	note, err := tlog.SignCheckpoint(c, cluster.Sign, cluster.PKIX)
	if err != nil {
		return nil, err
	}
	for _, p := range s.World.Coordinators {
		line, err := tlog.Cosign(note, tlog.CosignerName(c.Origin, p.Name), s.World.clock/1000, p.Sign, p.PKIX)
		if err != nil {
			return nil, err
		}
		if note, err = tlog.AddSignatures(note, line); err != nil {
			return nil, err
		}
	}
	return note, nil
}

// Write writes the directory as it would be exported: tiles over Leaves, a
// checkpoint over them, and Files beside.
func (s *Served) Write(dir string) error {
	l, err := tlog.OpenLog(dir)
	if err != nil {
		return err
	}
	for first := 0; first < len(s.Leaves); first += tlog.MaxBatchEntries {
		if _, err := l.Append(s.Leaves[first:min(len(s.Leaves), first+tlog.MaxBatchEntries)]); err != nil {
			return err
		}
	}
	note, err := s.Checkpoint(l.Size(), l.Root())
	if err != nil {
		return err
	}
	if err := l.Publish(note); err != nil {
		return err
	}
	if s.Files[evidence.StatusPath] == nil {
		if s.Files[evidence.StatusPath], err = s.status(l.Size(), l.Root()); err != nil {
			return err
		}
		defer delete(s.Files, evidence.StatusPath)
	}
	if err := os.Remove(filepath.Join(dir, "sealed")); err != nil { // not served
		return err
	}
	for path, content := range s.Files { // a set, whatever the order
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, path), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

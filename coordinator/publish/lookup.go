package publish

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"go.etcd.io/bbolt"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// Logged is what the log has of a build, under a checkpoint that is shown.
type Logged struct {
	Transcript  []byte
	TrustedRoot []byte                   // has every key of the cluster, for old checkpoints and new ones
	Provenances map[int]*attest.LogEntry // by attempt
	// Envelope is the summary's, raw DSSE, Summary its entry; nil where the build
	// delivers nothing.
	Envelope []byte
	Summary  *attest.LogEntry
	Manifest []byte // of the delivered result
	Status   []byte // the status list as it is served; empty before the first
}

// Lookup returns what the log has of a build, or nil where it is not under a
// checkpoint yet.
func (p *Publisher) Lookup(id ID) (*Logged, error) {
	at, err := p.journal.place(id)
	if err != nil || at == nil {
		return nil, err
	}
	leaves := uint64(len(at.Attempts))
	if at.Summary || leaves == 0 {
		leaves++
	}
	note, err := p.ReadFile("checkpoint", maxNoteBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, key, err := p.openOwn(p.origin, note)
	if err != nil || c.Size < at.First+leaves {
		return nil, err
	}
	out := &Logged{Provenances: map[int]*attest.LogEntry{}}
	for i, attempt := range at.Attempts {
		if out.Provenances[int(attempt)], err = p.entry(at.First+uint64(i), c, key, note); err != nil {
			return nil, err
		}
	}
	if at.Summary {
		if out.Summary, err = p.entry(at.First+leaves-1, c, key, note); err != nil {
			return nil, err
		}
		if out.Envelope, err = p.ReadFile(evidence.SummaryPath(id), attest.MaxBundleBytes); err != nil {
			return nil, err
		}
	}
	if out.Transcript, err = p.ReadFile(evidence.TranscriptPath(at.Transcript), maxFileBytes); err != nil {
		return nil, err
	}
	if at.Summary {
		t, err := build.ReadTranscript(out.Transcript, at.Transcript)
		if err != nil {
			return nil, err
		}
		content, _, _ := evidence.DeliveredManifest(&t.Build)
		if out.Manifest, err = p.ReadFile(evidence.ManifestPath(content), maxFileBytes); err != nil {
			return nil, err
		}
	}
	if out.Status, err = p.ReadFile(evidence.StatusPath, evidence.MaxStatusBytes); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out.TrustedRoot, err = p.ReadFile(evidence.TrustedRootPath, maxFileBytes)
	return out, err
}

func (p *Publisher) entry(index uint64, c *tlog.Opened, key, note []byte) (*attest.LogEntry, error) {
	id, err := tlog.LogID(p.origin, key)
	if err != nil {
		return nil, err
	}
	body, err := p.log().Entry(index)
	if err != nil {
		return nil, err
	}
	proof, err := p.log().Inclusion(index, c.Size)
	if err != nil {
		return nil, err
	}
	return &attest.LogEntry{LogID: id, Index: index, Body: body, Size: c.Size, Root: c.Root, Proof: proof, Checkpoint: note}, nil
}

// ReadFile reads a file of this node's log as it is served. The error wraps
// fs.ErrNotExist where there is none.
func (p *Publisher) ReadFile(path string, limit int64) ([]byte, error) {
	return tlog.DirSource(LogDir(p.config.Dir)).Read(context.Background(), path, limit)
}

func (j *journal) place(id ID) (at *Place, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(bucketBuilds).Get(id[:])
		if raw == nil {
			return nil
		}
		at = new(Place)
		return wire.Decode(raw, at)
	})
	if err != nil {
		return nil, fmt.Errorf("looking for build %x in the log: %w", id, err)
	}
	return at, nil
}

// LoggedBuilds lists builds of this node's log by item, from one to before
// another: at most some thousand at once.
func (p *Publisher) LoggedBuilds(from, to uint64) (out []LoggedBuild, err error) {
	err = p.journal.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketCertified).Cursor()
		for k, id := c.Seek(number(from)); k != nil && len(out) < maxLoggedBuilds; k, id = c.Next() {
			b := LoggedBuild{Item: binary.BigEndian.Uint64(k), Build: ID(id)}
			if b.Item >= to {
				return nil
			}
			if err := wire.Decode(tx.Bucket(bucketBuilds).Get(id), &b.Place); err != nil {
				return err
			}
			out = append(out, b)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the builds in the log: %w", err)
	}
	return out, nil
}

package publish

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"gavel/raftfsm"
	"gavel/raftfsm/wire"
	"gavel/verify/evidence"
)

// showEpochs writes the entries of epochs beside the log, each once nothing in it
// is secret any more.
func (p *Publisher) showEpochs(ctx context.Context) {
	for {
		changed := p.config.State.Changed()
		if err := p.showReady(ctx); err != nil && ctx.Err() == nil {
			p.config.Log.Warn("showing the entries of an epoch waits", "error", err)
		}
		if !pause(ctx, epochPause) {
			return
		}
		select {
		case <-changed:
		case <-time.After(epochEvery): // the journal may have been behind the last change
		case <-ctx.Done():
			return
		}
	}
}

// showReady writes the epochs whose secrets are over, in order up to the first
// that has one: a reader replays them one after the other.
func (p *Publisher) showReady(ctx context.Context) error {
	for ctx.Err() == nil {
		e, err := p.journal.nextEpoch()
		if err != nil || e == nil || p.hasSecrets(e) {
			return err
		}
		if err := p.show(ctx, e); err != nil {
			return fmt.Errorf("epoch %d: %w", e.Number, err)
		}
	}
	return ctx.Err()
}

func (p *Publisher) hasSecrets(e *raftfsm.EpochItem) (stands bool) {
	p.config.State.Read(func(s *raftfsm.State) {
		for _, x := range e.Secrets {
			stands = stands || s.Secret(x)
		}
	})
	return stands
}

// show writes one epoch and lets go of its entries. Those that this node missed
// come from a peer.
func (p *Publisher) show(ctx context.Context, e *raftfsm.EpochItem) error {
	entries, err := p.journal.entries(e.First, e.Last)
	if err != nil {
		return err
	}
	raw := wire.Encode(&entries)
	if evidence.CheckEntries(entries, e.First, e.Last, e.Entries, e.Before, e.Chain) != nil {
		raw, err = p.readPeers(ctx, evidence.EpochPath(e.Number), maxEpochBytes, func(raw []byte) error {
			var entries evidence.EpochEntries
			if err := wire.Decode(raw, &entries); err != nil {
				return err
			}
			return evidence.CheckEntries(entries, e.First, e.Last, e.Entries, e.Before, e.Chain)
		})
		if err != nil {
			return err
		}
	}
	if err := p.log().PutFile(evidence.EpochPath(e.Number), raw); err != nil {
		return err
	}
	return p.journal.shown(e)
}

// nextEpoch is the oldest epoch whose entries are not shown, if any.
func (j *journal) nextEpoch() (e *raftfsm.EpochItem, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		k, raw := tx.Bucket(bucketEpochs).Cursor().First()
		if k == nil {
			return nil
		}
		e = new(raftfsm.EpochItem)
		return wire.Decode(raw, e)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the journal of evidence: %w", err)
	}
	return e, nil
}

// entries are those from first to last that are here.
func (j *journal) entries(first, last uint64) (out evidence.EpochEntries, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketEntries).Cursor()
		for k, raw := c.Seek(number(first)); k != nil && binary.BigEndian.Uint64(k) <= last; k, raw = c.Next() {
			var e raftfsm.Entry
			if err := wire.Decode(raw, &e); err != nil {
				return err
			}
			out = append(out, e)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the journal of evidence: %w", err)
	}
	return out, nil
}

// shown forgets an epoch and the entries up to its last.
func (j *journal) shown(e *raftfsm.EpochItem) error {
	err := j.db.Update(func(tx *bbolt.Tx) error {
		if err := deleteBelow(tx.Bucket(bucketEntries), e.Last+1); err != nil {
			return err
		}
		return tx.Bucket(bucketEpochs).Delete(number(e.Number))
	})
	if err != nil {
		return fmt.Errorf("writing the journal of evidence: %w", err)
	}
	return nil
}

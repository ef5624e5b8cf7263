package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// showStatus keeps a status list beside the log: a new one after each checkpoint,
// and once in a while where nothing happens, so that its signatures' times are of
// some use.
func (p *Publisher) showStatus(ctx context.Context) {
	for {
		wait := statusEvery
		if err := p.status(ctx); err != nil && ctx.Err() == nil {
			p.config.Log.Warn("the status list waits", "error", err)
			wait = retryPause
		}
		if !pause(ctx, statusPause) {
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-p.shown:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// status signs the list for the log as it is shown, has it cosigned and shows it.
func (p *Publisher) status(ctx context.Context) error {
	size := p.log().Published().Size
	if size == 0 {
		return nil
	}
	list, _, err := p.statusList(size)
	if err != nil {
		return err
	}
	key := p.journal.position().Key
	signer, err := p.clusterSigner(key)
	if err != nil {
		return fmt.Errorf("signing the status list: %w", err)
	}
	note, err := tlog.SignCheckpoint(evidence.StatusCheckpoint(p.origin, size, list), signer.Sign, signer.Public)
	if err != nil {
		return fmt.Errorf("signing the status list: %w", err)
	}
	if note, err = p.gather(ctx, note, evidence.StatusTrust(p.trust(key))); err != nil {
		return err
	}
	raw, err := evidence.SignedStatus(list, note)
	if err != nil {
		return err
	}
	return p.log().PutFile(evidence.StatusPath, raw)
}

// statusList is the list of a log of size leaves. It is outdated if this node's log
// has an event beyond them.
func (p *Publisher) statusList(size uint64) (list []byte, outdated bool, err error) {
	root, err := p.log().RootAt(size)
	if err != nil {
		return nil, false, err
	}
	s := evidence.Status{Type: evidence.TypeStatus, Origin: p.origin, Size: size, Root: evidence.Hex(root), Events: []evidence.Event{}}
	events, outdated, err := p.events(0, size)
	if err != nil {
		return nil, false, err
	}
	s.Events = append(s.Events, events...)
	list, err = s.Bytes()
	return list, outdated, err
}

// events are those of this node's log from one leaf to before another; beyond says
// that there are more.
func (p *Publisher) events(from, to uint64) (list []evidence.Event, beyond bool, err error) {
	err = p.journal.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketEvents).Cursor()
		for k, entry := c.Seek(number(from)); k != nil; k, entry = c.Next() {
			leaf := binary.BigEndian.Uint64(k)
			if leaf >= to {
				beyond = true
				return nil
			}
			list = append(list, evidence.Event{Leaf: leaf, Entry: bytes.Clone(entry)})
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("reading the journal of evidence: %w", err)
	}
	return list, beyond, nil
}

// putTrustedRoot writes trusted_root.json for a log of size leaves.
func (p *Publisher) putTrustedRoot(size uint64) error {
	events, _, err := p.events(0, size)
	if err != nil {
		return err
	}
	root, err := evidence.TrustedRoot(p.config.Genesis, events)
	if err != nil {
		return err
	}
	if err := p.log().PutFile(evidence.TrustedRootPath, root); err != nil {
		return err
	}
	p.rooted = size
	return nil
}

// cosignStatus signs a status list if this node's own of that size is the same, and
// nothing has happened since that it lacks: the signature's time is as of when no
// more is known.
func (p *Publisher) cosignStatus(ctx context.Context, note []byte) ([]byte, error) {
	origin := evidence.StatusOrigin(p.origin)
	opened, _, err := p.openOwn(origin, note)
	if err != nil {
		return nil, fmt.Errorf("cosigning: %w", err)
	}
	if err := p.await(ctx, opened.Size); err != nil {
		return nil, err
	}
	list, outdated, err := p.statusList(opened.Size)
	if err != nil {
		return nil, err
	}
	if outdated {
		return nil, fmt.Errorf("cosigning: a status list of %d leaves lacks what the log has had since: ask with a newer one", opened.Size)
	}
	if sha256.Sum256(list) != opened.Root {
		return nil, fmt.Errorf("%w: of %d leaves it has another status list", ErrInconsistent, opened.Size)
	}
	return p.cosign(origin, note)
}

// cosign is this coordinator's signature line, made now.
func (p *Publisher) cosign(origin string, note []byte) ([]byte, error) {
	return tlog.Cosign(note, tlog.CosignerName(origin, p.self.Name), time.Now().Unix(), p.config.Signer.Sign, p.config.Signer.Public)
}

// keepEvents remembers those of a batch's leaves that status lists repeat.
func keepEvents(tx *bbolt.Tx, first uint64, leaves [][]byte) error {
	for i, raw := range leaves {
		leaf, err := evidence.Read(raw)
		if err != nil {
			return errors.Join(fmt.Errorf("leaf %d", first+uint64(i)), err)
		}
		if leaf.IsEvent() {
			if err := tx.Bucket(bucketEvents).Put(number(first+uint64(i)), raw); err != nil {
				return err
			}
		}
	}
	return nil
}

package publish

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"

	"gavel/raftfsm/wire"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// signCheckpoints publishes a checkpoint whenever the log has grown.
func (p *Publisher) signCheckpoints(ctx context.Context) {
	for {
		err := p.checkpoint(ctx)
		wait := checkpointPause
		if err != nil && ctx.Err() == nil {
			p.config.Log.Warn("the checkpoint waits", "error", err)
			p.reopen(err)
			wait = retryPause
		}
		if !pause(ctx, wait) {
			return
		}
		if err != nil {
			continue
		}
		select {
		case <-p.grown:
		case <-ctx.Done():
			return
		}
	}
}

// checkpoint signs the log as it is, has it cosigned and shows it.
func (p *Publisher) checkpoint(ctx context.Context) error {
	at := p.journal.position()
	if at.Leaves == p.log().Published().Size {
		return nil
	}
	root, err := p.log().RootAt(at.Leaves)
	if err != nil {
		return err
	}
	signer, err := p.clusterSigner(at.Key)
	if err != nil {
		return fmt.Errorf("signing the checkpoint: %w", err)
	}
	note, err := tlog.SignCheckpoint(tlog.Checkpoint{Origin: p.origin, Size: at.Leaves, Root: root}, signer.Sign, signer.Public)
	if err != nil {
		return fmt.Errorf("signing the checkpoint: %w", err)
	}
	if note, err = p.gather(ctx, note, p.trust(at.Key)); err != nil {
		return err
	}
	note = p.witnessed(ctx, note)
	// The key is there before what it signed.
	if events, _, err := p.events(p.rooted, at.Leaves); err != nil {
		return err
	} else if len(events) > 0 {
		if err := p.putTrustedRoot(at.Leaves); err != nil {
			return err
		}
	}
	if err := p.log().Publish(note); err != nil {
		return fmt.Errorf("publishing the checkpoint: %w", err)
	}
	select {
	case p.shown <- struct{}{}:
	default:
	}
	return nil
}

// gather has a majority of coordinators cosign a checkpoint, this one first.
func (p *Publisher) gather(ctx context.Context, note []byte, trust tlog.Trust) ([]byte, error) {
	revoked := p.revoked()
	if revoked[p.config.Self] {
		return nil, errors.New("this coordinator's key was revoked: nobody counts what it signs; stop the node")
	}
	line, err := p.Cosign(ctx, note)
	if err != nil {
		return nil, err
	}
	lines, errs := [][]byte{line}, []error(nil)
	if trust.Quorum > 1 {
		type answer struct {
			line []byte
			err  error
		}
		ctx, cancel := context.WithTimeout(ctx, peerTimeout)
		defer cancel()
		answers := make(chan answer, len(p.config.Genesis.Coordinators))
		asked := 0
		for i := range p.config.Genesis.Coordinators {
			m := &p.config.Genesis.Coordinators[i]
			if m.ID == p.config.Self || revoked[m.ID] {
				continue
			}
			asked++
			go func() {
				line, err := p.config.Peers.Cosign(ctx, m.ID, note)
				if err == nil { // one that is none must not take the place of another's
					err = checkLine(&trust.Cosigners[i], note, line)
				}
				if err != nil {
					err = fmt.Errorf("%s: %w", m.Name, err)
				}
				answers <- answer{line, err}
			}()
		}
		for ; asked > 0 && len(lines) < trust.Quorum; asked-- {
			a := <-answers
			if a.err != nil {
				errs = append(errs, a.err)
				continue
			}
			lines = append(lines, a.line)
		}
	}
	signed, err := tlog.AddSignatures(note, lines...)
	if err != nil {
		return nil, fmt.Errorf("cosigning the checkpoint: %w", err)
	}
	if _, err := trust.Open(signed); err != nil {
		return nil, errors.Join(fmt.Errorf("cosigning the checkpoint: %w", err), errors.Join(errs...))
	}
	return signed, nil
}

// checkLine says whether a line is the one signature of a cosigner under a note.
func checkLine(by *tlog.Cosigner, note, line []byte) error {
	if _, err := tlog.AddSignatures(note, line); err != nil {
		return err
	}
	return by.Verify(note, line)
}

// witnessed adds the signatures of those witnesses that give one in time. A
// witness that has seen a larger checkpoint, another coordinator's, gives none.
func (p *Publisher) witnessed(ctx context.Context, note []byte) []byte {
	ctx, cancel := context.WithTimeout(ctx, witnessTimeout)
	defer cancel()
	lines := make([][]byte, len(p.config.Witnesses))
	var asking sync.WaitGroup
	for i, w := range p.config.Witnesses {
		asking.Go(func() {
			line, err := w.Cosign(ctx, note, p.log().Consistency)
			if conflict := new(tlog.ConflictError); errors.As(err, &conflict) && !conflict.SameSize {
				return
			}
			if err != nil {
				p.config.Log.Warn("no witness' signature under this checkpoint", "witness", w.Witness.Name, "error", err)
				return
			}
			lines[i] = line
		})
	}
	asking.Wait()
	for _, line := range lines {
		if line == nil {
			continue
		}
		if signed, err := tlog.AddSignatures(note, line); err == nil {
			note = signed
		}
	}
	return note
}

// cosigned is the largest checkpoint that this node put its name to.
type cosigned struct {
	Size uint64
	Root ID
}

// Code is the canonical encoding.
func (c *cosigned) Code(w *wire.Coder) { w.U64(&c.Size); w.Bytes32(&c.Root) }

// ErrInconsistent says that a checkpoint is not of this node's log. One of the two
// coordinators has a wrong log: both checkpoints are evidence, keep them.
var ErrInconsistent = errors.New("the checkpoint is not consistent with this coordinator's log")

// Cosign signs a checkpoint of the cluster's log if this node's own log begins
// with the same leaves; a checkpoint that is ahead is waited for, a little. What
// was cosigned last is on disk, and a log that no longer has it signs nothing.
func (p *Publisher) Cosign(ctx context.Context, note []byte) ([]byte, error) {
	if c, err := tlog.ReadUnverified(note); err == nil && c.Origin == evidence.StatusOrigin(p.origin) {
		return p.cosignStatus(ctx, note)
	}
	opened, _, err := p.openOwn(p.origin, note)
	if err != nil {
		return nil, fmt.Errorf("cosigning: %w", err)
	}
	if err := p.await(ctx, opened.Size); err != nil {
		return nil, err
	}
	p.cosigning.Lock()
	defer p.cosigning.Unlock()
	last, err := p.journal.lastCosigned()
	if err != nil {
		return nil, err
	}
	for _, c := range []struct {
		size uint64
		root ID
	}{{last.Size, last.Root}, {opened.Size, opened.Root}} {
		if c.size == 0 {
			continue
		}
		if c.size > p.log().Size() {
			return nil, fmt.Errorf("%w: it cosigned %d leaves and has %d", ErrInconsistent, c.size, p.log().Size())
		}
		root, err := p.log().RootAt(c.size)
		if err != nil {
			return nil, err
		}
		if root != c.root {
			return nil, fmt.Errorf("%w: of %d leaves it has the root %x, the checkpoint %x", ErrInconsistent, c.size, root, c.root)
		}
	}
	if opened.Size > last.Size {
		if err := p.journal.setCosigned(&cosigned{opened.Size, opened.Root}); err != nil {
			return nil, err
		}
	}
	return p.cosign(p.origin, note)
}

// openOwn checks that a note of an origin is signed by a key of the cluster, and
// says by which.
func (p *Publisher) openOwn(origin string, note []byte) (opened *tlog.Opened, by []byte, err error) {
	for _, s := range p.config.Cluster {
		only := tlog.Trust{Origin: origin, LogKey: s.Public}
		if opened, err = only.Open(note); err == nil {
			return opened, s.Public, nil
		}
	}
	return nil, nil, err
}

// await waits until this node's log has as many leaves as a checkpoint, and its
// journal what they say.
func (p *Publisher) await(ctx context.Context, size uint64) error {
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	for p.journal.position().Leaves < size {
		if !pause(ctx, awaitPause) {
			return fmt.Errorf("cosigning: the checkpoint has %d leaves, this coordinator's log %d: it is behind", size, p.journal.position().Leaves)
		}
	}
	return nil
}

func (j *journal) lastCosigned() (c cosigned, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		if raw := tx.Bucket(bucketMeta).Get(keyCosigned); raw != nil {
			return wire.Decode(raw, &c)
		}
		return nil
	})
	if err != nil {
		return c, fmt.Errorf("reading what was cosigned last: %w", err)
	}
	return c, nil
}

func (j *journal) setCosigned(c *cosigned) error {
	err := j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyCosigned, wire.Encode(c)) })
	if err != nil {
		return fmt.Errorf("keeping what was cosigned: %w", err)
	}
	return nil
}

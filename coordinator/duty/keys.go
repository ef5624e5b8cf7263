package duty

import (
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// keeper takes part in key generations and keeps this node's shares: of the key in
// use, and during a handover of the next.
type keeper struct {
	d  *Duties
	mu sync.Mutex // guards held, and keeps writing shares to one at a time

	held map[beacon.GroupKey]*heldShare
}

// heldShare is this node's share of one group key.
type heldShare struct {
	stored chan struct{} // closed once share and group are set and on disk
	share  beacon.Share  // read only after stored is closed
	group  *beacon.Group
}

func newKeeper(d *Duties) *keeper {
	return &keeper{d: d, held: make(map[beacon.GroupKey]*heldShare)}
}

// of is what is held of a key; the caller holds mu.
func (k *keeper) of(key beacon.GroupKey) *heldShare {
	h := k.held[key]
	if h == nil {
		h = &heldShare{stored: make(chan struct{})}
		k.held[key] = h
	}
	return h
}

// wait returns the share of a group key once it is on disk.
func (k *keeper) wait(ctx context.Context, key beacon.GroupKey) (beacon.Share, *beacon.Group, error) {
	k.mu.Lock()
	h := k.of(key)
	k.mu.Unlock()
	select {
	case <-h.stored:
		return h.share, h.group, nil
	case <-ctx.Done():
		return beacon.Share{}, nil, ctx.Err()
	}
}

// keyStep tells the steps of key generations apart. Deals is a digest of the
// deals it is about: should a ceremony start over, its steps are new ones.
type keyStep struct {
	kind    stepKind
	next    bool   // of a handover's key
	round   uint64 // of the ceremony
	accuser uint32
	deals   [32]byte
}

type stepKind uint8

const (
	stepDeal    stepKind = iota + 1 // post commitments and sealed shares
	stepCheck                       // open what was dealt, confirm or complain
	stepJustify                     // answer an accuser in the open
	stepShare                       // add the share up and store it
)

// keyDuty is one step and what it needs to know.
type keyDuty struct {
	keyStep
	of *Generation
}

// due lists the steps that the state asks for now.
func (k *keeper) due(look *Look) map[keyStep]keyDuty {
	out := make(map[keyStep]keyDuty)
	k.dueFor(&look.Generation, false, out)
	if look.Next != nil {
		k.dueFor(look.Next, true, out)
	}
	return out
}

func (k *keeper) dueFor(g *Generation, next bool, out map[keyStep]keyDuty) {
	add := func(s keyStep) {
		s.next, s.round = next, g.Ceremony.Round
		out[s] = keyDuty{s, g}
	}
	if g.Key.Done {
		add(keyStep{kind: stepShare})
		return
	}
	deals := dealsDigest(g.Key.Deals)
	if g.Key.Deal {
		add(keyStep{kind: stepDeal})
	}
	if g.Key.Check {
		add(keyStep{kind: stepCheck, deals: deals})
	}
	for _, accuser := range g.Key.Justify {
		add(keyStep{kind: stepJustify, accuser: accuser, deals: deals})
	}
}

func dealsDigest(deals [][]byte) [32]byte {
	h := sha256.New()
	for _, deal := range deals {
		sum := sha256.Sum256(deal)
		h.Write(sum[:])
	}
	return [32]byte(h.Sum(nil))
}

// step does one step. What fails here fails again: it is logged for a person, and
// the others' deals and deadlines lead on without this node.
func (k *keeper) step(ctx context.Context, duty keyDuty) {
	var err error
	switch duty.kind {
	case stepDeal:
		err = k.deal(ctx, duty.of, duty.next)
	case stepCheck:
		err = k.check(ctx, duty.of)
	case stepJustify:
		err = k.justify(ctx, duty.accuser, duty.next)
	case stepShare:
		err = k.settle(duty.of, duty.next)
	}
	if err != nil && ctx.Err() == nil {
		k.d.log.Error("key generation", "error", err)
	}
}

// The files of a handover's key have names of their own, until it is in use.
func (k *keeper) dealingPath(next bool) string { return k.path("beacon-dealing", next) }
func (k *keeper) sharePath(next bool) string   { return k.path("beacon-share", next) }

func (k *keeper) path(name string, next bool) string {
	if next {
		name += "-next"
	}
	return filepath.Join(k.d.config.Dir, name+".pem")
}

func (k *keeper) member() uint32 { return uint32(k.d.index) + 1 }

// deal posts this node's deal. The polynomial is on disk first: a node that
// crashed after posting must still be able to justify it.
func (k *keeper) deal(ctx context.Context, of *Generation, next bool) error {
	var receivers []hpke.PublicKey
	for i := range k.d.members {
		m := &k.d.members[i]
		key, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(m.SealKey)
		if err != nil {
			return fmt.Errorf("reading the seal key of %s: %w", m.Name, err)
		}
		receivers = append(receivers, key)
	}
	deal, err := k.storedDeal(k.dealingPath(next), of.Ceremony, receivers)
	if err != nil {
		dealing, err := beacon.NewDealing(rand.Reader, of.Ceremony, k.member())
		if err != nil {
			return err
		}
		if err := writeSecret(k.dealingPath(next), dealing.Bytes()); err != nil {
			return err
		}
		if deal, err = dealing.Deal(receivers); err != nil {
			return err
		}
	}
	k.d.insist(ctx, build.TypeDeal, &build.Deal{Deal: wire.Encode(deal)})
	return nil
}

// storedDeal deals what an earlier run of this node began.
func (k *keeper) storedDeal(path string, c beacon.Ceremony, receivers []hpke.PublicKey) (*beacon.Deal, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	dealing, err := beacon.ParseDealing(data)
	if err != nil {
		return nil, err
	}
	deal, err := dealing.Deal(receivers)
	if err != nil {
		return nil, err
	}
	if deal.Dealer != k.member() {
		return nil, errors.New("the stored dealing is another member's")
	}
	return deal, deal.Verify(c)
}

// check opens what the others dealt to this node, and confirms or complains.
func (k *keeper) check(ctx context.Context, of *Generation) error {
	var bad []uint32
	for i, raw := range of.Key.Deals {
		if raw == nil {
			continue // it was away
		}
		var deal beacon.Deal
		if err := wire.Decode(raw, &deal); err != nil {
			return fmt.Errorf("reading the deal of %s: %w", k.d.members[i].Name, err)
		}
		switch _, err := beacon.OpenShare(of.Ceremony, &deal, k.member(), k.d.config.SealKey.HPKE()); {
		case errors.Is(err, beacon.ErrBadShare):
			k.d.log.Warn("complaining of a deal", "dealer", k.d.members[i].Name, "error", err)
			bad = append(bad, deal.Dealer)
		case err != nil:
			return fmt.Errorf("opening the share from %s: %w", k.d.members[i].Name, err)
		}
	}
	k.d.insist(ctx, build.TypeComplain, &build.Complain{Round: of.Ceremony.Round, Dealers: bad})
	return nil
}

// justify makes the share of a member that complained public.
func (k *keeper) justify(ctx context.Context, accuser uint32, next bool) error {
	data, err := os.ReadFile(k.dealingPath(next))
	if err != nil {
		return fmt.Errorf("answering a complaint of %s: %w", k.d.members[accuser-1].Name, err)
	}
	dealing, err := beacon.ParseDealing(data)
	if err != nil {
		return fmt.Errorf("answering a complaint of %s: %w", k.d.members[accuser-1].Name, err)
	}
	j, err := dealing.Justify(accuser)
	if err != nil {
		return err
	}
	k.d.insist(ctx, build.TypeJustify, &build.Justify{Justification: wire.Encode(&j)})
	return nil
}

// settle makes the share ready: from its file, or, where that is lacking or not
// of this key, from the deals in the state. The file is written before anyone
// may use the share; a crash in between computes it again. Then the polynomial
// is no longer needed, and of a key that has come into use the former one's share.
func (k *keeper) settle(of *Generation, next bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	share, err := k.stored(of, next)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			k.d.log.Warn("computing the beacon share again", "error", err)
		}
		if share, err = k.openShares(of); err != nil {
			return fmt.Errorf("computing the beacon share: %w; this node cannot sign draws", err)
		}
		file := beacon.ShareFile{Ceremony: of.Ceremony, Group: of.Group.Key, Share: share}
		if err := writeSecret(k.sharePath(next), file.Bytes()); err != nil {
			return err
		}
	}
	if err := os.Remove(k.dealingPath(next)); err != nil && !errors.Is(err, os.ErrNotExist) {
		k.d.log.Warn("removing the dealing of a finished key generation", "error", err)
	}
	h := k.of(of.Group.Key)
	if h.group == nil {
		group := of.Group
		h.share, h.group = share, &group
		close(h.stored)
	}
	return nil
}

// stored is the share on disk. That of a key which has come into use may still lie
// where a handover put it.
func (k *keeper) stored(of *Generation, next bool) (beacon.Share, error) {
	share, err := k.readShare(k.sharePath(next), of)
	if err == nil || next {
		return share, err
	}
	share, nextErr := k.readShare(k.sharePath(true), of)
	if nextErr != nil {
		return share, err
	}
	return share, os.Rename(k.sharePath(true), k.sharePath(false))
}

// readShare reads a share's file and checks that it belongs to the state's key.
func (k *keeper) readShare(path string, of *Generation) (beacon.Share, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return beacon.Share{}, err
	}
	f, err := beacon.ParseShareFile(data)
	if err != nil {
		return beacon.Share{}, err
	}
	if f.Ceremony != of.Ceremony || f.Group != of.Group.Key || f.Share.Index != k.member() {
		return beacon.Share{}, errors.New("the stored share belongs to another key")
	}
	return f.Share, f.Share.Check(of.Group.Shares[k.member()-1])
}

// openShares adds up what the qualified dealers dealt to this node; where one
// dealt wrongly and was made to justify itself, what it then said.
func (k *keeper) openShares(of *Generation) (beacon.Share, error) {
	var parts []beacon.Secret
	for _, dealer := range of.Key.Qualified {
		var deal beacon.Deal
		if err := wire.Decode(of.Key.Deals[dealer-1], &deal); err != nil {
			return beacon.Share{}, err
		}
		part, err := beacon.OpenShare(of.Ceremony, &deal, k.member(), k.d.config.SealKey.HPKE())
		if errors.Is(err, beacon.ErrBadShare) {
			part, err = k.justified(of, &deal, err)
		}
		if err != nil {
			return beacon.Share{}, err
		}
		parts = append(parts, part)
	}
	return beacon.CombineShares(k.member(), parts, of.Group.Shares[k.member()-1])
}

// justified is the share that a dealer made public after this node complained.
func (k *keeper) justified(of *Generation, deal *beacon.Deal, why error) (beacon.Secret, error) {
	for _, raw := range of.Justified {
		var j beacon.Justification
		if err := wire.Decode(raw, &j); err != nil {
			return beacon.Secret{}, err
		}
		if j.Dealer == deal.Dealer && j.Accuser == k.member() {
			return j.Open(of.Ceremony, deal)
		}
	}
	return beacon.Secret{}, why
}

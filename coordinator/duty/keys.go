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

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// keeper takes part in key generation and keeps this node's share.
type keeper struct {
	d      *Duties
	stored chan struct{} // closed once share and group are set and on disk
	share  beacon.Share  // read only after stored is closed
	group  *beacon.Group
}

func newKeeper(d *Duties) *keeper { return &keeper{d: d, stored: make(chan struct{})} }

// wait returns the share once it is on disk.
func (k *keeper) wait(ctx context.Context) (beacon.Share, *beacon.Group, error) {
	select {
	case <-k.stored:
		return k.share, k.group, nil
	case <-ctx.Done():
		return beacon.Share{}, nil, ctx.Err()
	}
}

// keyStep tells the steps of a key generation apart. Deals is a digest of the
// deals it is about: should the ceremony start over, its steps are new ones.
type keyStep struct {
	kind    stepKind
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
	look *Look
}

// due lists the steps that the state asks for now.
func (k *keeper) due(look *Look) map[keyStep]keyDuty {
	out := make(map[keyStep]keyDuty)
	add := func(s keyStep) { out[s] = keyDuty{s, look} }
	if look.Key.Done {
		add(keyStep{kind: stepShare})
		return out
	}
	deals := dealsDigest(look.Key.Deals)
	if look.Key.Deal {
		add(keyStep{kind: stepDeal})
	}
	if look.Key.Check {
		add(keyStep{kind: stepCheck, deals: deals})
	}
	for _, accuser := range look.Key.Justify {
		add(keyStep{kind: stepJustify, accuser: accuser, deals: deals})
	}
	return out
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
		err = k.deal(ctx, duty.look)
	case stepCheck:
		err = k.check(ctx, duty.look)
	case stepJustify:
		err = k.justify(ctx, duty.accuser)
	case stepShare:
		err = k.settle(duty.look)
	}
	if err != nil && ctx.Err() == nil {
		k.d.log.Error("key generation", "error", err)
	}
}

func (k *keeper) dealingPath() string { return filepath.Join(k.d.config.Dir, "beacon-dealing.pem") }
func (k *keeper) sharePath() string   { return filepath.Join(k.d.config.Dir, "beacon-share.pem") }

func (k *keeper) member() uint32 { return uint32(k.d.index) + 1 }

// deal posts this node's deal. The polynomial is on disk first: a node that
// crashed after posting must still be able to justify it.
func (k *keeper) deal(ctx context.Context, look *Look) error {
	var receivers []hpke.PublicKey
	for i := range k.d.members {
		m := &k.d.members[i]
		key, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(m.SealKey)
		if err != nil {
			return fmt.Errorf("reading the seal key of %s: %w", m.Name, err)
		}
		receivers = append(receivers, key)
	}
	deal, err := k.storedDeal(look.Ceremony, receivers)
	if err != nil {
		dealing, err := beacon.NewDealing(rand.Reader, look.Ceremony, k.member())
		if err != nil {
			return err
		}
		if err := writeSecret(k.dealingPath(), dealing.Bytes()); err != nil {
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
func (k *keeper) storedDeal(c beacon.Ceremony, receivers []hpke.PublicKey) (*beacon.Deal, error) {
	data, err := os.ReadFile(k.dealingPath())
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
func (k *keeper) check(ctx context.Context, look *Look) error {
	var bad []uint32
	for i, raw := range look.Key.Deals {
		var deal beacon.Deal
		if err := wire.Decode(raw, &deal); err != nil {
			return fmt.Errorf("reading the deal of %s: %w", k.d.members[i].Name, err)
		}
		switch _, err := beacon.OpenShare(look.Ceremony, &deal, k.member(), k.d.config.SealKey.HPKE()); {
		case errors.Is(err, beacon.ErrBadShare):
			k.d.log.Warn("complaining of a deal", "dealer", k.d.members[i].Name, "error", err)
			bad = append(bad, deal.Dealer)
		case err != nil:
			return fmt.Errorf("opening the share from %s: %w", k.d.members[i].Name, err)
		}
	}
	k.d.insist(ctx, build.TypeComplain, &build.Complain{Round: look.Ceremony.Round, Dealers: bad})
	return nil
}

// justify makes the share of a member that complained public.
func (k *keeper) justify(ctx context.Context, accuser uint32) error {
	data, err := os.ReadFile(k.dealingPath())
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
// is no longer needed.
func (k *keeper) settle(look *Look) error {
	group := look.Group
	share, err := k.readShare(look)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			k.d.log.Warn("computing the beacon share again", "error", err)
		}
		if share, err = k.openShares(look); err != nil {
			return fmt.Errorf("computing the beacon share: %w; this node cannot sign draws", err)
		}
		file := beacon.ShareFile{Ceremony: look.Ceremony, Group: group.Key, Share: share}
		if err := writeSecret(k.sharePath(), file.Bytes()); err != nil {
			return err
		}
	}
	if err := os.Remove(k.dealingPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		k.d.log.Warn("removing the dealing of a finished key generation", "error", err)
	}
	k.share, k.group = share, &group
	close(k.stored)
	return nil
}

// readShare reads the share's file and checks that it belongs to the state's key.
func (k *keeper) readShare(look *Look) (beacon.Share, error) {
	data, err := os.ReadFile(k.sharePath())
	if err != nil {
		return beacon.Share{}, err
	}
	f, err := beacon.ParseShareFile(data)
	if err != nil {
		return beacon.Share{}, err
	}
	if f.Ceremony != look.Ceremony || f.Group != look.Group.Key || f.Share.Index != k.member() {
		return beacon.Share{}, errors.New("the stored share belongs to another key")
	}
	return f.Share, f.Share.Check(look.Group.Shares[k.member()-1])
}

// openShares adds up what the qualified dealers dealt to this node; where one
// dealt wrongly and was made to justify itself, what it then said.
func (k *keeper) openShares(look *Look) (beacon.Share, error) {
	var parts []beacon.Secret
	for _, dealer := range look.Key.Qualified {
		var deal beacon.Deal
		if err := wire.Decode(look.Key.Deals[dealer-1], &deal); err != nil {
			return beacon.Share{}, err
		}
		part, err := beacon.OpenShare(look.Ceremony, &deal, k.member(), k.d.config.SealKey.HPKE())
		if errors.Is(err, beacon.ErrBadShare) {
			part, err = k.justified(look, &deal, err)
		}
		if err != nil {
			return beacon.Share{}, err
		}
		parts = append(parts, part)
	}
	return beacon.CombineShares(k.member(), parts, look.Group.Shares[k.member()-1])
}

// justified is the share that a dealer made public after this node complained.
func (k *keeper) justified(look *Look, deal *beacon.Deal, why error) (beacon.Secret, error) {
	for _, raw := range look.Justified {
		var j beacon.Justification
		if err := wire.Decode(raw, &j); err != nil {
			return beacon.Secret{}, err
		}
		if j.Dealer == deal.Dealer && j.Accuser == k.member() {
			return j.Open(look.Ceremony, deal)
		}
	}
	return beacon.Secret{}, why
}

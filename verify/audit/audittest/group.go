package audittest

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"math/big"
	"math/rand/v2"

	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// seeded is a source of bytes that are the same at every run.
type seeded struct{ *rand.Rand }

func (s seeded) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s.Uint32())
	}
	return len(p), nil
}

// sealKey is a coordinator's X25519 key.
func sealKey(p *Party) (hpke.PrivateKey, []byte, error) {
	seed := sha256.Sum256(append([]byte("audittest seal "), p.PKIX...))
	private, err := ecdh.X25519().NewPrivateKey(seed[:])
	if err != nil {
		return nil, nil, err
	}
	key, err := hpke.NewDHKEMPrivateKey(private)
	return key, private.PublicKey().Bytes(), err
}

// generateKeys runs the first ceremony, and keeps what signs for the group.
func (w *World) generateKeys() error {
	share, err := w.ceremony(func() *raftfsm.KeyGeneration { return w.state().Keys() })
	w.group = share
	return err
}

// ceremony runs a real key generation through commands, and returns what signs for
// the group that it makes.
func (w *World) ceremony(made func() *raftfsm.KeyGeneration) (share beacon.Share, err error) {
	s := w.state()
	c := s.NextCeremony()
	members := s.Genesis().Coordinators
	var receivers []hpke.PublicKey
	for i := range members {
		receivers = append(receivers, w.seals[members[i].ID].PublicKey())
	}
	for i := range members {
		dealing, err := beacon.NewDealing(seeded{w.rng}, c, uint32(i+1))
		if err != nil {
			return share, err
		}
		d, err := dealing.Deal(receivers)
		if err != nil {
			return share, err
		}
		w.send(w.command(w.byID[members[i].ID], build.TypeDeal, &build.Deal{Deal: wire.Encode(d)}))
	}
	shares := make([][]beacon.Secret, len(members))
	for i := range members {
		for _, raw := range s.NextKeyDuty(members[i].ID).Deals {
			var d beacon.Deal
			if err := wire.Decode(raw, &d); err != nil {
				return share, err
			}
			secret, err := beacon.OpenShare(c, &d, uint32(i+1), w.seals[members[i].ID])
			if err != nil {
				return share, err
			}
			shares[i] = append(shares[i], secret)
		}
	}
	for i := range members {
		w.send(w.command(w.byID[members[i].ID], build.TypeComplain, &build.Complain{Round: c.Round}))
	}
	k := made()
	if k == nil || !k.Done {
		return share, fmt.Errorf("key generation did not finish")
	}
	return joinShares(c, k.Group, shares)
}

// groupOrder is the order of BLS12-381's groups.
var groupOrder, _ = new(big.Int).SetString("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001", 16)

// joinShares interpolates the group's private key, which a farm never has in
// one place: one signature then costs a multiplication instead of the combining
// and checking of partial ones, and is the same.
func joinShares(c beacon.Ceremony, group beacon.Group, parts [][]beacon.Secret) (beacon.Share, error) {
	t := beacon.Threshold(len(parts))
	sum := new(big.Int)
	var file []byte
	for i := range t {
		share, err := beacon.CombineShares(uint32(i+1), parts[i], group.Shares[i])
		if err != nil {
			return beacon.Share{}, err
		}
		block, _ := pem.Decode(beacon.ShareFile{Ceremony: c, Group: group.Key, Share: share}.Bytes())
		file = block.Bytes // ends with the share: 32 bytes, big-endian
		value := new(big.Int).SetBytes(file[len(file)-32:])
		for j := range t {
			if j == i {
				continue
			}
			value.Mul(value, big.NewInt(int64(j+1)))
			value.Mul(value, new(big.Int).ModInverse(new(big.Int).Mod(big.NewInt(int64(j-i)), groupOrder), groupOrder))
		}
		sum.Add(sum, value)
	}
	sum.Mod(sum, groupOrder).FillBytes(file[len(file)-32:])
	parsed, err := beacon.ParseShareFile(pem.EncodeToMemory(&pem.Block{Type: "GAVEL BEACON SHARE", Bytes: file}))
	return parsed.Share, err
}

// GroupSign is the group's signature.
func (w *World) GroupSign(msg []byte) [48]byte { return w.group.Sign(msg).Sig }

// demanded is the signature that the state asks for.
func (w *World) demanded(d raftfsm.Demand) build.Command {
	return w.command(nil, build.TypeBeacon, &build.Beacon{
		Purpose: d.Purpose, Build: d.Build, Round: d.Round, Signature: w.GroupSign(d.Message(w.Cluster)),
	})
}

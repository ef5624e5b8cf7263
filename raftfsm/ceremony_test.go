package raftfsm

import (
	"crypto/hpke"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// generateKeys runs the real ceremony through commands.
func (f *farm) generateKeys() {
	for i := range f.genesis.Coordinators {
		f.must(f.dealing(i))
	}
	for i := range f.genesis.Coordinators {
		f.must(f.answer(i))
	}
	if !f.state().Ready() {
		f.t.Fatal("key generation did not finish")
	}
}

// dealing is a coordinator's deal in the key generation under way.
func (f *farm) dealing(i int) build.Command {
	var receivers []hpke.PublicKey
	for i := range f.genesis.Coordinators {
		receivers = append(receivers, f.seals[f.genesis.Coordinators[i].ID].PublicKey())
	}
	dealing, err := beacon.NewDealing(seeded{f.rng}, f.state().NextCeremony(), uint32(i+1))
	check(f.t, err)
	d, err := dealing.Deal(receivers)
	check(f.t, err)
	return f.command(f.genesis.Coordinators[i].Key, build.TypeDeal, &build.Deal{Deal: wire.Encode(d)})
}

// answer is a coordinator's word that what it was dealt is right.
func (f *farm) answer(i int) build.Command {
	m := &f.genesis.Coordinators[i]
	duty, c := f.state().NextKeyDuty(m.ID), f.state().NextCeremony()
	if !duty.Check {
		f.t.Fatal("nobody is asked to check the deals")
	}
	for _, raw := range duty.Deals {
		if raw == nil {
			continue
		}
		var d beacon.Deal
		check(f.t, wire.Decode(raw, &d))
		_, err := beacon.OpenShare(c, &d, uint32(i+1), f.seals[m.ID])
		check(f.t, err)
	}
	return f.command(m.Key, build.TypeComplain, &build.Complain{Round: c.Round})
}

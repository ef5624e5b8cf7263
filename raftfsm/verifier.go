package raftfsm

import (
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/wire"
)

// verifier checks proofs. Tests that drive millions of commands put a cheap
// hash in its place; there is no way to configure it.
type verifier interface {
	signature(pkix, msg, sig []byte) error
	beacon(key beacon.GroupKey, msg []byte, sig beacon.Signature) error
	beacons(key beacon.GroupKey, msgs [][]byte, sigs []beacon.Signature) error
	deal(d *beacon.Deal, c beacon.Ceremony) error
	justification(j *beacon.Justification, d *beacon.Deal, c beacon.Ceremony) error
	assemble(c beacon.Ceremony, deals []*beacon.Deal) (*beacon.Group, error)
}

// cryptography is the one verifier outside tests.
type cryptography struct{}

func (cryptography) signature(pkix, msg, sig []byte) error {
	return wire.VerifySignature(pkix, msg, sig)
}

func (cryptography) beacon(key beacon.GroupKey, msg []byte, sig beacon.Signature) error {
	return beacon.Verify(key, msg, sig)
}

func (cryptography) beacons(key beacon.GroupKey, msgs [][]byte, sigs []beacon.Signature) error {
	return beacon.VerifyBatch(key, msgs, sigs)
}

func (cryptography) deal(d *beacon.Deal, c beacon.Ceremony) error { return d.Verify(c) }

func (cryptography) justification(j *beacon.Justification, d *beacon.Deal, c beacon.Ceremony) error {
	_, err := j.Open(c, d)
	return err
}

func (cryptography) assemble(c beacon.Ceremony, deals []*beacon.Deal) (*beacon.Group, error) {
	return beacon.Assemble(c, deals)
}

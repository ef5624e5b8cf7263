package beacon

import (
	"bytes"
	"encoding/pem"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"gavel/raftfsm/wire"
)

// The PEM types of the two secret files, so that a person who meets one knows
// what not to mail around.
const (
	sharePEM   = "GAVEL BEACON SHARE"
	dealingPEM = "GAVEL BEACON DEALING"
)

// ShareFile is a share as it lies on disk, with the group it belongs to.
type ShareFile struct {
	Ceremony Ceremony
	Group    GroupKey
	Share    Share
}

// Bytes is the file's content: PEM around the canonical encoding. The caller
// writes it with mode 0600.
func (f ShareFile) Bytes() []byte {
	if f.Share.secret.value == nil {
		panic("beacon: writing an empty share")
	}
	return pem.EncodeToMemory(&pem.Block{Type: sharePEM, Bytes: wire.Encode(&f)})
}

// Code is the canonical encoding.
func (f *ShareFile) Code(c *wire.Coder) {
	f.Ceremony.Code(c)
	f.Group.Code(c)
	c.U32(&f.Share.Index)
	codeSecret(c, &f.Share.secret)
	if c.Decoding() && c.Err() == nil {
		if err := f.Ceremony.member("member", f.Share.Index); err != nil {
			c.Refuse("%v", err)
		}
	}
}

// ParseShareFile reads what Bytes wrote. The caller compares Ceremony and Group
// with its state and calls Share.Check before it signs.
func ParseShareFile(b []byte) (ShareFile, error) {
	var f ShareFile
	if err := parsePEM(b, sharePEM, &f); err != nil {
		return ShareFile{}, err
	}
	return f, nil
}

// Bytes is the content of a dealing's file. The caller writes it with mode 0600.
func (d *Dealing) Bytes() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: dealingPEM, Bytes: wire.Encode(d)})
}

// Code is the canonical encoding.
func (d *Dealing) Code(c *wire.Coder) {
	d.ceremony.Code(c)
	c.U32(&d.dealer)
	if c.Decoding() && c.Err() == nil {
		if err := d.ceremony.member("dealer", d.dealer); err != nil {
			c.Refuse("%v", err)
		}
	}
	if c.Err() != nil {
		return
	}
	if c.Decoding() {
		polynomial := make([]fr.Element, d.ceremony.Threshold())
		d.polynomial = &polynomial
	}
	for i := range *d.polynomial {
		codeSecret(c, &Secret{&(*d.polynomial)[i]})
	}
}

// ParseDealing reads what Dealing.Bytes wrote.
func ParseDealing(b []byte) (*Dealing, error) {
	d := new(Dealing)
	if err := parsePEM(b, dealingPEM, d); err != nil {
		return nil, err
	}
	return d, nil
}

// codeSecret codes 32 bytes big-endian; zero and what is not below the group
// order are refused. It decodes into the value that s points to, if any.
func codeSecret(c *wire.Coder, s *Secret) {
	var raw [scalarBytes]byte
	if !c.Decoding() {
		raw = s.value.Bytes()
	}
	c.Bytes32(&raw)
	if !c.Decoding() || c.Err() != nil {
		return
	}
	value, err := decodeScalar(raw[:])
	if err == nil && value.IsZero() {
		err = fmt.Errorf("%w: zero", ErrBadScalar)
	}
	if err != nil {
		c.Refuse("%v", err)
		return
	}
	if s.value == nil {
		s.value = new(fr.Element)
	}
	s.value.Set(value)
}

// parsePEM reads one PEM block of the given type and nothing around it.
func parsePEM(b []byte, kind string, into wire.Record) error {
	if len(b) > maxFileBytes {
		return fmt.Errorf("reading %s: %d bytes, at most %d", kind, len(b), maxFileBytes)
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != kind {
		return fmt.Errorf("reading %s: no such PEM block; restore the file from its backup", kind)
	}
	// encoding/pem forgives spaces, headers and text around the block; a file
	// of ours has none, so anything else was edited.
	if !bytes.Equal(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: block.Bytes}), b) {
		return fmt.Errorf("reading %s: the file was edited; restore it from its backup", kind)
	}
	if err := wire.Decode(block.Bytes, into); err != nil {
		return fmt.Errorf("reading %s: %w; restore the file from its backup", kind, err)
	}
	return nil
}

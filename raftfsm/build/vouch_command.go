package build

import "gavel/raftfsm/wire"

// Vouch is one coordinator's signature.
type Vouch struct {
	Coordinator ID
	Signature   []byte
}

// Code is the canonical encoding.
func (m *Vouch) Code(c *wire.Coder) {
	c.Bytes32(&m.Coordinator)
	c.Blob(&m.Signature, MaxSignatureBytes)
}

// Vouched is the payload of TypeMismatch and TypeStored: a statement about an
// attempt, signed by at least t coordinators, ascending by id.
type Vouched struct {
	Build, Lease ID
	// Digest is the commitment (mismatch) or the result digest (stored).
	Digest  ID
	Vouches []Vouch
}

// Code is the canonical encoding.
func (m *Vouched) Code(c *wire.Coder) {
	c.Bytes32(&m.Build)
	c.Bytes32(&m.Lease)
	c.Bytes32(&m.Digest)
	wire.Records(c, &m.Vouches, 64)
}

// VouchBytes is what a coordinator signs: the 32 bytes of
// H("mismatch" or "stored" ‖ cluster ‖ build ‖ lease ‖ digest).
func VouchBytes(t Type, cluster, build, lease, digest ID) []byte {
	h := wire.NewHasher(t.String()).Fixed(cluster).Fixed(build).Fixed(lease).Fixed(digest).Sum()
	return h[:]
}

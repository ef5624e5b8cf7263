package build

import (
	"bytes"
	"fmt"
	"slices"

	"gavel/raftfsm/wire"
)

// TranscriptVersion is the version of Transcript's encoding.
const TranscriptVersion = 2

// MaxTranscriptBytes bounds a transcript that is read: the record's own limits
// leave a few megabytes.
const MaxTranscriptBytes = 16 << 20

// Party is someone named in a build's record, as it was when the build settled.
type Party struct {
	ID      ID
	Key     []byte // PKIX DER
	Name    string
	Machine string // of a worker
	Class   string // of a worker
	// Operator is whom it belongs to, empty for none.
	Operator string
}

// Code is the canonical encoding.
func (p *Party) Code(c *wire.Coder) {
	c.Bytes32(&p.ID)
	c.Blob(&p.Key, 512)
	c.String(&p.Name, MaxNameBytes)
	c.String(&p.Machine, MaxNameBytes)
	c.String(&p.Class, MaxClassBytes)
	c.String(&p.Operator, MaxNameBytes)
}

// Transcript is all that is needed to decide a settled build once more, and to
// check every draw in it: what the group key signs the digest of.
type Transcript struct {
	Cluster      ID
	Simulated    bool
	GroupKey     [96]byte // compressed, in G2
	WallMillis   int64    // the leader's clock at the last tick before the settlement; informative
	Params       Params
	Pool         Pool
	Coordinators []Coordinator
	Parties      []Party // sorted by id: the requester, bidders, builders, validators
	Build        Build
}

// Code is the canonical encoding.
func (t *Transcript) Code(c *wire.Coder) {
	version := uint8(TranscriptVersion)
	c.U8(&version)
	if c.Decoding() && c.Err() == nil && version != TranscriptVersion {
		c.Refuse("transcript version %d, this binary reads %d", version, TranscriptVersion)
		return
	}
	var claim []byte
	if !c.Decoding() {
		m := t.Claim()
		claim = wire.Encode(&m)
	}
	c.Blob(&claim, MaxTranscriptBytes)
	t.codeRest(c)
	if c.Decoding() && c.Err() == nil {
		if m := t.Claim(); !bytes.Equal(wire.Encode(&m), claim) {
			c.Refuse("a transcript that claims what is not in it")
		}
	}
}

// codeRest is all but the version and the claim.
func (t *Transcript) codeRest(c *wire.Coder) {
	c.Bytes32(&t.Cluster)
	c.Bool(&t.Simulated)
	codeGroupKey(c, &t.GroupKey)
	c.I64(&t.WallMillis)
	t.Params.Code(c)
	t.Pool.Code(c)
	wire.Records(c, &t.Coordinators, 64)
	wire.Records(c, &t.Parties, MaxWorkers)
	t.Build.Code(c)
}

func codeGroupKey(c *wire.Coder, key *[96]byte) {
	half := [2][48]byte{[48]byte(key[:48]), [48]byte(key[48:])}
	wire.Fixed48(c, &half[0])
	wire.Fixed48(c, &half[1])
	copy(key[:48], half[0][:])
	copy(key[48:], half[1][:])
}

// Digest names the transcript: see ClaimedTranscript.
func (t *Transcript) Digest() ID { return TranscriptDigest(wire.Encode(t)) }

// ReadTranscript decodes a transcript whose digest is known.
func ReadTranscript(raw []byte, digest ID) (*Transcript, error) {
	if len(raw) > MaxTranscriptBytes {
		return nil, fmt.Errorf("reading transcript: %d bytes, at most %d", len(raw), MaxTranscriptBytes)
	}
	if got := TranscriptDigest(raw); got != digest {
		return nil, fmt.Errorf("reading transcript: its digest is %x, want %x", got, digest)
	}
	t := new(Transcript)
	if err := wire.Decode(raw, t); err != nil {
		return nil, fmt.Errorf("reading transcript: %w", err)
	}
	return t, nil
}

// Party finds a party.
func (t *Transcript) Party(id ID) (*Party, bool) {
	i, ok := slices.BinarySearchFunc(t.Parties, id, func(p Party, id ID) int { return wire.Compare32(p.ID, id) })
	if !ok {
		return nil, false
	}
	return &t.Parties[i], true
}

// Named lists the accounts that a record names as participants, sorted.
func (b *Build) Named() []ID {
	out := []ID{b.Requester}
	for i := range b.Bids {
		out = append(out, b.Bids[i].Worker)
	}
	for i := range b.Attempts {
		out = append(out, b.Attempts[i].Worker)
	}
	for i := range b.Penalties {
		out = append(out, b.Penalties[i].Worker)
	}
	slices.SortFunc(out, wire.Compare32)
	return slices.Compact(out)
}

// MaxCertified bounds the transcripts of one certificate: it is repeated in the
// statement about each of its builds.
const MaxCertified = 64

// PurposeCertificate is what the beacon's key signs certificates under.
const PurposeCertificate = "certificate"

// CertificateSubject is what a certificate's signature is over:
// H("certificate" ‖ count ‖ transcripts).
func CertificateSubject(transcripts []ID) ID {
	h := wire.NewHasher("certificate").U64(uint64(len(transcripts)))
	for _, t := range transcripts {
		h = h.Fixed(t)
	}
	return h.Sum()
}

// Certificate is the group's signature under the digests of transcripts.
type Certificate struct {
	Transcripts []ID
	Signature   [48]byte
}

// Code is the canonical encoding.
func (t *Certificate) Code(c *wire.Coder) {
	wire.List(c, &t.Transcripts, MaxCertified, (*wire.Coder).Bytes32)
	wire.Fixed48(c, &t.Signature)
}

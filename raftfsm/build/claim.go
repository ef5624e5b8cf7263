package build

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Claim is what a transcript asserts, in few enough bytes to be sent: a
// transcript's digest is over its claim and the hash of the rest, so that whoever
// shows both shows what the group has certified.
type Claim struct {
	Cluster   ID
	GroupKey  [96]byte // under which it was certified, compressed, in G2
	Build     ID
	Requester ID // whose inputs they are
	Pool      string
	// The action, as in Terms.
	ActionDigest  ID
	ActionBytes   uint64
	Platform      string
	TimeoutMillis int64
	InputBytes    uint64
	Validators    uint32
	Stake         escrow.Credits // what each party staked
	Verdict       State
	Delivers      bool
	Result        ID       // the delivered result's digest
	Classes       []string // fingerprint classes of the machines that had it, sorted
	Took          []string // domains that had a part in it, sorted
}

// MaxClaimBytes bounds a claim that is sent: it travels in a command.
const MaxClaimBytes = 48 << 10

// Code is the canonical encoding.
func (m *Claim) Code(c *wire.Coder) {
	c.Bytes32(&m.Cluster)
	codeGroupKey(c, &m.GroupKey)
	c.Bytes32(&m.Build)
	c.Bytes32(&m.Requester)
	c.String(&m.Pool, MaxNameBytes)
	c.Bytes32(&m.ActionDigest)
	c.U64(&m.ActionBytes)
	c.String(&m.Platform, MaxPlatformBytes)
	c.I64(&m.TimeoutMillis)
	c.U64(&m.InputBytes)
	c.U32(&m.Validators)
	m.Stake.Code(c)
	c.U8((*uint8)(&m.Verdict))
	c.Bool(&m.Delivers)
	c.Bytes32(&m.Result)
	c.Strings(&m.Classes, MaxAttempts, MaxClassBytes)
	c.Strings(&m.Took, MaxAttempts, MaxNameBytes)
}

// Claim is what the transcript asserts. It follows from the rest.
func (t *Transcript) Claim() Claim {
	b := &t.Build
	m := Claim{
		Cluster: t.Cluster, GroupKey: t.GroupKey, Build: b.ID, Requester: b.Inputs(), Pool: b.Terms.Pool, ActionDigest: b.Terms.ActionDigest, ActionBytes: b.Terms.ActionBytes,
		Platform: b.Terms.Platform, TimeoutMillis: b.Terms.TimeoutMillis, InputBytes: b.Terms.InputBytes, Validators: b.Terms.Validators,
		Stake: b.Stake, Verdict: b.Verdict, Delivers: b.Delivers, Result: b.Delivered,
	}
	for i := range b.Attempts {
		a := &b.Attempts[i]
		m.Took = append(m.Took, a.Domain)
		if b.Delivers && a.State == AttemptOpened && a.Result() == b.Delivered {
			m.Classes = append(m.Classes, a.Class)
		}
	}
	slices.Sort(m.Took)
	slices.Sort(m.Classes)
	m.Took, m.Classes = slices.Compact(m.Took), slices.Compact(m.Classes)
	return m
}

// claimHead is the version and the length of the claim, in front of a transcript.
const claimHead = 5

// SplitTranscript is the claim of a transcript's canonical bytes, and the hash of
// the rest; ok is false for bytes that are no transcript's.
func SplitTranscript(raw []byte) (claim []byte, rest ID, ok bool) {
	if len(raw) < claimHead {
		return nil, ID{}, false
	}
	n := uint64(binary.BigEndian.Uint32(raw[1:]))
	if n > uint64(len(raw)-claimHead) {
		return nil, ID{}, false
	}
	return raw[claimHead : claimHead+n], sha256.Sum256(raw[claimHead+n:]), true
}

// ClaimedTranscript is the digest of the transcript of version TranscriptVersion
// with a claim and a rest: H("transcript" ‖ version ‖ claim ‖ SHA-256(rest)).
func ClaimedTranscript(claim []byte, rest ID) ID {
	return wire.NewHasher("transcript").U64(TranscriptVersion).Var(claim).Fixed(rest).Sum()
}

// TranscriptDigest names a transcript by its canonical bytes. Bytes that are no
// transcript's have a name too, which is nobody else's.
func TranscriptDigest(raw []byte) ID {
	claim, rest, ok := SplitTranscript(raw)
	if !ok {
		return wire.NewHasher("no-transcript").Var(raw).Sum()
	}
	return wire.NewHasher("transcript").U64(uint64(raw[0])).Var(claim).Fixed(rest).Sum()
}

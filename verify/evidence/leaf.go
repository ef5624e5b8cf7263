package evidence

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"

	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
)

// ID names builds, transcripts and states.
type ID = build.ID

// The types of JSON leaves.
const (
	TypeEpoch = "gavel.epoch/v1" // an epoch of the replicated log has ended
	TypeBuild = "gavel.build/v1" // a build has settled without a result
	TypeKey   = "gavel.key/v1"   // a key was revoked or replaced
	// TypeWithdrawal says that a challenge refuted an old result.
	TypeWithdrawal = "gavel.withdrawal/v1"
	// TypeHandover says that another group key is in use.
	TypeHandover = "gavel.handover/v1"
)

// Epoch is the leaf of an epoch: entries First to Last of the replicated log,
// bound by Chain, and the state after them.
type Epoch struct {
	Type       string `json:"type"`
	Number     uint64 `json:"number,string"`
	First      uint64 `json:"first,string"`
	Last       uint64 `json:"last,string"`
	Entries    uint64 `json:"entries,string"`
	Before     Hex    `json:"before"` // the chain before the first entry
	Chain      Hex    `json:"chain"`  // the chain after the last
	State      Hex    `json:"state"`  // the state hash after the last
	FarmMillis int64  `json:"farm_millis,string"`
	WallMillis int64  `json:"wall_millis,string"`
}

// EpochLeaf is an epoch as the log records it.
func EpochLeaf(e *raftfsm.EpochItem) ([]byte, error) {
	return canonical(&Epoch{
		TypeEpoch, e.Number, e.First, e.Last, e.Entries, Hex(e.Before), Hex(e.Chain), Hex(e.State), e.FarmMillis, e.WallMillis,
	})
}

// Build is the leaf of a build that settled without a result to deliver.
type Build struct {
	Type        string      `json:"type"`
	Build       Hex         `json:"build"`
	Verdict     string      `json:"verdict"`
	Transcript  Hex         `json:"transcript"`
	Certificate Certificate `json:"certificate"`
}

// Certificate is the group's signature under transcripts.
type Certificate struct {
	Transcripts []Hex     `json:"transcripts"`
	Signature   HexString `json:"signature"`
}

// CertificateOf is a certificate as leaves and statements show it.
func CertificateOf(c *build.Certificate) Certificate {
	out := Certificate{Transcripts: make([]Hex, len(c.Transcripts)), Signature: HexString(hex.EncodeToString(c.Signature[:]))}
	for i, t := range c.Transcripts {
		out.Transcripts[i] = Hex(t)
	}
	return out
}

// BuildLeaf is a build without a result as the log records it.
func BuildLeaf(item *raftfsm.CertifiedItem, verdict build.State) ([]byte, error) {
	return canonical(&Build{TypeBuild, Hex(item.Build), verdict.String(), Hex(item.Transcript), CertificateOf(&item.Certificate)})
}

// Key is the leaf of a key that was revoked or replaced. Keys are PKIX DER.
type Key struct {
	Type       string    `json:"type"`
	Account    Hex       `json:"account"`
	Role       string    `json:"role"`
	OldKey     HexString `json:"old_key"`
	NewKey     HexString `json:"new_key"` // empty where it was revoked
	Revoked    bool      `json:"revoked"`
	Reason     string    `json:"reason"`
	By         Hex       `json:"by"` // the account whose command it was
	Index      uint64    `json:"index,string"`
	FarmMillis int64     `json:"farm_millis,string"`
	WallMillis int64     `json:"wall_millis,string"`
}

// KeyLeaf is a change of a key as the log records it.
func KeyLeaf(i *raftfsm.KeyItem) ([]byte, error) {
	return canonical(&Key{
		TypeKey, Hex(i.Account), i.Role, HexString(hex.EncodeToString(i.OldKey)), HexString(hex.EncodeToString(i.NewKey)),
		i.Revoked, i.Reason, Hex(i.By), i.Index, i.FarmMillis, i.WallMillis,
	})
}

// Withdrawal is the leaf of a result that is no longer stood by: its summary is
// void from here on.
type Withdrawal struct {
	Type       string `json:"type"`
	Build      Hex    `json:"build"`
	Transcript Hex    `json:"transcript"` // of that build
	Result     Hex    `json:"result"`     // that was delivered
	Challenge  Hex    `json:"challenge"`  // the build that refuted it
	Found      Hex    `json:"found"`      // the result that its panel has instead
	Panel      Hex    `json:"panel"`      // transcript of the challenge
	Reason     string `json:"reason"`
	Number     uint64 `json:"number,string"` // of withdrawals, from 1
	Chain      Hex    `json:"chain"`         // over all of them
	Index      uint64 `json:"index,string"`
	FarmMillis int64  `json:"farm_millis,string"`
	WallMillis int64  `json:"wall_millis,string"`
}

// WithdrawalLeaf is a withdrawal as the log records it.
func WithdrawalLeaf(i *raftfsm.WithdrawalItem) ([]byte, error) {
	return canonical(&Withdrawal{
		TypeWithdrawal, Hex(i.Build), Hex(i.Transcript), Hex(i.Result), Hex(i.Challenge), Hex(i.Found), Hex(i.Panel), i.Reason,
		i.Number, Hex(i.Chain), i.Index, i.FarmMillis, i.WallMillis,
	})
}

// Handover is the leaf of a new group key, which the old one has signed for: on
// H("draw" ‖ cluster ‖ "handover" ‖ H("handover" ‖ cluster ‖ old ‖ new) ‖ round).
type Handover struct {
	Type       string    `json:"type"`
	Old        HexString `json:"old"` // compressed, in G2
	New        HexString `json:"new"`
	Round      uint64    `json:"round,string"`
	Signature  HexString `json:"signature"`
	Reason     string    `json:"reason"`
	Index      uint64    `json:"index,string"`
	FarmMillis int64     `json:"farm_millis,string"`
	WallMillis int64     `json:"wall_millis,string"`
}

// HandoverLeaf is a new group key as the log records it.
func HandoverLeaf(i *raftfsm.HandoverItem) ([]byte, error) {
	text := func(b []byte) HexString { return HexString(hex.EncodeToString(b)) }
	return canonical(&Handover{
		TypeHandover, text(i.Old[:]), text(i.New[:]), i.Round, text(i.Signature[:]), i.Reason, i.Index, i.FarmMillis, i.WallMillis,
	})
}

// Check verifies the old key's signature, and returns both keys.
func (h *Handover) Check(cluster ID) (before, after beacon.GroupKey, err error) {
	var sig beacon.Signature
	for _, x := range []struct {
		into []byte
		from HexString
	}{{before[:], h.Old}, {after[:], h.New}, {sig[:], h.Signature}} {
		if len(x.from) != 2*len(x.into) {
			return before, after, fmt.Errorf("reading a handover: %d hex digits, want %d", len(x.from), 2*len(x.into))
		}
		if _, err := hex.Decode(x.into, []byte(x.from)); err != nil {
			return before, after, fmt.Errorf("reading a handover: %w", err)
		}
	}
	msg := beacon.Message(cluster, build.PurposeHandover, raftfsm.HandoverSubject(cluster, before, after), h.Round)
	if err := beacon.Verify(before, msg, sig); err != nil {
		return before, after, fmt.Errorf("the old group key has not signed for the new one: %w", err)
	}
	return before, after, nil
}

// Hex is 32 bytes in lower-case hex.
type Hex [32]byte

// String is the hex.
func (h Hex) String() string { return hex.EncodeToString(h[:]) }

// MarshalJSON writes the hex.
func (h Hex) MarshalJSON() ([]byte, error) { return json.Marshal(h.String()) }

// UnmarshalJSON reads exactly 64 lower-case digits.
func (h *Hex) UnmarshalJSON(raw []byte) error {
	var s HexString
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	if len(s) != 2*len(h) {
		return fmt.Errorf("%d hex digits, want %d", len(s), 2*len(h))
	}
	_, err := hex.Decode(h[:], []byte(s))
	return err
}

// HexString is any number of bytes in lower-case hex.
type HexString string

// UnmarshalJSON reads lower-case hex.
func (h *HexString) UnmarshalJSON(raw []byte) error {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	decoded, err := hex.DecodeString(s)
	if err != nil || hex.EncodeToString(decoded) != s {
		return fmt.Errorf("%q is not lower-case hex", s)
	}
	*h = HexString(s)
	return nil
}

// canonical is v as RFC 8785 JSON.
func canonical(v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding leaf: %w", err)
	}
	out, err := jsoncanonicalizer.Transform(plain)
	if err != nil {
		return nil, fmt.Errorf("encoding leaf: %w", err)
	}
	return out, nil
}

package build

import (
	"unicode"
	"unicode/utf8"

	"gavel/raftfsm/wire"
)

// MaxReasonBytes bounds the sentence that goes with a change of keys or a challenge.
const MaxReasonBytes = 256

// ValidReason says whether a reason may stand in the log and on a terminal: at
// most MaxReasonBytes of UTF-8 without control characters.
func ValidReason(text string) bool {
	if len(text) > MaxReasonBytes || !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// Revoke takes a key out of use from the entry on that carries it. Sender is the
// key's owner or the admin.
type Revoke struct {
	Account ID // whose; of the cluster's own key its ClusterKeyID
	Key     ID // AccountID of the key as it is now: a key that has replaced it is not meant
	Reason  string
}

// Code is the canonical encoding.
func (m *Revoke) Code(c *wire.Coder) {
	c.Bytes32(&m.Account)
	c.Bytes32(&m.Key)
	c.String(&m.Reason, MaxReasonBytes)
}

// Rotate puts a new key in the place of an account's: the account keeps its id,
// its money and its part in everything. Whose word it needs beside the new key's
// own is the state machine's rule.
type Rotate struct {
	Account ID
	OldKey  ID     // AccountID of the key that is replaced
	NewKey  []byte // PKIX DER
	// Possession is the new key's signature over RotationBytes.
	Possession []byte
	// Old is the old key's, where the command is not signed by it: of the cluster's.
	Old []byte
	// Vouches are coordinators' over the same bytes, ascending, where theirs is the word.
	Vouches []Vouch
	Reason  string
}

// Code is the canonical encoding.
func (m *Rotate) Code(c *wire.Coder) {
	c.Bytes32(&m.Account)
	c.Bytes32(&m.OldKey)
	c.Blob(&m.NewKey, 512)
	c.Blob(&m.Possession, MaxSignatureBytes)
	c.Blob(&m.Old, MaxSignatureBytes)
	wire.Records(c, &m.Vouches, 64)
	c.String(&m.Reason, MaxReasonBytes)
}

// RotationBytes is what the parties to a rotation sign: the 32 bytes of
// H("rotate" ‖ cluster ‖ account ‖ old key ‖ new key), keys as their AccountID.
func RotationBytes(cluster, account, oldKey, newKey ID) []byte {
	h := wire.NewHasher("rotate").Fixed(cluster).Fixed(account).Fixed(oldKey).Fixed(newKey).Sum()
	return h[:]
}

// Handover asks the coordinators for a new group key. Sender is the admin.
type Handover struct {
	GiveUp bool // the one under way
	Reason string
}

// Code is the canonical encoding.
func (m *Handover) Code(c *wire.Coder) {
	c.Bool(&m.GiveUp)
	c.String(&m.Reason, MaxReasonBytes)
}

// PurposeHandover is what the old group signs a new group key under.
const PurposeHandover = "handover"

// ClusterKeyID names the cluster's own key, whichever it is: H("cluster-key" ‖ cluster).
func ClusterKeyID(cluster ID) ID { return wire.NewHasher("cluster-key").Fixed(cluster).Sum() }

package evidence

import (
	"encoding/hex"
	"fmt"

	"gavel/raftfsm"
	"gavel/raftfsm/wire"
)

// The paths of what lies beside the log.
const (
	GenesisPath     = "genesis"
	TrustedRootPath = "trusted_root.json"
	StatusPath      = "status.json"
)

// TranscriptPath is where a transcript lies beside the log.
func TranscriptPath(digest ID) string { return "transcript/" + hex.EncodeToString(digest[:]) }

// ManifestPath is where a delivered result's manifest lies.
func ManifestPath(content ID) string { return "manifest/" + hex.EncodeToString(content[:]) }

// SummaryPath is where a build's verification summary lies, in its DSSE envelope.
func SummaryPath(id ID) string { return "vsa/" + hex.EncodeToString(id[:]) + ".dsse.json" }

// EpochPath is where the entries of an epoch lie.
func EpochPath(number uint64) string { return fmt.Sprintf("epoch/%d", number) }

// maxEpochEntries bounds the entries of an epoch's blob that is read.
const maxEpochEntries = 1 << 16

// EpochEntries are the entries of an epoch as they are served.
type EpochEntries []raftfsm.Entry

// Code is the canonical encoding.
func (e *EpochEntries) Code(c *wire.Coder) { wire.Records(c, (*[]raftfsm.Entry)(e), maxEpochEntries) }

// CheckEntries holds the entries of an epoch to its item or leaf: indexes, number
// and chain. The error names what differs.
func CheckEntries(entries EpochEntries, first, last, count uint64, before, chain ID) error {
	if uint64(len(entries)) != count {
		return fmt.Errorf("%d entries, the log says %d", len(entries), count)
	}
	at := before
	for i := range entries {
		e := &entries[i]
		if i == 0 && e.Index != first || i > 0 && e.Index <= entries[i-1].Index {
			return fmt.Errorf("entry %d of the epoch has index %d, out of order", i+1, e.Index)
		}
		at = raftfsm.Chain(at, e.Index, wire.Encode(e))
	}
	if count > 0 && entries[count-1].Index != last {
		return fmt.Errorf("the last entry has index %d, the log says %d", entries[count-1].Index, last)
	}
	if at != chain {
		return fmt.Errorf("the chain ends in %x, the log says %x", at, chain)
	}
	return nil
}

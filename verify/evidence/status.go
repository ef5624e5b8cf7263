package evidence

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"gavel/verify/tlog"
)

// TypeStatus is the type of a status list.
const TypeStatus = "gavel.status/v1"

// Status is what the log up to a size says of results that were withdrawn and of
// keys that were revoked or replaced, the group's too: all such leaves, so that a reader with one
// bundle need not read the log. Coordinators sign it as they sign checkpoints,
// and their signatures' times say as of when.
type Status struct {
	Type   string  `json:"type"`
	Origin string  `json:"origin"`
	Size   uint64  `json:"size,string"` // of the log
	Root   Hex     `json:"root"`
	Events []Event `json:"events"` // in the order of the log
}

// Event is a leaf that changes what earlier ones are worth.
type Event struct {
	Leaf  uint64          `json:"leaf,string"`
	Entry json.RawMessage `json:"entry"`
}

// IsEvent says that a leaf belongs into status lists.
func (l *Leaf) IsEvent() bool { return l.Key != nil || l.Withdrawal != nil || l.Handover != nil }

// Bytes are the list as it is signed: RFC 8785.
func (s *Status) Bytes() ([]byte, error) { return canonical(s) }

// signedStatus is a status list as it is served.
type signedStatus struct {
	Note   string          `json:"note"`
	Status json.RawMessage `json:"status"`
}

// StatusOrigin is the origin of the notes under a log's status lists.
func StatusOrigin(origin string) string { return origin + "/status" }

// StatusCheckpoint is what is signed: a checkpoint of the log's size, whose root is
// the SHA-256 of the list.
func StatusCheckpoint(origin string, size uint64, list []byte) tlog.Checkpoint {
	return tlog.Checkpoint{Origin: StatusOrigin(origin), Size: size, Root: sha256.Sum256(list)}
}

// StatusTrust is whose word makes a status list good, where t is whose makes a
// checkpoint.
func StatusTrust(t tlog.Trust) tlog.Trust {
	out := tlog.Trust{Origin: StatusOrigin(t.Origin), LogKey: t.LogKey, Quorum: t.Quorum}
	for _, c := range t.Cosigners {
		out.Cosigners = append(out.Cosigners, tlog.Cosigner{Name: out.Origin + c.Name[len(t.Origin):], PKIX: c.PKIX})
	}
	return out
}

// SignedStatus is a list with the note under it, as it is served.
func SignedStatus(list, note []byte) ([]byte, error) {
	return canonical(&signedStatus{string(note), list})
}

// MaxStatusBytes bounds a status list that is read: events are below a kilobyte
// each.
const MaxStatusBytes = 64 << 20

// OpenStatus reads a served status list and checks who signed it: the log by t's key,
// or by one of others, of which a hostile list may have named any number. The
// signatures' times are those in the result's Times.
func OpenStatus(raw []byte, t tlog.Trust, others ...[]byte) (*Status, *tlog.Opened, error) {
	s, opened, err := openStatus(raw, t, others)
	if err != nil {
		return nil, nil, fmt.Errorf("opening status list: %w", err)
	}
	return s, opened, nil
}

func openStatus(raw []byte, t tlog.Trust, others [][]byte) (*Status, *tlog.Opened, error) {
	if len(raw) > MaxStatusBytes {
		return nil, nil, fmt.Errorf("%d bytes, at most %d", len(raw), MaxStatusBytes)
	}
	var signed signedStatus
	if err := exactly(raw, &signed); err != nil {
		return nil, nil, err
	}
	if key := tlog.SignedBy([]byte(signed.Note), StatusOrigin(t.Origin), others); key != nil {
		t.LogKey = key
	}
	trust := StatusTrust(t)
	opened, err := trust.Open([]byte(signed.Note))
	if err != nil {
		return nil, nil, err
	}
	s := new(Status)
	if err := exactly(signed.Status, s); err != nil {
		return nil, nil, err
	}
	if want := StatusCheckpoint(t.Origin, s.Size, signed.Status); s.Type != TypeStatus || s.Origin != t.Origin || opened.Checkpoint != want {
		return nil, nil, errors.New("what was signed is another list")
	}
	for i := range s.Events {
		e := &s.Events[i]
		leaf, err := Read(e.Entry)
		if err != nil {
			return nil, nil, fmt.Errorf("event %d: %w", i, err)
		}
		if !leaf.IsEvent() || e.Leaf >= s.Size || i > 0 && e.Leaf <= s.Events[i-1].Leaf {
			return nil, nil, fmt.Errorf("event %d of leaf %d is none, or out of order", i, e.Leaf)
		}
	}
	// The list itself may say that one of its signers is none any more.
	trust = StatusTrust(Unrevoked(t, s.Size, s.Events))
	opened, err = trust.Open([]byte(signed.Note))
	return s, opened, err
}

// Withdrawn finds the withdrawal of a build's result, and its leaf.
func (s *Status) Withdrawn(id ID) (w *Withdrawal, leaf uint64, ok bool) {
	for i := range s.Events {
		if l, err := Read(s.Events[i].Entry); err == nil && l.Withdrawal != nil && ID(l.Withdrawal.Build) == id {
			return l.Withdrawal, s.Events[i].Leaf, true
		}
	}
	return nil, 0, false
}

// GroupKeys are the trusted group keys of a cluster, and those that they were handed
// over to, one after the other: each signed for the next, whoever signed the list.
// One that was handed over from is not trusted for that.
func (s *Status) GroupKeys(cluster ID, trusted ...[96]byte) [][96]byte {
	out := slices.Clone(trusted)
	for i := range s.Events {
		l, err := Read(s.Events[i].Entry)
		if err != nil || l.Handover == nil {
			continue
		}
		before, after, err := l.Handover.Check(cluster)
		if err == nil && slices.Contains(out, [96]byte(before)) && !slices.Contains(out, [96]byte(after)) {
			out = append(out, after)
		}
	}
	return out
}

// KeyEvents lists what became of an account's keys, oldest first, with their leaves.
func (s *Status) KeyEvents(account ID) (events []*Key, leaves []uint64) {
	for i := range s.Events {
		if l, err := Read(s.Events[i].Entry); err == nil && l.Key != nil && ID(l.Key.Account) == account {
			events, leaves = append(events, l.Key), append(leaves, s.Events[i].Leaf)
		}
	}
	return events, leaves
}

// ReadUnverifiedStatus reads a served status list without asking who signed it.
func ReadUnverifiedStatus(raw []byte) (*Status, error) {
	var signed signedStatus
	if len(raw) > MaxStatusBytes {
		return nil, fmt.Errorf("reading status list: %d bytes, at most %d", len(raw), MaxStatusBytes)
	}
	if err := exactly(raw, &signed); err != nil {
		return nil, fmt.Errorf("reading status list: %w", err)
	}
	s := new(Status)
	if err := exactly(signed.Status, s); err != nil {
		return nil, fmt.Errorf("reading status list: %w", err)
	}
	return s, nil
}

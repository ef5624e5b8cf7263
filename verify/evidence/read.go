package evidence

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"gavel/raftfsm"
	"gavel/verify/attest"
)

// ErrLeaf says that an entry of the log is none that a coordinator writes.
var ErrLeaf = errors.New("not a leaf of a farm's log")

// Leaf is one entry of the log, read. One of its fields is set.
type Leaf struct {
	Epoch *Epoch
	Build *Build
	Key   *Key
	// Withdrawal takes an earlier summary back.
	Withdrawal *Withdrawal
	Handover   *Handover
	// Record is a provenance's or a summary's.
	Record *attest.Record
}

// Read decodes an entry of the log and refuses any but the one form that each
// kind has. Errors wrap ErrLeaf.
func Read(entry []byte) (*Leaf, error) {
	l, err := read(entry)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLeaf, err)
	}
	return l, nil
}

func read(entry []byte) (*Leaf, error) {
	var head struct {
		Type string `json:"type"`
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(entry, &head); err != nil {
		return nil, fmt.Errorf("reading its JSON: %w", err)
	}
	l := &Leaf{}
	switch head.Type {
	case "":
		var err error
		l.Record, err = attest.ReadLeaf(entry)
		return l, err
	case TypeEpoch:
		l.Epoch = new(Epoch)
		return l, exactly(entry, l.Epoch)
	case TypeBuild:
		l.Build = new(Build)
		return l, exactly(entry, l.Build)
	case TypeKey:
		l.Key = new(Key)
		return l, exactly(entry, l.Key)
	case TypeWithdrawal:
		l.Withdrawal = new(Withdrawal)
		return l, exactly(entry, l.Withdrawal)
	case TypeHandover:
		l.Handover = new(Handover)
		return l, exactly(entry, l.Handover)
	}
	return nil, fmt.Errorf("it is of type %q", head.Type)
}

// exactly decodes an entry and refuses all but what the same value encodes to.
func exactly(entry []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(entry))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("reading its JSON: %w", err)
	}
	again, err := canonical(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(entry, again) {
		return errors.New("it is not in the one form that the log keeps")
	}
	return nil
}

// Ends says whether the leaf is the last of an item: a provenance is followed by
// more of the same build, up to the summary, which the cluster's key signs.
func (l *Leaf) Ends(clusterKey []byte) bool {
	return l.Record == nil || bytes.Equal(l.Record.PKIX, clusterKey)
}

// ClusterKeyAfter is the cluster's key for what follows the leaf, PKIX DER: a leaf
// that replaces it says so.
func (l *Leaf) ClusterKeyAfter(clusterKey []byte) ([]byte, error) {
	if l.Key == nil || l.Key.Role != raftfsm.RoleCluster || l.Key.NewKey == "" {
		return clusterKey, nil
	}
	key, err := hex.DecodeString(string(l.Key.NewKey))
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's new key: %w", err)
	}
	return key, nil
}

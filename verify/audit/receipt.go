package audit

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// Receipt is a coordinator's word that a command was applied at an index of the
// replicated log: what its sender holds against a log that omits it.
type Receipt struct {
	Name          string // of the file, for the report
	CommandDigest [32]byte
	Index         uint64 // 0: refused without being proposed, and so in no log
	Code          uint32
	Subject       [32]byte
	Coordinator   [32]byte
	Signature     []byte
}

// receiptFile is a receipt in JSON as protobuf writes it: bytes in base64,
// integers of 64 bits as decimal strings, zeros left out.
type receiptFile struct {
	CommandDigest []byte `json:"commandDigest"`
	Index         uint64 `json:"index,string"`
	Code          uint32 `json:"code"`
	Detail        string `json:"detail"`
	Subject       []byte `json:"subject"`
	Coordinator   []byte `json:"coordinator"`
	Signature     []byte `json:"signature"`
}

// ReadReceipt reads a receipt's JSON file.
func ReadReceipt(name string, raw []byte) (*Receipt, error) {
	var f receiptFile
	if len(raw) > MaxReceiptBytes {
		return nil, fmt.Errorf("reading receipt %s: %d bytes, at most %d", name, len(raw), MaxReceiptBytes)
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("reading receipt %s: %w", name, err)
	}
	if len(f.Subject) == 0 {
		f.Subject = make([]byte, 32)
	}
	if len(f.CommandDigest) != 32 || len(f.Subject) != 32 || len(f.Coordinator) != 32 || len(f.Signature) == 0 {
		return nil, fmt.Errorf("reading receipt %s: %w", name, errors.New("command digest, subject and coordinator have 32 bytes, and there is a signature"))
	}
	return &Receipt{name, [32]byte(f.CommandDigest), f.Index, f.Code, [32]byte(f.Subject), [32]byte(f.Coordinator), f.Signature}, nil
}

// signed is what the coordinator signed:
// H("receipt" ‖ cluster ‖ coordinator ‖ command digest ‖ index ‖ code ‖ subject).
func (r *Receipt) signed(cluster raftfsm.ID) []byte {
	h := wire.NewHasher("receipt").Fixed(cluster).Fixed(r.Coordinator).Fixed(r.CommandDigest).
		U64(r.Index).U64(uint64(r.Code)).Fixed(r.Subject).Sum()
	return h[:]
}

// receipts are those that the log must account for, by index.
type receipts struct{ open []*Receipt }

// newReceipts takes those that a coordinator of the genesis has signed.
func (a *auditor) newReceipts(all []*Receipt) error {
	for _, r := range all {
		at := slices.IndexFunc(a.genesis.Coordinators, func(c build.Coordinator) bool { return c.ID == r.Coordinator })
		if at < 0 || wire.VerifySignature(a.genesis.Coordinators[at].Key, r.signed(a.cluster), r.Signature) != nil {
			return fmt.Errorf("%w: receipt %s is not signed by a coordinator of this cluster", ErrUnusable, r.Name)
		}
		if r.Index == 0 {
			a.report.warn("receipt %s says that its command was refused before it was logged: no log has it", r.Name)
			continue
		}
		a.receipts.open = append(a.receipts.open, r)
	}
	slices.SortStableFunc(a.receipts.open, func(x, y *Receipt) int {
		switch {
		case x.Index < y.Index:
			return -1
		case x.Index > y.Index:
			return 1
		}
		return 0
	})
	return nil
}

// entry looks for the commands of receipts up to an entry's index.
func (s *receipts) entry(a *auditor, at uint64, e *raftfsm.Entry) {
	for len(s.open) > 0 && s.open[0].Index < e.Index {
		a.report.deviate(at, "receipt "+s.open[0].Name, fmt.Sprintf("its command at index %d", s.open[0].Index), "no entry with that index")
		s.open = s.open[1:]
	}
	if len(s.open) == 0 || s.open[0].Index != e.Index {
		return
	}
	codes := map[[32]byte]uint32{}
	var batch build.Batch
	if wire.Decode(e.Data, &batch) == nil {
		for i := range min(len(batch.Commands), len(e.Codes)) {
			codes[sha256.Sum256(wire.Encode(&batch.Commands[i]))] = e.Codes[i]
		}
	}
	for len(s.open) > 0 && s.open[0].Index == e.Index {
		r := s.open[0]
		s.open = s.open[1:]
		code, there := codes[r.CommandDigest]
		switch {
		case !there:
			a.report.deviate(at, "receipt "+r.Name, fmt.Sprintf("its command %x in entry %d", r.CommandDigest[:8], e.Index), "it is missing")
		case code != r.Code:
			a.report.deviate(at, "receipt "+r.Name, outcome(r.Code), outcome(code))
		default:
			a.report.Receipts++
		}
	}
}

// rest says of receipts beyond the last published entry that nothing is known.
func (s *receipts) rest(a *auditor) {
	for _, r := range s.open {
		a.report.warn("receipt %s is for index %d, beyond the last entry that is published (%d): audit again later", r.Name, r.Index, a.index)
	}
}

package attest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"gavel/raftfsm/wire"
)

// ErrWithheld says that a file does not open a withheld command, or not this one.
var ErrWithheld = errors.New("this does not open the withheld command")

// WithheldType marks the file that opens a withheld command.
const WithheldType = "gavel.withheld/v1"

// Withheld is what a requester keeps where command and environment are withheld:
// it opens the commitment that a provenance carries in their place.
type Withheld struct {
	Salt    [32]byte // random; also in the action, so that its digest hides them too
	Command []byte   // the encoded REAPI Command
}

// Commitment is what is published: H("withheld" ‖ salt ‖ command). Without the
// salt it tells nothing of the command, and it opens in one way.
func (w *Withheld) Commitment() [32]byte {
	return wire.NewHasher("withheld").Fixed(w.Salt).Var(w.Command).Sum()
}

type withheldFile struct {
	Command    []byte `json:"command"` // base64
	Commitment string `json:"commitment"`
	Salt       string `json:"salt"`
	Type       string `json:"type"`
}

// File is w as RFC 8785 JSON, for the requester to keep.
func (w *Withheld) File() ([]byte, error) {
	return canonical(withheldFile{Type: WithheldType, Commitment: hexDigest(w.Commitment()), Salt: hex.EncodeToString(w.Salt[:]), Command: w.Command}, true)
}

// ReadWithheld reads back what File wrote. Errors wrap ErrWithheld.
func ReadWithheld(raw []byte) (*Withheld, error) {
	if len(raw) > MaxWithheldBytes {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are read", ErrWithheld, len(raw), MaxWithheldBytes)
	}
	var f withheldFile
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return nil, fmt.Errorf("%w: reading its JSON: %w", ErrWithheld, err)
	}
	r := &hexReader{}
	w := &Withheld{Salt: r.digest(f.Salt), Command: f.Command}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWithheld, r.err)
	}
	if again, err := w.File(); err != nil || !bytes.Equal(again, raw) {
		return nil, errors.Join(fmt.Errorf("%w: it is not in the one form in which gavel submit writes it, or was changed", ErrWithheld), err)
	}
	return w, nil
}

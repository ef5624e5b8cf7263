package tlog

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Cosigner is somebody who vouches for checkpoints: a coordinator or a witness.
// Name is the key's name on notes; PKIX its public key in DER, Ed25519 (which
// signs cosignature/v1) or ECDSA P-256 (which signs the text).
type Cosigner struct {
	Name string
	PKIX []byte
}

// CosignerName is the name by which a coordinator signs checkpoints of a log.
func CosignerName(origin, coordinator string) string { return origin + "/" + coordinator }

// Trust is whose word makes a checkpoint good: the log's key, at least Quorum of
// Cosigners and at least WitnessQuorum of Witnesses.
type Trust struct {
	Origin        string
	LogKey        []byte // PKIX DER, Ed25519
	Cosigners     []Cosigner
	Quorum        int
	Witnesses     []Cosigner
	WitnessQuorum int
}

// Majority is the smallest number that is more than half of n.
func Majority(n int) int { return n/2 + 1 }

// Opened is a checkpoint that is good.
type Opened struct {
	Checkpoint
	Cosigners []string // names of those cosigners that signed, in Trust's order
	Witnesses []string
	// Times is when each says that it signed, in Unix seconds, by name; one with an
	// ECDSA key says nothing.
	Times map[string]int64
}

// Check says what is wrong with t itself, whatever checkpoint is held to it.
func (t *Trust) Check() error {
	if _, err := t.verifiers(); err != nil {
		return fmt.Errorf("trust in log %s: %w", t.Origin, err)
	}
	return nil
}

// verifiers are all keys of t, refusing a key or a name that stands in for two.
func (t *Trust) verifiers() (all []note.Verifier, err error) {
	if t.Quorum < 0 || t.Quorum > len(t.Cosigners) || t.WitnessQuorum < 0 || t.WitnessQuorum > len(t.Witnesses) {
		return nil, fmt.Errorf("quorum of %d of %d cosigners and %d of %d witnesses can never be met",
			t.Quorum, len(t.Cosigners), t.WitnessQuorum, len(t.Witnesses))
	}
	log, err := logKey(t.Origin, t.LogKey)
	if err != nil {
		return nil, err
	}
	all = append(all, log)
	names, keys := map[string]bool{t.Origin: true}, map[string]bool{string(t.LogKey): true}
	for _, group := range [][]Cosigner{t.Cosigners, t.Witnesses} {
		for _, c := range group {
			k, err := cosignerKey(c.Name, c.PKIX)
			if err != nil {
				return nil, err
			}
			if names[c.Name] || keys[string(c.PKIX)] {
				return nil, fmt.Errorf("cosigner %s: its name or key belongs to another signer too; each counts once", c.Name)
			}
			names[c.Name], keys[string(c.PKIX)] = true, true
			all = append(all, k)
		}
	}
	return all, nil
}

// Open checks a signed checkpoint: its form, its origin, the log's signature, and
// that enough cosigners and witnesses signed, each counted once. Signatures by
// unknown keys are ignored; a wrong one by a known key spoils the note. Errors are
// of ErrMalformed or ErrSignature, or say what is wrong with t itself.
func (t *Trust) Open(signed []byte) (*Opened, error) {
	all, err := t.verifiers()
	if err != nil {
		return nil, fmt.Errorf("trust in log %s: %w", t.Origin, err)
	}
	unverified, err := readNote(signed)
	if err != nil {
		return nil, fmt.Errorf("opening checkpoint: %w", err)
	}
	c, extensions, err := parseText(unverified.Text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("opening checkpoint: %w", err)
	case extensions != "":
		return nil, fmt.Errorf("opening checkpoint: %w: it has lines after its root", ErrMalformed)
	case c.Origin != t.Origin:
		return nil, fmt.Errorf("opening checkpoint: %w: it is one of log %q, not %q", ErrSignature, c.Origin, t.Origin)
	}
	n, err := note.Open(signed, note.VerifierList(all...))
	if err != nil {
		return nil, fmt.Errorf("opening checkpoint of size %d: %w: %w", c.Size, ErrSignature, err)
	}
	return t.count(c, n)
}

// count finds who signed. A key's hash of four bytes can be shared by chance or by
// design, which note.Open refuses as ambiguous only for keys that it was given.
func (t *Trust) count(c Checkpoint, n *note.Note) (*Opened, error) {
	o := &Opened{Checkpoint: c, Times: map[string]int64{}}
	logSigned := false
	signed := map[string]note.Signature{}
	for _, sig := range n.Sigs {
		if sig.Name == t.Origin {
			logSigned = true
			continue
		}
		signed[sig.Name] = sig
	}
	if !logSigned {
		return nil, fmt.Errorf("opening checkpoint of size %d: %w: the log's own is missing", c.Size, ErrSignature)
	}
	o.Cosigners = o.named(t.Cosigners, signed)
	o.Witnesses = o.named(t.Witnesses, signed)
	if len(o.Cosigners) < t.Quorum || len(o.Witnesses) < t.WitnessQuorum {
		return nil, fmt.Errorf("opening checkpoint of size %d: %w: %d of %d cosigners signed (%s) and %d are wanted, %d of %d witnesses and %d are wanted", c.Size, ErrSignature,
			len(o.Cosigners), len(t.Cosigners), strings.Join(o.Cosigners, ", "), t.Quorum, len(o.Witnesses), len(t.Witnesses), t.WitnessQuorum)
	}
	return o, nil
}

// named is which of a group signed; it notes their times.
func (o *Opened) named(group []Cosigner, signed map[string]note.Signature) []string {
	var names []string
	for _, c := range group {
		sig, ok := signed[c.Name]
		if !ok {
			continue
		}
		names = append(names, c.Name)
		if _, ed25519 := rawEd25519(c.PKIX); !ed25519 {
			continue
		}
		if raw, err := base64.StdEncoding.DecodeString(sig.Base64); err == nil && len(raw) > 4+timestampBytes {
			o.Times[c.Name] = int64(binary.BigEndian.Uint64(raw[4:]))
		}
	}
	return names
}

// SignedBy is the first of a log's keys (PKIX DER) whose good signature, as the log's, is
// on a note; nil where there is none. Of any number of keys those alone are tried that
// the note names by their hash.
func SignedBy(signed []byte, origin string, keys [][]byte) []byte {
	n, err := readNote(signed)
	if err != nil {
		return nil
	}
	named := map[uint32]bool{}
	for _, sig := range n.UnverifiedSigs {
		named[sig.Hash] = named[sig.Hash] || sig.Name == origin
	}
	tried := map[string]bool{}
	for _, pkix := range keys {
		k, err := logKey(origin, pkix)
		if err != nil || !named[k.hash] || tried[string(pkix)] {
			continue
		}
		if tried[string(pkix)] = true; k.signed(signed) == nil {
			return pkix
		}
	}
	return nil
}

// Verify checks that a line is the cosigner's good signature over a note's text.
func (c Cosigner) Verify(signed, line []byte) error {
	k, err := cosignerKey(c.Name, c.PKIX)
	if err != nil {
		return err
	}
	n, err := readNote(signed)
	if err != nil {
		return err
	}
	return k.signed(append([]byte(n.Text+"\n"), line...))
}

// signed checks that a note has a good signature by k.
func (k *key) signed(signed []byte) error {
	if _, err := readNote(signed); err != nil {
		return err
	}
	if _, err := note.Open(signed, note.VerifierList(k)); err != nil {
		return fmt.Errorf("signature of %s: %w: %w", k.name, ErrSignature, err)
	}
	return nil
}

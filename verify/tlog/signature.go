package tlog

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"gavel/raftfsm/wire"
)

// ErrSignature says that a checkpoint is not signed by whom it should be.
var ErrSignature = errors.New("checkpoint lacks a signature that counts")

// The signature types of https://c2sp.org/signed-note that are used here.
const (
	typeEd25519       = 0x01 // the log's
	typeECDSA         = 0x02 // a cosigner's with a P-256 key: over the note's text
	typeCosignatureV1 = 0x04 // a cosigner's or witness' with an Ed25519 key
)

const timestampBytes = 8

// key is a public key under the name by which it signs notes. It is a
// note.Verifier. Signatures pass the one check that all of the farm's pass,
// wire.VerifySignature.
type key struct {
	name string
	kind byte
	hash uint32
	pkix []byte
}

// ed25519DER is what precedes the 32 bytes of an Ed25519 key in PKIX DER (RFC 8410).
const ed25519DER = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"

// rawEd25519 is the 32 bytes of an Ed25519 key.
func rawEd25519(pkix []byte) (raw []byte, ok bool) {
	rest, ok := strings.CutPrefix(string(pkix), ed25519DER)
	return []byte(rest), ok && len(rest) == ed25519.PublicKeySize
}

// LogID is SHA-256(name ‖ "\n" ‖ 0x01 ‖ key) of a log's Ed25519 key: its first
// four bytes name the key on a checkpoint, all of them the log in a bundle.
func LogID(origin string, pkix []byte) ([32]byte, error) {
	raw, ok := rawEd25519(pkix)
	if !ok {
		return [32]byte{}, fmt.Errorf("key of log %s: not an Ed25519 key in PKIX DER, which alone signs a log (tlog-tiles)", origin)
	}
	return keyID(origin, typeEd25519, raw), nil
}

// VerifierKey is a log's key as public tools want it named: origin, hash and
// base64, joined by plus signs (https://c2sp.org/signed-note).
func VerifierKey(origin string, pkix []byte) (string, error) {
	if _, err := logKey(origin, pkix); err != nil {
		return "", err
	}
	raw, _ := rawEd25519(pkix)
	return note.NewEd25519VerifierKey(origin, raw)
}

func keyID(name string, kind byte, raw []byte) [32]byte {
	return sha256.Sum256(append([]byte(name+"\n"+string(kind)), raw...))
}

// logKey is the key of a log, whose name is the log's origin.
func logKey(origin string, pkix []byte) (*key, error) {
	id, err := LogID(origin, pkix)
	if err != nil {
		return nil, err
	}
	return newKey(origin, typeEd25519, id[:], pkix)
}

// cosignerKey is the key of a coordinator or a witness.
func cosignerKey(name string, pkix []byte) (*key, error) {
	if raw, ok := rawEd25519(pkix); ok {
		id := keyID(name, typeCosignatureV1, raw)
		return newKey(name, typeCosignatureV1, id[:], pkix)
	}
	// Rekor's rule, which transparency-dev/formats follows: of the DER alone.
	id := sha256.Sum256(pkix)
	return newKey(name, typeECDSA, id[:], pkix)
}

func newKey(name string, kind byte, id, pkix []byte) (*key, error) {
	if !validName(name) {
		return nil, fmt.Errorf("key name %q: %w: it is empty, too long, or has a space or plus", name, ErrMalformed)
	}
	// A key that is none can be told from one that did not sign this.
	if err := wire.VerifySignature(pkix, nil, nil); errors.Is(err, wire.ErrBadKey) {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	return &key{name: name, kind: kind, hash: binary.BigEndian.Uint32(id), pkix: pkix}, nil
}

func (k *key) Name() string    { return k.name }
func (k *key) KeyHash() uint32 { return k.hash }

// Verify checks sig, without its four bytes of key hash, over a note's text.
func (k *key) Verify(text, sig []byte) bool {
	if k.kind == typeCosignatureV1 {
		if len(sig) != timestampBytes+ed25519.SignatureSize {
			return false
		}
		at := binary.BigEndian.Uint64(sig)
		if at > math.MaxInt64 {
			return false
		}
		text, sig = cosigned(at, text), sig[timestampBytes:]
	}
	return wire.VerifySignature(k.pkix, text, sig) == nil
}

// cosigned is the message of a cosignature/v1 over a note's text.
func cosigned(unixSeconds uint64, text []byte) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", unixSeconds), text...)
}

// signLine has text signed and is the signature's line, checked.
func (k *key) signLine(text string, unixSeconds int64, sign func([]byte) ([]byte, error)) ([]byte, error) {
	msg := []byte(text)
	content := binary.BigEndian.AppendUint32(nil, k.hash)
	if k.kind == typeCosignatureV1 {
		if unixSeconds < 0 {
			return nil, fmt.Errorf("time %d is before 1970", unixSeconds)
		}
		msg = cosigned(uint64(unixSeconds), msg)
		content = binary.BigEndian.AppendUint64(content, uint64(unixSeconds))
	}
	sig, err := sign(msg)
	if err != nil {
		return nil, err
	}
	content = append(content, sig...)
	if !k.Verify([]byte(text), content[4:]) {
		return nil, fmt.Errorf("%w: what was signed does not verify under the public key of %s; signer and key do not go together", ErrSignature, k.name)
	}
	return []byte("— " + k.name + " " + base64.StdEncoding.EncodeToString(content) + "\n"), nil
}

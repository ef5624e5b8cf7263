package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// The raw DSSE envelope, as its specification writes it: base64 in JSON.
type rawEnvelope struct {
	Payload     []byte         `json:"payload"`
	PayloadType string         `json:"payloadType"`
	Signatures  []rawSignature `json:"signatures"`
}

type rawSignature struct {
	// KeyID is written, empty: slsa-verifier's and cosign's readers of raw envelopes
	// take it as "no hint", and some of others' want the field.
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// Envelope is a signed statement as a raw DSSE envelope in RFC 8785 JSON, which
// slsa-verifier's verify-vsa reads and whose SHA-256 names an input attestation.
// The signature is not checked.
func Envelope(statement, sig []byte) ([]byte, error) {
	if len(statement) == 0 || len(sig) == 0 {
		return nil, errors.New("making envelope: statement or signature is missing")
	}
	return canonical(rawEnvelope{statement, payloadType, []rawSignature{{Sig: sig}}}, true)
}

// ReadEnvelope reads back what Envelope wrote, byte for byte, and refuses all
// else. Errors wrap ErrBundle.
func ReadEnvelope(raw []byte) (statement, sig []byte, err error) {
	if len(raw) > MaxBundleBytes {
		return nil, nil, fmt.Errorf("%w: it has %d bytes, at most %d are read", ErrBundle, len(raw), MaxBundleBytes)
	}
	var e rawEnvelope
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil {
		return nil, nil, fmt.Errorf("%w: reading its JSON: %w", ErrBundle, err)
	}
	if n := len(e.Signatures); n != 1 {
		return nil, nil, fmt.Errorf("%w: its envelope has %d signatures, want exactly one", ErrBundle, n)
	}
	again, err := Envelope(e.Payload, e.Signatures[0].Sig)
	if err != nil || !bytes.Equal(raw, again) {
		return nil, nil, errors.Join(fmt.Errorf("%w: it is no DSSE envelope in the one form that is written here", ErrBundle), err)
	}
	return e.Payload, e.Signatures[0].Sig, nil
}

// Unbundled is the raw DSSE envelope of a bundle's statement and signature, neither
// of which is checked: what a summary's inputs are named by.
func Unbundled(bundleJSON []byte) ([]byte, error) {
	b, err := parseBundle(bundleJSON)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	envelope := b.GetDsseEnvelope()
	return Envelope(envelope.Payload, envelope.Signatures[0].Sig)
}

package attest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"

	"gavel/verify/keys"
)

// ErrLeaf says that bytes are no hashedrekord leaf of the log.
var ErrLeaf = errors.New("not a hashedrekord 0.0.2 entry")

// The kind and version of entries, and the names of what they hold.
const (
	leafKind    = "hashedrekord"
	leafVersion = "0.0.2"

	hashSHA256 = "SHA2_256"
	hashSHA512 = "SHA2_512"
	// A log entry signs a digest, which pure Ed25519 cannot: it is named after the
	// pre-hashed variant, with its hash, while the signature itself is pure Ed25519
	// over DSSE's payload. That is how cosign 2.6 and 3 expect it.
	detailsEd25519 = "PKIX_ED25519_PH"
	detailsP256    = "PKIX_ECDSA_P256_SHA_256"
)

type leafEntry struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Spec       leafSpec `json:"spec"`
}

type leafSpec struct {
	Record leafRecord `json:"hashedRekordV002"`
}

type leafRecord struct {
	Data      leafData      `json:"data"`
	Signature leafSignature `json:"signature"`
}

type leafData struct {
	Algorithm string `json:"algorithm"`
	Digest    []byte `json:"digest"` // base64 in JSON, as all bytes here
}

type leafSignature struct {
	Content  []byte       `json:"content"`
	Verifier leafVerifier `json:"verifier"`
}

type leafVerifier struct {
	KeyDetails string        `json:"keyDetails"`
	PublicKey  leafPublicKey `json:"publicKey"`
}

type leafPublicKey struct {
	RawBytes []byte `json:"rawBytes"`
}

// Record is what a hashedrekord leaf says: somebody signed something of this digest.
type Record struct {
	Digest    []byte // SHA-256 of the payload for P-256, SHA-512 for Ed25519
	Signature []byte
	PKIX      []byte // the key in PKIX DER
}

// Leaf is the log's entry about a signed statement: the canonical body of a
// hashedrekord 0.0.2, as Rekor 2 keeps it. The signature is not checked.
func Leaf(statement, sig, pkix []byte) ([]byte, error) {
	details, algorithm, digest, err := payloadDigest(statement, pkix)
	if err != nil {
		return nil, fmt.Errorf("making log entry: %w", err)
	}
	return leafBody(details, algorithm, &Record{Digest: digest, Signature: sig, PKIX: pkix})
}

// payloadDigest says by which hash a key of a kind is recorded, and that of a
// statement's payload.
func payloadDigest(statement, pkix []byte) (details, algorithm string, digest []byte, err error) {
	details, algorithm, _, err = recordedBy(pkix)
	if err != nil {
		return "", "", nil, err
	}
	if algorithm == hashSHA512 {
		sum := sha512.Sum512(Payload(statement))
		return details, algorithm, sum[:], nil
	}
	sum := sha256.Sum256(Payload(statement))
	return details, algorithm, sum[:], nil
}

func recordedBy(pkix []byte) (details, algorithm string, digestBytes int, err error) {
	pub, err := keys.ParsePKIX(pkix)
	if err != nil {
		return "", "", 0, err
	}
	if _, ok := pub.(ed25519.PublicKey); ok {
		return detailsEd25519, hashSHA512, sha512.Size, nil
	}
	return detailsP256, hashSHA256, sha256.Size, nil
}

func leafBody(details, algorithm string, r *Record) ([]byte, error) {
	return canonical(leafEntry{
		APIVersion: leafVersion, Kind: leafKind,
		Spec: leafSpec{leafRecord{
			Data:      leafData{algorithm, r.Digest},
			Signature: leafSignature{r.Signature, leafVerifier{details, leafPublicKey{r.PKIX}}},
		}},
	}, true)
}

// ReadLeaf reads back what Leaf wrote, byte for byte, and refuses all else. It
// checks no signature: that needs the statement (Record.Check). Errors wrap ErrLeaf.
func ReadLeaf(body []byte) (*Record, error) {
	r, err := readLeaf(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLeaf, err)
	}
	return r, nil
}

func readLeaf(body []byte) (*Record, error) {
	if len(body) > MaxLeafBytes {
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", len(body), MaxLeafBytes)
	}
	var e leafEntry
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil {
		return nil, fmt.Errorf("reading its JSON: %w", err)
	}
	spec := &e.Spec.Record
	r := &Record{Digest: spec.Data.Digest, Signature: spec.Signature.Content, PKIX: spec.Signature.Verifier.PublicKey.RawBytes}
	details, algorithm, size, err := recordedBy(r.PKIX)
	if err != nil {
		return nil, err
	}
	if len(r.Digest) != size || len(r.Signature) == 0 {
		return nil, fmt.Errorf("a digest of %d bytes and a signature of %d", len(r.Digest), len(r.Signature))
	}
	again, err := leafBody(details, algorithm, r)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(body, again) {
		return nil, errors.New("it is not in the one form that the log keeps")
	}
	return r, nil
}

// Check says whether the record is about a statement and its signature is good.
func (r *Record) Check(statement []byte) error {
	_, _, digest, err := payloadDigest(statement, r.PKIX)
	if err != nil {
		return fmt.Errorf("checking log entry: %w", err)
	}
	if !bytes.Equal(digest, r.Digest) {
		return errors.New("the log entry is about another statement")
	}
	if err := keys.Verify(r.PKIX, Payload(statement), r.Signature); err != nil {
		return fmt.Errorf("the log entry's signature: %w", err)
	}
	return nil
}

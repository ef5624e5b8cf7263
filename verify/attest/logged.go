package attest

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	trustrootpb "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"gavel/verify/keys"
)

// ErrLogEntry says that the log entry in a bundle is unusable, or is not about
// the bundle's statement.
var ErrLogEntry = errors.New("the bundle's log entry does not fit it")

// LogEntry is where a signed statement stands in the log: all that a bundle needs
// for others to check that it was logged, offline.
type LogEntry struct {
	LogID [32]byte // LogID of the log's origin and key
	Index uint64   // of the leaf
	Body  []byte   // the leaf: Leaf's bytes
	// Size, Root and Proof are the tree under which it is proven, by RFC 6962.
	Size  uint64
	Root  [32]byte
	Proof [][32]byte
	// Checkpoint is the signed note over that tree.
	Checkpoint []byte
}

func (e *LogEntry) validate() error {
	switch {
	case e.Index >= e.Size:
		return fmt.Errorf("leaf %d lies outside of a tree of %d", e.Index, e.Size)
	case e.Size >= 1<<63:
		return fmt.Errorf("a tree of %d leaves", e.Size) // bundles carry 63 bits
	case len(e.Proof) > maxProofHashes:
		return fmt.Errorf("a proof of %d hashes, at most %d", len(e.Proof), maxProofHashes)
	case len(e.Checkpoint) == 0 || len(e.Checkpoint) > maxCheckpointBytes:
		return fmt.Errorf("a checkpoint of %d bytes, want 1 to %d", len(e.Checkpoint), maxCheckpointBytes)
	}
	return e.matchCheckpoint()
}

// matchCheckpoint holds size and root to what the checkpoint says: origin, size
// and root in base64 are its first three lines. Readers differ in which of the two
// they go by, so they must not differ themselves.
func (e *LogEntry) matchCheckpoint() error {
	lines := strings.SplitN(string(e.Checkpoint), "\n", 4)
	if len(lines) < 4 || lines[1] != strconv.FormatUint(e.Size, 10) || lines[2] != base64.StdEncoding.EncodeToString(e.Root[:]) {
		return errors.New("its size or root is not the checkpoint's")
	}
	return nil
}

// LogID is what bundles and trusted roots call a log: SHA-256(origin ‖ "\n" ‖ 0x01
// ‖ key) of its Ed25519 key (C2SP signed-note). Its first four bytes are the key's
// id in checkpoints.
func LogID(origin string, logKeyPKIX []byte) ([32]byte, error) {
	pub, err := keys.ParsePKIX(logKeyPKIX)
	if err != nil {
		return [32]byte{}, fmt.Errorf("naming log %s: %w", origin, err)
	}
	raw, ok := pub.(ed25519.PublicKey)
	if !ok {
		return [32]byte{}, fmt.Errorf("naming log %s: its key is %T, and public readers want Ed25519", origin, pub)
	}
	const noteEd25519 = 0x01
	return sha256.Sum256(append(append([]byte(origin), '\n', noteEd25519), raw...)), nil
}

// AssembleLogged is Assemble with the statement's log entry in the bundle, so
// that cosign checks inclusion too. An entry about another statement, signature
// or key is refused; its proof and checkpoint are the caller's to check.
func AssembleLogged(statement, sig []byte, pub crypto.PublicKey, entry *LogEntry) ([]byte, error) {
	b, err := newBundle(statement, sig, pub)
	if err != nil {
		return nil, fmt.Errorf("assembling bundle: %w", err)
	}
	pkix, err := keys.PKIX(pub)
	if err != nil {
		return nil, fmt.Errorf("assembling bundle: %w", err)
	}
	if err := entry.validate(); err != nil {
		return nil, fmt.Errorf("assembling bundle: log entry: %w", err)
	}
	if leaf, err := Leaf(statement, sig, pkix); err != nil || !bytes.Equal(leaf, entry.Body) {
		return nil, errors.Join(errors.New("assembling bundle: the log entry is about another statement"), err)
	}
	b.VerificationMaterial.TlogEntries = []*rekorpb.TransparencyLogEntry{entry.message()}
	return canonicalProto(b)
}

func (e *LogEntry) message() *rekorpb.TransparencyLogEntry {
	proof := &rekorpb.InclusionProof{
		LogIndex: int64(e.Index), TreeSize: int64(e.Size), RootHash: e.Root[:],
		Checkpoint: &rekorpb.Checkpoint{Envelope: string(e.Checkpoint)},
	}
	for i := range e.Proof {
		proof.Hashes = append(proof.Hashes, e.Proof[i][:])
	}
	return &rekorpb.TransparencyLogEntry{
		LogIndex: int64(e.Index), LogId: &commonpb.LogId{KeyId: e.LogID[:]},
		KindVersion:    &rekorpb.KindVersion{Kind: leafKind, Version: leafVersion},
		InclusionProof: proof, CanonicalizedBody: e.Body,
	}
}

// logEntry reads the log entry of a bundle: nil if it has none, or only such of
// kinds that are not read here. It is held to the bundle's own statement and
// signature; proof and checkpoint are not checked.
func logEntry(b *bundlepb.Bundle, pkix []byte) (*LogEntry, error) {
	list := b.VerificationMaterial.TlogEntries
	if len(list) != 1 || list[0].GetKindVersion().GetKind() != leafKind || list[0].GetKindVersion().GetVersion() != leafVersion {
		return nil, nil
	}
	e, err := readEntry(list[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLogEntry, err)
	}
	envelope := b.GetDsseEnvelope()
	leaf, err := Leaf(envelope.Payload, envelope.Signatures[0].Sig, pkix)
	if err != nil || !bytes.Equal(leaf, e.Body) {
		return nil, errors.Join(fmt.Errorf("%w: it is about another statement, signature or key", ErrLogEntry), err)
	}
	return e, nil
}

func readEntry(m *rekorpb.TransparencyLogEntry) (*LogEntry, error) {
	proof := m.GetInclusionProof()
	if proof == nil {
		return nil, errors.New("it carries no inclusion proof")
	}
	if m.LogIndex < 0 || proof.LogIndex != m.LogIndex || proof.TreeSize < 0 {
		return nil, fmt.Errorf("leaf %d is proven as leaf %d of %d", m.LogIndex, proof.LogIndex, proof.TreeSize)
	}
	e := &LogEntry{
		Index: uint64(m.LogIndex), Body: m.CanonicalizedBody, Size: uint64(proof.TreeSize),
		Checkpoint: []byte(proof.GetCheckpoint().GetEnvelope()),
	}
	if len(m.GetLogId().GetKeyId()) != len(e.LogID) || len(proof.RootHash) != len(e.Root) {
		return nil, errors.New("its log id or root is not of 32 bytes")
	}
	e.LogID, e.Root = [32]byte(m.LogId.KeyId), [32]byte(proof.RootHash)
	for _, h := range proof.Hashes {
		if len(h) != 32 {
			return nil, fmt.Errorf("its proof has a hash of %d bytes", len(h))
		}
		e.Proof = append(e.Proof, [32]byte(h))
	}
	return e, e.validate()
}

// LogKey is a key that signs for a log, or did. Times are wall times in milliseconds
// since 1970.
type LogKey struct {
	PKIX        []byte
	FromMillis  int64 // when it took office
	UntilMillis int64 // when it was revoked or replaced; 0 while it is in use
}

// TrustedRoot is the trusted_root.json by which cosign knows a log and all keys it
// has had: origin is the host name of its base URL and the name of its keys in
// checkpoints. A key's end leaves standing what it signed: cosign 3 takes the key
// that an entry's log id names, and holds validFor only to the integrated time of an
// inclusion promise, and log entries here carry neither.
func TrustedRoot(origin string, logKeys []LogKey) ([]byte, error) {
	root := &trustrootpb.TrustedRoot{MediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}
	for _, k := range logKeys {
		id, err := LogID(origin, k.PKIX)
		if err != nil {
			return nil, err
		}
		valid := &commonpb.TimeRange{Start: timestamppb.New(time.UnixMilli(k.FromMillis))}
		if k.UntilMillis != 0 {
			valid.End = timestamppb.New(time.UnixMilli(k.UntilMillis))
		}
		root.Tlogs = append(root.Tlogs, &trustrootpb.TransparencyLogInstance{
			BaseUrl: "https://" + origin, HashAlgorithm: commonpb.HashAlgorithm_SHA2_256,
			PublicKey: &commonpb.PublicKey{RawBytes: k.PKIX, KeyDetails: commonpb.PublicKeyDetails_PKIX_ED25519, ValidFor: valid},
			LogId:     &commonpb.LogId{KeyId: id[:]},
		})
	}
	return canonicalProto(root)
}

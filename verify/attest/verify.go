package attest

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"gavel/verify/keys"
)

// The sentinels of VerifyBundle. ErrBundle: the file is no bundle that this
// check reads; fetch it again or use the tool that made it. ErrSignature: it is
// not what the key's owner signed; trust nothing in it. ErrStatement: what was
// signed is neither provenance nor a verification summary. ErrSubject: it is about
// other files.
var (
	ErrBundle    = errors.New("not a usable Sigstore bundle")
	ErrSignature = errors.New("the bundle is not signed by this key")
	ErrStatement = errors.New("the signed payload is neither a provenance statement nor a verification summary")
	ErrSubject   = errors.New("the bundle is not about this file")
)

// DigestOf is the SHA-256 of an artifact, to be handed to VerifyBundle.
func DigestOf(artifact io.Reader) ([32]byte, error) {
	h := sha256.New()
	if _, err := io.Copy(h, artifact); err != nil {
		return [32]byte{}, fmt.Errorf("reading artifact: %w", err)
	}
	return [32]byte(h.Sum(nil)), nil
}

// VerifyBundle checks offline that pub's owner signed a provenance statement or a
// verification summary of which the file with this SHA-256 is a subject. It reads
// bundles v0.3 with one DSSE signature and a public key hint, and refuses unknown
// fields in the bundle. In the statement they are ignored, as in-toto's parsing
// rules want, but for a Gavel cluster's summary, which has one form. A log entry
// in the bundle must be about this very statement; whether it is in the log is
// for the log's reader to check. The Report says what that proves and what not.
func VerifyBundle(bundleJSON []byte, artifact [32]byte, pub crypto.PublicKey) (*Report, error) {
	pkix, err := keys.PKIX(pub)
	if err != nil {
		return nil, err
	}
	b, err := parseBundle(bundleJSON)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if err := verifyEnvelope(b, pub, pkix); err != nil {
		return nil, err
	}
	envelope := b.GetDsseEnvelope()
	r, err := reportOn(envelope.Payload, envelope.Signatures[0].Sig, pkix, artifact)
	if err != nil {
		return nil, err
	}
	if r.Log, err = logEntry(b, pkix); err != nil {
		return nil, err
	}
	r.LogEntries = len(b.VerificationMaterial.TlogEntries)
	r.doubt()
	return r, nil
}

// Hint is the id of the key that a bundle names as its signer's (keys.ID): no evidence,
// but which of many keys to try. It is not ok where it names none.
func Hint(bundleJSON []byte) (id [32]byte, ok bool) {
	b, err := parseBundle(bundleJSON)
	if err != nil {
		return id, false
	}
	hint, err := base64.StdEncoding.DecodeString(b.VerificationMaterial.GetPublicKey().Hint)
	if err != nil || len(hint) != len(id) {
		return id, false
	}
	return [32]byte(hint), true
}

// VerifyEnvelope is VerifyBundle for a raw DSSE envelope as Envelope writes it,
// which carries no log entry.
func VerifyEnvelope(dsseJSON []byte, artifact [32]byte, pub crypto.PublicKey) (*Report, error) {
	pkix, err := keys.PKIX(pub)
	if err != nil {
		return nil, err
	}
	statement, sig, err := ReadEnvelope(dsseJSON)
	if err != nil {
		return nil, err
	}
	if err := keys.Verify(pkix, Payload(statement), sig); err != nil {
		return nil, fmt.Errorf("%w: payload or signature were changed, or another key signed: %w", ErrSignature, err)
	}
	r, err := reportOn(statement, sig, pkix, artifact)
	if err != nil {
		return nil, err
	}
	r.doubt()
	return r, nil
}

// reportOn says what a statement says whose signature was checked.
func reportOn(payload, sig, pkix []byte, artifact [32]byte) (*Report, error) {
	st, err := parseStatement(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	names, err := matchSubject(st, artifact)
	if err != nil {
		return nil, err
	}
	r := newReport(st, names, artifact, keys.ID(pkix))
	r.Statement, r.Signature, r.PKIX = payload, sig, pkix
	return r, nil
}

// parseBundle checks a bundle's form, in the order in which a person would ask.
func parseBundle(raw []byte) (*bundlepb.Bundle, error) {
	if len(raw) > MaxBundleBytes {
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", len(raw), MaxBundleBytes)
	}
	b := new(bundlepb.Bundle)
	if err := protojson.Unmarshal(raw, b); err != nil {
		if _, _, envelopeErr := ReadEnvelope(raw); envelopeErr == nil {
			return nil, errors.New("it is a raw DSSE envelope, which does not carry the log's proof: take the " + bundleSuffix + " beside it")
		}
		return nil, fmt.Errorf("reading its JSON: %w", err)
	}
	if b.MediaType != mediaType {
		return nil, fmt.Errorf("its media type is %q, want %s", b.MediaType, mediaType)
	}
	envelope := b.GetDsseEnvelope()
	if envelope == nil {
		return nil, errors.New("it holds no DSSE envelope")
	}
	if b.VerificationMaterial.GetPublicKey() == nil {
		return nil, errors.New("it was signed with a certificate, or names no key; only bundles of a plain public key are checked here")
	}
	if n := len(envelope.Signatures); n != 1 || envelope.Signatures[0] == nil {
		return nil, fmt.Errorf("its envelope has %d signatures, want exactly one", n)
	}
	if envelope.PayloadType != payloadType {
		return nil, fmt.Errorf("its payload type is %q, want %s", envelope.PayloadType, payloadType)
	}
	return b, nil
}

// verifyEnvelope checks the one signature. Key id and hint are no evidence: they
// only help to say which other key was used.
func verifyEnvelope(b *bundlepb.Bundle, pub crypto.PublicKey, pkix []byte) error {
	envelope := b.GetDsseEnvelope()
	sig := envelope.Signatures[0]
	if sig.Keyid != "" {
		own, err := dsse.SHA256KeyID(pub)
		if err != nil {
			return fmt.Errorf("naming the key given: %w", err)
		}
		if sig.Keyid != own {
			return fmt.Errorf("%w: its key id is %s, that of the key given is %s", ErrSignature, shown(sig.Keyid), own)
		}
	}
	if err := keys.Verify(pkix, Payload(envelope.Payload), sig.Sig); err != nil {
		id := keys.ID(pkix)
		hint, decodeErr := base64.StdEncoding.DecodeString(b.VerificationMaterial.GetPublicKey().Hint)
		if decodeErr == nil && len(hint) == len(id) && [32]byte(hint) != id {
			return fmt.Errorf("%w: it names the key %s, the key given is %s", ErrSignature, keys.Fingerprint([32]byte(hint)), keys.Fingerprint(id))
		}
		return fmt.Errorf("%w: payload or signature were changed, or another key signed: %w", ErrSignature, err)
	}
	return nil
}

func parseStatement(payload []byte) (*parsedStatement, error) {
	st := new(intoto.Statement)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(payload, st); err != nil {
		return nil, fmt.Errorf("reading its JSON: %w", err)
	}
	if st.Type != intoto.StatementTypeUri {
		return nil, fmt.Errorf("its type is %s, want %s", shown(st.Type), intoto.StatementTypeUri)
	}
	if err := st.Validate(); err != nil {
		return nil, fmt.Errorf("in-toto: %w", err)
	}
	switch st.PredicateType {
	case PredicateSLSA:
		return parseProvenance(st)
	case PredicateVSA:
		return parseVerification(st, payload)
	}
	return nil, fmt.Errorf("its predicate type is %s, want %s or %s", shown(st.PredicateType), PredicateSLSA, PredicateVSA)
}

// matchSubject returns the names under which the statement speaks of a file.
func matchSubject(st *parsedStatement, artifact [32]byte) ([]string, error) {
	want := hex.EncodeToString(artifact[:])
	var names []string
	for _, s := range st.statement.Subject {
		if s.GetDigest()["sha256"] == want {
			names = append(names, s.GetName())
		}
	}
	if len(names) > 0 {
		return names, nil
	}
	all := st.statement.Subject
	more := ""
	if len(all) > 1 {
		more = fmt.Sprintf(" and %d more", len(all)-1)
	}
	return nil, fmt.Errorf("%w: no subject has SHA-256 %s; it is about %s (sha256 %s)%s",
		ErrSubject, want, shown(all[0].GetName()), shown(all[0].GetDigest()["sha256"]), more)
}

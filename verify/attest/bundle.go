package attest

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"fmt"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dssepb "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"gavel/verify/keys"
)

const (
	// mediaType is the one bundle format that cosign writes and reads today.
	mediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// payloadType marks an in-toto statement inside DSSE.
	payloadType = "application/vnd.in-toto+json"
)

// Payload is what is signed: DSSE's pre-authentication encoding of a statement.
func Payload(statement []byte) []byte { return dsse.PAE(payloadType, statement) }

// Sign is a signature over a statement's Payload: pure Ed25519, or ECDSA P-256
// over SHA-256.
func Sign(statement []byte, signer signature.Signer) ([]byte, error) {
	sig, err := signer.SignMessage(bytes.NewReader(Payload(statement)))
	if err != nil {
		return nil, fmt.Errorf("signing statement: %w", err)
	}
	return sig, nil
}

// Assemble puts statement and signature into a Sigstore bundle v0.3, in RFC 8785
// JSON: equal inputs make equal bytes. A signature that does not verify is
// refused. The public key's hint is the base64 of its id, as cosign writes it.
func Assemble(statement, sig []byte, pub crypto.PublicKey) ([]byte, error) {
	b, err := newBundle(statement, sig, pub)
	if err != nil {
		return nil, fmt.Errorf("assembling bundle: %w", err)
	}
	return canonicalProto(b)
}

func newBundle(statement, sig []byte, pub crypto.PublicKey) (*bundlepb.Bundle, error) {
	pkix, err := keys.PKIX(pub)
	if err != nil {
		return nil, err
	}
	if err := keys.Verify(pkix, Payload(statement), sig); err != nil {
		return nil, err
	}
	id := keys.ID(pkix)
	return &bundlepb.Bundle{
		MediaType: mediaType,
		VerificationMaterial: &bundlepb.VerificationMaterial{Content: &bundlepb.VerificationMaterial_PublicKey{
			PublicKey: &commonpb.PublicKeyIdentifier{Hint: base64.StdEncoding.EncodeToString(id[:])},
		}},
		Content: &bundlepb.Bundle_DsseEnvelope{DsseEnvelope: &dssepb.Envelope{
			Payload: statement, PayloadType: payloadType, Signatures: []*dssepb.Signature{{Sig: sig}},
		}},
	}, nil
}

// canonicalProto is a message in RFC 8785 JSON: protojson varies its spaces from
// build to build on purpose.
func canonicalProto(m proto.Message) ([]byte, error) {
	plain, err := protojson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding JSON: %w", err)
	}
	out, err := jsoncanonicalizer.Transform(plain)
	if err != nil {
		return nil, fmt.Errorf("encoding canonical JSON: %w", err)
	}
	return out, nil
}

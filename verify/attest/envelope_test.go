package attest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"gavel/verify/attest"
	"gavel/verify/keys"
)

// expectedVSA is what a user of `slsa-verifier verify-vsa` says on its command line.
type expectedVSA struct {
	digests              []string // "sha256:…"
	verifierID, resource string
	levels               []string
	publicKeyPKIX        []byte
}

// verifyVSA is slsa-verifier's rule set for verify-vsa (version 2.7.1), by the
// SLSA 1.1 text on how to verify a VSA, written out with encoding/json and the
// DSSE library's own envelope: signature, payload type, predicate type, subject
// digests, verifier, resource, result, levels (custom ones must be there exactly).
func verifyVSA(raw []byte, want expectedVSA) error {
	var e dsse.Envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		return err
	}
	if e.PayloadType != "application/vnd.in-toto+json" {
		return errors.New("payload type")
	}
	payload, err := e.DecodeB64Payload()
	if err != nil || len(payload) == 0 {
		return errors.New("payload")
	}
	signed := false
	for _, s := range e.Signatures {
		sig, err := base64.StdEncoding.DecodeString(s.Sig)
		if err != nil {
			return err
		}
		signed = signed || keys.Verify(want.publicKeyPKIX, dsse.PAE(e.PayloadType, payload), sig) == nil
	}
	if !signed {
		return errors.New("signature")
	}
	var st struct {
		Type          string `json:"_type"`
		PredicateType string
		Subject       []struct {
			Name   string
			Digest map[string]string
		}
		Predicate struct {
			Verifier     struct{ ID string }
			TimeVerified time.Time
			ResourceURI  string
			Policy       struct {
				URI    string
				Digest map[string]string
			}
			InputAttestations []struct {
				URI    string
				Digest map[string]string
			}
			VerificationResult string
			VerifiedLevels     []string
			DependencyLevels   map[string]int
			SLSAVersion        string
		}
	}
	if err := json.Unmarshal(payload, &st); err != nil {
		return err
	}
	p := st.Predicate
	if st.Type != "https://in-toto.io/Statement/v1" || st.PredicateType != "https://slsa.dev/verification_summary/v1" {
		return errors.New("type")
	}
	for _, d := range want.digests {
		kind, value, _ := strings.Cut(d, ":")
		if !slices.ContainsFunc(st.Subject, func(s struct {
			Name   string
			Digest map[string]string
		}) bool {
			return s.Digest[kind] == value
		}) {
			return fmt.Errorf("subject %s", d)
		}
	}
	switch {
	case len(want.digests) == 0:
		return errors.New("no digests")
	case p.Verifier.ID == "" || p.Verifier.ID != want.verifierID:
		return errors.New("verifier")
	case p.ResourceURI == "" || p.ResourceURI != want.resource:
		return errors.New("resource")
	case p.VerificationResult != "PASSED":
		return errors.New("result")
	}
	for _, level := range p.VerifiedLevels {
		if strings.HasPrefix(level, "SLSA_") {
			return errors.New("a level of SLSA's own that nobody verified")
		}
	}
	for _, level := range want.levels {
		if !slices.Contains(p.VerifiedLevels, level) {
			return fmt.Errorf("level %s", level)
		}
	}
	return nil
}

func TestEnvelopeMeetsTheRulesOfVerifyVSA(t *testing.T) {
	pub, signer := ed25519Key(t)
	pkix, _ := keys.PKIX(pub)
	s := sampleSummary()
	st := summaryStatement(t, s)
	sig, err := attest.Sign(st, signer)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := attest.Envelope(st, sig)
	if err != nil {
		t.Fatal(err)
	}
	good := func() expectedVSA {
		return expectedVSA{
			digests: []string{"sha256:" + hexOf(artifact)}, verifierID: attest.VerifierIDPrefix + hexOf(s.Cluster),
			resource: "gavel:build/" + hexOf(s.Build), levels: []string{"GAVEL_REPRODUCED_2"}, publicKeyPKIX: pkix,
		}
	}
	if err := verifyVSA(raw, good()); err != nil {
		t.Fatal(err)
	}
	stranger, _ := ed25519Key(t)
	strangers, _ := keys.PKIX(stranger)
	for what, change := range map[string]func(*expectedVSA){
		"subject": func(e *expectedVSA) { e.digests = []string{"sha256:" + hexOf(sum("x"))} }, "no digests": func(e *expectedVSA) { e.digests = nil },
		"verifier": func(e *expectedVSA) { e.verifierID += "0" }, "resource": func(e *expectedVSA) { e.resource += "0" },
		"level": func(e *expectedVSA) { e.levels = []string{"GAVEL_REPRODUCED_3"} }, "signature": func(e *expectedVSA) { e.publicKeyPKIX = strangers },
	} {
		e := good()
		change(&e)
		if err := verifyVSA(raw, e); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s.Agreed = s.Agreed[:1] // nobody agreed: FAILED
	st = summaryStatement(t, s)
	sig, _ = attest.Sign(st, signer)
	raw, err = attest.Envelope(st, sig)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifyVSA(raw, good()); err == nil || err.Error() != "result" {
		t.Errorf("a failed summary: %v", err)
	}
}

func TestEnvelopeRoundTrip(t *testing.T) {
	pub, signer := p256Key(t)
	st := summaryStatement(t, sampleSummary())
	sig, _ := attest.Sign(st, signer)
	raw, err := attest.Envelope(st, sig)
	if err != nil {
		t.Fatal(err)
	}
	gotStatement, gotSig, err := attest.ReadEnvelope(raw)
	if err != nil || !bytes.Equal(gotStatement, st) || !bytes.Equal(gotSig, sig) {
		t.Fatalf("%v", err)
	}
	r, err := attest.VerifyEnvelope(raw, artifact, pub)
	if err != nil || r.Summary == nil || r.Result != "PASSED" || !strings.Contains(r.String(), "no log entry") {
		t.Errorf("%v\n%s", err, r)
	}
	stranger, _ := p256Key(t)
	if _, err := attest.VerifyEnvelope(raw, artifact, stranger); !errors.Is(err, attest.ErrSignature) {
		t.Errorf("another key: %v", err)
	}
	if _, err := attest.VerifyEnvelope(raw, sum("x"), pub); !errors.Is(err, attest.ErrSubject) {
		t.Errorf("another file: %v", err)
	}
	for what, c := range map[string][2]string{
		"space": {`{"payload"`, `{ "payload"`}, "unknown": {`{"payload"`, `{"a":1,"payload"`}, "type": {"vnd.in-toto", "vnd.other"},
		"key id": {`"keyid":""`, `"keyid":"x"`}, "no key id": {`"keyid":"",`, ``}, "none": {`{"keyid"`, `],"x":[{"keyid"`},
		"two": {`{"keyid"`, `{"keyid":"","sig":"AAAA"},{"keyid"`}, "trailing": {`}]}`, `}]}}`},
	} {
		changed := strings.Replace(string(raw), c[0], c[1], 1)
		if changed == string(raw) {
			t.Fatalf("%s: not in the envelope", what)
		}
		if _, _, err := attest.ReadEnvelope([]byte(changed)); !errors.Is(err, attest.ErrBundle) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := attest.Envelope(nil, sig); err == nil {
		t.Error("an envelope of nothing")
	}
	// One that another program wrote, which slsa-verifier reads: not in our form.
	other, err := os.ReadFile("testdata/bundle/ed25519.vsa.dsse.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := attest.ReadEnvelope(other); !errors.Is(err, attest.ErrBundle) {
		t.Errorf("another form: %v", err)
	}
}

func FuzzReadEnvelope(f *testing.F) {
	pub, signer := ed25519Key(f)
	st := summaryStatement(f, sampleSummary())
	sig, _ := attest.Sign(st, signer)
	raw, err := attest.Envelope(st, sig)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"payload":"AAAA","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"","sig":"AAAA"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		st, sig, err := attest.ReadEnvelope(raw)
		if err == nil {
			if again, err := attest.Envelope(st, sig); err != nil || !bytes.Equal(raw, again) {
				t.Fatalf("%q is read as %q", raw, again)
			}
		}
		if r, err := attest.VerifyEnvelope(raw, artifact, pub); (r == nil) == (err == nil) {
			t.Fatalf("report %v, error %v", r, err)
		}
	})
}

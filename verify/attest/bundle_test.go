package attest_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/signature"

	"gavel/verify/attest"
	"gavel/verify/keys"
)

func ed25519Key(t testing.TB) (crypto.PublicKey, signature.Signer) {
	t.Helper()
	pub, key, _ := ed25519.GenerateKey(rand.Reader)
	return pub, loadSigner(t, key)
}

func p256Key(t testing.TB) (crypto.PublicKey, signature.Signer) {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &key.PublicKey, loadSigner(t, key)
}

func loadSigner(t testing.TB, key crypto.PrivateKey) signature.Signer {
	t.Helper()
	s, err := signature.LoadSigner(key, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func bundle(t testing.TB, p *attest.Provenance, pub crypto.PublicKey, signer signature.Signer) []byte {
	t.Helper()
	return bundleOf(t, statement(t, p), pub, signer)
}

func bundleOf(t testing.TB, st []byte, pub crypto.PublicKey, signer signature.Signer) []byte {
	t.Helper()
	sig, err := attest.Sign(st, signer)
	if err != nil {
		t.Fatal(err)
	}
	b, err := attest.Assemble(st, sig, pub)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var artifact = sum("hello reproducible world\n")

func readPublic(t testing.TB, name string) crypto.PublicKey {
	t.Helper()
	raw, err := os.ReadFile("testdata/bundle/" + name + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	pub, err := keys.ParsePublic(raw)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// The bundles in testdata were written by another program and accepted by cosign
// 2.6.5 and 3.1.3.
func TestBundlesThatCosignAcceptedVerify(t *testing.T) {
	f, err := os.Open("testdata/bundle/artifact.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	digest, err := attest.DigestOf(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ed25519", "ecdsa-p256"} {
		raw, err := os.ReadFile("testdata/bundle/" + name + ".provenance.sigstore.json")
		if err != nil {
			t.Fatal(err)
		}
		r, err := attest.VerifyBundle(raw, digest, readPublic(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.Subjects[0] != "artifact.bin" || r.BuilderID != "https://gavel.example/farm/a" || r.InvocationID != "job-1" || r.Simulated {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestBundleRoundTrip(t *testing.T) {
	for name, make := range map[string]func(testing.TB) (crypto.PublicKey, signature.Signer){"ed25519": ed25519Key, "p256": p256Key} {
		t.Run(name, func(t *testing.T) {
			pub, signer := make(t)
			st := statement(t, sample())
			sig, err := attest.Sign(st, signer)
			if err != nil {
				t.Fatal(err)
			}
			if want := dsse.PAE("application/vnd.in-toto+json", st); !bytes.Equal(attest.Payload(st), want) {
				t.Error("payload is not DSSE's")
			}
			a, err := attest.Assemble(st, sig, pub)
			if err != nil {
				t.Fatal(err)
			}
			for range 10 {
				if b, err := attest.Assemble(st, sig, pub); err != nil || !bytes.Equal(a, b) {
					t.Fatal("the same inputs made two bundles")
				}
			}
			checkShape(t, a, st, sig, pub)
			r, err := attest.VerifyBundle(a, artifact, pub)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Subjects) != 1 || r.Subjects[0] != "bin/app" || r.BuildType != attest.BuildType {
				t.Errorf("%+v", r)
			}
		})
	}
}

// checkShape holds the bundle to the exact form that cosign accepted, spelled out.
func checkShape(t *testing.T, b, st, sig []byte, pub crypto.PublicKey) {
	t.Helper()
	pkix, err := keys.PKIX(pub)
	if err != nil {
		t.Fatal(err)
	}
	id := sha256.Sum256(pkix)
	base := base64.StdEncoding.EncodeToString
	want := `{"dsseEnvelope":{"payload":"` + base(st) + `","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"` + base(sig) +
		`"}]},"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"` + base(id[:]) + `"}}}`
	if string(b) != want {
		t.Errorf("bundle is\n%s\nwant\n%s", b, want)
	}
}

func TestReportSaysWhatIsNotProven(t *testing.T) {
	pub, signer := ed25519Key(t)
	p := sample()
	p.Role, p.Simulated = attest.RoleValidator, true
	r, err := attest.VerifyBundle(bundle(t, p, pub, signer), artifact, pub)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Simulated || !strings.HasPrefix(r.BuilderID, attest.SimulatedBuilderIDPrefix) {
		t.Errorf("a simulated farm is not labelled: %+v", r)
	}
	text := r.String()
	for _, says := range []string{
		"proven:\n  - the owner of key " + r.Key, "its subject bin/app (of 2)", "SIMULATED", "as validator of build " + r.InvocationID,
		"from 2023-11-14T22:13:20Z to 2023-11-14T22:13:32Z", "not proven:", "public log: the bundle carries no log entry",
		"auction or draw", "anyone else built it", "no harm", "belongs to whom you think",
	} {
		if !strings.Contains(text, says) {
			t.Errorf("the report does not say %q:\n%s", says, text)
		}
	}
	p.Simulated = false
	if r, err = attest.VerifyBundle(bundle(t, p, pub, signer), artifact, pub); err != nil || r.Simulated || strings.Contains(r.String(), "SIMULATED") {
		t.Errorf("a real farm is labelled simulated: %v", err)
	}
}

// edit changes a bundle as a tree of JSON.
func edit(t *testing.T, b []byte, change func(top, material, envelope map[string]any)) []byte {
	t.Helper()
	var top map[string]any
	if err := json.Unmarshal(b, &top); err != nil {
		t.Fatal(err)
	}
	change(top, top["verificationMaterial"].(map[string]any), top["dsseEnvelope"].(map[string]any))
	out, err := json.Marshal(top)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Each kind of tampering has an error of its own that names it.
func TestTamperedBundles(t *testing.T) {
	pub, signer := ed25519Key(t)
	st := statement(t, sample())
	good := bundleOf(t, st, pub, signer)
	id := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	sealed := func(from, to string) []byte { // signed anew over another statement
		changed := bytes.Replace(st, []byte(from), []byte(to), 1)
		if bytes.Equal(changed, st) {
			t.Fatalf("%q is not in the statement", from)
		}
		return bundleOf(t, changed, pub, signer)
	}
	tampered := func(change func(top, material, envelope map[string]any)) []byte { return edit(t, good, change) }
	flip := func(field any) string {
		raw, err := base64.StdEncoding.DecodeString(field.(string))
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)/2] ^= 1
		return base64.StdEncoding.EncodeToString(raw)
	}
	first := func(envelope map[string]any) map[string]any {
		return envelope["signatures"].([]any)[0].(map[string]any)
	}

	for _, c := range []struct {
		what, says string
		kind       error
		bundle     []byte
	}{
		{"empty", "reading its JSON", attest.ErrBundle, nil},
		{"cut", "reading its JSON", attest.ErrBundle, good[:len(good)-1]},
		{"two documents", "reading its JSON", attest.ErrBundle, append(bytes.Clone(good), good...)},
		{"too big", "at most", attest.ErrBundle, make([]byte, attest.MaxBundleBytes+1)},
		{"unknown top field", `unknown field "extra"`, attest.ErrBundle, tampered(func(top, _, _ map[string]any) { top["extra"] = 1 })},
		{"unknown inner field", `unknown field "note"`, attest.ErrBundle, tampered(func(_, _, e map[string]any) { e["note"] = "x" })},
		{"media type", "media type is", attest.ErrBundle, tampered(func(top, _, _ map[string]any) {
			top["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2"
		})},
		{"no envelope", "no DSSE envelope", attest.ErrBundle, tampered(func(top, _, _ map[string]any) { delete(top, "dsseEnvelope") })},
		{"no key", "names no key", attest.ErrBundle, tampered(func(_, m, _ map[string]any) { delete(m, "publicKey") })},
		{"certificate", "with a certificate", attest.ErrBundle, tampered(func(_, m, _ map[string]any) {
			delete(m, "publicKey")
			m["certificate"] = map[string]any{"rawBytes": "AAAA"}
		})},
		{"no signature", "0 signatures", attest.ErrBundle, tampered(func(_, _, e map[string]any) { e["signatures"] = []any{} })},
		{"two signatures", "2 signatures", attest.ErrBundle, tampered(func(_, _, e map[string]any) { e["signatures"] = append(e["signatures"].([]any), first(e)) })},
		{"payload type", "payload type is", attest.ErrBundle, tampered(func(_, _, e map[string]any) { e["payloadType"] = "text/plain" })},
		{"payload", "payload or signature were changed", attest.ErrSignature, tampered(func(_, _, e map[string]any) { e["payload"] = flip(e["payload"]) })},
		{"signature", "payload or signature were changed", attest.ErrSignature, tampered(func(_, _, e map[string]any) { first(e)["sig"] = flip(first(e)["sig"]) })},
		{"key id", "its key id is SHA256:x", attest.ErrSignature, tampered(func(_, _, e map[string]any) { first(e)["keyid"] = "SHA256:x" })},
		{"hint and signature", "it names the key SHA256:" + id, attest.ErrSignature, tampered(func(_, m, e map[string]any) {
			m["publicKey"] = map[string]any{"hint": id}
			first(e)["sig"] = flip(first(e)["sig"])
		})},
		{"statement type", "its type is https://in-toto.io/Statement/v0.1", attest.ErrStatement, sealed("Statement/v1", "Statement/v0.1")},
		{"predicate type", "its predicate type is https://slsa.dev/provenance/v0.2", attest.ErrStatement, sealed("slsa.dev/provenance/v1", "slsa.dev/provenance/v0.2")},
		{"predicate of another type", "names its verifier", attest.ErrStatement, sealed("slsa.dev/provenance/v1", "slsa.dev/verification_summary/v1")},
		{"no statement", "reading its JSON", attest.ErrStatement, bundleOf(t, []byte("hello"), pub, signer)},
		{"subject without digest", "in-toto:", attest.ErrStatement, sealed(`"sha256":"`+hexOf(artifact), `"sha256":"`+hexOf(artifact)[1:])},
		{"no build type", "SLSA:", attest.ErrStatement, sealed(`"buildType":"`+attest.BuildType+`"`, `"buildType":""`)},
		{"mistyped predicate", "reading its predicate", attest.ErrStatement, sealed(`"metadata":{`, `"metadata":7,"x_metadata":{`)},
		{"another file", "no subject has SHA-256 " + hexOf(artifact), attest.ErrSubject, sealed(hexOf(artifact), hexOf(sum("other")))},
	} {
		r, err := attest.VerifyBundle(c.bundle, artifact, pub)
		if r != nil || !errors.Is(err, c.kind) {
			t.Errorf("%s: report %v, error %v", c.what, r, err)
			continue
		}
		// protojson puts a no-break space into some of its texts, on purpose.
		if text := strings.ReplaceAll(err.Error(), "\u00a0", " "); !strings.Contains(text, c.says) {
			t.Errorf("%s: error does not say %q: %s", c.what, c.says, text)
		}
		for _, other := range []error{attest.ErrBundle, attest.ErrSignature, attest.ErrStatement, attest.ErrSubject} {
			if other != c.kind && errors.Is(err, other) {
				t.Errorf("%s: error is of two kinds: %v", c.what, err)
			}
		}
	}

	stranger, _ := p256Key(t)
	if _, err := attest.VerifyBundle(good, artifact, stranger); !errors.Is(err, attest.ErrSignature) || !strings.Contains(err.Error(), "it names the key") {
		t.Errorf("another key: %v", err)
	}
	if _, err := attest.VerifyBundle(good, artifact, "no key"); !errors.Is(err, keys.ErrUnsupported) {
		t.Errorf("no key: %v", err)
	}
	// What is not evidence may be edited: the hint, and spaces between tokens.
	var spaced bytes.Buffer
	if err := json.Indent(&spaced, good, "", "  "); err != nil {
		t.Fatal(err)
	}
	if _, err := attest.VerifyBundle(spaced.Bytes(), artifact, pub); err != nil {
		t.Errorf("indented: %v", err)
	}
	// in-toto and SLSA let producers add fields, which readers ignore.
	if _, err := attest.VerifyBundle(sealed(`"metadata":{`, `"x_more":1,"metadata":{"x_more":2,`), artifact, pub); err != nil {
		t.Errorf("extended predicate: %v", err)
	}
	if _, err := attest.VerifyBundle(sealed(`{"_type"`, `{"x_more":1,"_type"`), artifact, pub); err != nil {
		t.Errorf("extended statement: %v", err)
	}
	keyID, err := dsse.SHA256KeyID(pub)
	if err != nil {
		t.Fatal(err)
	}
	named := tampered(func(_, m, e map[string]any) {
		m["publicKey"] = map[string]any{"hint": "worker 1"}
		first(e)["keyid"] = keyID
	})
	if _, err := attest.VerifyBundle(named, artifact, pub); err != nil {
		t.Errorf("free hint and own key id: %v", err)
	}
}

func hexOf(d [32]byte) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, x := range d {
		b.WriteByte(digits[x>>4])
		b.WriteByte(digits[x&15])
	}
	return b.String()
}

// A bundle may carry log entries: they are counted and said to be unchecked.
func TestLogEntriesAreNotTakenForProof(t *testing.T) {
	pub, signer := ed25519Key(t)
	b := edit(t, bundle(t, sample(), pub, signer), func(_, m, _ map[string]any) {
		m["tlogEntries"] = []any{map[string]any{"logIndex": "1"}}
	})
	r, err := attest.VerifyBundle(b, artifact, pub)
	if err != nil || r.LogEntries != 1 || !strings.Contains(r.String(), "(1) were not checked") {
		t.Errorf("%v, %v", r, err)
	}
}

// A stranger's text must not steer the terminal that shows the report.
func TestReportQuotesStrangersText(t *testing.T) {
	pub, signer := ed25519Key(t)
	p := sample()
	p.Result.Outputs[1].Path = "bin/\x1b[2Japp\n\u202eproven"
	p.Result.Sort()
	r, err := attest.VerifyBundle(bundle(t, p, pub, signer), artifact, pub)
	if err != nil {
		t.Fatal(err)
	}
	if text := r.String(); strings.ContainsAny(text, "\x1b\u202e") || !strings.Contains(text, `"bin/\x1b[2Japp\n\u202eproven"`) {
		t.Errorf("%q", text)
	}
}

func TestAssembleRefusals(t *testing.T) {
	pub, signer := ed25519Key(t)
	other, _ := ed25519Key(t)
	st := statement(t, sample())
	sig, _ := attest.Sign(st, signer)
	if _, err := attest.Assemble(st, sig, other); !errors.Is(err, keys.ErrBadSignature) {
		t.Errorf("another's signature: %v", err)
	}
	if _, err := attest.Assemble(st, sig, 7); !errors.Is(err, keys.ErrUnsupported) {
		t.Errorf("no key: %v", err)
	}
	if _, err := attest.Assemble(append(st, ' '), sig, pub); !errors.Is(err, keys.ErrBadSignature) {
		t.Errorf("another statement: %v", err)
	}
}

// Whatever bytes come, no panic; and what passes names the file.
func FuzzVerifyBundle(f *testing.F) {
	pub := readPublic(f, "ed25519")
	raw, err := os.ReadFile("testdata/bundle/ed25519.provenance.sigstore.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	own, signer := ed25519Key(f)
	f.Add(bundle(f, sample(), own, signer))
	f.Add(bundleOf(f, summaryStatement(f, sampleSummary()), own, signer))
	logged, _ := newTestLog(f).logged(f, statement(f, sample()), own, func(st []byte) []byte { sig, _ := attest.Sign(st, signer); return sig })
	f.Add(logged)
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{}},"dsseEnvelope":{"signatures":[null]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, key := range []crypto.PublicKey{pub, own} {
			r, err := attest.VerifyBundle(b, artifact, key)
			if (r == nil) == (err == nil) {
				t.Fatalf("report %v, error %v", r, err)
			}
			if r != nil && (len(r.Subjects) == 0 || r.SHA256 != hexOf(artifact) || r.String() == "") {
				t.Fatalf("%+v", r)
			}
		}
	})
}

// What is signed may come from anyone with a key: the statement's parser sees
// arbitrary payloads too.
func FuzzStatement(f *testing.F) {
	pub, signer := ed25519Key(f)
	f.Add(statement(f, sample()))
	f.Add(summaryStatement(f, sampleSummary()))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"00"}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}`))
	f.Fuzz(func(t *testing.T, st []byte) {
		r, err := attest.VerifyBundle(bundleOf(t, st, pub, signer), artifact, pub)
		if (r == nil) == (err == nil) || errors.Is(err, attest.ErrSignature) {
			t.Fatalf("report %v, error %v", r, err)
		}
	})
}

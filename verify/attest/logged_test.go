package attest_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"gavel/verify/attest"
	"gavel/verify/keys"
)

// testLog is a log of two leaves, the second of which is proven: written out by
// RFC 6962 and C2SP signed-note, with no code of the log's.
type testLog struct {
	origin string
	key    ed25519.PrivateKey
	pkix   []byte
	id     [32]byte
}

func newTestLog(t testing.TB) *testLog {
	t.Helper()
	pub, key, _ := ed25519.GenerateKey(rand.Reader)
	pkix, err := keys.PKIX(pub)
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{origin: "gavel-0123456789abcdef.log", key: key, pkix: pkix}
	if l.id, err = attest.LogID(l.origin, pkix); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *testLog) entry(body []byte) *attest.LogEntry {
	first := sha256.Sum256([]byte("\x00another leaf"))
	leaf := sha256.Sum256(append([]byte{0}, body...))
	root := sha256.Sum256(append(append([]byte{1}, first[:]...), leaf[:]...))
	text := fmt.Sprintf("%s\n2\n%s\n", l.origin, base64.StdEncoding.EncodeToString(root[:]))
	sig := append(append([]byte{}, l.id[:4]...), ed25519.Sign(l.key, []byte(text))...)
	return &attest.LogEntry{
		LogID: l.id, Index: 1, Body: body, Size: 2, Root: root, Proof: [][32]byte{first},
		Checkpoint: []byte(text + "\n— " + l.origin + " " + base64.StdEncoding.EncodeToString(sig) + "\n"),
	}
}

// logged signs a statement, logs it, and bundles it with its entry.
func (l *testLog) logged(t testing.TB, st []byte, pub crypto.PublicKey, sign func([]byte) []byte) ([]byte, *attest.LogEntry) {
	t.Helper()
	pkix, err := keys.PKIX(pub)
	if err != nil {
		t.Fatal(err)
	}
	sig := sign(st)
	body, err := attest.Leaf(st, sig, pkix)
	if err != nil {
		t.Fatal(err)
	}
	e := l.entry(body)
	b, err := attest.AssembleLogged(st, sig, pub, e)
	if err != nil {
		t.Fatal(err)
	}
	return b, e
}

// The bundles in testdata were written by another program and accepted by cosign
// 2.6.5 and 3.1.3: their leaves are the ones that are made here.
func TestLeafIsWhatCosignAccepted(t *testing.T) {
	for _, name := range []string{"ed25519.provenance", "ed25519.vsa", "ecdsa-p256.provenance", "ecdsa-p256.vsa"} {
		raw, err := os.ReadFile("testdata/bundle/" + name + ".tlog.sigstore.json")
		if err != nil {
			t.Fatal(err)
		}
		key, _, _ := strings.Cut(name, ".")
		pub := readPublic(t, key)
		f, err := os.ReadFile("testdata/bundle/artifact.bin")
		if err != nil {
			t.Fatal(err)
		}
		r, err := attest.VerifyBundle(raw, sha256.Sum256(f), pub)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.Log == nil || r.LogEntries != 1 || r.Log.Index != 1 || r.Log.Size != 2 || !strings.Contains(r.String(), "(leaf 1) is about this statement, but neither") {
			t.Errorf("%s: %+v\n%s", name, r.Log, r)
			continue
		}
		body, err := attest.Leaf(r.Statement, r.Signature, r.PKIX)
		if err != nil || !bytes.Equal(body, r.Log.Body) {
			t.Errorf("%s: leaf is\n%s\nwant\n%s", name, body, r.Log.Body)
		}
		record, err := attest.ReadLeaf(r.Log.Body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := record.Check(r.Statement); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := record.Check(append(r.Statement, ' ')); err == nil || !strings.Contains(err.Error(), "another statement") {
			t.Errorf("%s: a changed statement: %v", name, err)
		}
		again, err := attest.AssembleLogged(r.Statement, r.Signature, pub, r.Log)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// The other program kept protojson's order and spaces: compared as JSON.
		var got, want any
		if json.Unmarshal(again, &got) != nil || json.Unmarshal(raw, &want) != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: bundle is\n%s\nwant\n%s", name, again, raw)
		}
	}
}

func TestTrustedRootIsWhatCosignAccepted(t *testing.T) {
	raw, err := os.ReadFile("testdata/bundle/trusted_root.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Tlogs []struct {
			PublicKey struct{ RawBytes []byte }
			LogID     struct{ KeyID []byte }
		}
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	got, err := attest.TrustedRoot("log.gavel.example", []attest.LogKey{{PKIX: want.Tlogs[0].PublicKey.RawBytes, FromMillis: 1_600_000_000_000}})
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if json.Unmarshal(got, &a) != nil || json.Unmarshal(raw, &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("trusted root is\n%s\nwant\n%s", got, raw)
	}
	p256, _ := p256Key(t)
	pkix, err := keys.PKIX(p256)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attest.TrustedRoot("x.log", []attest.LogKey{{PKIX: pkix}}); err == nil || !strings.Contains(err.Error(), "want Ed25519") {
		t.Errorf("a log with a P-256 key: %v", err)
	}
	if _, err := attest.TrustedRoot("x.log", []attest.LogKey{{PKIX: pkix[1:]}}); err == nil {
		t.Error("a log with half a key")
	}
}

func TestAssembleLoggedRefusals(t *testing.T) {
	l := newTestLog(t)
	pub, signer := ed25519Key(t)
	st := statement(t, sample())
	sig, _ := attest.Sign(st, signer)
	pkix, _ := keys.PKIX(pub)
	body, err := attest.Leaf(st, sig, pkix)
	if err != nil {
		t.Fatal(err)
	}
	other, err := attest.Leaf(append(st, ' '), sig, pkix)
	if err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(*attest.LogEntry){
		"another statement": func(e *attest.LogEntry) { e.Body = other },
		"lies outside":      func(e *attest.LogEntry) { e.Index = 2 },
		"65 hashes":         func(e *attest.LogEntry) { e.Proof = make([][32]byte, 65) },
		"a checkpoint of":   func(e *attest.LogEntry) { e.Checkpoint = nil },
		"a tree of":         func(e *attest.LogEntry) { e.Size = 1 << 63 },
		"the checkpoint's":  func(e *attest.LogEntry) { e.Size++ },
	} {
		e := l.entry(body)
		change(e)
		if _, err := attest.AssembleLogged(st, sig, pub, e); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want an error that says %q, got %v", says, err)
		}
	}
	if _, err := attest.AssembleLogged(append(st, ' '), sig, pub, l.entry(body)); !errors.Is(err, keys.ErrBadSignature) {
		t.Errorf("another statement: %v", err)
	}
}

// An entry that is not about the bundle's own statement makes the bundle unusable.
func TestLogEntriesMustFit(t *testing.T) {
	l := newTestLog(t)
	pub, signer := ed25519Key(t)
	sign := func(st []byte) []byte { sig, _ := attest.Sign(st, signer); return sig }
	good, e := l.logged(t, statement(t, sample()), pub, sign)
	r, err := attest.VerifyBundle(good, artifact, pub)
	if err != nil || !reflect.DeepEqual(r.Log, e) {
		t.Fatalf("%+v, %v, want %+v", r, err, e)
	}
	foreign, _ := l.logged(t, summaryStatement(t, sampleSummary()), pub, sign)
	var donor map[string]any
	if err := json.Unmarshal(foreign, &donor); err != nil {
		t.Fatal(err)
	}
	type tree = map[string]any
	for what, c := range map[string]struct {
		says   string
		change func(entry, proof tree)
	}{
		"another's body": {"another statement", func(entry, _ tree) {
			entry["canonicalizedBody"] = donor["verificationMaterial"].(tree)["tlogEntries"].([]any)[0].(tree)["canonicalizedBody"]
		}},
		"no body":        {"another statement", func(entry, _ tree) { delete(entry, "canonicalizedBody") }},
		"no proof":       {"no inclusion proof", func(entry, _ tree) { delete(entry, "inclusionProof") }},
		"another index":  {"is proven as leaf", func(entry, _ tree) { entry["logIndex"] = "0" }},
		"negative index": {"is proven as leaf", func(entry, _ tree) { entry["logIndex"] = "-1" }},
		"negative size":  {"is proven as leaf", func(_, proof tree) { proof["treeSize"] = "-2" }},
		"small tree":     {"lies outside", func(_, proof tree) { proof["treeSize"] = "1" }},
		"short root":     {"not of 32 bytes", func(_, proof tree) { proof["rootHash"] = "AAAA" }},
		"no log":         {"not of 32 bytes", func(entry, _ tree) { delete(entry, "logId") }},
		"short hash":     {"hash of 3 bytes", func(_, proof tree) { proof["hashes"] = []any{"AAAA"} }},
		"larger tree":    {"not the checkpoint's", func(_, proof tree) { proof["treeSize"] = "3" }},
		"another root":   {"not the checkpoint's", func(_, proof tree) { proof["rootHash"] = base64.StdEncoding.EncodeToString(make([]byte, 32)) }},
		"no note":        {"not the checkpoint's", func(_, proof tree) { proof["checkpoint"] = tree{"envelope": "hello"} }},
		"no checkpoint":  {"a checkpoint of 0", func(_, proof tree) { delete(proof, "checkpoint") }},
	} {
		b := edit(t, good, func(_, m, _ tree) {
			entry := m["tlogEntries"].([]any)[0].(tree)
			proof := entry["inclusionProof"].(tree)
			c.change(entry, proof)
		})
		if r, err := attest.VerifyBundle(b, artifact, pub); r != nil || !errors.Is(err, attest.ErrLogEntry) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error that says %q", what, err, c.says)
		}
	}
	// Entries of other kinds are others' to read, and said to be unchecked.
	b := edit(t, good, func(_, m, _ tree) {
		m["tlogEntries"].([]any)[0].(tree)["kindVersion"] = tree{"kind": "dsse", "version": "0.0.2"}
	})
	if r, err := attest.VerifyBundle(b, artifact, pub); err != nil || r.Log != nil || r.LogEntries != 1 {
		t.Errorf("another kind: %+v, %v", r, err)
	}
}

func TestReadLeafIsStrict(t *testing.T) {
	pub, signer := p256Key(t)
	st := statement(t, sample())
	sig, _ := attest.Sign(st, signer)
	pkix, _ := keys.PKIX(pub)
	good, err := attest.Leaf(st, sig, pkix)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := attest.ReadLeaf(good); err != nil || !bytes.Equal(r.Signature, sig) || !bytes.Equal(r.PKIX, pkix) || r.Check(st) != nil {
		t.Fatalf("%v, %v", r, err)
	}
	base := base64.StdEncoding.EncodeToString
	for what, c := range map[string]struct{ from, to, says string }{
		"nothing":       {string(good), "", "reading its JSON"},
		"unknown field": {`{"apiVersion"`, `{"a":1,"apiVersion"`, "unknown field"},
		"space":         {`{"apiVersion"`, `{ "apiVersion"`, "one form"},
		"trailing":      {string(good), string(good) + "{}", "one form"},
		"twice":         {`"kind":`, `"kind":"x","kind":`, "one form"},
		"version":       {"0.0.2", "0.0.1", "one form"},
		"kind":          {"hashedrekord", "rekord", "one form"},
		"algorithm":     {"SHA2_256", "SHA2_512", "one form"},
		"details":       {"PKIX_ECDSA_P256_SHA_256", "PKIX_ED25519_PH", "one form"},
		"key":           {base(pkix), base(pkix[1:]), "reading public key"},
		"digest":        {`"digest":"`, `"digest":"AAAA`, "a digest of 35 bytes"},
		"no signature":  {base(sig), "", "a signature of 0"},
		"big":           {base(sig), base(make([]byte, attest.MaxLeafBytes)), "at most"},
	} {
		changed := strings.Replace(string(good), c.from, c.to, 1)
		if changed == string(good) {
			t.Fatalf("%s: %q is not in the leaf", what, c.from)
		}
		if _, err := attest.ReadLeaf([]byte(changed)); !errors.Is(err, attest.ErrLeaf) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error that says %q", what, err, c.says)
		}
	}
	forged, err := attest.Leaf(st, append(sig, 0), pkix)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := attest.ReadLeaf(forged); err != nil || !errors.Is(r.Check(st), keys.ErrBadSignature) {
		t.Errorf("a leaf with a bad signature passes: %v", err)
	}
	if _, err := attest.Leaf(st, sig, pkix[1:]); err == nil {
		t.Error("a leaf of half a key")
	}
}

func FuzzReadLeaf(f *testing.F) {
	for _, make := range []func(testing.TB) (crypto.PublicKey, []byte){
		func(t testing.TB) (crypto.PublicKey, []byte) {
			pub, s := ed25519Key(t)
			sig, _ := attest.Sign([]byte("x"), s)
			return pub, sig
		},
		func(t testing.TB) (crypto.PublicKey, []byte) {
			pub, s := p256Key(t)
			sig, _ := attest.Sign([]byte("x"), s)
			return pub, sig
		},
	} {
		pub, sig := make(f)
		pkix, err := keys.PKIX(pub)
		if err != nil {
			f.Fatal(err)
		}
		body, err := attest.Leaf([]byte("x"), sig, pkix)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := attest.ReadLeaf(body)
		if err != nil {
			if r != nil || !errors.Is(err, attest.ErrLeaf) {
				t.Fatalf("%v, %v", r, err)
			}
			return
		}
		_ = r.Check([]byte("x"))
	})
}

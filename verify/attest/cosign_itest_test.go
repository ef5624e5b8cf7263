//go:build itest

package attest_test

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature"

	"gavel/verify/attest"
	"gavel/verify/keys"
	"gavel/verify/publictool"
)

func TestNamespaceHasNoNetwork(t *testing.T) {
	out, err := publictool.Offline(t, "/", "cat", "/proc/net/dev")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n")[2:] {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), ":"); name != "lo" {
			t.Errorf("there is an interface %s", name)
		}
	}
}

// place is a directory with what cosign is given.
type place struct {
	t      *testing.T
	dir    string
	cosign string
}

func (p *place) write(name string, content []byte) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), content, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// verify is the command that a user would type.
func (p *place) verify(predicate, bundle, key, root, file string) (output string, ok bool) {
	p.t.Helper()
	args := []string{"verify-blob-attestation", "--key", key, "--bundle", bundle, "--type", predicate}
	if root == "" {
		args = append(args, "--insecure-ignore-tlog")
	} else {
		args = append(args, "--trusted-root", root)
	}
	out, err := publictool.Offline(p.t, p.dir, p.cosign, append(args, file)...)
	if (err == nil) != strings.Contains(out, "Verified OK") {
		p.t.Fatalf("cosign exits with %v and says\n%s", err, out)
	}
	return out, err == nil
}

var cosignTypes = map[string]string{"provenance": "slsaprovenance1", "vsa": attest.PredicateVSA}

// TestCosign has cosign check, with no network, what this package makes, and then
// the same with one thing changed.
func TestCosign(t *testing.T) {
	file := []byte("hello reproducible world\n")
	statements := map[string][]byte{"provenance": statement(t, sample()), "vsa": summaryStatement(t, sampleSummary())}
	l, foreign := newTestLog(t), newTestLog(t)
	for algorithm, make := range map[string]func(testing.TB) (crypto.PublicKey, signature.Signer){"ed25519": ed25519Key, "p256": p256Key} {
		pub, signer := make(t)
		stranger, _ := make(t)
		p := &place{t: t, dir: t.TempDir(), cosign: publictool.Path(t, "cosign")}
		p.write("app", file)
		p.write("forged", append(bytes.Clone(file), '!'))
		for name, key := range map[string]crypto.PublicKey{"key.pub": pub, "stranger.pub": stranger} {
			pkix, err := keys.PKIX(key)
			if err != nil {
				t.Fatal(err)
			}
			p.write(name, keys.PEM(pkix))
		}
		for name, of := range map[string]*testLog{"root.json": l, "foreign.json": foreign} {
			root, err := attest.TrustedRoot(of.origin, []attest.LogKey{{PKIX: of.pkix}})
			if err != nil {
				t.Fatal(err)
			}
			p.write(name, root)
		}
		for kind, st := range statements {
			t.Run(algorithm+"/"+kind, func(t *testing.T) {
				p.t = t
				sign := func(st []byte) []byte {
					sig, err := attest.Sign(st, signer)
					if err != nil {
						t.Fatal(err)
					}
					return sig
				}
				bundle, _ := l.logged(t, st, pub, sign)
				p.write("logged.json", bundle)
				p.write("plain.json", bundleOf(t, st, pub, signer))
				if out, ok := p.verify(cosignTypes[kind], "logged.json", "key.pub", "root.json", "app"); !ok {
					t.Fatalf("with its log entry: %s", out)
				}
				if out, ok := p.verify(cosignTypes[kind], "plain.json", "key.pub", "", "app"); !ok {
					t.Fatalf("without a log entry: %s", out)
				}
				for what, c := range map[string]struct{ bundle, key, root, file string }{
					"a changed file":           {"logged.json", "key.pub", "root.json", "forged"},
					"another key":              {"logged.json", "stranger.pub", "root.json", "app"},
					"another log":              {"logged.json", "key.pub", "foreign.json", "app"},
					"no log entry":             {"plain.json", "key.pub", "root.json", "app"},
					"a changed file, unlogged": {"plain.json", "key.pub", "", "forged"},
				} {
					if out, ok := p.verify(cosignTypes[kind], c.bundle, c.key, c.root, c.file); ok {
						t.Errorf("%s passes: %s", what, out)
					}
				}
				for what, changed := range tamperedLogged(t, bundle) {
					p.write("tampered.json", changed)
					if out, ok := p.verify(cosignTypes[kind], "tampered.json", "key.pub", "root.json", "app"); ok {
						t.Errorf("%s passes: %s", what, out)
					}
				}
				// A genuine proof of a genuine checkpoint, for another leaf.
				other, _ := l.logged(t, append(bytes.Clone(st), ' '), pub, sign)
				var donor map[string]any
				if err := json.Unmarshal(other, &donor); err != nil {
					t.Fatal(err)
				}
				p.write("tampered.json", edit(t, bundle, func(_, m, _ map[string]any) {
					m["tlogEntries"] = donor["verificationMaterial"].(map[string]any)["tlogEntries"]
				}))
				if out, ok := p.verify(cosignTypes[kind], "tampered.json", "key.pub", "root.json", "app"); ok {
					t.Errorf("another statement's log entry passes: %s", out)
				}
			})
		}
	}
}

// tamperedLogged changes one thing of a bundle with a log entry at a time. The
// copies of leaf, root and size in a bundle are not among them: cosign goes by the
// leaf that it makes of the bundle's own statement, and by the checkpoint.
// VerifyBundle refuses those too (TestLogEntriesMustFit).
func tamperedLogged(t *testing.T, bundle []byte) map[string][]byte {
	type tree = map[string]any
	flip := func(of tree, field string) {
		raw, err := base64.StdEncoding.DecodeString(of[field].(string))
		if err != nil || len(raw) == 0 {
			t.Fatalf("%s: %v", field, err)
		}
		raw[len(raw)/2] ^= 1
		of[field] = base64.StdEncoding.EncodeToString(raw)
	}
	out := map[string][]byte{}
	for what, change := range map[string]func(entry, proof, envelope tree){
		"a changed statement":    func(_, _, envelope tree) { flip(envelope, "payload") },
		"a changed signature":    func(_, _, envelope tree) { flip(envelope["signatures"].([]any)[0].(tree), "sig") },
		"a changed log id":       func(entry, _, _ tree) { flip(entry["logId"].(tree), "keyId") },
		"another index":          func(entry, proof, _ tree) { entry["logIndex"], proof["logIndex"] = "0", "0" },
		"an empty proof":         func(_, proof, _ tree) { proof["hashes"] = []any{} },
		"no proof":               func(entry, _, _ tree) { delete(entry, "inclusionProof") },
		"a changed proof":        func(_, proof, _ tree) { hashes := proof["hashes"].([]any); hashes[0] = flipped(t, hashes[0].(string)) },
		"a changed checkpoint":   func(_, proof, _ tree) { checkpoint(proof, "\n2\n", "\n3\n") },
		"a checkpoint's log":     func(_, proof, _ tree) { checkpoint(proof, "gavel-0", "gavel-1") },
		"an unsigned checkpoint": func(_, proof, _ tree) { checkpoint(proof, "— ", "— x") },
	} {
		out[what] = edit(t, bundle, func(_, m, envelope tree) {
			entry := m["tlogEntries"].([]any)[0].(tree)
			change(entry, entry["inclusionProof"].(tree), envelope)
		})
		var a, b any
		if json.Unmarshal(out[what], &a) != nil || json.Unmarshal(bundle, &b) != nil || bytes.Equal(out[what], bundle) {
			t.Fatalf("%s changes nothing", what)
		}
	}
	return out
}

func flipped(t *testing.T, text string) string {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	raw[0] ^= 1
	return base64.StdEncoding.EncodeToString(raw)
}

func checkpoint(proof map[string]any, from, to string) {
	c := proof["checkpoint"].(map[string]any)
	c["envelope"] = strings.Replace(c["envelope"].(string), from, to, 1)
}

// TestSLSAVerifier has slsa-verifier's verify-vsa read the raw envelope, with no
// network, and then with another expectation or one thing changed.
func TestSLSAVerifier(t *testing.T) {
	program := publictool.Path(t, "slsa-verifier")
	s := sampleSummary()
	st := summaryStatement(t, s)
	for algorithm, make := range map[string]func(testing.TB) (crypto.PublicKey, signature.Signer){"ed25519": ed25519Key, "p256": p256Key} {
		t.Run(algorithm, func(t *testing.T) {
			pub, signer := make(t)
			stranger, _ := make(t)
			p := &place{t: t, dir: t.TempDir()}
			for name, key := range map[string]crypto.PublicKey{"key.pub": pub, "stranger.pub": stranger} {
				pkix, err := keys.PKIX(key)
				if err != nil {
					t.Fatal(err)
				}
				p.write(name, keys.PEM(pkix))
			}
			envelope := func(st []byte) []byte {
				sig, err := attest.Sign(st, signer)
				if err != nil {
					t.Fatal(err)
				}
				raw, err := attest.Envelope(st, sig)
				if err != nil {
					t.Fatal(err)
				}
				return raw
			}
			good := envelope(st)
			p.write("good.dsse.json", good)
			p.write("tampered.dsse.json", bytes.Replace(good, []byte(`"payload":"eyJ`), []byte(`"payload":"eyK`), 1))
			contested := sampleSummary()
			contested.Agreed = contested.Agreed[:1]
			p.write("failed.dsse.json", envelope(summaryStatement(t, contested)))
			expect := func(change map[string]string) bool {
				flags := map[string]string{
					"--attestation-path": "good.dsse.json", "--public-key-path": "key.pub", "--public-key-id": "cluster",
					"--subject-digest": "sha256:" + hexOf(artifact), "--verifier-id": attest.VerifierIDPrefix + hexOf(s.Cluster),
					"--resource-uri": "gavel:build/" + hexOf(s.Build), "--verified-level": "GAVEL_REPRODUCED_2",
				}
				args := []string{"verify-vsa"}
				for name, value := range flags {
					if v, ok := change[name]; ok {
						value = v
					}
					args = append(args, name, value)
				}
				out, err := publictool.Offline(t, p.dir, program, args...)
				if (err == nil) != strings.Contains(out, "Verifying VSA: PASSED") || (err != nil) != strings.Contains(out, "Verifying VSA: FAILED") {
					t.Fatalf("slsa-verifier exits with %v and says\n%s", err, out)
				}
				return err == nil
			}
			if !expect(nil) {
				t.Fatal("it refuses a good summary")
			}
			for what, change := range map[string]map[string]string{
				"another file":     {"--subject-digest": "sha256:" + hexOf(sum("x"))},
				"another key":      {"--public-key-path": "stranger.pub"},
				"another verifier": {"--verifier-id": attest.VerifierIDPrefix + hexOf(sum("x"))},
				"another build":    {"--resource-uri": "gavel:build/" + hexOf(sum("x"))},
				"a higher level":   {"--verified-level": "GAVEL_REPRODUCED_3"},
				"a level of SLSA":  {"--verified-level": "SLSA_BUILD_LEVEL_1"},
				"a changed one":    {"--attestation-path": "tampered.dsse.json"},
				"a failed one":     {"--attestation-path": "failed.dsse.json"},
			} {
				if expect(change) {
					t.Errorf("it passes with %s", what)
				}
			}
		})
	}
}

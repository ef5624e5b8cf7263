//go:build itest

package main

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gavel/verify/attest"
	"gavel/verify/dossier"
	"gavel/verify/publictool"
)

// What a farm has just made, cosign and slsa-verifier accept, with no network and
// no farm: each statement with its entry of the log, and nothing that was changed.
func TestPublicToolsAcceptWhatAFarmMade(t *testing.T) {
	cosign, slsa := publictool.Path(t, "cosign"), publictool.Path(t, "slsa-verifier")
	f := newTestFarm(t)
	r := f.submit(honest).report(exitDone)
	out := filepath.Join(t.TempDir(), "out")
	if code, _, stderr := call(t.Context(), "download", r.Build, "--farm", f.dir, "-o", out); code != exitDone {
		t.Fatal(stderr)
	}
	f.stop()
	hello := filepath.Join(out, "out", "hello")
	forged := filepath.Join(t.TempDir(), "forged")
	if err := os.WriteFile(forged, []byte("hello!\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := farmDir(f.dir).attestations(r.Build)
	root := filepath.Join(dir, dossier.FileTrustedRoot)
	type bundle struct{ path, key, predicate string }
	list := []bundle{{filepath.Join(dir, dossier.FileSummary), filepath.Join(dir, dossier.FileClusterKey), attest.PredicateVSA}}
	for _, path := range r.Attestations {
		list = append(list, bundle{path, strings.TrimSuffix(path, ".sigstore.json") + ".pub", "slsaprovenance1"})
	}
	if len(list) != 4 {
		t.Fatalf("a summary and three statements are due: %v", list)
	}
	verify := func(b bundle, key, file string) bool {
		t.Helper()
		text, err := publictool.Offline(t, "", cosign, "verify-blob-attestation", "--key", key, "--bundle", b.path, "--type", b.predicate, "--trusted-root", root, file)
		if (err == nil) != strings.Contains(text, "Verified OK") {
			t.Fatalf("cosign exits with %v and says %s", err, text)
		}
		if err != nil {
			t.Logf("%s: %s", filepath.Base(b.path), text)
		}
		return err == nil
	}
	for i, b := range list {
		if !verify(b, b.key, hello) {
			t.Errorf("cosign refuses %s", b.path)
		}
		if verify(b, b.key, forged) {
			t.Errorf("cosign takes another file for that of %s", b.path)
		}
		if verify(b, list[(i+1)%len(list)].key, hello) {
			t.Errorf("cosign takes another's key for that of %s", b.path)
		}
		if verify(bundle{changedProof(t, b.path), b.key, b.predicate}, b.key, hello) {
			t.Errorf("cosign takes another proof for that of %s", b.path)
		}
	}
	vsa := func(change ...string) error {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join(dir, dossier.FileEnvelope))
		if err != nil {
			t.Fatal(err)
		}
		statement, _, err := attest.ReadEnvelope(raw)
		if err != nil {
			t.Fatal(err)
		}
		s, err := attest.ParseSummary(statement)
		if err != nil {
			t.Fatal(err)
		}
		var digest string
		for _, subject := range s.Subjects {
			if subject.Name == "out/hello" {
				digest = hex.EncodeToString(subject.SHA256[:])
			}
		}
		args := append([]string{"verify-vsa", "--attestation-path", filepath.Join(dir, dossier.FileEnvelope), "--public-key-path", list[0].key, "--public-key-id", "cluster",
			"--subject-digest", "sha256:" + digest, "--verifier-id", attest.VerifierIDPrefix + hex.EncodeToString(s.Cluster[:]), "--resource-uri", "gavel:build/" + r.Build,
			"--verified-level", "GAVEL_REPRODUCED_2"}, change...)
		text, err := publictool.Offline(t, "", slsa, args...)
		if err != nil {
			return errors.New(text)
		}
		return nil
	}
	if err := vsa(); err != nil {
		t.Errorf("slsa-verifier refuses the summary: %v", err)
	}
	if err := vsa("--verified-level", "GAVEL_REPRODUCED_3"); err == nil || !strings.Contains(err.Error(), "GAVEL_REPRODUCED_3") {
		t.Errorf("slsa-verifier takes a higher level: %v", err)
	}
}

// changedProof is a copy of a bundle with another hash in its log's proof.
func changedProof(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, after, ok := strings.Cut(string(raw), `"hashes":["`)
	if !ok {
		t.Fatalf("%s carries no proof", path)
	}
	digit := "A"
	if strings.HasPrefix(after, digit) {
		digit = "B"
	}
	changed := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(changed, []byte(before+`"hashes":["`+digit+after[1:]), 0o644); err != nil {
		t.Fatal(err)
	}
	return changed
}

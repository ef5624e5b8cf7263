//go:build itest

package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gavel/verify/attest"
	"gavel/verify/dossier"
	"gavel/verify/evidence"
	"gavel/verify/publictool"
)

// signedBundle is a bundle as cosign is asked about it.
type signedBundle struct{ path, key, predicate string }

// cosignTakes asks cosign whether a bundle is about a file, by a trusted root.
func cosignTakes(t *testing.T, root string, b signedBundle, file string) bool {
	t.Helper()
	text, err := publictool.Offline(t, "", publictool.Path(t, "cosign"), "verify-blob-attestation", "--key", b.key, "--bundle", b.path, "--type", b.predicate, "--trusted-root", root, file)
	if (err == nil) != strings.Contains(text, "Verified OK") {
		t.Fatalf("cosign exits with %v and says %s", err, text)
	}
	if err != nil {
		t.Logf("%s: %s", filepath.Base(b.path), text)
	}
	return err == nil
}

// What a farm has just made, cosign and slsa-verifier accept, with no network and
// no farm: each statement with its entry of the log, and nothing that was changed.
func TestPublicToolsAcceptWhatAFarmMade(t *testing.T) {
	slsa := publictool.Path(t, "slsa-verifier")
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
	list := []signedBundle{{filepath.Join(dir, dossier.FileSummary), filepath.Join(dir, dossier.FileClusterKey), attest.PredicateVSA}}
	for _, path := range r.Attestations {
		list = append(list, signedBundle{path, strings.TrimSuffix(path, ".sigstore.json") + ".pub", "slsaprovenance1"})
	}
	if len(list) != 4 {
		t.Fatalf("a summary and three statements are due: %v", list)
	}
	for i, b := range list {
		if !cosignTakes(t, root, b, hello) {
			t.Errorf("cosign refuses %s", b.path)
		}
		if cosignTakes(t, root, b, forged) {
			t.Errorf("cosign takes another file for that of %s", b.path)
		}
		if cosignTakes(t, root, signedBundle{b.path, list[(i+1)%len(list)].key, b.predicate}, hello) {
			t.Errorf("cosign takes another's key for that of %s", b.path)
		}
		if cosignTakes(t, root, signedBundle{changedProof(t, b.path), b.key, b.predicate}, hello) {
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
	replaceClusterKey(t, f, list, root, hello)
}

// replaceClusterKey goes on with a farm that is stopped and gives its cluster another
// key. By the root that is served then cosign takes bundles of before and after, by
// the one of before only those.
func replaceClusterKey(t *testing.T, f *testFarm, before []signedBundle, oldRoot, hello string) {
	t.Helper()
	next := filepath.Join(f.dir, "keys", "cluster-next")
	do := func(args ...string) {
		t.Helper()
		if code, stdout, stderr := call(t.Context(), args...); code != exitDone {
			t.Fatalf("gavel %s: exit status %d: %s%s", strings.Join(args, " "), code, stdout, stderr)
		}
	}
	do("keys", "new", next)
	f.start()
	do("keys", "rotate", "cluster", next, "--key", filepath.Join(f.dir, "keys", "cluster"), "--farm", f.dir)
	r := f.submit(honest).report(exitDone)
	f.stop()
	dir := farmDir(f.dir).attestations(r.Build)
	newRoot := filepath.Join(f.dir, "coordinator-1", "tlog", evidence.TrustedRootPath)
	after := []signedBundle{
		{filepath.Join(dir, dossier.FileSummary), filepath.Join(dir, dossier.FileClusterKey), attest.PredicateVSA},
		{r.Attestations[0], strings.TrimSuffix(r.Attestations[0], ".sigstore.json") + ".pub", "slsaprovenance1"},
	}
	for _, b := range slices.Concat(before, after) {
		if !cosignTakes(t, newRoot, b, hello) {
			t.Errorf("cosign refuses %s by the root of after", b.path)
		}
	}
	for _, b := range after {
		if !cosignTakes(t, filepath.Join(dir, dossier.FileTrustedRoot), b, hello) {
			t.Errorf("cosign refuses %s by the root beside it", b.path)
		}
		if cosignTakes(t, oldRoot, b, hello) {
			t.Errorf("cosign takes %s by the root of before", b.path)
		}
	}
	copied := filepath.Join(t.TempDir(), "export")
	do("audit", "export", "-o", copied, "--farm", f.dir)
	do("audit", "--dir", copied)
	if raw, err := os.ReadFile(filepath.Join(copied, evidence.TrustedRootPath)); err != nil || !bytes.Contains(raw, []byte(`"end":`)) {
		t.Errorf("the export's root is %s (%v)", raw, err)
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

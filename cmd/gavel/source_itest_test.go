//go:build itest

package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gavel/verify/attest"
	"gavel/verify/dossier"
)

func gitIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	c := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.org"}, args...)...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// A build of a commit names it, and a stranger with a clone makes its input root
// again; what is withheld is in no attestation, and opens for whoever is shown.
func TestSourceAndWithheldCommand(t *testing.T) {
	f := newTestFarm(t, "--private", "--coordinators", "1", "--workers", "3")
	project := t.TempDir()
	gitIn(t, project, "init", "-q")
	for name, content := range map[string]string{"build.sh": "mkdir out && echo \"$GREETING $1\" > out/hello\n", ".gitignore": "ignored\n", "src/a": "a\n"} {
		path := filepath.Join(project, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	gitIn(t, project, "add", "-A")
	gitIn(t, project, "commit", "-q", "-m", "x")
	commit := gitIn(t, project, "rev-parse", "HEAD")
	submit := func(source, dir string, flags ...string) (int, string, string) {
		args := append([]string{"submit", "--farm", f.dir, "--json", "--output", "out", "--env", "GREETING=moin", "--source", source}, flags...)
		return call(t.Context(), append(args, dir, "--", "sh", "build.sh", "hush-hush")...)
	}
	url := "git+https://example.org/project.git@"

	code, stdout, stderr := submit(url+commit, project, "--withhold")
	if code != exitDone || !strings.Contains(stderr, "are withheld") {
		t.Fatalf("exit status %d: %s%s", code, stdout, stderr)
	}
	r := new(buildReport)
	if err := json.Unmarshal([]byte(stdout), r); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if code, _, stderr := call(t.Context(), "download", r.Build, "--farm", f.dir, "-o", out); code != exitDone {
		t.Fatal(stderr)
	}
	hello := filepath.Join(out, "out", "hello")
	if content, err := os.ReadFile(hello); err != nil || string(content) != "moin hush-hush\n" {
		t.Errorf("%q, %v", content, err)
	}
	clone := filepath.Join(t.TempDir(), "clone.git")
	gitIn(t, project, "clone", "-q", "--bare", project, clone)
	if len(r.Attestations) != 3 {
		t.Fatalf("attestations %q", r.Attestations)
	}
	opens := filepath.Join(filepath.Dir(r.Attestations[0]), withheldName)
	if info, err := os.Stat(opens); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	for _, bundle := range r.Attestations {
		raw, err := os.ReadFile(bundle)
		if err != nil {
			t.Fatal(err)
		}
		recipe, err := attest.ReadRecipe(raw, nil)
		if err != nil || recipe.Withheld == nil || recipe.Argv != nil || recipe.Source != url+commit {
			t.Fatalf("%+v, %v", recipe, err)
		}
		key := strings.TrimSuffix(bundle, ".sigstore.json") + ".pub"
		code, stdout, stderr := call(t.Context(), "verify", bundle, hello, "--key", key, "--open", opens, "--source", clone)
		if code != exitDone {
			t.Fatalf("%d: %s", code, stderr)
		}
		for _, says := range []string{`the withheld command is "sh" "build.sh" "hush-hush"`, `"GREETING=moin"`, "the tree of commit " + commit + ", made again from " + clone + " (3 files)", "SHA-1 collisions can be made"} {
			if !strings.Contains(stdout, says) {
				t.Errorf("the report does not say %s:\n%s", says, stdout)
			}
		}
	}
	first, key := r.Attestations[0], strings.TrimSuffix(r.Attestations[0], ".sigstore.json")+".pub"
	other := &attest.Withheld{Command: []byte("x")}
	raw, err := other.File()
	if err == nil {
		err = os.WriteFile(filepath.Join(out, "other.json"), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := call(t.Context(), "verify", first, hello, "--key", key, "--open", filepath.Join(out, "other.json")); code != exitFailed || !strings.Contains(stderr, "another build's") {
		t.Errorf("another's opening: %d %s", code, stderr)
	}
	if code, _, stderr := call(t.Context(), "verify", first, hello, "--key", key, "--source", t.TempDir()); code != exitUsage || !strings.Contains(stderr, "not a git repository") {
		t.Errorf("no clone: %d %s", code, stderr)
	}

	checkPolicies(t, filepath.Join(filepath.Dir(first), dossier.FileSummary), hello)

	// What is not the commit is refused before anything is sent.
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(project, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what, source, dir, says string
		change, undo            func()
	}{
		{"an ignored file", url + commit, project, "git status says !! ignored", func() { write("ignored", "x") }, func() { _ = os.Remove(filepath.Join(project, "ignored")) }},
		{"an untracked file", url + commit, project, "git status says ?? new", func() { write("new", "x") }, func() { _ = os.Remove(filepath.Join(project, "new")) }},
		{"a changed file", url + commit, project, "M src/a", func() { write("src/a", "b\n") }, func() { gitIn(t, project, "checkout", "-q", "src/a") }},
		{"an empty directory", url + commit, project, "git calls it clean", func() { _ = os.Mkdir(filepath.Join(project, "empty"), 0o755) }, func() { _ = os.Remove(filepath.Join(project, "empty")) }},
		{"a part of it", url + commit, filepath.Join(project, "src"), "not the top of its checkout", func() {}, func() {}},
		{"no repository", url + commit, t.TempDir(), "not a git repository", func() {}, func() {}},
		{"an unknown commit", url + strings.Repeat("0", 40), project, "is not in this repository", func() {}, func() {}},
		{"a branch", url + "main", project, "a branch or tag moves", func() {}, func() {}},
		{"the next commit", url + commit, project, "another commit is checked out", func() {
			write("src/a", "c\n")
			gitIn(t, project, "commit", "-q", "-a", "-m", "y")
		}, func() {}},
	} {
		c.change()
		if code, _, stderr := submit(c.source, c.dir); code != exitUsage || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: exit status %d: %s", c.what, code, stderr)
		}
		c.undo()
	}
	if code, _, stderr := submit(url+commit, project, "--withhold", "--cache"); code != exitUsage || !strings.Contains(stderr, "exclude each other") {
		t.Errorf("withheld and cached: %d %s", code, stderr)
	}
}

// checkPolicies holds the build to demands that it keeps, and to others.
func checkPolicies(t *testing.T, summary, hello string) {
	t.Helper()
	genesis := filepath.Join(filepath.Dir(summary), dossier.FileGenesis)
	for rules, says := range map[string]string{
		`"simulated":true,"domain_kind":"machine","min_validators":2,"images":["host"],"log_quorum":1,"transcript":true,"max_age":"1h","repositories":["https://example.org/project.git"]`: "",
		`"simulated":true,"min_validators":3`:                                 "the policy's min_validators: 3 independent rebuilds with this result are wanted, there are 2",
		`"simulated":true,"min_operators":4`:                                  "the policy's min_operators",
		`"simulated":true,"repositories":["https://example.org/another.git"]`: "the policy's repositories",
		`"min_validators":2`:                                                  "the policy's simulated",
		`"simulated":true,"witnesses":1`:                                      "the policy's witnesses",
	} {
		path := filepath.Join(t.TempDir(), "policy.json")
		if err := os.WriteFile(path, []byte(`{"type":"gavel.policy/v1",`+rules+`}`), 0o644); err != nil {
			t.Fatal(err)
		}
		code, out, stderr := call(t.Context(), "verify", summary, hello, "--genesis", genesis, "--policy", path)
		if says == "" && (code != exitDone || !strings.Contains(out, "every rule of the policy is kept")) || says != "" && (code != exitFailed || !strings.Contains(out+stderr, says)) {
			t.Errorf("%s: exit status %d: %s%s", rules, code, out, stderr)
		}
		if says == "" { // a genesis that only lies beside the bundle names nobody
			code, out, stderr := call(t.Context(), "verify", summary, hello, "--policy", path)
			if code != exitFailed || !strings.Contains(out+stderr, "whatever farm this is") {
				t.Errorf("a farm that nobody named: exit status %d: %s%s", code, out, stderr)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(path, []byte(`{"type":"gavel.policy/v1","min_validator":2}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := call(t.Context(), "verify", summary, hello, "--genesis", genesis, "--policy", path); code != exitUsage || !strings.Contains(stderr, `a key "min_validator"`) {
		t.Errorf("an unknown rule: exit status %d: %s", code, stderr)
	}
}

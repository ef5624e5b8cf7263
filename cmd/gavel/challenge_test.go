package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A result is doubted with what lies beside its bundle, or with a provenance alone,
// and keys change under a farm that goes on.
func TestChallengeAndKeysFromEndToEnd(t *testing.T) {
	f := newTestFarm(t)
	r := f.submit(honest).report(exitDone)
	doubt := func(code int, path string, flags ...string) *challengeReport {
		t.Helper()
		got, stdout, stderr := call(t.Context(), append([]string{"challenge", path, "--farm", f.dir, "--json"}, flags...)...)
		out := new(challengeReport)
		if got != code || code == exitDone && json.Unmarshal([]byte(stdout), out) != nil {
			t.Fatalf("gavel challenge %s: exit status %d: %s%s", path, got, stdout, stderr)
		}
		return out
	}
	if c := doubt(exitDone, r.Summary, "--reason", "it looks odd"); c.Verdict != "upheld" || c.Build != r.Build || len(c.Panel) != 5 || !c.Panel[0].Agreed || c.Withdrawn || c.Bond != 10_000_000 {
		t.Errorf("%+v", c)
	}
	alone := filepath.Join(t.TempDir(), "provenance.json")
	raw, err := os.ReadFile(r.Attestations[0])
	if err == nil {
		err = os.WriteFile(alone, raw, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if c := doubt(exitDone, alone); c.Verdict != "upheld" || c.Build != r.Build {
		t.Errorf("with a provenance alone: %+v", c)
	}
	doubt(exitUsage, filepath.Join(f.dir, "farm.json"))
	stranger := filepath.Join(t.TempDir(), "stranger")
	if code, _, said := call(t.Context(), "keys", "new", stranger); code != exitDone {
		t.Fatal(said)
	}
	if code, _, said := call(t.Context(), "challenge", r.Summary, "--farm", f.dir, "--key", stranger); code != exitUsage || !strings.Contains(said, "the challenge was not taken") {
		t.Errorf("a stranger's challenge: exit status %d, %q", code, said)
	}
	doubt(exitUsage, r.Summary, "--reason", "two\nlines")
	f.balanced()
	changeKeys(t, f)
}

// changeKeys replaces the requester's key and revokes a worker's.
func changeKeys(t *testing.T, f *testFarm) {
	t.Helper()
	do := func(code int, says string, args ...string) {
		t.Helper()
		if got, stdout, stderr := call(t.Context(), append(args, "--farm", f.dir)...); got != code || !strings.Contains(stdout+stderr, says) {
			t.Fatalf("gavel %s: exit status %d: %s%s", strings.Join(args, " "), got, stdout, stderr)
		}
	}
	dir := t.TempDir()
	fresh, old := filepath.Join(dir, "fresh"), f.file().Requester.Key
	if code, _, stderr := call(t.Context(), "keys", "new", fresh); code != exitDone {
		t.Fatal(stderr)
	}
	do(exitUsage, "only its owner", "keys", "rotate", "worker-2", fresh, "--key", old)
	do(exitUsage, "revoke it first", "keys", "rotate", "worker-2", fresh)
	do(exitDone, "speaks for requester", "keys", "rotate", "requester", fresh, "--key", old, "--reason", "a new laptop")
	do(exitUsage, "requester has another key since 20", "account")
	do(exitUsage, "asking whose key this is: requester has another key", "keys", "revoke", "worker-1", "--key", old)
	do(exitDone, "a new laptop", "keys", "history", "requester") // even with the old one
	do(exitUsage, "no account \"nobody\"", "keys", "history", "nobody")
	if err := os.Rename(fresh, old); err != nil {
		t.Fatal(err)
	}
	do(exitDone, "is revoked", "keys", "revoke", "worker-1", "--reason", "lost")
	do(exitDone, "a new laptop", "keys", "history")
	var history []keyHistoryReport
	f.ask(&history, "keys", "history", "worker-1")
	if len(history) != 1 || !history[0].Revoked || len(history[0].Events) != 1 || history[0].Events[0].By != "admin" || history[0].Events[0].Reason != "lost" {
		t.Errorf("the history of worker-1: %+v", history)
	}
	f.wonBy("worker-2") // the cheapest whose key is good
	comeBack(t, f, do)
}

// comeBack gives the revoked worker a key, the cluster another, and the group a third,
// over a restart of everything.
func comeBack(t *testing.T, f *testFarm, do func(code int, says string, args ...string)) {
	t.Helper()
	key := func(name string) string { return filepath.Join(f.dir, "keys", name) }
	fresh := filepath.Join(t.TempDir(), "worker")
	for _, path := range []string{fresh, key("cluster-next")} {
		if code, _, stderr := call(t.Context(), "keys", "new", path); code != exitDone {
			t.Fatal(stderr)
		}
	}
	f.stop()
	f.start() // a worker whose key is revoked does not keep the others from it
	output := filepath.Join(f.dir, "worker-1", "output")
	if words, err := os.ReadFile(output); err != nil || !strings.Contains(string(words), "the key of worker-1 was revoked") {
		t.Errorf("worker-1 ended with %q (%v)", words, err)
	}
	if err := os.Truncate(output, 0); err != nil { // stop wants no last words
		t.Fatal(err)
	}
	do(exitDone, "speaks for worker-1", "keys", "rotate", "worker-1", fresh)
	f.stop()
	if err := os.Rename(fresh, key("worker-1")); err != nil {
		t.Fatal(err)
	}
	f.start()
	do(exitDone, "speaks for cluster", "keys", "rotate", "cluster", key("cluster-next"), "--key", key("cluster"))
	var h handoverReport
	f.ask(&h, "cluster", "handover", "--reason", "yearly")
	if h.Old == h.New || len(h.New) != 192 {
		t.Errorf("the handover: %+v", h)
	}
	if r := f.wonBy("worker-1"); len(r.Attestations) != 3 {
		t.Errorf("won with a new key: %d attestations", len(r.Attestations))
	}
	f.balanced()
}

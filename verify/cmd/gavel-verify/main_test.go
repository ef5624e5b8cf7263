package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gavel/verify/audit/audittest"
)

// The program needs nothing of the farm's own: no network of coordinators, no
// sandbox, no engine.
func TestItIsBuiltFromVerifyAlone(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.Lines(string(out)) {
		path = strings.TrimSpace(path)
		for _, not := range []string{"gavel/coordinator", "gavel/worker", "gavel/sandbox", "gavel/cmd", "gavel/api", "gavel/cas", "gavel/lab", "github.com/hashicorp", "github.com/docker", "google.golang.org/grpc"} {
			if path == not || strings.HasPrefix(path, not+"/") {
				t.Errorf("it is built from %s", path)
			}
		}
	}
}

func TestAuditFromTheCommandLine(t *testing.T) {
	w, err := audittest.New(audittest.Options{Seed: 8})
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.Serve()
	if err != nil {
		t.Fatal(err)
	}
	dir, state := t.TempDir(), filepath.Join(t.TempDir(), "state")
	if err := s.Write(dir); err != nil {
		t.Fatal(err)
	}
	call := func(want int, args ...string) (string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		if got := run(t.Context(), args, &out, &errs, false); got != want {
			t.Errorf("gavel-verify %s: exit status %d, want %d: %s", strings.Join(args, " "), got, want, errs.String())
		}
		return out.String(), errs.String()
	}
	if text, _ := call(exitGood, "audit", "--state", state, "--dir", dir); !strings.Contains(text, "nothing deviates") {
		t.Error(text)
	}
	if _, said := call(exitUnusable, "audit", "--dir", dir, "--cluster="); !strings.Contains(said, "--cluster is given, but empty") {
		t.Error(said)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	call(exitGood, "audit", "--export", copied, "--dir", dir)
	if err := os.Remove(filepath.Join(copied, "epoch", "2")); err != nil {
		t.Fatal(err)
	}
	text, _ := call(exitBad, "audit", "--fresh", "--json", "--dir", copied)
	var report struct{ Deviations []struct{ Field string } }
	if err := json.Unmarshal([]byte(text), &report); err != nil || len(report.Deviations) != 1 || !strings.Contains(report.Deviations[0].Field, "epoch/2") {
		t.Errorf("%v: %s", err, text)
	}
	for _, args := range [][]string{
		nil, {"rebuild"}, {"audit"}, {"audit", "--dir", filepath.Join(dir, "missing")}, {"audit", "--dir", dir, "more"}, {"audit", "--what"},
		{"bundle"}, {"bundle", "a", "b"}, {"bundle", "--key", "missing", "a", "b"}, {"bundle", "--as-of", "noon", "a", "b"}, {"bundle", "--witness", "x", "a", "b"}, {"bundle", "--group-key", "12", "a", "b"},
	} {
		call(exitUnusable, args...)
	}
	if _, text := call(exitGood, "audit", "--help"); !strings.Contains(text, "--receipt") && !strings.Contains(text, "-receipt") {
		t.Error(text)
	}
}

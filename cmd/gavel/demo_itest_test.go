//go:build itest

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// demoBinary builds gavel as make build does, where every user can run it.
func demoBinary(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gavel-demo-test-") // t.TempDir is for its owner alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "gavel")
	c := exec.Command("go", "build", "-trimpath", "-tags", "gavel_init", "-o", binary, ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("building gavel: %v\n%s", err, out)
	}
	return binary
}

// demoRuns runs a demonstration whose first build is project, and holds it to
// everything that its JSON must say.
func demoRuns(t *testing.T, project string, argv []string, env ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Env = append(os.Environ(), env...)
	c.Dir = "/"
	var out, story bytes.Buffer
	c.Stdout, c.Stderr = &out, &story
	if err := c.Run(); err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, &story)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if err := demoJSON([]byte(lines[len(lines)-1])); err != nil {
		t.Errorf("%v\n%s\n%s", err, lines[len(lines)-1], &story)
	}
	for _, want := range []string{"Build 1 of 3: " + project + ",", "slashed", "All as promised", "worker-8 → treasury", "escrow → requester"} {
		if !strings.Contains(story.String(), want) {
			t.Errorf("the story lacks %q:\n%s", want, &story)
		}
	}
	t.Logf("%s", &story)
}

// demoJSON checks each field of the last line against the contract. It
// reads names as anybody would, and shares no type with what wrote them.
func demoJSON(line []byte) error {
	type seat struct {
		Worker, Operator, Digest string
		Agreed                   bool
	}
	var got struct {
		Builds []struct {
			Build, State, Verdict, Reason, Winner, Auctioneer string
			Price, Payment, Reference                         *int64
			Validators, Panel                                 []seat
			Outputs                                           []struct {
				Path, Digest string
				Size         int64
			}
			Exit_Code    *int
			Attestations []string
		}
		Slashed    []string
		Ledger_OK  bool
		Audit_OK   bool
		Elapsed_MS int64
	}
	if err := json.Unmarshal(line, &got); err != nil {
		return fmt.Errorf("the last line is no JSON: %w", err)
	}
	if len(got.Builds) != 3 || !slices.Equal(got.Slashed, []string{"worker-8"}) || !got.Ledger_OK || !got.Audit_OK || got.Elapsed_MS < 1000 {
		return fmt.Errorf("%d builds, slashed %q, ledger %v, %d ms", len(got.Builds), got.Slashed, got.Ledger_OK, got.Elapsed_MS)
	}
	for i, want := range []struct {
		verdict string
		panel   int
	}{{"judged", 5}, {"agreed", 0}, {"non-deterministic", 0}} {
		b := got.Builds[i]
		switch {
		case len(b.Build) != 64 || b.State != "settled" || b.Verdict != want.verdict || b.Winner == "" || !strings.HasPrefix(b.Auctioneer, "coordinator-"):
			return fmt.Errorf("build %d: %+v", i, b)
		case b.Price == nil || b.Payment == nil || b.Reference == nil || b.Exit_Code == nil || *b.Exit_Code != 0:
			return fmt.Errorf("build %d lacks an amount or its exit code: %+v", i, b)
		case len(b.Validators) != 2 || len(b.Panel) != want.panel || len(b.Outputs) != 1 || b.Outputs[0].Size <= 0 || !strings.HasPrefix(b.Outputs[0].Digest, "sha256:"):
			return fmt.Errorf("build %d: validators %v, panel %v, outputs %v", i, b.Validators, b.Panel, b.Outputs)
		case len(b.Attestations) == 0:
			return fmt.Errorf("build %d: no attestation", i)
		}
		for _, s := range slices.Concat(b.Validators, b.Panel) {
			if s.Worker == b.Winner || s.Operator == "" || !strings.HasPrefix(s.Digest, "sha256:") || s.Agreed != (want.verdict != "non-deterministic") {
				return fmt.Errorf("build %d: seat %+v", i, s)
			}
		}
	}
	forged, bought := got.Builds[0], got.Builds[1]
	if forged.Winner != "worker-8" || *forged.Price != 180_000 || *forged.Payment != 0 || !strings.Contains(forged.Reason, "differs at byte") {
		return fmt.Errorf("the forged build: %+v", forged)
	}
	if bought.Winner != "worker-1" || *bought.Price != 1_100_000 || *bought.Payment != 1_200_000 || *bought.Reference != 8_800_000 {
		return fmt.Errorf("the build that was bought: %+v", bought)
	}
	return nil
}

func TestDemoNative(t *testing.T) {
	demoRuns(t, "hello-c", []string{demoBinary(t), "demo", "--json"})
}

// Nobody needs root: the same as a user without any group or capability.
func TestDemoUnprivileged(t *testing.T) {
	binary := demoBinary(t)
	home := filepath.Join(filepath.Dir(binary), "home")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	demoRuns(t, "hello-c", []string{"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--bounding-set=-all", binary, "demo", "--json"}, "HOME="+home, "TMPDIR="+home)
}

// Without a C compiler the first build is the small Go program, with its cache.
func TestDemoWithoutCompiler(t *testing.T) {
	hidden := `set -e
for tool in cc gcc c99; do
	path=$(command -v $tool) || continue
	mount --bind /dev/null "$(readlink -f "$path")"
done
exec "$0" demo --json`
	demoRuns(t, "tiny-go", []string{"unshare", "--mount", "sh", "-c", hidden, demoBinary(t)})
}

// The same three verdicts in a Debian image.
func TestDemoDocker(t *testing.T) {
	c := exec.Command("../../testdata/images/debian.sh", "--go")
	c.Stderr = os.Stderr
	id, err := c.Output()
	if err != nil {
		t.Fatalf("making the image: %v", err)
	}
	demoRuns(t, "hello-c", []string{demoBinary(t), "demo", "--json", "--sandbox", "docker", "--image", strings.TrimSpace(string(id))})
}

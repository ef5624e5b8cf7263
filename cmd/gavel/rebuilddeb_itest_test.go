//go:build itest

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gavel/cas/layout"
)

// testCache is where integration tests keep what takes long to make.
func testCache(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("GAVEL_CACHE")
	if dir == "" {
		home, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(home, "gavel-test")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// rebuildDebJSON rebuilds base-files on this machine.
func rebuildDebJSON(t *testing.T, flags ...string) *publishedReport {
	t.Helper()
	code, stdout, stderr := call(t.Context(), append([]string{"rebuild", "deb", "--local", "--json", "base-files"}, flags...)...)
	r := new(publishedReport)
	if err := json.Unmarshal([]byte(stdout), r); err != nil || code != exitDone && code != exitFailed {
		t.Fatalf("gavel rebuild deb %s: exit status %d: %s%s", strings.Join(flags, " "), code, stdout, stderr)
	}
	if r.Equal != (code == exitDone) {
		t.Errorf("exit status %d of %+v", code, r)
	}
	return r
}

// Real software with an answer that nobody here wrote: Debian's base-files, built
// from source, is to the byte what the archive's signatures vouch for, on the
// native runner, on Docker's, and from two workers of a farm.
func TestRebuildDebEqualsTheArchives(t *testing.T) {
	root := filepath.Join(testCache(t), "base-files-buildd")
	var native *publishedReport
	if layout.Is(root) {
		native = rebuildDebJSON(t, "--image", root)
	}
	if native == nil || !native.Equal { // none is kept, or the archive has moved on
		if err := os.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
		native = rebuildDebJSON(t, "--save-image", root)
	}
	docker := rebuildDebJSON(t, "--image", root, "--sandbox", "docker")
	for kind, r := range map[string]*publishedReport{"native": native, "docker": docker} {
		if !r.Equal || len(r.Published) != 1 || !r.Published[0].Match || r.Published[0].Got != r.Published[0].Digest || !strings.HasPrefix(r.Published[0].Path, "base-files_") {
			t.Errorf("%s: %+v", kind, r)
		}
	}
	if native.Image != docker.Image || native.InputRoot != docker.InputRoot {
		t.Errorf("built from %s in %s, and from %s in %s", native.InputRoot, native.Image, docker.InputRoot, docker.Image)
	}
	checkDebOfAFarm(t, root, native)
}

// checkDebOfAFarm has a farm build what native is of, in the same root.
func checkDebOfAFarm(t *testing.T, root string, native *publishedReport) {
	t.Helper()
	f := newTestFarm(t, "--private", "--coordinators", "1", "--workers", "2")
	image, _ := f.addImage("buildd", root)
	var r buildReport
	said := f.cli(exitDone, "rebuild", "deb", "--image", "buildd", "--validators", "1", "--json", "base-files")
	if err := json.Unmarshal([]byte(said), &r); err != nil {
		t.Fatalf("gavel rebuild deb --farm printed %q: %v", said, err)
	}
	want := native.Published[0]
	if image != native.Image || r.Verdict != "agreed" || len(r.Validators) != 1 || !r.Validators[0].Agreed || len(r.Expected) != 1 || !r.Expected[0].Match {
		t.Errorf("in %s: %+v", image, r)
	}
	if len(r.Outputs) != 1 || r.Outputs[0].Path != want.Path || r.Outputs[0].Digest != want.Digest || r.Outputs[0].ExpectedMatch == nil || !*r.Outputs[0].ExpectedMatch {
		t.Errorf("outputs %+v, want %+v", r.Outputs, want)
	}
}

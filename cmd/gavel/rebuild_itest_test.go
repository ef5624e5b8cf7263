//go:build itest

package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gavel/cas"
)

// rebuildJSON runs rebuild in this process, where no farm is.
func rebuildJSON(t *testing.T, code int, args ...string) (*rebuildReport, string) {
	t.Helper()
	got, stdout, stderr := call(t.Context(), append([]string{"rebuild", "--json"}, args...)...)
	if got != code {
		t.Fatalf("gavel rebuild %s: exit status %d, want %d: %s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	r := new(rebuildReport)
	if code == exitUsage {
		return r, stderr
	}
	if err := json.Unmarshal([]byte(stdout), r); err != nil {
		t.Fatalf("gavel rebuild printed %q: %v", stdout, err)
	}
	return r, stderr
}

// A farm's build is built again by somebody who has a directory with the bundle,
// the image and the inputs, and no farm; and a changed byte is named.
func TestRebuildWithoutFarm(t *testing.T) {
	f := newTestFarm(t)
	f.addImage("busybox", busyboxRoot(t))
	script := "mkdir -p out/sub\n{ cat data/a data/b; id; pwd; env; } > out/all\ncp data/a out/sub/a\nln -s all out/link\n"
	r := f.submitFiles(script, map[string]string{"data/a": "first\n", "data/b": "second\n"}, "--image", "busybox", "--env", "WHO=world").report(exitDone)
	dir := filepath.Join(t.TempDir(), "evidence")
	outputs := filepath.Join(t.TempDir(), "outputs")
	f.cli(exitDone, "download", r.Build, "--inputs", dir, "-o", outputs)
	f.stop()
	if err := os.RemoveAll(f.dir); err != nil {
		t.Fatal(err)
	}
	bundles, err := filepath.Glob(filepath.Join(dir, "attestations", "worker-*.sigstore.json"))
	if err != nil || len(bundles) != 3 {
		t.Fatalf("%v, %v", bundles, err)
	}
	bundle := filepath.Join(dir, "bundle.json") // anywhere near the inputs
	key := strings.TrimSuffix(bundles[0], ".sigstore.json") + ".pub"
	if err := os.Rename(bundles[0], bundle); err != nil {
		t.Fatal(err)
	}
	before := treeOf(t, dir)
	for _, kind := range []string{"native", "docker", "oci"} {
		out := filepath.Join(t.TempDir(), "out")
		got, _ := rebuildJSON(t, exitDone, bundle, "--sandbox", kind, "--key", key, "-o", out)
		if !got.Equal || got.Build != r.Build || got.Key == "" || len(got.Differences) > 0 || len(got.Outputs) != len(r.Outputs) {
			t.Errorf("%s: %+v", kind, got)
		}
		for i, o := range got.Outputs {
			if !o.Equal || o.Digest != r.Outputs[i].Digest || o.Path != r.Outputs[i].Path {
				t.Errorf("%s: output %+v, the farm's is %+v", kind, o, r.Outputs[i])
			}
		}
		if link, err := os.Readlink(filepath.Join(out, "out", "link")); err != nil || link != "all" {
			t.Errorf("%s: kept outputs: %q, %v", kind, link, err)
		}
	}
	if _, why := rebuildJSON(t, exitUsage, bundle, "--key", strings.TrimSuffix(bundles[1], ".sigstore.json")+".pub"); !strings.Contains(why, "not signed by this key") {
		t.Errorf("another's key: %s", why)
	}
	if after := treeOf(t, dir); !slices.Equal(before, after) {
		t.Errorf("a rebuild left %v where there was %v", after, before)
	}
	changedInput(t, dir, bundle, outputs)
	changedBlobs(t, dir, bundle)
}

// changedInput changes one byte of an input file.
func changedInput(t *testing.T, dir, bundle, outputs string) {
	t.Helper()
	path := filepath.Join(dir, "blobs", "sha256", cas.Of([]byte("first\n")).Hash)
	restore := flip(t, path)
	defer restore()
	if _, why := rebuildJSON(t, exitUsage, bundle); !strings.Contains(why, `"data/a" has not its digest`) || !strings.Contains(why, "nothing was built") {
		t.Errorf("a changed input: %s", why)
	}
	got, _ := rebuildJSON(t, exitFailed, bundle, "--allow-changed", "--outputs", outputs)
	if got.Explained == nil || got.Explained.Same() {
		t.Errorf("a changed input is not explained: %+v", got.Explained)
	}
	if got.Equal || len(got.ChangedInputs) != 1 || got.ChangedInputs[0].Path != "data/a" || got.InputRoot.Want == got.InputRoot.Got {
		t.Errorf("a changed input, allowed: %+v", got)
	}
	var paths []string
	for _, d := range got.Differences {
		paths = append(paths, d.Path)
	}
	if !slices.Equal(paths, []string{"out/all", "out/sub/a"}) {
		t.Errorf("differs in %v", paths)
	}
}

// changedBlobs changes one byte of each blob in turn: whatever it is, it is found,
// but in the stated result's manifest, which is there to explain and is not needed.
func changedBlobs(t *testing.T, dir, bundle string) {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil || len(blobs) < 9 {
		t.Fatalf("%v, %v", blobs, err)
	}
	recipe, err := readRecipe(bundle, "")
	if err != nil {
		t.Fatal(err)
	}
	manifest := cas.OfSum(recipe.ManifestDigest, 1).Hash
	for _, path := range blobs {
		want := exitUsage
		if filepath.Base(path) == manifest {
			want = exitDone
		}
		restore := flip(t, path)
		if code, _, stderr := call(t.Context(), "rebuild", bundle); code != want {
			t.Errorf("with a byte of %s changed: exit status %d, want %d: %s", filepath.Base(path), code, want, stderr)
		}
		restore()
	}
}

// flip changes one byte of a file, until restore is called.
func flip(t *testing.T, path string) (restore func()) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func() {
		if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, raw, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	raw[len(raw)/2] ^= 0x10
	write()
	return func() {
		raw[len(raw)/2] ^= 0x10
		write()
	}
}

// treeOf lists the files below dir.
func treeOf(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

//go:build itest

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// busyboxRoot is a root directory of a static busybox.
func busyboxRoot(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("needs busybox-static: %v", err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	for _, dir := range []string{"bin", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "bin", "busybox"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, applet := range []string{"sh", "cat", "echo", "id", "uname", "pwd", "stat", "nproc", "env", "seq", "sort", "tar", "sha256sum"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// addImage adds an image and returns its digest and size.
func (f *testFarm) addImage(name, source string) (string, uint64) {
	f.t.Helper()
	var added struct {
		Name   string
		Digest string
		Size   uint64
	}
	f.ask(&added, "image", "add", name, source)
	if added.Name != name || !strings.HasPrefix(added.Digest, "sha256:") || added.Size == 0 {
		f.t.Fatalf("gavel image add said %+v", added)
	}
	return added.Digest, added.Size
}

// fetched counts how often each worker fetched an image.
func (f *testFarm) fetched(digest string) map[string]int {
	f.t.Helper()
	times := map[string]int{}
	for _, n := range f.file().Nodes {
		log, err := os.ReadFile(filepath.Join(f.dir, n.Name, "log"))
		if err != nil {
			f.t.Fatal(err)
		}
		if c := strings.Count(string(log), `msg="image fetched" image=`+digest); c > 0 {
			times[n.Name] = c
		}
	}
	return times
}

// Workers of every kind build the same in one image, which each fetches once
// from the farm's store.
func TestImageOnEveryKindOfSandbox(t *testing.T) {
	f := newTestFarm(t, "--sandbox", "native,docker,oci")
	root := busyboxRoot(t)
	digest, size := f.addImage("busybox", root)
	if again, _ := f.addImage("other/name:1", root); again != digest {
		t.Errorf("the same directory is %s and then %s", digest, again)
	}
	var listed []imageReport
	f.ask(&listed, "image", "list")
	if len(listed) != 1 || listed[0].Digest != digest || listed[0].Size != size || !slices.Equal(listed[0].Names, []string{"busybox", "other/name:1"}) {
		t.Errorf("listed as %+v", listed)
	}
	var shown imageReport
	f.ask(&shown, "image", "show", digest)
	if shown.Platform == "" || shown.AddedBy != "requester" || len(shown.Layers) != 1 || shown.Source != root {
		t.Errorf("shown as %+v", shown)
	}
	took := map[string]bool{}
	script := "{ id; pwd; uname -n; env; nproc; stat -c '%n %u %g %a' /bin/busybox /etc /build build.sh; } > out"
	var result string
	for i := 0; i < 12 && len(took) < 3; i++ {
		ref := []string{"busybox", digest}[i%2]
		r := f.submit(script, "--image", ref).report(exitDone)
		if r.Verdict != "agreed" || len(r.Outputs) != 1 {
			t.Fatalf("build %d: %+v", i, r)
		}
		if out := r.Outputs[0].Digest.String(); result != "" && out != result {
			t.Errorf("build %d gave %s, another %s", i, out, result)
		} else {
			result = out
		}
		took[f.kind(r.Winner)] = true
		for _, v := range r.Validators {
			took[f.kind(v.Worker)] = true
		}
	}
	if len(took) < 3 {
		t.Errorf("of all kinds of sandbox only %v had a part", took)
	}
	for worker, times := range f.fetched(digest) {
		if times != 1 {
			t.Errorf("%s fetched the image %d times", worker, times)
		}
	}
}

// kind is a worker's sandbox, of three that take turns.
func (f *testFarm) kind(worker string) string {
	f.t.Helper()
	raw, err := os.ReadFile(filepath.Join(f.dir, worker, worker+".json"))
	if err != nil {
		f.t.Fatal(err)
	}
	var c struct{ Sandbox string }
	if err := json.Unmarshal(raw, &c); err != nil {
		f.t.Fatal(err)
	}
	return c.Sandbox
}

// What docker save wrote has the digest that Docker calls it by; what has no name
// any more is collected; and what is not there is refused before anything is owed.
func TestImagesComeAndGo(t *testing.T) {
	f := newTestFarm(t)
	id, err := dockerImage()
	if err != nil {
		t.Fatalf("making an image: %v", err)
	}
	archive := filepath.Join(t.TempDir(), "saved.tar")
	if out, err := exec.Command("docker", "save", "-o", archive, id).CombinedOutput(); err != nil {
		t.Fatalf("docker save: %v: %s", err, out)
	}
	digest, size := f.addImage("saved", archive)
	if digest != id {
		t.Errorf("Docker calls it %s, the farm %s", id, digest)
	}
	if r := f.submit("echo hello > out", "--image", "saved").report(exitDone); r.Verdict != "agreed" {
		t.Errorf("report: %+v", r)
	}
	refused := func(says string, args ...string) {
		t.Helper()
		code, _, stderr := call(t.Context(), slices.Insert(slices.Clone(args), 1, "--farm", f.dir)...)
		if code != exitUsage || !strings.Contains(stderr, says) {
			t.Errorf("gavel %v: exit status %d, %s; want 2 and %q", args, code, stderr, says)
		}
	}
	project := t.TempDir()
	submit := func(image string) []string {
		return []string{"submit", "--image", image, "--output", "out", project, "--", "true"}
	}
	refused("gavel image list", submit("unknown")...)
	refused("gavel image add", submit("sha256:"+strings.Repeat("12", 32))...)
	refused("no such file", "image", "add", "x", filepath.Join(project, "absent.tar"))
	refused("not a name", "image", "add", "No Name", archive)
	refused("no such image", "image", "rm", "unknown")
	refused("no such image", "image", "show", "unknown")
	var gone struct {
		Images []imageReport
		Bytes  uint64
	}
	f.ask(&gone, "image", "gc")
	if len(gone.Images) != 0 {
		t.Errorf("an image with a name was collected: %+v", gone)
	}
	f.cli(exitDone, "image", "rm", "saved")
	refused("gavel image list", submit("saved")...)
	if r := f.submit("echo still there > out", "--image", digest).report(exitDone); r.Verdict != "agreed" {
		t.Errorf("report: %+v", r)
	}
	// For a few seconds an image that a build asked for stays.
	for deadline := time.Now().Add(farmPatience); len(gone.Images) == 0 && time.Now().Before(deadline); time.Sleep(time.Second) {
		f.ask(&gone, "image", "gc", "--dry-run")
	}
	f.ask(&gone, "image", "gc")
	if len(gone.Images) != 1 || gone.Images[0].Digest != digest || gone.Bytes != size {
		t.Errorf("collected %+v, want %s of %d bytes", gone, digest, size)
	}
	if blobs, err := filepath.Glob(filepath.Join(f.dir, "store", "images", "blobs", "blobs", strings.TrimPrefix(digest, "sha256:")[:2], strings.TrimPrefix(digest, "sha256:"))); err != nil || len(blobs) > 0 {
		t.Errorf("the config is still in the store: %v, %v", blobs, err)
	}
	f.balanced()
}

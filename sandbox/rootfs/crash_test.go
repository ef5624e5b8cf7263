package rootfs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"gavel/sandbox/sandboxtest"
)

// dyingShelf tells the test binary that it is the worker of TestDeathOfAWorker.
const dyingShelf = "GAVEL_TEST_DYING_SHELF"

// endless is a layer that stops coming, until its reader is killed.
type endless struct{ reached func() }

func (e endless) Read([]byte) (int, error) {
	e.reached()
	time.Sleep(time.Hour)
	return 0, io.EOF
}

// A worker that is killed while it unpacks leaves nothing that its successor
// takes for an image, and nothing at all once that has opened the shelf.
func TestDeathOfAWorker(t *testing.T) {
	if dir := os.Getenv(dyingShelf); dir != "" {
		s := openShelf(t, dir, 0)
		take(t, s, imageOf(t, "kept", 0))
		img := imageOf(t, "lost", 100_000)
		half := sandboxtest.Archive(t, file("etc/first", "x"), file("etc/second", "y"))[:1024]
		img.Layers[0].Open = func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(half), endless{func() { fmt.Println("half way") }})), nil
		}
		_, err := s.Take(context.Background(), img)
		t.Fatalf("it never ends, and ended with %v", err)
	}
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestDeathOfAWorker$")
	cmd.Env = append(os.Environ(), dyingShelf+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "half way" {
	}
	if left, err := filepath.Glob(filepath.Join(dir, stagingPrefix+"*/root/etc")); err != nil || len(left) != 1 {
		t.Errorf("before the death: %q %v", left, err)
	}
	if err := errors.Join(cmd.Process.Kill(), lines.Err()); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	s := openShelf(t, dir, 0)
	if got := s.Roots(); len(got) != 1 || got[0] != imageOf(t, "kept", 0).Root() {
		t.Errorf("roots %v", got)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 { // the image, its record, the lock
		t.Errorf("left behind: %v %v", entries, err)
	}
}

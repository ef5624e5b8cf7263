package disk

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"gavel/cas"
)

const childVariable = "GAVEL_TEST_DISK_CHILD"

// TestManyProcesses lets several processes write the same and different blobs to
// one store at once; each is this test binary run again.
func TestManyProcesses(t *testing.T) {
	if dir := os.Getenv(childVariable); dir != "" {
		writeAsChild(t, dir)
		return
	}
	dir := t.TempDir()
	var children []*exec.Cmd
	for i := range 4 {
		c := exec.Command(os.Args[0], "-test.run=^TestManyProcesses$", "-test.count=1")
		c.Env = append(os.Environ(), childVariable+"="+dir, "GAVEL_TEST_CHILD_NUMBER="+strconv.Itoa(i))
		out := &bytes.Buffer{}
		c.Stdout, c.Stderr = out, out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		children = append(children, c)
	}
	for i, c := range children {
		if err := c.Wait(); err != nil {
			t.Errorf("process %d: %v\n%s", i, err, c.Stdout)
		}
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 4 {
		for _, b := range childBlobs(i) {
			if got, err := get(s, cas.Of(b), t); err != nil || !bytes.Equal(got, b) {
				t.Errorf("of process %d: read %d of %d bytes, %v", i, len(got), len(b), err)
			}
		}
	}
}

// childBlobs are what process i writes: some that all write, some of its own.
func childBlobs(i int) (bs [][]byte) {
	for k := range 20 {
		bs = append(bs, randomBytes(uint64(k), 1+k*k*1500), fmt.Appendf(nil, "%d of process %d", k, i))
	}
	return bs
}

func writeAsChild(t *testing.T, dir string) {
	i, err := strconv.Atoi(os.Getenv("GAVEL_TEST_CHILD_NUMBER"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, b := range childBlobs(i) {
		if err := s.Put(t.Context(), cas.Of(b), bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		if got, err := get(s, cas.Of(b), t); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("read %d of %d bytes, %v", len(got), len(b), err)
		}
	}
}

package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// Two witnesses in one directory once ran side by side, each with a memory of its own
// of what it had cosigned.
func TestWitnessIsAloneInItsDirectory(t *testing.T) {
	dir := t.TempDir()
	lock, err := lockWitness(dir)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if code, _, says := call(t.Context(), "keys", "new", key); code != exitDone {
		t.Fatal(says)
	}
	witness := []string{"witness", "--dir", dir, "--name", "example.org/witness", "--key", key, "--genesis", filepath.Join(dir, "missing")}
	if code, _, says := call(t.Context(), witness...); code != exitUsage || !strings.Contains(says, "runs in "+dir+" already") {
		t.Errorf("exit status %d: %s", code, says)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if code, _, says := call(t.Context(), witness...); code != exitUsage || !strings.Contains(says, "reading the genesis") {
		t.Errorf("once the other has ended: exit status %d: %s", code, says)
	}
}

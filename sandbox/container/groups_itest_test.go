//go:build itest

package container

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A power cut while an engine started a container left its cgroups for good: the
// engine that came back had forgotten them.
func TestForgottenGroupsAreRemoved(t *testing.T) {
	mount := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(mount, "pids")); err == nil {
		mount = filepath.Join(mount, "pids") // version 1
	}
	id, other := NewRunID(), NewRunID()
	mine, theirs := filepath.Join(mount, "gavel-test-"+id, id, "inner"), filepath.Join(mount, "gavel-test-"+other)
	for _, dir := range []string{mine, theirs} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Remove(theirs)
	if err := RemoveGroups(id, time.Second); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(mount, "gavel-test-"+id)); !os.IsNotExist(err) {
		t.Errorf("the container's cgroup is still there: %v", err)
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Errorf("another's cgroup: %v", err)
	}
}

package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// A rebuild whose sandbox or places could not be made ended in a panic, not in the
// reason.
func TestRebuildThatCannotBeginSaysWhy(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing", "file")
	for says, f := range map[string]localFlags{
		"writing the log":              {sandbox: "native", log: missing},
		"making a work directory":      {sandbox: "native", work: "/dev/null"},
		"starting the oci sandbox":     {sandbox: "oci", runtime: missing},
		`--sandbox "chroot": want one`: {sandbox: "chroot"},
	} {
		if b, err := f.open(t.Context()); b != nil || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want an error of %q, got %v", says, err)
		}
	}
}

package containertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// UseVersionOne mounts what version 2 of cgroups still has as hierarchies of
// version 1, on a machine that has both: without it crun starts nothing there.
// They stay, as other tests may use them by the end of this one.
func UseVersionOne() error {
	text, err := os.ReadFile("/sys/fs/cgroup/unified/cgroup.controllers")
	if errors.Is(err, os.ErrNotExist) {
		return nil // one version only
	}
	if err != nil {
		return fmt.Errorf("reading which cgroup controllers are left: %w", err)
	}
	for c := range strings.FieldsSeq(string(text)) {
		dir := filepath.Join("/sys/fs/cgroup", c)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making a place for a cgroup controller: %w", err)
		}
		if err := unix.Mount("cgroup", dir, "cgroup", 0, c); err != nil {
			return fmt.Errorf("mounting cgroup controller %s: %w", c, err)
		}
	}
	return nil
}

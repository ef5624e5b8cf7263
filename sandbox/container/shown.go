package container

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ShownIn says why a process does not see, at target, what Fill mounted.
func (s Scratch) ShownIn(pid int, target string) error {
	var filled unix.Stat_t
	if err := unix.Stat(s.path(slotDir), &filled); err != nil {
		return fmt.Errorf("looking at the build directory: %w", err)
	}
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return fmt.Errorf("reading the mounts of a container: %w", err)
	}
	want := fmt.Sprintf("%d:%d", unix.Major(filled.Dev), unix.Minor(filled.Dev))
	if got := topDevice(table, target); got != want {
		return fmt.Errorf("the container sees device %q at %s, not the build directory, %s; its runtime does not pass mounts on", got, target, want)
	}
	return nil
}

// topDevice is the device, "major:minor", of the last file system that a mount
// table (proc_pid_mountinfo(5)) has at target, which must need no escapes there.
func topDevice(table []byte, target string) string {
	device := ""
	for line := range bytes.Lines(table) {
		if f := bytes.Fields(line); len(f) > 4 && string(f[4]) == target {
			device = string(f[2])
		}
	}
	return device
}

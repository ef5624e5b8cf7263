package native

import (
	"fmt"
	"os"
	"strings"

	"gavel/sandbox/native/box"
)

// mapsRange says whether this process may give sandboxes the machine's users from
// IDBase on: it is root, and of a user namespace that has them.
func mapsRange() bool {
	if os.Getuid() != 0 {
		return false
	}
	for _, name := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		b, err := os.ReadFile(name)
		if err != nil || !covers(string(b), box.HostBase, box.HostBase+box.Users-1) {
			return false
		}
	}
	return true
}

// rootsOwn are the mount options of directories that belong to root inside, if
// there is one.
func (r *Runner) rootsOwn() string {
	if !r.ranged {
		return ""
	}
	return ",uid=0,gid=0"
}

// covers says whether a map (user_namespaces(7)) has all of first to last in one line.
func covers(idMap string, first, last uint64) bool {
	for line := range strings.Lines(idMap) {
		var inside, outside, length uint64
		if n, err := fmt.Sscan(line, &inside, &outside, &length); err != nil || n != 3 {
			continue
		}
		if inside <= first && last < inside+length {
			return true
		}
	}
	return false
}

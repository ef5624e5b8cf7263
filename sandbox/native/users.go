package native

import (
	"fmt"
	"os"
	"strings"

	"gavel/sandbox/native/box"
)

// chooseUsers says whether this process may give sandboxes the machine's users
// from IDBase on: it is root, and of a user namespace that has them. Otherwise
// commands are its own user, which must then not be the machine's root: kernels
// give that one the files of /proc that belong to nobody else.
func chooseUsers(uid int, idMaps ...string) (ranged bool, err error) {
	if uid != 0 {
		return false, nil
	}
	ranged = true
	for _, m := range idMaps {
		ranged = ranged && covers(m, box.HostBase, box.HostBase+box.Users-1)
	}
	if !ranged && isRoot(idMaps[0]) {
		return false, fmt.Errorf("this worker is root of a user namespace that lacks the users from %d to %d: start it as an ordinary user, or give it those", box.HostBase, box.HostBase+box.Users-1)
	}
	return ranged, nil
}

// readIDMaps reads which users and groups this process's namespace has.
func readIDMaps() (users, groups string, err error) {
	u, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return "", "", fmt.Errorf("reading which users there are: %w", err)
	}
	g, err := os.ReadFile("/proc/self/gid_map")
	if err != nil {
		return "", "", fmt.Errorf("reading which groups there are: %w", err)
	}
	return string(u), string(g), nil
}

// isRoot says whether a map makes the namespace's root that of the one around it.
func isRoot(idMap string) bool {
	for line := range strings.Lines(idMap) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "0" && f[1] == "0" {
			return true
		}
	}
	return false
}

// rootsOwn are the mount options of directories that belong to root inside, if
// there is one.
func (r *Runner) rootsOwn() string {
	return r.owned(0)
}

// owned are the mount options of a directory that belongs to a user inside, if
// there is more than one.
func (r *Runner) owned(uid int) string {
	if !r.ranged {
		return ""
	}
	return fmt.Sprintf(",uid=%d,gid=%d", uid, uid)
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

package native

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupPlaces is where this process may make cgroups.
type cgroupPlaces struct {
	unified bool              // version 2
	dirs    map[string]string // by controller; of version 2 only ""
	unbound []string          // of version 2: controllers that are missing there and can be done without
}

// findCgroups reads where the hierarchies are mounted and where in them this
// process is, from the texts of /proc/self/mountinfo and /proc/self/cgroup
// (proc(5), cgroups(7)). Version 1 serves if it has all controllers, else
// version 2; a machine with both ("hybrid") keeps its controllers in version 1.
func findCgroups(mountinfo, self string) ([]cgroupPlaces, error) {
	own := make(map[string]string) // path in the hierarchy by controller; "" is version 2
	for line := range strings.Lines(self) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for _, c := range strings.Split(f[1], ",") {
			own[c] = f[2]
		}
	}
	v1 := cgroupPlaces{dirs: make(map[string]string)}
	var found []cgroupPlaces
	for line := range strings.Lines(mountinfo) {
		front, back, ok := strings.Cut(strings.TrimSpace(line), " - ")
		f, b := strings.Fields(front), strings.Fields(back)
		if !ok || len(f) < 5 || len(b) < 3 {
			continue
		}
		root, point := unescape(f[3]), unescape(f[4])
		switch b[0] {
		case "cgroup2":
			// Its own group first, which an owner may have delegated; the top is root's.
			for _, dir := range slices.Compact([]string{within(point, root, own[""]), point}) {
				found = append(found, cgroupPlaces{unified: true, dirs: map[string]string{"": dir}})
			}
		case "cgroup":
			for _, c := range strings.Split(b[2], ",") {
				if slices.Contains(controllers, c) && v1.dirs[c] == "" {
					v1.dirs[c] = within(point, root, own[c])
				}
			}
		}
	}
	if len(v1.dirs) == len(controllers) {
		return []cgroupPlaces{v1}, nil
	}
	if len(found) == 0 {
		return nil, errors.New("no cgroup file system is mounted with the memory, pids and cpu controllers")
	}
	return found, nil
}

// within is the directory of a group, as far as the mount shows it: a mount
// inside a container often shows only a part, or calls it something else.
func within(point, root, group string) string {
	// A cgroup namespace shows what lies outside of it as a path above its root.
	if strings.HasPrefix(group+"/", "/../") {
		return point
	}
	rel, err := filepath.Rel(root, group)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return point
	}
	return filepath.Join(point, rel)
}

// unescape undoes mountinfo's octal escapes of blanks.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// openCgroups makes a runner's cgroups wherever this process may.
func openCgroups(name string) (*cgroups, error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	places, err := findCgroups(string(mountinfo), string(self))
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, p := range places {
		c, err := openPlace(p, name)
		if err == nil {
			return c, nil
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

func openPlace(p cgroupPlaces, name string) (*cgroups, error) {
	if p.unified {
		var err error
		if p.unbound, err = usable(p.dirs[""]); err != nil {
			return nil, err
		}
		if err := makeRoom(p.dirs[""], p.unbound); err != nil {
			return nil, err
		}
	}
	return newCgroups(p, name)
}

// delegate is what to do about a version 2 group that is no good.
const delegate = "start the worker in a scope of its own (systemd-run --user --scope -p Delegate=yes gavel worker ...)"

// usable says which controllers a version 2 group lacks of those that sandboxes
// can do without: only cpu, which many systems do not delegate to users. Without
// the others, or in a group of threads, there can be no groups of commands.
func usable(dir string) (unbound []string, err error) {
	// The top has no type; it is a domain.
	if b, err := os.ReadFile(filepath.Join(dir, "cgroup.type")); err == nil && strings.TrimSpace(string(b)) != "domain" {
		return nil, fmt.Errorf("cgroup %s is of type %q, in which memory cannot be bounded: %s", dir, strings.TrimSpace(string(b)), delegate)
	}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil, fmt.Errorf("reading the controllers of cgroup %s: %w", dir, err)
	}
	var missing []string
	for _, c := range controllers {
		if !slices.Contains(strings.Fields(string(b)), c) {
			missing = append(missing, c)
		}
	}
	if slices.ContainsFunc(missing, func(c string) bool { return c != "cpu" }) {
		return nil, fmt.Errorf("cgroup %s lacks the controllers %s: %s", dir, strings.Join(missing, " and "), delegate)
	}
	return missing, nil
}

// makeRoom lets a version 2 group have children with controllers, which it may
// not while processes are in it: if this process is alone there, as in a delegated
// scope, it moves into a child.
func makeRoom(dir string, unbound []string) error {
	if enableControllers(dir, unbound) == nil {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("reading the processes of cgroup %s: %w", dir, err)
	}
	if strings.TrimSpace(string(b)) != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("cgroup %s has other processes: %s", dir, delegate)
	}
	leaf := filepath.Join(dir, "gavel-worker")
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making cgroup %s: %w", leaf, err)
	}
	if err := writeControl(filepath.Join(leaf, "cgroup.procs"), "0"); err != nil {
		return fmt.Errorf("moving into cgroup %s: %w", leaf, err)
	}
	return enableControllers(dir, unbound)
}

// sweepCgroups kills and removes what a dead runner of this name left.
func sweepCgroups(name string) error {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	places, err := findCgroups(string(mountinfo), string(self))
	if err != nil {
		return nil // without cgroups nothing of them is left
	}
	var failures []error
	for _, p := range places {
		for _, parent := range p.dirs {
			failures = append(failures, sweepGroup(filepath.Join(parent, name)))
		}
	}
	return errors.Join(failures...)
}

// sweepGroup kills what is in dir and its children and removes them.
func sweepGroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	c := &cgroups{removeDir: unix.Rmdir}
	var failures []error
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		child := filepath.Join(dir, e.Name())
		if kill := filepath.Join(child, "cgroup.kill"); exists(kill) {
			failures = append(failures, writeControl(kill, "1")) // all at once, and what they start meanwhile
		} else if b, err := os.ReadFile(filepath.Join(child, "cgroup.procs")); err == nil {
			for _, field := range strings.Fields(string(b)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
					_ = unix.Kill(pid, unix.SIGKILL) // it may have ended meanwhile
				}
			}
		}
		failures = append(failures, c.removeSoon(child))
	}
	return errors.Join(append(failures, c.removeSoon(dir))...)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

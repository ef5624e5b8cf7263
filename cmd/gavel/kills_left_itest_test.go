//go:build itest

package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// osProcess is one process of the machine.
type osProcess struct {
	pid, parent int
	command     string // its arguments, each ended by NUL
	group       string // its cgroups
}

// allProcesses lists the machine's processes that have arguments: neither
// kernel threads nor what has ended.
func allProcesses() (found []osProcess) {
	names, _ := filepath.Glob("/proc/[0-9]*") // only a malformed pattern fails
	for _, name := range names {
		command, err := os.ReadFile(name + "/cmdline")
		if err != nil || len(command) == 0 {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(name))
		found = append(found, osProcess{pid: pid, command: string(command)})
	}
	return found
}

// look fills in what allProcesses leaves out, and says whether the process still lives.
func (p *osProcess) look() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return false
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	p.parent, _ = strconv.Atoi(f[1])
	group, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.pid))
	p.group = string(group)
	return err == nil && f[0] != "Z"
}

// first finds the first process of a sandboxed one's pid namespace.
func (p *osProcess) first() int {
	for pid := p.pid; pid > 1; {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0
		}
		for line := range strings.Lines(string(status)) {
			if f := strings.Fields(line); f[0] == "NSpid:" && len(f) > 2 && f[len(f)-1] == "1" {
				return pid
			}
		}
		next := osProcess{pid: pid}
		if !next.look() {
			return 0
		}
		pid = next.parent
	}
	return 0
}

// mountPoints lists what is mounted in this process's namespace, of which every
// worker's is.
func mountPoints() (points []string) {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(table)) {
		points = append(points, strings.ReplaceAll(strings.Fields(line)[1], `\040`, " "))
	}
	return points
}

// cgroupsOf lists the cgroups, of all hierarchies, whose path holds one of the names.
func cgroupsOf(names []string) (found []string) {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if f[2] != "cgroup" && f[2] != "cgroup2" {
			continue
		}
		_ = filepath.WalkDir(f[1], func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return nil // other people's cgroups come and go
			}
			if slices.ContainsFunc(names, func(n string) bool { return strings.Contains(path, n) }) {
				found = append(found, path)
			}
			return nil
		})
	}
	return found
}

// What differs from one life of a worker to the next without being left over.
var changing = regexp.MustCompile(`[0-9a-f]{12,}|\b[0-9]+\b`)

// holdings lists what a worker has on the machine, with names that are new in
// each life replaced: processes, mounts, cgroups, containers, volumes, and files
// of what is under way.
func (k *killFarm) holdings() map[string][]string {
	k.learnNames()
	all := make(map[string][]string)
	procs := allProcesses()
	parents := make(map[int]int)
	for i := range procs {
		procs[i].look()
		parents[procs[i].pid] = procs[i].parent
	}
	mounts := mountPoints()
	for _, name := range k.workers() {
		var held []string
		add := func(kind, what string) { held = append(held, kind+" "+changing.ReplaceAllString(what, "*")) }
		names := k.namesOf(name)
		for _, p := range procs {
			program, _, _ := strings.Cut(p.command, "\x00")
			if descends(parents, p.pid, k.pids[name]) {
				add("process", filepath.Base(program))
			} else if slices.ContainsFunc(names, func(n string) bool { return strings.Contains(p.group, n) }) && p.pid != k.pids[name] {
				add("stray process", strings.ReplaceAll(p.command, "\x00", " "))
			}
		}
		for _, m := range mounts {
			if strings.Contains(m, filepath.Join(k.dir, name)+"/") || slices.ContainsFunc(names, func(n string) bool { return strings.Contains(m, n) }) {
				add("mount", m)
			}
		}
		for _, g := range cgroupsOf(names) {
			add("cgroup", g)
		}
		for _, f := range k.files(name) {
			add("file", f)
		}
		all[name] = held
	}
	for _, p := range procs {
		if strings.HasPrefix(p.command, commandPrefix+k.markers) {
			all["any"] = append(all["any"], "command "+strings.ReplaceAll(p.command, "\x00", " "))
		}
	}
	if k.engine != nil {
		containers, volumes := k.engine.owned(k.t)
		for _, c := range containers {
			all["any"] = append(all["any"], "container "+c[0]+" of "+c[1])
		}
		for _, v := range volumes {
			all["any"] = append(all["any"], "volume "+v[0]+" of "+v[1])
		}
		all["any"] = append(all["any"], k.engine.left()...)
	}
	for _, held := range all {
		slices.Sort(held)
	}
	return all
}

func descends(parents map[int]int, pid, from int) bool {
	for p := parents[pid]; p > 1; p = parents[p] {
		if p == from {
			return true
		}
	}
	return false
}

// files lists a worker's files of what is under way, and results that it keeps
// without having committed to them.
func (k *killFarm) files(name string) (found []string) {
	dir := filepath.Join(k.dir, name)
	list := func(pattern string) {
		names, _ := filepath.Glob(pattern)
		for _, n := range names {
			found = append(found, strings.TrimPrefix(n, dir))
		}
	}
	list(filepath.Join(dir, "sandbox/*"))
	list(filepath.Join(dir, "sandbox/gavel-*/*"))
	for _, under := range []string{"sandbox/runs/*", "sandbox/bundles/*", "sandbox/state/*", "work/*", "cache/building/*", "cache/blobs/incoming/*", "cache/blobs/incoming/*/*"} {
		list(filepath.Join(dir, under))
	}
	list(filepath.Join("/run", k.ociNames[name], "runs/*"))
	images, _ := os.ReadDir(filepath.Join(dir, "images"))
	for _, e := range images {
		if !finishedImage.MatchString(e.Name()) {
			found = append(found, "/images/"+e.Name())
		}
	}
	log := k.log(name, 0)
	results, _ := os.ReadDir(filepath.Join(dir, "kept"))
	for _, e := range results {
		if len(e.Name()) < 16 || !log.says("command ended", "lease="+e.Name()[:16]) {
			found = append(found, "/kept/"+e.Name()+" of no command that ended")
		}
	}
	return found
}

// finishedImage is an unpacked image, or the record of one.
var finishedImage = regexp.MustCompile(`^\.?[0-9a-f]{64}(\..*)?$`)

// nothingLeft waits until every worker has what it had when it was new, and no more.
func (k *killFarm) nothingLeft(patience time.Duration) {
	k.t.Helper()
	var now map[string][]string
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		now = k.holdings()
		same := len(now["any"]) == 0
		for _, name := range k.workers() {
			same = same && slices.Equal(now[name], k.fresh[name])
		}
		if same {
			return
		}
		if time.Now().After(deadline) {
			break
		}
	}
	for _, what := range now["any"] {
		k.t.Errorf("left over: %s", what)
	}
	for _, name := range k.workers() {
		for _, d := range differences(k.fresh[name], now[name]) {
			k.t.Errorf("%s (%s): %s", name, pidText(k.pids[name]), d)
		}
	}
}

// nothingAfterwards looks for what is left of a farm that has been stopped.
func (k *killFarm) nothingAfterwards(t *testing.T) {
	names := slices.Collect(maps.Keys(k.names))
	ours := func(text string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.Contains(text, n) })
	}
	for _, p := range allProcesses() {
		if p.look() && (ours(p.group) || strings.HasPrefix(p.command, commandPrefix+k.markers)) {
			t.Errorf("outlives the farm: process %s", strings.ReplaceAll(p.command, "\x00", " "))
		}
	}
	for _, m := range mountPoints() {
		if strings.HasPrefix(m, k.dir+"/") || ours(m) {
			t.Errorf("outlives the farm: mount %s", m)
		}
	}
	for _, g := range cgroupsOf(names) {
		t.Errorf("outlives the farm: cgroup %s", g)
	}
}

func pidText(pid int) string {
	if syscall.Kill(pid, 0) != nil {
		return fmt.Sprintf("pid %d, dead", pid)
	}
	return fmt.Sprintf("pid %d", pid)
}

// differences compares two sorted lists.
func differences(want, got []string) (out []string) {
	count := make(map[string]int)
	for _, w := range want {
		count[w]--
	}
	for _, g := range got {
		count[g]++
	}
	for what, n := range count {
		switch {
		case n > 0:
			out = append(out, fmt.Sprintf("left over, %d times: %s", n, what))
		case n < 0:
			out = append(out, fmt.Sprintf("missing, %d times: %s", -n, what))
		}
	}
	slices.Sort(out)
	return out
}

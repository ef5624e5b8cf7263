//go:build itest

package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gavel/verify/keys"
)

// killFarm is a farm of one kind of sandbox whose workers are killed and started
// again, and what the test knows of them.
type killFarm struct {
	*testFarm
	kind     string
	engine   *ownEngine // of docker
	markers  string     // what the marking argument of every command here begins with
	images   int        // made so far
	pids     map[string]int
	revived  map[string]*exec.Cmd
	names    map[string]string // of cgroups and directories ever seen, to their workers
	ociNames map[string]string
	fresh    map[string][]string // what each worker has when it is new
}

// commandPrefix is how the command of every build here begins; its marker follows.
const commandPrefix = "sh\x00build.sh\x00"

func newKillFarm(t *testing.T, kind string, engine *ownEngine) *killFarm {
	t.Helper()
	k := &killFarm{
		kind: kind, engine: engine, markers: fmt.Sprintf("kills-%s-%s-", kind, rand.Text()[:8]),
		pids: make(map[string]int), revived: make(map[string]*exec.Cmd), names: make(map[string]string), ociNames: make(map[string]string),
	}
	t.Cleanup(func() { k.nothingAfterwards(t) }) // after the farm's own
	k.testFarm = newTestFarm(t, "--sandbox", kind)
	t.Cleanup(k.retire) // before the farm's own
	for _, n := range k.file().Nodes {
		if n.Role != "worker" {
			continue
		}
		k.pids[n.Name] = n.PID
		if kind == "native" {
			continue
		}
		key, err := keys.Load(context.Background(), farmDir(k.dir).key(n.Name))
		if err != nil {
			t.Fatal(err)
		}
		owner := hex.EncodeToString(key.ID[:16])
		k.names[owner] = n.Name
		if kind == "oci" {
			sum := sha256.Sum256([]byte(owner))
			k.ociNames[n.Name] = fmt.Sprintf("gavel-oci-%x", sum[:6])
			k.names[k.ociNames[n.Name]] = n.Name
			t.Cleanup(func() { os.RemoveAll(filepath.Join("/run", k.ociNames[n.Name])) })
		}
	}
	k.fresh = k.settled()
	if len(k.fresh["any"]) > 0 {
		t.Fatalf("a farm that has built nothing has %v", k.fresh["any"])
	}
	return k
}

// settled waits until what the workers hold no longer changes.
func (k *killFarm) settled() map[string][]string {
	k.t.Helper()
	before := k.holdings()
	for range 100 {
		time.Sleep(300 * time.Millisecond)
		now := k.holdings()
		if fmt.Sprint(now) == fmt.Sprint(before) {
			return now
		}
		before = now
	}
	k.t.Fatalf("a farm without work does not come to rest: %v", before)
	return nil
}

func (k *killFarm) workers() []string {
	var names []string
	for name := range k.pids {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// learnNames takes down what cgroups and directories of the workers are called now.
func (k *killFarm) learnNames() {
	for _, name := range k.workers() {
		dirs, _ := filepath.Glob(filepath.Join(k.dir, name, "sandbox/gavel-*"))
		for _, d := range dirs {
			k.names[filepath.Base(d)] = name
		}
	}
	if k.engine == nil {
		return
	}
	containers, _ := k.engine.owned(k.t)
	for _, c := range containers {
		if worker := k.names[c[1]]; worker != "" {
			k.names[c[0]] = worker
		}
	}
}

func (k *killFarm) namesOf(worker string) (names []string) {
	for name, of := range k.names {
		if of == worker {
			names = append(names, name)
		}
	}
	return names
}

// commands finds the commands that run with a marker, by worker.
func (k *killFarm) commands(marker string) map[string]osProcess {
	found := make(map[string]osProcess)
	for _, p := range allProcesses() {
		if p.command != commandPrefix+marker+"\x00" || !p.look() {
			continue
		}
		worker := k.workerOf(p.group)
		if worker == "" {
			k.learnNames()
			worker = k.workerOf(p.group)
		}
		// A subshell looks as the command does, but comes after it.
		if held, twice := found[worker]; worker != "" && (!twice || p.parent != held.pid && p.pid < held.pid) {
			found[worker] = p
		}
	}
	return found
}

func (k *killFarm) workerOf(group string) string {
	for name, worker := range k.names {
		if strings.Contains(group, name) {
			return worker
		}
	}
	return ""
}

// workerLog is what a worker has logged since some moment.
type workerLog string

func (f *testFarm) log(worker string, from int64) workerLog {
	file, err := os.Open(filepath.Join(f.dir, worker, "log"))
	if err != nil {
		return ""
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() <= from {
		return ""
	}
	raw := make([]byte, info.Size()-from)
	n, _ := file.ReadAt(raw, from) // up to where it had come
	return workerLog(raw[:n])
}

func (f *testFarm) logEnd(worker string) int64 {
	info, err := os.Stat(filepath.Join(f.dir, worker, "log"))
	if err != nil {
		return 0
	}
	return info.Size()
}

// works says whether a worker, which has begun anew since, takes leases.
func (l workerLog) works() bool { return l.says("said hello", "") || l.says("registered", "") }

// says whether one line is of an event and holds some text.
func (l workerLog) says(event, with string) bool {
	for line := range strings.Lines(string(l)) {
		if (strings.Contains(line, `msg="`+event+`"`) || strings.Contains(line, "msg="+event+" ")) && strings.Contains(line, with) {
			return true
		}
	}
	return false
}

// killWorker is kill -9, and returns when the worker is gone.
func (k *killFarm) killWorker(name string) {
	k.t.Helper()
	pid := k.pids[name]
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		k.t.Fatalf("killing %s: %v", name, err)
	}
	if c := k.revived[name]; c != nil {
		_ = c.Wait() // killed
		delete(k.revived, name)
	}
	for syscall.Kill(pid, 0) == nil { // until gavel up has reaped it
		time.Sleep(time.Millisecond)
	}
}

// revive starts a killed worker as the manual says, and waits until it works.
func (k *killFarm) revive(name string) {
	k.t.Helper()
	from := k.logEnd(name)
	dir := filepath.Join(k.dir, name)
	c := play(context.Background(), "worker", "--config", filepath.Join(dir, configName(name)))
	out, err := os.OpenFile(filepath.Join(dir, "output"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		k.t.Fatal(err)
	}
	defer out.Close()
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.revived[name], k.pids[name] = c, c.Process.Pid
	for deadline := time.Now().Add(farmPatience); !k.log(name, from).works(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			k.t.Fatalf("%s does not work again: %s", name, k.log(name, from))
		}
	}
}

// reviveDead starts the workers that have been killed.
func (k *killFarm) reviveDead() {
	k.t.Helper()
	for _, name := range k.workers() {
		if syscall.Kill(k.pids[name], 0) != nil {
			k.revive(name)
		}
	}
}

// retire stops the workers that the test itself started.
func (k *killFarm) retire() {
	for name, c := range k.revived {
		if err := errors.Join(c.Process.Signal(syscall.SIGTERM), c.Wait()); err != nil {
			k.t.Errorf("%s ended with %v", name, err)
		}
	}
}

// newImage puts an image into the farm: busybox, so much ballast of its own, and
// so many directories in its root.
func (k *killFarm) newImage(ballast, width int) string {
	k.t.Helper()
	k.images++
	name, dir := fmt.Sprintf("kills-%d", k.images), k.t.TempDir()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		k.t.Fatalf("%v; apt-get install busybox-static", err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		k.t.Fatal(err)
	}
	junk := make([]byte, ballast)
	_, _ = rand.Read(junk) // never fails
	err = errors.Join(
		os.Mkdir(filepath.Join(dir, "bin"), 0o755),
		os.WriteFile(filepath.Join(dir, "bin/busybox"), program, 0o755),
		os.WriteFile(filepath.Join(dir, "ballast"), junk, 0o644),
	)
	for _, tool := range []string{"sh", "sleep", "mkdir", "yes", "head", "cat"} {
		err = errors.Join(err, os.Symlink("busybox", filepath.Join(dir, "bin", tool)))
	}
	for i := range width {
		err = errors.Join(err, os.Mkdir(filepath.Join(dir, fmt.Sprintf("d%04d", i)), 0o755))
	}
	if err != nil {
		k.t.Fatal(err)
	}
	k.cli(exitDone, "image", "add", name, "dir:"+dir)
	return name
}

// order is a build of the test.
type killOrder struct {
	image  string
	script string
	inputs int // bytes
}

// begin submits a build whose command is marked.
func (k *killFarm) begin(o killOrder) (s *submission, marker string) {
	k.t.Helper()
	marker = k.markers + rand.Text()[:10]
	project := k.t.TempDir()
	junk := make([]byte, o.inputs)
	_, _ = rand.Read(junk) // never fails
	err := os.WriteFile(filepath.Join(project, "build.sh"), []byte(o.script), 0o644)
	if o.inputs > 0 {
		err = errors.Join(err, os.WriteFile(filepath.Join(project, "ballast"), junk, 0o644))
	}
	if err != nil {
		k.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), farmPatience)
	k.t.Cleanup(cancel)
	s = &submission{t: k.t, stderr: &syncBuffer{}, taken: make(chan string, 1)}
	s.cmd = play(ctx, "submit", "--farm", k.dir, "--json", "--output", "out", "--image", o.image, project, "--", "sh", "build.sh", marker)
	s.stderr.onLine = func(line string) {
		if id, ok := strings.CutPrefix(line, "build "); ok {
			s.taken <- id
		}
	}
	s.cmd.Stdout, s.cmd.Stderr = &s.stdout, s.stderr
	if err := s.cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	return s, marker
}

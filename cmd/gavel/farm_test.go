package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// testFarm is a `gavel up` of its own, played by this test binary.
type testFarm struct {
	t    *testing.T
	dir  string
	args []string
	wrap []string // the program that starts gavel up, its first arguments; empty: none
	up   *exec.Cmd
	said *syncBuffer
}

// farmPatience bounds everything that a test waits for.
const farmPatience = 2 * time.Minute

// newTestFarm starts a farm on free ports and waits until it is ready.
func newTestFarm(t *testing.T, args ...string) *testFarm {
	t.Helper()
	return newWrappedFarm(t, nil, args...)
}

// newWrappedFarm starts a farm through another program, which becomes gavel up.
func newWrappedFarm(t *testing.T, wrap []string, args ...string) *testFarm {
	t.Helper()
	f := &testFarm{t: t, dir: filepath.Join(t.TempDir(), "farm"), args: append([]string{"--listen", "127.0.0.1:0"}, args...), wrap: wrap}
	f.start()
	t.Cleanup(func() {
		if f.up != nil {
			f.stop()
		}
		if t.Failed() {
			f.showLogs()
		}
	})
	return f
}

// play is this binary as gavel.
func play(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, os.Args[0], args...)
	c.Env = append(os.Environ(), playVariable+"=1")
	return c
}

func (f *testFarm) start() {
	f.t.Helper()
	f.up, f.said = play(context.Background(), append([]string{"up", "--dir", f.dir}, f.args...)...), &syncBuffer{}
	if len(f.wrap) > 0 {
		wrapped := exec.Command(f.wrap[0], slices.Concat(f.wrap[1:], f.up.Args)...)
		wrapped.Env = f.up.Env
		f.up = wrapped
	}
	f.up.Stderr = f.said
	out, err := f.up.StdoutPipe()
	if err == nil {
		err = f.up.Start()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	tooLong := time.AfterFunc(farmPatience, func() { _ = f.up.Process.Kill() })
	defer tooLong.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if file := f.file(); !ok || address != file.Endpoints[0] {
		f.t.Fatalf("gavel up printed %q (%v), want ready and the first of %v; it said %s", line, err, file.Endpoints, f.said)
	}
}

// stop ends the farm as an operator does; nothing of it may stay behind.
func (f *testFarm) stop() {
	f.t.Helper()
	nodes := f.file().Nodes
	if err := errors.Join(f.up.Process.Signal(syscall.SIGTERM), f.up.Wait()); err != nil {
		f.t.Errorf("gavel up ended with %v; it said %s", err, f.said)
	}
	f.up = nil
	for _, n := range nodes {
		if err := syscall.Kill(n.PID, 0); !errors.Is(err, syscall.ESRCH) {
			f.t.Errorf("%s outlives gavel up: %v", n.Name, err)
		}
		// A panic, or what the race detector found.
		if words, err := os.ReadFile(filepath.Join(f.dir, n.Name, "output")); err != nil || len(words) > 0 {
			f.t.Errorf("%s printed %s (%v)", n.Name, words, err)
		}
	}
}

func (f *testFarm) file() (file farmFile) {
	f.t.Helper()
	raw, err := os.ReadFile(filepath.Join(f.dir, "farm.json"))
	if err == nil {
		err = json.Unmarshal(raw, &file)
	}
	if err != nil {
		f.t.Fatalf("%v; gavel up said %s", err, f.said)
	}
	return file
}

// ask runs a subcommand on the farm in this process and decodes its JSON.
func (f *testFarm) ask(into any, args ...string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), farmPatience)
	defer cancel()
	code, stdout, stderr := call(ctx, append(args, "--farm", f.dir, "--json")...)
	if code != exitDone {
		f.t.Fatalf("gavel %s: exit status %d: %s", strings.Join(args, " "), code, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), into); err != nil {
		f.t.Fatalf("gavel %s printed %q: %v", strings.Join(args, " "), stdout, err)
	}
}

// submission is a build under way, by a process of its own.
type submission struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr *syncBuffer
	taken  chan string // the build's id, once the farm has it
}

// submit begins a build of a shell script; outputs are "out".
func (f *testFarm) submit(script string, flags ...string) *submission {
	f.t.Helper()
	return f.submitFiles(script, nil, flags...)
}

// wonBy has builds made until the cheapest worker that may build wins one: on a busy
// machine its bid may come too late. No cheaper one may ever win.
func (f *testFarm) wonBy(name string) *buildReport {
	f.t.Helper()
	for range 5 {
		r := f.submit(honest).report(exitDone)
		if r.Winner == name {
			return r
		}
		if r.Winner < name {
			f.t.Fatalf("%s won, which must not build: %+v", r.Winner, r)
		}
	}
	f.t.Fatalf("%s never won", name)
	return nil
}

// submitFiles begins a build of a shell script with other files beside it.
func (f *testFarm) submitFiles(script string, files map[string]string, flags ...string) *submission {
	f.t.Helper()
	project := f.t.TempDir()
	write := func(name, content string) {
		f.t.Helper()
		path := filepath.Join(project, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			f.t.Fatal(err)
		}
	}
	write("build.sh", script)
	for name, content := range files {
		write(name, content)
	}
	ctx, cancel := context.WithTimeout(context.Background(), farmPatience)
	f.t.Cleanup(cancel)
	args := append([]string{"submit", "--farm", f.dir, "--json", "--output", "out"}, flags...)
	s := &submission{t: f.t, cmd: play(ctx, append(args, project, "--", "sh", "build.sh")...), stderr: &syncBuffer{}, taken: make(chan string, 1)}
	s.cmd.Stdout = &s.stdout
	s.stderr.onLine = func(line string) {
		if id, ok := strings.CutPrefix(line, "build "); ok {
			s.taken <- id
		}
	}
	s.cmd.Stderr = s.stderr
	if err := s.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	return s
}

// anyExit is for report where the caller looks at the exit status itself.
const anyExit = -1

// report waits for the end, and checks the exit status.
func (s *submission) report(code int) *buildReport {
	s.t.Helper()
	_ = s.cmd.Wait() // its status is looked at below
	if got := s.cmd.ProcessState.ExitCode(); got != code && code != anyExit {
		s.t.Fatalf("gavel submit: exit status %d, want %d: %s%s", got, code, &s.stdout, s.stderr)
	}
	r := new(buildReport)
	if err := json.Unmarshal(s.stdout.Bytes(), r); err != nil {
		s.t.Fatalf("gavel submit printed %q: %v", &s.stdout, err)
	}
	return r
}

// balanced checks the invariant, and that no escrow is left over.
func (f *testFarm) balanced() *ledgerReport {
	f.t.Helper()
	r := f.conserved()
	for _, a := range r.Accounts {
		if a.Role == "escrow" || a.Held != 0 {
			f.t.Errorf("something is still held: %+v", a)
		}
	}
	return r
}

// conserved checks that all credits are there, held ones included.
func (f *testFarm) conserved() *ledgerReport {
	f.t.Helper()
	r := new(ledgerReport)
	f.ask(r, "account")
	if !r.balanced() {
		f.t.Errorf("the ledger does not balance: %+v", r)
	}
	return r
}

func (f *testFarm) showLogs() {
	for _, n := range f.file().Nodes {
		for _, name := range []string{"log", "output"} {
			raw, err := os.ReadFile(filepath.Join(f.dir, n.Name, name))
			if err == nil && len(raw) > 0 {
				f.t.Logf("%s/%s:\n%s", n.Name, name, raw[max(0, len(raw)-4000):])
			}
		}
	}
}

// syncBuffer is a buffer that a process writes to while a test reads it.
type syncBuffer struct {
	mu     sync.Mutex
	text   bytes.Buffer // guarded by mu
	line   []byte       // guarded by mu; what came after the last newline
	onLine func(string)
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.line = append(b.line, p...)
	for b.onLine != nil {
		line, rest, ok := bytes.Cut(b.line, []byte("\n"))
		if !ok {
			break
		}
		b.onLine(string(line))
		b.line = rest
	}
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

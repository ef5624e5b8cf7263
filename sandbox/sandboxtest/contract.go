// Package sandboxtest is the contract every sandbox.Runner keeps, as a test
// suite: what a command sees, how each kind of end is told apart, what becomes of
// its outputs, and that nothing of it survives. It knows no runner and starts no
// engine; a runner's own tests hand it one. Commands in it need only a POSIX shell
// and the tools that busybox and coreutils share, so that any image can serve.
package sandboxtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gavel/sandbox"
)

// Config is the runner under test.
type Config struct {
	// New returns the runner; Contract closes it.
	New func(t testing.TB) sandbox.Runner
	// Root is a root with /bin/sh that the runner serves.
	Root string
	// ForeignRoot is a well-formed root that only another runner serves, and
	// ForeignRootSays what the refusal must tell the reader.
	ForeignRoot, ForeignRootSays string
	// PathTail are the directories this runner appends to PATH for Root.
	PathTail []string
	// CannotVary are the dimensions (VaryPath and so on) that the runner refuses.
	CannotVary []string
	// Leftovers names what the runner still holds on the machine for commands
	// (cgroups, containers, volumes, mounts); it is called when none runs.
	Leftovers func(t testing.TB) []string
}

// epoch is the SOURCE_DATE_EPOCH of every command and the time of every input.
const epoch = 1_700_000_000

// patience bounds every single command; only a broken runner comes near it.
const patience = 60 * time.Second

// Contract runs the whole suite against one runner.
func Contract(t *testing.T, c Config) {
	r := c.New(t)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("closing the runner: %v", err)
		}
	})
	h := &harness{Config: c, r: r}
	for _, group := range []struct {
		name string
		run  func(*testing.T, *harness)
	}{
		{"environment", environment},
		{"isolation", isolation},
		{"ends", ends},
		{"limits", limits},
		{"outputs", outputs},
		{"inputs", inputs},
		{"variation", variation},
		{"lifetime", lifetime},
		{"refusals", refusals},
	} {
		t.Run(group.name, func(t *testing.T) { group.run(t, h) })
	}
	if left := c.Leftovers(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

type harness struct {
	Config
	r sandbox.Runner
}

// input is one entry of an input tree: a file with content and mode, a
// directory (path ends in "/"), or a symlink.
type input struct {
	content string
	mode    os.FileMode // 0644 when 0
	link    string
}

// outcome is what one command left.
type outcome struct {
	sandbox.Result
	log string
	out string // its OutputDir
}

// spec returns a Spec that runs a shell script over an input tree.
func (h *harness) spec(t testing.TB, script string, tree map[string]input) sandbox.Spec {
	t.Helper()
	return sandbox.Spec{
		Root:            h.Root,
		Argv:            []string{"/bin/sh", "-c", script},
		InputDir:        h.tree(t, tree),
		OutputDir:       t.TempDir(),
		SourceDateEpoch: epoch,
		Limits:          sandbox.Limits{TimeMillis: patience.Milliseconds()},
	}
}

// tree writes an input tree as a caller of Run must.
func (h *harness) tree(t testing.TB, tree map[string]input) string {
	t.Helper()
	root := t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("writing the input tree: %v", err)
		}
	}
	for p, in := range tree {
		name := filepath.Join(root, p)
		check(os.MkdirAll(filepath.Dir(name), 0o755))
		switch {
		case strings.HasSuffix(p, "/"):
			check(os.MkdirAll(name, 0o755))
		case in.link != "":
			check(os.Symlink(in.link, name))
		default:
			mode := in.mode
			if mode == 0 {
				mode = 0o644
			}
			check(os.WriteFile(name, []byte(in.content), mode))
		}
	}
	d := h.r.Describe()
	var dirs []string
	check(filepath.WalkDir(root, func(p string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.InputUID >= 0 {
			if err := os.Lchown(p, d.InputUID, d.InputGID); err != nil {
				return err
			}
		}
		if e.IsDir() {
			dirs = append(dirs, p)
			return os.Chmod(p, 0o755)
		}
		if e.Type()&os.ModeSymlink != 0 {
			return nil
		}
		return os.Chtimes(p, time.Unix(epoch, 0), time.Unix(epoch, 0))
	}))
	for _, p := range dirs {
		check(os.Chtimes(p, time.Unix(epoch, 0), time.Unix(epoch, 0)))
	}
	return root
}

// run runs s to a Result; an error fails the test.
func (h *harness) run(t testing.TB, s sandbox.Spec) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	log := &syncBuffer{}
	s.Log = log
	res, err := h.r.Run(ctx, s)
	if err != nil {
		t.Fatalf("running %q: %v\nlog: %s", s.Argv, err, log)
	}
	return outcome{Result: res, log: log.String(), out: s.OutputDir}
}

// script runs a shell script over an empty tree.
func (h *harness) script(t testing.TB, script string, outputs ...string) outcome {
	t.Helper()
	s := h.spec(t, script, nil)
	s.Outputs = outputs
	return h.run(t, s)
}

func (o outcome) want(t testing.TB, status sandbox.Status, code int) {
	t.Helper()
	if o.Status != status || o.ExitCode != code {
		t.Errorf("status %d code %d signal %d missing %q detail %q, want status %d code %d\nlog: %s",
			o.Status, o.ExitCode, o.Signal, o.Missing, o.Detail, status, code, o.log)
	}
}

func (o outcome) wantLog(t testing.TB, want string) {
	t.Helper()
	if o.log != want {
		t.Errorf("log is\n%s\nwant\n%s", o.log, want)
	}
}

// file reads an output.
func (o outcome) file(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(o.out, name))
	if err != nil {
		t.Fatalf("output: %v", err)
	}
	return string(b)
}

// syncBuffer is a bytes.Buffer for one writer and concurrent readers.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
	// seen is closed when text was written, once.
	text string
	seen chan struct{}
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.b.Write(p)
	if b.seen != nil && bytes.Contains(b.b.Bytes(), []byte(b.text)) {
		close(b.seen)
		b.seen = nil
	}
	return n, err
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// marker is a number of seconds that no other process on the machine sleeps.
func marker(t testing.TB) string {
	t.Helper()
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(1_000_000_000 + binary.BigEndian.Uint32(b[:])%1_000_000_000)
}

// alive lists the machine's live processes that have marker as an argument.
func alive(t testing.TB, marker string) []string {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, n := range names {
		b, err := os.ReadFile(n) // a process that ended meanwhile is not alive
		if err == nil && bytes.Contains(b, []byte("\x00"+marker+"\x00")) {
			found = append(found, n+": "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}

package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/probe/world"
)

// epoch is the SOURCE_DATE_EPOCH of every run and the time of every input.
const epoch = 1_700_000_000

// overtime is how much longer than its time a run may take: setting up, killing
// and collecting. A waiting run is told from a slow machine by far more.
const overtime = 15 * time.Second

// slowOvertime is what collecting as many outputs as may be takes besides, on a
// disk that others use too.
const slowOvertime = 3 * time.Minute

// usual are the limits of a run, unless its probe has others: small, so that
// little is enough to exceed them.
var usual = sandbox.Limits{TimeMillis: 20_000, MemoryBytes: 512 << 20, Pids: 48, DiskBytes: 16 << 20, LogBytes: 1 << 20}

// Options say how to probe.
type Options struct {
	// Name is the runner's column in the table.
	Name string
	// Root is a root that the runner serves.
	Root string
	// Program is what Build made.
	Program string
	// Planted is what Plant put; the runner was made after it.
	Planted *Planted
	// Dir is an existing directory for inputs and outputs, readable by all.
	Dir string
	// Variation is that of every run; the zero value is none.
	Variation sandbox.Variation
	// Leftovers names what the runner still holds for commands when none runs.
	Leftovers func() []string
	// Only selects probes; nil selects all.
	Only func(Probe) bool
	// Each is told of each outcome as it comes, one at a time; it may be nil.
	Each func(Outcome)
}

// Run makes every attempt, one run each, and reports how each went. Its error is
// about preparing the machine; whatever a runner does is in the Report.
func Run(ctx context.Context, r sandbox.Runner, o Options) (*Report, error) {
	m, err := prepare(o.Planted, o.Program)
	if err != nil {
		return nil, err
	}
	s := &suite{Options: o, runner: r, machine: m, description: r.Describe()}
	err = errors.Join(s.all(ctx), m.close())
	return &Report{Runner: o.Name, Notes: s.description.Notes, Outcomes: s.outcomes}, err
}

// suite is one Run under way.
type suite struct {
	Options
	runner      sandbox.Runner
	machine     *machine
	description sandbox.Description

	mu       sync.Mutex
	outcomes []Outcome // guarded by mu
}

// together is how many undisturbing attempts are made at once.
const together = 2

func (s *suite) all(ctx context.Context) error {
	var alone, rest []Probe
	for _, p := range Probes() {
		switch {
		case s.Only != nil && !s.Only(p):
		case p.alone:
			alone = append(alone, p)
		default:
			rest = append(rest, p)
		}
	}
	var wg sync.WaitGroup
	queue := make(chan Probe)
	for range together {
		wg.Go(func() {
			for p := range queue {
				s.record(p, s.attempt(ctx, p))
			}
		})
	}
	for _, p := range rest {
		if ctx.Err() == nil {
			queue <- p
		}
	}
	close(queue)
	wg.Wait()
	for _, p := range alone {
		if ctx.Err() != nil {
			break
		}
		if err := s.machine.rouse(); err != nil {
			return err
		}
		s.record(p, s.attempt(ctx, p))
	}
	if s.Leftovers != nil {
		if left := s.Leftovers(); len(left) > 0 {
			p := Probe{Name: "leftovers", Category: Orphans, Tries: "leaves something with all of them together"}
			s.record(p, finding{Broke, fmt.Sprintf("left behind: %q", left)})
		}
	}
	return ctx.Err()
}

func (s *suite) record(p Probe, f finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := Outcome{Probe: p.Name, Category: p.Category, Tries: p.Tries, Shows: p.Shows, Verdict: f.verdict, Why: f.why}
	s.outcomes = append(s.outcomes, o)
	if s.Each != nil {
		s.Each(o)
	}
}

// attempt makes one attempt and judges it.
func (s *suite) attempt(ctx context.Context, p Probe) finding {
	if p.needs != nil {
		if lacks := p.needs(); lacks != "" {
			return finding{Impossible, lacks}
		}
	}
	if p.slow && s.Variation.Varies() {
		return finding{Impossible, "it takes minutes, and is made only where nothing is varied"}
	}
	if p.admitted != "" {
		for _, n := range s.description.Notes {
			if strings.Contains(n, p.admitted) {
				return finding{Impossible, "the runner says at start that this machine does not let it: " + n}
			}
		}
	}
	e, err := s.make(ctx, p)
	if err != nil {
		return finding{Broke, err.Error()}
	}
	defer os.RemoveAll(e.dir)
	return s.judge(p, e)
}

// evidence is what one run left.
type evidence struct {
	dir     string // holds the rest
	spec    sandbox.Spec
	mark    string
	log     *counted
	result  sandbox.Result
	err     error
	took    time.Duration
	changed string // what of the inputs is not as it was
}

// make lays inputs out and runs one attempt over them.
func (s *suite) make(ctx context.Context, p Probe) (_ *evidence, err error) {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	e := &evidence{mark: "gavel-probe-mark-" + hex.EncodeToString(id[:]), log: &counted{}}
	if e.dir, err = os.MkdirTemp(s.Dir, "run-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(e.dir))
		}
	}()
	e.spec = sandbox.Spec{
		Root: s.Root, Argv: []string{"./" + world.Program, p.Name, e.mark}, InputDir: filepath.Join(e.dir, "inputs"), OutputDir: filepath.Join(e.dir, "outputs"),
		Log: e.log, SourceDateEpoch: epoch, Limits: usual, Variation: s.Variation,
	}
	if p.Category == Outputs {
		e.spec.Outputs = []string{"out"}
	}
	if p.change != nil {
		p.change(&e.spec)
	}
	if err := s.layOut(p, e.spec); err != nil {
		return nil, fmt.Errorf("laying out inputs: %w", err)
	}
	before, err := listing(e.spec.InputDir)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	e.result, e.err = s.runner.Run(ctx, e.spec)
	e.took = time.Since(start)
	after, err := listing(e.spec.InputDir)
	if err != nil {
		after = err.Error()
	}
	e.changed = difference(before, after)
	return e, nil
}

// layOut writes the input tree as a caller of Run must.
func (s *suite) layOut(p Probe, spec sandbox.Spec) error {
	dir := spec.InputDir
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.MkdirAll(filepath.Join(dir, "input"), 0o755), os.Mkdir(spec.OutputDir, 0o755)); err != nil {
		return err
	}
	w := s.machine.world
	w.Memory, w.Disk, w.Pids, w.CPUMillis = spec.Limits.MemoryBytes, spec.Limits.DiskBytes, spec.Limits.Pids, spec.Limits.CPUMillis
	raw, err := json.Marshal(w)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(s.Program)
	if err != nil {
		return err
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, world.File), raw, 0o644),
		os.WriteFile(filepath.Join(dir, world.Program), program, 0o755),
		os.WriteFile(filepath.Join(dir, "input", "file"), []byte("an input's content\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "input", "other"), []byte("another's\n"), 0o644),
		os.Symlink(w.Canaries["worker"], filepath.Join(dir, "input-link")),
	)
	if err != nil {
		return err
	}
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err == nil && s.description.InputUID >= 0 {
			err = os.Lchown(path, s.description.InputUID, s.description.InputGID)
		}
		return err
	})
	if err == nil && p.programs {
		// What the runner makes root inside: the machine's, or the first of a range.
		owner := 0
		if s.description.InputUID >= sandbox.IDBase {
			owner = sandbox.IDBase
		}
		err = claim(dir, program, owner)
	}
	if err != nil {
		return err
	}
	when := time.Unix(epoch, 0)
	for _, name := range []string{world.Program, "input/file", "input/other", "input", "."} {
		if err := os.Chtimes(filepath.Join(dir, name), when, when); err != nil {
			return err
		}
	}
	return nil
}

// claim puts copies of the program in that claim to be root's, or to have its powers.
func claim(dir string, program []byte, root int) error {
	for name, mode := range map[string]uint32{"setuid-root": 0o4755, "setgid-root": 0o2755, "with-capability": 0o755} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, program, 0o755), os.Chown(path, root, root), unix.Chmod(path, mode)); err != nil {
			return err
		}
	}
	// CAP_CHOWN, effective at once, in revision 2 of the encoding.
	chown := append([]byte{1, 0, 0, 2}, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	return unix.Setxattr(filepath.Join(dir, "with-capability"), "security.capability", chown, 0)
}

// counted keeps the beginning of a log and counts the rest.
type counted struct {
	mu    sync.Mutex
	kept  bytes.Buffer
	bytes int64
}

var _ io.Writer = (*counted)(nil)

// maxKept is more than any attempt says.
const maxKept = 4096

func (c *counted) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes += int64(len(p))
	c.kept.Write(p[:min(len(p), max(0, maxKept-c.kept.Len()))])
	return len(p), nil
}

// said is the last line of what was kept, and all bytes that came.
func (c *counted) said() (string, int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(c.kept.String()), "\n")
	return strings.ToValidUTF8(lines[len(lines)-1], "?"), c.bytes
}

package worker

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/sandbox"
	"gavel/worker/engine"
)

// variable says which field of sandbox.Variation carries a dimension.
var variable = map[build.Dimensions]string{
	build.VaryPath: "WorkRoot", build.VaryHostname: "Hostname", build.VaryUID: "UID", build.VaryUmask: "Umask", build.VaryLocale: "Locale",
	build.VaryTimeZone: "TimeZone", build.VaryClock: "Clock", build.VaryCPUs: "CPUs", build.VaryOrder: "ReverseOrder", build.VaryAddresses: "FixedAddresses",
}

// The values that a validator chooses among. All differ from the fixed
// environment's, and validators from each other, as far as there is a choice.
var (
	variedUmasks = []uint32{0o077, 0o027, 0o002}
	// variedLocales need not be there: programs then fall back to plain C, which is not UTF-8.
	variedLocales = []string{"et_EE.UTF-8", "tr_TR.UTF-8", "fr_CH.UTF-8"}
	// variedZones lie west of Greenwich, where midnight, at which SOURCE_DATE_EPOCH
	// lies, is another day, and are spelt out, because images without zone data know no names.
	variedZones = []string{"GVL+11:30", "GVM+9", "GVN+6:45"}
)

// Varied clocks go ahead: the times of inputs and of new files then lie in the past,
// as programs expect. All of year, month, day, weekday, hour, minute and second change.
const (
	day             = 24 * 60 * 60
	clockAhead      = 397*day + 5*3600 + 17*60 + 43
	clockHeldAhead  = 30 * day  // what "held still" shows lies that far ahead, at noon,
	clockHeldOffset = 12 * 3600 // where no varied zone has another date: so a date names the clock alone
	clockHeldStep   = 60 * 60   // and stands for an hour
	variedUIDs      = 50_000    // from
	firstVariedUID  = 1_000     // on
)

// environments makes the environments of one lease. Their values follow from the
// lease, so that a repeated build differs in the same; those of a clock from now.
type environments struct {
	seed     build.ID
	fixedCPU int // how many CPUs the fixed environment shows
	machine  int // how many there are
	now      int64
}

// able is what of dims this machine can vary with a runner that cannot vary some fields.
func (e environments) able(dims build.Dimensions, cannot []string) build.Dimensions {
	var able build.Dimensions
	dims.Each(func(one build.Dimensions) {
		if slices.Contains(cannot, variable[one]) || one == build.VaryCPUs && e.otherCPUs() == 0 {
			return
		}
		able |= one
	})
	return able
}

// otherCPUs is another number of CPUs than the fixed one, 0 where there is none.
func (e environments) otherCPUs() int {
	switch {
	case e.fixedCPU > 1:
		return 1
	case e.machine > 1:
		return 2
	}
	return 0
}

// varied departs from the fixed environment in dims.
func (e environments) varied(dims build.Dimensions) sandbox.Variation {
	v := e.vary(sandbox.Variation{}, dims)
	if dims&build.VaryClock != 0 {
		v.Clock = &sandbox.Clock{StartSeconds: e.now + clockAhead}
	}
	v.FixedAddresses = dims&build.VaryAddresses != 0
	return v
}

// still is an environment in which two builds differ as little as can be: its
// clock stands and addresses are not random, as far as the machine can do that.
// It departs from that in dims.
func (e environments) still(dims, able build.Dimensions) sandbox.Variation {
	v := e.vary(sandbox.Variation{}, dims)
	if able&build.VaryClock != 0 {
		start := e.now - e.now%day + clockHeldAhead + clockHeldOffset
		if dims&build.VaryClock != 0 {
			start += clockAhead
		}
		v.Clock = &sandbox.Clock{StartSeconds: start, StepSeconds: clockHeldStep}
	}
	v.FixedAddresses = able&build.VaryAddresses != 0 && dims&build.VaryAddresses == 0
	v.CopiedInputs = true // as another user and another order need: they differ in nothing else then
	return v
}

// vary sets what is varied in the same way everywhere.
func (e environments) vary(v sandbox.Variation, dims build.Dimensions) sandbox.Variation {
	name := hex.EncodeToString(e.seed[:4])
	pick := func(at, n int) int { return int(e.seed[at]) % n }
	if dims&build.VaryPath != 0 {
		v.WorkRoot = sandbox.WorkRoot + "/v" + name + "/tree"
	}
	if dims&build.VaryHostname != 0 {
		v.Hostname = "host-" + name
	}
	if dims&build.VaryUID != 0 {
		v.UID = firstVariedUID + (int(e.seed[5])<<8|int(e.seed[6]))%variedUIDs
	}
	if dims&build.VaryUmask != 0 {
		v.Umask = variedUmasks[pick(7, len(variedUmasks))]
	}
	if dims&build.VaryLocale != 0 {
		v.Locale = variedLocales[pick(8, len(variedLocales))]
	}
	if dims&build.VaryTimeZone != 0 {
		v.TimeZone = variedZones[pick(9, len(variedZones))]
	}
	if dims&build.VaryCPUs != 0 {
		v.CPUs = e.otherCPUs()
	}
	v.ReverseOrder = dims&build.VaryOrder != 0
	return v
}

// errLimit says that a varied build hit a limit, or that there is no time for
// another: how it would have ended is unknown.
var errLimit = errors.New("a varied build hit a limit")

// explore builds once more in another environment, and where the result differs
// finds out on what it depends.
func (s *sandboxed) explore(ctx context.Context, j *job, spec sandbox.Spec, fixed *build.Manifest) (build.Findings, error) {
	if fixed.Status != build.StatusExited || fixed.ExitCode != 0 {
		return build.Findings{}, nil // what made nothing depends on nothing worth knowing
	}
	// Less than the lease is good for: what was built is committed to in any case.
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(build.VariedBuilds-1)*spec.Limits.Timeout(), errLimit)
	defer cancel()
	e := environments{
		seed: wire.NewHasher("environment").Fixed(j.Build).Fixed(j.Lease).Sum(), machine: runtime.NumCPU(), now: time.Now().Unix(),
	}
	if e.fixedCPU = spec.Surroundings().CPUs; e.fixedCPU == 0 {
		e.fixedCPU = e.machine
	}
	able := e.able(build.VaryAll, s.runner.Describe().CannotVary)
	summary := fixed.Summarise()
	search := search{environments: e, tried: j.Vary & able, able: able, fixed: summary.Digest(),
		build: func(v sandbox.Variation) (build.ID, error) { return s.rebuild(ctx, j, spec, v) }}
	f, err := search.findings()
	if err != nil && (ctx.Err() == nil || errors.Is(context.Cause(ctx), errLimit)) {
		// The fixed build is done and is what counts; this is a report beside it.
		s.log.Warn("varying the environment failed", "build", full(j.Build), "lease", short(j.Lease), "why", err)
		f, err = build.Findings{Finding: build.FindUnfinished, Tried: search.tried}, nil
	}
	if err == nil && f.Finding > build.FindSame {
		s.log.Info("the result depends on the environment", "build", full(j.Build), "lease", short(j.Lease), "finding", f.Finding, "on", f.Broke)
	}
	return f, err
}

// rebuild runs a job's command in another environment and returns its result's digest.
func (s *sandboxed) rebuild(ctx context.Context, j *job, spec sandbox.Spec, v sandbox.Variation) (build.ID, error) {
	spec.Variation, spec.OutputDir, spec.Log = v, filepath.Join(j.Dir, variedName), nil
	defer os.RemoveAll(spec.OutputDir) // with the job, at the latest
	var res sandbox.Result
	wait := retryFirst
	for n := 1; ; n++ {
		err := engine.ClearDir(spec.OutputDir)
		if err == nil {
			res, err = engine.Run(ctx, s.runner, spec)
		}
		if err == nil {
			break
		}
		if n == runTries || errors.Is(err, errUnfit) || !pause(ctx, wait) {
			return build.ID{}, fmt.Errorf("varying the environment: %w", err)
		}
		wait *= 4
	}
	m, _, err := engine.Manifest(ctx, res, spec.OutputDir, spec.Outputs)
	if err != nil {
		return build.ID{}, err
	}
	if m.Status.ResourceLimit() {
		return build.ID{}, errLimit
	}
	summary := m.Summarise()
	return summary.Digest(), nil
}

// search finds out on what a result depends.
type search struct {
	environments
	tried, able build.Dimensions
	fixed       build.ID // result in the fixed environment
	build       func(sandbox.Variation) (build.ID, error)
}

// findings takes one build where nothing differs, and at most
// build.VariedBuilds − 1 where something does. A dimension is named only if
// changing it alone changed the result, in an environment in which two builds
// before all that and one after were equal.
func (s *search) findings() (build.Findings, error) {
	f := build.Findings{Tried: s.tried}
	if s.tried == 0 {
		return f, nil
	}
	err := s.find(&f)
	if errors.Is(err, errLimit) {
		f.Finding, f.Broke, err = build.FindUnfinished, 0, nil
	}
	return f, err
}

func (s *search) find(f *build.Findings) error {
	varied, err := s.build(s.varied(s.tried))
	if err != nil {
		return err
	}
	if varied == s.fixed {
		f.Finding = build.FindSame
		return nil
	}
	still, err := s.build(s.still(0, s.able))
	if err != nil {
		return err
	}
	steady := func() bool {
		var again build.ID
		if again, err = s.build(s.still(0, s.able)); err == nil && again != still {
			f.Finding, f.Broke = build.FindUnstable, 0
		}
		return err == nil && again == still
	}
	if !steady() {
		return err
	}
	s.tried.Each(func(one build.Dimensions) {
		if err != nil {
			return
		}
		var alone build.ID
		if alone, err = s.build(s.still(one, s.able)); err == nil && alone != still {
			f.Broke |= one
		}
	})
	if err != nil {
		return err
	}
	if f.Broke != 0 {
		// What goes with the time that passes would have seemed to go with everything.
		if steady() {
			f.Finding = build.FindDepends
		}
		return err
	}
	again, err := s.build(sandbox.Variation{})
	if err != nil {
		return err
	}
	// What moves by itself, such as a clock that was not to be varied, explains it.
	if f.Finding = build.FindTogether; again != s.fixed {
		f.Finding = build.FindUnstable
	}
	return nil
}

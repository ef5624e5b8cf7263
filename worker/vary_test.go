package worker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/sandbox"
)

// dependent is a build whose result depends on some dimensions, as a program
// would: by printing them. A clock is read in seconds, addresses are random
// unless they are fixed, and noise is different every time.
func dependent(dims build.Dimensions, noise bool, now *int64) func(sandbox.Variation) (build.ID, error) {
	return func(v sandbox.Variation) (build.ID, error) {
		*now++ // a build takes a second
		var out strings.Builder
		has := func(one build.Dimensions) bool { return dims&one != 0 }
		if has(build.VaryPath) {
			fmt.Fprintln(&out, v.WorkRoot)
		}
		if has(build.VaryHostname) {
			fmt.Fprintln(&out, v.Hostname)
		}
		if has(build.VaryUID) {
			fmt.Fprintln(&out, v.UID)
		}
		if has(build.VaryUmask) {
			fmt.Fprintln(&out, v.Umask)
		}
		if has(build.VaryLocale) {
			fmt.Fprintln(&out, v.Locale)
		}
		if has(build.VaryTimeZone) {
			fmt.Fprintln(&out, v.TimeZone)
		}
		if has(build.VaryCPUs) {
			fmt.Fprintln(&out, v.CPUs)
		}
		if has(build.VaryOrder) {
			fmt.Fprintln(&out, v.ReverseOrder)
		}
		if has(build.VaryClock) {
			at := *now
			if v.Clock != nil {
				at = v.Clock.StartSeconds
			}
			fmt.Fprintln(&out, at)
		}
		if has(build.VaryAddresses) && !v.FixedAddresses {
			fmt.Fprintln(&out, rand.Uint64())
		}
		if noise {
			fmt.Fprintln(&out, rand.Uint64())
		}
		return wire.NewHasher("result").Text(out.String()).Sum(), nil
	}
}

func fourCPUs(now int64) environments {
	return environments{seed: id("seed"), fixedCPU: 4, machine: 4, now: now}
}

// Whatever a result depends on is named, all of it and nothing else.
func TestSearchNamesExactlyWhatMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		depends := build.Dimensions(rapid.Uint32Range(0, uint32(build.VaryAll)).Draw(t, "depends"))
		tried := build.Dimensions(rapid.Uint32Range(1, uint32(build.VaryAll)).Draw(t, "tried"))
		now := time.Now().Unix()
		builds := 0
		run := dependent(depends, false, &now)
		fixed, _ := run(sandbox.Variation{})
		s := search{environments: fourCPUs(now), tried: tried, able: build.VaryAll, fixed: fixed,
			build: func(v sandbox.Variation) (build.ID, error) { builds++; return run(v) }}
		f, err := s.findings()
		if err != nil {
			t.Fatal(err)
		}
		moving := depends & (build.VaryClock | build.VaryAddresses)
		want := build.Findings{Finding: build.FindDepends, Tried: tried, Broke: depends & tried}
		switch {
		case want.Broke == 0 && moving != 0:
			want.Finding = build.FindUnstable // by something that was not to be varied
		case want.Broke == 0:
			want.Finding = build.FindSame
		}
		if f != want {
			t.Fatalf("depends on %v, tried %v: found %+v, want %+v", depends, tried, f, want)
		}
		if builds >= build.VariedBuilds {
			t.Fatalf("%d builds beside the fixed one", builds)
		}
		if f.Finding == build.FindSame && builds != 1 {
			t.Fatalf("%d builds where one showed that nothing matters", builds)
		}
	})
}

func TestSearchOfWhatCannotBeNamed(t *testing.T) {
	now := time.Now().Unix()
	run := dependent(0, true, &now)
	fixed, _ := run(sandbox.Variation{})
	s := search{environments: fourCPUs(now), tried: build.VaryAll, able: build.VaryAll, fixed: fixed, build: run}
	if f, err := s.findings(); err != nil || f.Finding != build.FindUnstable || f.Broke != 0 {
		t.Errorf("noise: %+v, %v", f, err)
	}
	// Only both at once change it.
	s.build = func(v sandbox.Variation) (build.ID, error) {
		return wire.NewHasher("result").Text(fmt.Sprint(v.Hostname != "" && v.UID != 0)).Sum(), nil
	}
	s.fixed, _ = s.build(sandbox.Variation{})
	if f, err := s.findings(); err != nil || f.Finding != build.FindTogether || f.Broke != 0 {
		t.Errorf("two together: %+v, %v", f, err)
	}
	n := 0
	s.build = func(v sandbox.Variation) (build.ID, error) {
		if n++; n == 5 { // in the middle of the search
			return build.ID{}, errLimit
		}
		return dependent(build.VaryAll, false, &now)(v)
	}
	if f, err := s.findings(); err != nil || f.Finding != build.FindUnfinished || f.Broke != 0 {
		t.Errorf("a limit: %+v, %v", f, err)
	}
	broken := errors.New("the engine is gone")
	s.build = func(sandbox.Variation) (build.ID, error) { return build.ID{}, broken }
	if _, err := s.findings(); !errors.Is(err, broken) {
		t.Errorf("a broken sandbox: %v", err)
	}
	s.tried = 0
	if f, err := s.findings(); err != nil || f != (build.Findings{}) {
		t.Errorf("nothing that this machine can vary: %+v, %v", f, err)
	}
}

// Every environment is one that sandboxes take, departs in what it should and in
// nothing else.
func TestEnvironmentsAreTaken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := build.Dimensions(rapid.Uint32Range(0, uint32(build.VaryAll)).Draw(t, "dimensions"))
		e := environments{seed: id(rapid.String().Draw(t, "seed")), fixedCPU: 1, machine: 2, now: 1_800_000_000 + rapid.Int64Range(0, 1<<28).Draw(t, "now")}
		for _, v := range []sandbox.Variation{e.varied(dims), e.still(dims, build.VaryAll)} {
			s := sandbox.Spec{Root: sandbox.HostRoot, Argv: []string{"true"}, InputDir: "/in", OutputDir: "/out", Variation: v}
			if err := s.Validate(); err != nil {
				t.Fatalf("%v: %v", dims, err)
			}
		}
		fixed := sandbox.Spec{}.Surroundings()
		v := e.varied(dims)
		got := sandbox.Spec{Variation: v}.Surroundings()
		for one, departs := range map[build.Dimensions]bool{
			build.VaryPath: got.WorkRoot != fixed.WorkRoot, build.VaryHostname: got.Hostname != fixed.Hostname, build.VaryUID: got.UID != fixed.UID,
			build.VaryUmask: got.Umask != fixed.Umask, build.VaryLocale: got.Locale != fixed.Locale, build.VaryTimeZone: got.TimeZone != fixed.TimeZone,
			build.VaryClock: got.Clock != nil, build.VaryCPUs: got.CPUs == 2, build.VaryOrder: got.ReverseOrder, build.VaryAddresses: got.FixedAddresses,
		} {
			if departs != (dims&one != 0) {
				t.Fatalf("%v of %v departs: %v", one, dims, departs)
			}
		}
	})
}

func TestWhatAMachineCanVary(t *testing.T) {
	single := environments{fixedCPU: 1, machine: 1}
	if got := single.able(build.VaryAll, []string{"Clock"}); got != build.VaryAll&^(build.VaryCPUs|build.VaryClock) {
		t.Errorf("one CPU and no clock of its own: %v", got)
	}
	if got := fourCPUs(0).able(build.VaryPath|build.VaryCPUs, nil); got != build.VaryPath|build.VaryCPUs {
		t.Errorf("four CPUs: %v", got)
	}
	for one := range variable {
		if got := fourCPUs(0).able(build.VaryAll, []string{variable[one]}); got != build.VaryAll&^one {
			t.Errorf("without %s: %v", variable[one], got)
		}
	}
	if len(variable) != len(build.VaryAll.Names()) {
		t.Errorf("%d of %d dimensions have a field", len(variable), len(build.VaryAll.Names()))
	}
}

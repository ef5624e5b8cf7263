//go:build itest

package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/build"
)

// planted are builds that depend on one thing of their environment each, in ways
// that real builds do.
var planted = []struct{ dimension, script string }{
	{"path", `echo "built in $(pwd)" > out`},
	{"hostname", `uname -n > out`},
	{"uid", `id -u > out`},
	{"umask", `touch new; stat -c %a new > out`},
	{"locale", `printf '\303\251' | wc -m > out`}, // one character in UTF-8, two in C
	{"timezone", `date -d @86400 '+%F %H:%M' > out`},
	{"clock", `date +%F > out`}, // the same on any two machines today
	{"clock", `date +%s%N > out`},
	{"clock", `touch new; stat -c %Y new > out`},
	{"clock", `echo x > new; tar --owner=0 --group=0 --mode=644 -cf out new`},
	{"cpus", `nproc > out`},
	{"order", `ls -U parts > out`},
	{"addresses", `grep -m1 stack /proc/self/maps > out`},
}

// Each of ten planted dependences is found, and named alone.
func TestVaryNamesPlantedDependences(t *testing.T) {
	f := newTestFarm(t, "--private")
	checkPlanted(t, f)
}

func checkPlanted(t *testing.T, f *testFarm, flags ...string) {
	t.Helper()
	files := map[string]string{}
	for i := range 12 {
		files[fmt.Sprintf("parts/part-%02d", i)] = strings.Repeat("x", i)
	}
	seen := map[string]bool{}
	for _, p := range planted {
		s := f.submitFiles(p.script, files, append([]string{"--vary"}, flags...)...)
		r := s.report(anyExit)
		code := s.cmd.ProcessState.ExitCode()
		named := []string{}
		for _, d := range r.DependsOn {
			named = append(named, d.Dimension)
		}
		t.Logf("%-10s %-60s → %s %v", p.dimension, p.script, r.Verdict, named)
		if !slices.Equal(named, []string{p.dimension}) {
			t.Errorf("%s: `%s` is said to depend on %v: %+v", p.dimension, p.script, named, r.Validators)
		}
		if code == exitDone {
			t.Errorf("%s: exit status 0 for a build that depends on its environment", p.dimension)
		}
		if !strings.Contains(r.Reason, p.dimension) {
			t.Errorf("%s: the reason does not name it: %s", p.dimension, r.Reason)
		}
		seen[p.dimension] = true
	}
	if len(seen) != len(build.VaryAll.Names()) {
		t.Errorf("%d of %d dimensions were planted", len(seen), len(build.VaryAll.Names()))
	}
}

// A build that depends on nothing, one that depends on two things, one that is
// random, and one that was asked about one thing only.
func TestVaryOnOtherBuilds(t *testing.T) {
	f := newTestFarm(t)
	r := f.submit("echo same > out", "--vary").report(exitDone)
	if r.Verdict != "agreed" || len(r.DependsOn) != 0 || len(r.Validators) != 2 {
		t.Errorf("a build that depends on nothing: %+v", r)
	}
	for _, v := range r.Validators {
		if v.Finding != build.FindSame.String() || len(v.Tried) < 9 {
			t.Errorf("%s found %q, with %v", v.Worker, v.Finding, v.Tried)
		}
	}
	// Two fees for each validator: price, 2·2·f and the auctioneer's fee.
	ledger := f.balanced()
	if a, ok := ledger.find("requester"); !ok || a.Available != startCredits-(*r.Payment+4_000_000+100_000) {
		t.Errorf("a varied build of %d left the requester %+v", *r.Payment, a)
	}
	r = f.submit("{ uname -n; id -u; } > out", "--vary").report(exitFailed)
	if names := fmt.Sprint(r.DependsOn); r.Verdict != "agreed" || len(r.DependsOn) != 2 || !strings.Contains(names, "hostname") || !strings.Contains(names, "uid") {
		t.Errorf("a build that depends on two things: %+v", r)
	}
	r = f.submit("head -c 20 /dev/urandom > out", "--vary").report(exitUnverified)
	if r.Verdict != "non-deterministic" || len(r.DependsOn) != 0 || r.Validators[0].Finding != build.FindUnstable.String() {
		t.Errorf("a random build: %+v", r)
	}
	r = f.submit("uname -n > out", "--vary=umask,clock").report(exitDone)
	if len(r.DependsOn) != 0 || !slices.Equal(r.Varied, []string{"umask", "clock"}) {
		t.Errorf("a build that depends on what was not varied: %+v", r)
	}
	f.balanced()
}

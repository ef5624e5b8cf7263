//go:build itest

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gavel/worker"
)

// slow takes long enough to be killed in the middle of.
const slow = "sleep 2; mkdir -p out; echo hello > out/hello\n"

func (f *testFarm) node(name string) farmNode {
	f.t.Helper()
	for _, n := range f.file().Nodes {
		if n.Name == name {
			return n
		}
	}
	f.t.Fatalf("farm.json names no %s", name)
	return farmNode{}
}

// until waits until a build is in a state that ok wants.
func (f *testFarm) until(build string, ok func(*buildReport) bool) *buildReport {
	f.t.Helper()
	for deadline := time.Now().Add(farmPatience); time.Now().Before(deadline); {
		r := new(buildReport)
		if f.ask(r, "status", build); ok(r) {
			return r
		}
		select {
		case <-time.After(20 * time.Millisecond): // a poll of another process, not a guess at its speed
		case <-f.t.Context().Done():
		}
	}
	f.t.Fatalf("build %s never came to the state that was awaited", build)
	return nil
}

// id waits until the farm has the build.
func (s *submission) id() string {
	s.t.Helper()
	select {
	case id := <-s.taken:
		return id
	case <-time.After(farmPatience):
		s.t.Fatalf("not submitted: %s", s.stderr)
		return ""
	}
}

// involving submits until the culprit had its part in a build, as winner or as
// validator, and returns that build.
func (f *testFarm) involving(t *testing.T, culprit string) *buildReport {
	t.Helper()
	// A seat goes to one of seven with chance 2/7: after thirty builds all but 4·10⁻⁵ have met it.
	for range 30 {
		s := f.submit(honest)
		r := s.report(exitDone)
		f.balanced()
		if r.Winner == culprit || slices.ContainsFunc(r.Validators, func(v seatReport) bool { return v.Worker == culprit }) {
			return r
		}
	}
	t.Fatalf("%s never had a part in a build", culprit)
	return nil
}

func (f *testFarm) account(name string) accountReport {
	f.t.Helper()
	a, ok := f.balanced().find(name)
	if !ok {
		f.t.Fatalf("no account %s", name)
	}
	return a
}

const (
	startStake   = 5_000_000_000
	startCredits = 10_000_000_000
)

// A forger wins by bidding low, is found out, and loses its stake; its requester
// pays nothing and is served what the honest built.
func TestForgerIsSlashed(t *testing.T) {
	f := newTestFarm(t, "--misbehave", "8=forge")
	r := f.submit(honest).report(exitDone)
	if r.Verdict != "judged" || r.Winner != "worker-8" || *r.Payment != 0 || len(r.Panel) != 5 || len(r.Attestations) != 8 {
		t.Errorf("report: %+v", r)
	}
	if !strings.Contains(r.Reason, "out/") || !strings.Contains(r.Reason, "byte") {
		t.Errorf("the difference is not explained: %s", r.Reason)
	}
	code, said, stderr := call(t.Context(), "diff", r.Build, "--farm", f.dir)
	if code != exitFailed || !strings.Contains(said, "one byte differs") || !strings.Contains(said, "worker-8") {
		t.Errorf("gavel diff: %d\n%s%s", code, said, stderr)
	}
	for _, seat := range slices.Concat(r.Validators, r.Panel) {
		if !seat.Agreed {
			t.Errorf("an honest seat is said to differ: %+v", seat)
		}
	}
	if a := f.account("worker-8"); a.Stake >= startStake {
		t.Errorf("the forger keeps its stake: %+v", a)
	}
	if a := f.account("requester"); a.Available != startCredits {
		t.Errorf("the requester paid for a forgery: %+v", a)
	}
	to := t.TempDir()
	if code, _, stderr := call(t.Context(), "download", r.Build, "--farm", f.dir, "-o", to); code != exitDone {
		t.Fatalf("download: %s", stderr)
	}
	if content, err := os.ReadFile(to + "/out/hello"); string(content) != "hello\n" {
		t.Errorf("served %q, %v", content, err)
	}
}

// A validator that commits to what it did not build, or whose opening does not
// open, loses its stake and changes nothing.
func TestDishonestValidators(t *testing.T) {
	for _, kind := range []string{worker.MisbehaveLazy, worker.MisbehaveGarble} {
		t.Run(kind, func(t *testing.T) {
			f := newTestFarm(t, "--misbehave", "8="+kind)
			r := f.involving(t, "worker-8")
			if r.Verdict != "judged" || r.Winner != "worker-1" || *r.Payment != 1_200_000 {
				t.Errorf("report: %+v", r)
			}
			if a := f.account("worker-8"); a.Stake >= startStake {
				t.Errorf("it keeps its stake: %+v", a)
			}
		})
	}
}

// A copier guesses, and guesses wrong where the action is new; what it guesses
// right is harmless.
func TestCopierGainsNothing(t *testing.T) {
	f := newTestFarm(t, "--misbehave", "8=copy")
	r := f.involving(t, "worker-8")
	if len(r.Outputs) != 2 || r.Winner != "worker-1" || *r.Payment != 1_200_000 {
		t.Errorf("report: %+v", r)
	}
	if a := f.account("worker-8"); r.Verdict == "judged" && a.Stake >= startStake {
		t.Errorf("it keeps its stake: %+v", a)
	}
}

// A winner that withholds its outputs is not needed: a validator delivers them.
func TestWithheldOutputsComeFromAnother(t *testing.T) {
	f := newTestFarm(t, "--misbehave", "1=withhold")
	if r := f.submit(honest).report(exitDone); r.Verdict != "agreed" || r.Winner != "worker-1" || len(r.Outputs) != 2 || len(r.Attestations) != 3 {
		t.Errorf("report: %+v", r)
	}
	f.balanced()
}

// A winner that dies at its start is succeeded, and pays what that costs more.
func TestCrashedWinnerIsSucceeded(t *testing.T) {
	f := newTestFarm(t, "--misbehave", "1=crash")
	r := f.submit(honest).report(exitDone)
	if r.Verdict != "agreed" || r.Winner != "worker-2" || *r.Payment != 1_300_000 {
		t.Errorf("report: %+v", r)
	}
	if a := f.account("requester"); a.Available != startCredits-1_300_000+100_000-2_000_000-100_000 {
		t.Errorf("the requester: %+v", a)
	}
	if text := f.said.String(); strings.Count(text, "worker-1 (pid") != 1 {
		t.Errorf("gavel up said %q of the death", text)
	}
}

func (f *testFarm) kill(name string) {
	f.t.Helper()
	if err := syscall.Kill(f.node(name).PID, syscall.SIGKILL); err != nil {
		f.t.Fatalf("killing %s: %v", name, err)
	}
}

func (f *testFarm) leader() string {
	f.t.Helper()
	var c clusterReport
	f.ask(&c, "cluster", "status")
	return c.Leader
}

// kill -9 of the leader, of the winner and of a validator in the middle of a
// build: it settles, exactly once, without an error at the requester.
func TestKillsInTheMiddleOfABuild(t *testing.T) {
	running := func(r *buildReport) bool { return r.State == "running" }
	validating := func(r *buildReport) bool { return r.State == "validating" && len(r.Validators) > 0 }
	for name, c := range map[string]struct {
		when   func(*buildReport) bool
		victim func(*testFarm, *buildReport) string
	}{
		"leader while the winner builds": {running, func(f *testFarm, _ *buildReport) string { return f.leader() }},
		"leader while others validate":   {validating, func(f *testFarm, _ *buildReport) string { return f.leader() }},
		"winner":                         {running, func(_ *testFarm, r *buildReport) string { return r.Winner }},
		"validator":                      {validating, func(_ *testFarm, r *buildReport) string { return r.Validators[0].Worker }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newTestFarm(t)
			s := f.submit(slow)
			victim := c.victim(f, f.until(s.id(), c.when))
			f.kill(victim)
			r := s.report(exitDone)
			if r.Verdict != "agreed" || r.Winner == victim || len(r.Validators) != 2 {
				t.Errorf("%s was killed: %+v", victim, r)
			}
			for _, v := range r.Validators {
				if v.Worker == victim || !v.Agreed {
					t.Errorf("%s was killed: %+v", victim, r.Validators)
				}
			}
			// Once: fees, price and refund add up to one build's.
			if a := f.account("requester"); a.Available < startCredits-3_600_000 || a.Available > startCredits-3_000_000 {
				t.Errorf("the build cost %d micro-credits", startCredits-a.Available)
			}
			checkClusterAgrees(t, f)
			f.submit(honest).report(exitDone)
			f.balanced()
		})
	}
}

// kill -9 of every process at once, then gavel up on the same directory: what
// was acknowledged is there, and what was under way goes on.
func TestKillsOfEverything(t *testing.T) {
	for name, killAll := range map[string]bool{"every process": true, "gavel up alone": false} {
		t.Run(name, func(t *testing.T) {
			f := newTestFarm(t)
			before := f.submit(honest).report(exitDone)
			s := f.submit(slow)
			f.until(s.id(), func(r *buildReport) bool { return r.State == "running" })
			nodes := f.file().Nodes
			if err := f.up.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			for _, n := range nodes {
				if killAll {
					_ = syscall.Kill(n.PID, syscall.SIGKILL) // up's death may have been quicker
				}
			}
			_ = f.up.Wait() // killed
			f.start()
			if r := s.report(exitDone); r.Verdict != "agreed" {
				t.Errorf("the build under way: %+v", r)
			}
			after := new(buildReport)
			f.ask(after, "status", before.Build)
			if after.Verdict != before.Verdict || *after.Payment != *before.Payment || !slices.Equal(after.Outputs, before.Outputs) {
				t.Errorf("acknowledged %+v, after the restart %+v", before, after)
			}
			f.balanced()
			checkClusterAgrees(t, f)
		})
	}
}

// A build that embeds the time is found out, and nobody is punished for it.
func TestTimeEmbeddingBuild(t *testing.T) {
	f := newTestFarm(t)
	r := f.submit("date +%s.%N > when; tar -cf out when").report(exitUnverified)
	if r.Verdict != "non-deterministic" || !strings.Contains(r.Reason, "out differs at byte") || len(r.Attestations) != 3 {
		t.Errorf("report: %+v", r)
	}
	if !strings.Contains(r.Reason, "Likely why: out → when: timestamp") {
		t.Errorf("no cause is named: %s", r.Reason)
	}
	page := filepath.Join(t.TempDir(), "why.html")
	code, said, stderr := call(t.Context(), "diff", r.Build[:12], "--farm", f.dir, "--html", page)
	if code != exitFailed || strings.Count(said, "when (tar member") != 2 || !strings.Contains(said, "timestamp, line 1: ") {
		t.Errorf("gavel diff of three results: %d\n%s%s", code, said, stderr)
	}
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), "seconds since 1970") {
		t.Errorf("the page: %v\n%s", err, html)
	}
	if r := f.submit("date +%s.%N > out", "--on-unverified", "warn").report(exitDone); r.Verdict != "non-deterministic" {
		t.Errorf("report: %+v", r)
	}
	for _, a := range f.balanced().Accounts {
		if a.Role == "worker" && a.Stake != startStake {
			t.Errorf("%s lost stake", a.Name)
		}
	}
}

// Each way in which a command fails is agreed upon, and named.
func TestFailingCommands(t *testing.T) {
	f := newTestFarm(t)
	for name, c := range map[string]struct {
		script, status, says string
		flags                []string
	}{
		"timeout":        {"sleep 100", "timeout", "--timeout", []string{"--timeout", "1s"}},
		"memory":         {"head -c 400000000 /dev/zero | tail -c 399999999 > out", "out-of-memory", "--memory", []string{"--memory", "64MiB"}},
		"missing output": {"true", "missing-output", "output unmade", nil},
		"no command":     {"exec no-such-command", "exited", "status 127", nil},
	} {
		r := f.submit(c.script, c.flags...).report(exitFailed)
		if r.Verdict != "agreed" || r.Status != c.status || !strings.Contains(r.Reason, c.says) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	f.balanced()
}

// Several builds at once settle each for itself.
func TestManyBuildsAtOnce(t *testing.T) {
	f := newTestFarm(t)
	var all []*submission
	for range 6 {
		all = append(all, f.submit(honest))
	}
	seen := make(map[string]bool)
	for _, s := range all {
		r := s.report(exitDone)
		if r.Verdict != "agreed" || seen[r.Build] {
			t.Errorf("report: %+v", r)
		}
		seen[r.Build] = true
	}
	f.balanced()
}

// A build that waits for an award can be withdrawn, and then costs at most the auctioneer's fee.
func TestCancel(t *testing.T) {
	f := newTestFarm(t)
	// Nobody bids so little: it waits, auction after auction.
	s := f.submit(honest, "--max-price", "0.5")
	id := s.id()
	for code, stderr := exitUsage, ""; code != exitDone; { // refused only in the moment between two auctions' ends
		if code, _, stderr = call(t.Context(), "cancel", id, "--farm", f.dir); code != exitDone {
			r := new(buildReport)
			if f.ask(r, "status", id); r.State == "settled" {
				if r.Verdict != "no-bids" {
					t.Fatalf("cannot be cancelled: %s: %+v", stderr, r)
				}
				s.report(exitUnverified)
				return
			}
		}
	}
	if r := s.report(exitUnverified); r.Verdict != "cancelled" {
		t.Errorf("report: %+v", r)
	}
	if a := f.account("requester"); a.Available < startCredits-100_000 {
		t.Errorf("the cancelled build cost %d micro-credits", startCredits-a.Available)
	}
}

// dockerImage is a Docker image made of this machine's busybox.
var dockerImage = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("sh", "../../testdata/images/busybox.sh").Output()
	return strings.TrimSpace(string(out)), err
})

// With an engine, the same verdicts come from containers.
func TestDockerFarm(t *testing.T) {
	id, err := dockerImage()
	if err != nil {
		t.Fatalf("making an image: %v", err)
	}
	f := newTestFarm(t, "--sandbox", "docker", "--misbehave", "8=forge")
	if r := f.submit(honest, "--image", id).report(exitDone); r.Verdict != "judged" || r.Winner != "worker-8" {
		t.Errorf("report: %+v", r)
	}
	if r := f.submit("cat /proc/uptime > out; date >> out; cat /proc/sys/kernel/random/uuid >> out", "--image", id).report(exitUnverified); r.Verdict != "non-deterministic" {
		t.Errorf("report: %+v", r)
	}
	code, _, stderr := call(t.Context(), "submit", "--farm", f.dir, "--output", "out", t.TempDir(), "--", "true")
	if code != exitUsage || !strings.Contains(stderr, "offers host") {
		t.Errorf("the host's root from a Docker farm: %d %s", code, stderr)
	}
	f.balanced()
}

//go:build itest

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gavel/sandbox/container/containertest"
)

// What a build costs beside its price, in micro-credits: two validators and the
// auctioneer, and one fee more where another than the winner uploads. More would be
// settling twice. Of it workers pay what they default on, and slashes what they can.
const (
	fees   = 2_100_000
	oneFee = 1_000_000
)

// killTries is how often a phase is aimed at.
const killTries = 8

// ballast is how many bytes make a phase long enough to be met.
const ballast = 48 << 20

// quick makes what every build here makes. A build is the same whoever makes it,
// however often it is killed.
const quick = "mkdir -p out; echo hello > out/hello\n"

// kill -9 of the worker, of the engine, of a sandbox's first process and of the
// command, in each phase of a build, on a farm of each kind of sandbox: the build
// settles once and verified, elsewhere if need be; and once a killed worker is
// back, nothing of the killed run is on the machine.
func TestKillsLeaveNothing(t *testing.T) {
	if err := containertest.UseVersionOne(); err != nil {
		t.Fatal(err)
	}
	engine := newOwnEngine(t)
	t.Setenv("DOCKER_HOST", engine.host) // for the workers of the farm of that kind; others look at none
	table := &killTable{cells: make(map[string]string)}
	t.Cleanup(func() { t.Logf("%s", table) })
	var farms sync.WaitGroup
	defer farms.Wait()
	// Two at once, whatever -parallel says: most of the time leases are waited for.
	for _, kinds := range [][]string{{"docker"}, {"native", "oci"}} {
		farms.Go(func() {
			for _, kind := range kinds {
				t.Run(kind, func(t *testing.T) {
					own := engine
					if kind != "docker" {
						own = nil
					}
					killEverywhere(t, kind, own, table)
				})
			}
		})
	}
}

// killEverywhere goes through one farm's part of the table.
func killEverywhere(t *testing.T, kind string, engine *ownEngine, table *killTable) {
	k := newKillFarm(t, kind, engine)
	plain, wide := k.newImage(0, 0), k.newImage(0, 3000)
	for _, phase := range killPhases {
		for _, victim := range killVictims {
			if noSuch(kind, phase, victim) != "" {
				table.set(kind, phase, victim, "–")
				continue
			}
			done := t.Run(phase+"/"+victim, func(t *testing.T) {
				k.t = t
				began := time.Now()
				c := &killCell{killFarm: k, phase: phase, victim: victim, plain: plain, wide: wide}
				outcome := c.run()
				table.set(kind, phase, victim, fmt.Sprintf("%s, %.0f s", outcome, time.Since(began).Seconds()))
			})
			k.t = t
			k.reviveDead() // after a cell that broke off
			if !done {
				table.set(kind, phase, victim, "FAILED")
			}
		}
	}
}

// killCell is one victim in one phase.
type killCell struct {
	*killFarm
	phase, victim string
	plain, wide   string // images

	// Of one try.
	image, build, marker string
	from                 map[string]int64 // where the logs of the workers ended before
	culprit              string           // the worker in whose part of the build the kill falls
}

// run aims until it hits, and says what came of it.
func (c *killCell) run() string {
	c.t.Helper()
	for n := 1; ; n++ {
		outcome, hit := c.try()
		if hit {
			if n > 1 {
				outcome += fmt.Sprintf(" (try %d)", n)
			}
			return outcome
		}
		if n == killTries {
			c.t.Fatalf("%s was never hit while %s", c.victim, c.phase)
		}
	}
}

// order is a build in which the phase is long.
func (c *killCell) order() killOrder {
	o := killOrder{image: c.plain, script: "sleep 1; " + quick}
	switch c.phase {
	case fetchingImage:
		o.image, o.script = c.newImage(ballast, 0), quick
	case fetchingInputs:
		o.inputs, o.script = ballast, quick
	case buildingSandbox:
		o.image = c.wide
	case collecting:
		o.script = quick + fmt.Sprintf("yes $1 | head -c %d > out/ballast\n", 4*ballast)
	case uploading:
		o.script = quick + fmt.Sprintf("yes $1 | head -c %d > out/ballast\n", ballast)
	case commandRuns, validatorsRuns:
		o.script = "sleep 2; " + quick
	}
	return o
}

func (c *killCell) try() (outcome string, hit bool) {
	c.t.Helper()
	c.culprit, c.from = "", make(map[string]int64)
	before := c.balanced()
	for _, name := range c.workers() {
		c.from[name] = c.logEnd(name)
	}
	o := c.order()
	c.image = o.image
	s, marker := c.begin(o)
	c.marker, c.build = marker, s.id()
	came := c.await(s)
	if came {
		hit = c.strike()
	}
	r := s.report(anyExit)
	c.reviveDead()
	if r.Verdict == "failed" && len(r.Bids) < 2 && (c.victim == theWorker || !came) {
		// On a machine so busy that no other bid came in time, nobody is left to go
		// on after a kill, or to validate.
		c.t.Logf("a build had %d bids: %s", len(r.Bids), r.Reason)
		c.balanced()
		c.nothingLeft(farmPatience / 8)
		return "", false
	}
	if hit {
		if hit = c.confirmed(); !hit {
			c.t.Logf("the kill did not do what it should have; %s logged\n%s", c.culprit, c.log(c.culprit, c.from[c.culprit]))
		}
	}
	c.check(r, before, hit)
	c.nothingLeft(farmPatience / 8)
	return r.Verdict, hit
}

// await waits until a worker has come to the phase; false means that it was
// missed, at the latest because the build has ended.
func (c *killCell) await(s *submission) bool {
	c.t.Helper()
	for deadline := time.Now().Add(farmPatience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if submit := (osProcess{pid: s.cmd.Process.Pid}); !submit.look() {
			return false
		}
		if c.phase == validatorsRuns {
			if c.findValidator() {
				return true
			}
			continue
		}
		for _, name := range c.workers() {
			if c.passed(name) {
				return false
			}
			if c.reached(name) {
				c.culprit = name
				return true
			}
		}
	}
	r := new(buildReport)
	c.ask(r, "status", c.build)
	c.t.Fatalf("no worker was ever in the phase %q; the build is %+v", c.phase, r)
	return false
}

// findValidator finds a command of another worker than the one that began first.
func (c *killCell) findValidator() bool {
	winner := ""
	for _, name := range c.workers() {
		if c.log(name, c.from[name]).says("committed", c.build) {
			winner = name
		}
	}
	if winner == "" {
		return false
	}
	for name := range c.commands(c.marker) {
		if name != winner {
			c.culprit = name
			return true
		}
	}
	return false
}

// said is what a worker has logged of this build.
func (c *killCell) said(name, event string) bool {
	return c.log(name, c.from[name]).says(event, c.build)
}

// reached says whether a worker is in the phase, or has been.
func (c *killCell) reached(name string) bool {
	dir := filepath.Join(c.dir, name)
	any := func(pattern string) bool {
		found, _ := filepath.Glob(pattern)
		return len(found) > 0
	}
	switch c.phase {
	case fetchingImage:
		if c.engine != nil {
			return c.engine.loading() && c.winner() == name
		}
		return any(filepath.Join(dir, "images/.*/*"))
	case fetchingInputs:
		return any(filepath.Join(dir, "cache/building/*"))
	case buildingSandbox:
		return c.said(name, "command begins")
	case commandRuns, validatorsRuns:
		_, runs := c.commands(c.marker)[name]
		return runs
	case collecting:
		return c.said(name, "command begins") && any(filepath.Join(dir, "work/*/outputs/*"))
	case othersBuild:
		return c.said(name, "committed")
	}
	return c.said(name, "committed") && c.hasOpen(name, filepath.Join(dir, "kept")+"/")
}

// winner asks the farm who builds.
func (c *killCell) winner() string {
	r := new(buildReport)
	c.ask(r, "status", c.build)
	return r.Winner
}

// hasOpen says whether a worker reads a file below a directory.
func (c *killCell) hasOpen(name, below string) bool {
	open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", c.pids[name]))
	for _, fd := range open {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, below) {
			return true
		}
	}
	return false
}

// passed says whether the worker's log has what comes after the phase.
func (c *killCell) passed(name string) bool {
	switch c.phase {
	case fetchingImage, fetchingInputs:
		return c.said(name, "command begins")
	case buildingSandbox:
		if !c.said(name, "command begins") {
			return false
		}
		_, runs := c.commands(c.marker)[name]
		return runs || c.said(name, "command ended")
	case commandRuns, validatorsRuns:
		return c.said(name, "command ended")
	case collecting:
		return c.said(name, "committed")
	}
	return c.said(name, "outputs uploaded")
}

// strike kills, and says whether it was in time.
func (c *killCell) strike() bool {
	c.t.Helper()
	switch c.victim {
	case theWorker:
		c.learnNames() // what it leaves is looked for by them
		if c.passed(c.culprit) {
			return false
		}
		c.killWorker(c.culprit)
	case theEngine:
		if !c.killEngine() {
			return false
		}
	default:
		p, runs := c.commands(c.marker)[c.culprit]
		if !runs {
			return false
		}
		pid := p.pid
		if c.victim == theFirst {
			pid = p.first()
		}
		if pid == 0 || syscall.Kill(pid, syscall.SIGKILL) != nil {
			return false
		}
		return true
	}
	return !c.passed(c.culprit)
}

// killEngine kills what the sandboxes of the culprit are made by.
func (c *killCell) killEngine() bool {
	c.t.Helper()
	switch c.kind {
	case "docker":
		if c.passed(c.culprit) {
			return false
		}
		c.engine.kill()
		inTime := !c.passed(c.culprit)
		c.engine.start(c.t)
		return inTime
	case "native":
		return c.killChild(func(program string) bool { return strings.Contains(program, "spawner") })
	}
	return c.killChild(func(program string) bool { return program == "crun" || program == "runc" })
}

// killChild kills the culprit's child of some program, waiting for it as long as the phase lasts.
func (c *killCell) killChild(is func(program string) bool) bool {
	for !c.passed(c.culprit) {
		for _, p := range allProcesses() {
			program, _, _ := strings.Cut(p.command, "\x00")
			if is(filepath.Base(program)) && p.look() && p.parent == c.pids[c.culprit] {
				return syscall.Kill(p.pid, syscall.SIGKILL) == nil
			}
		}
	}
	return false
}

// confirmed reads in the culprit's log that the kill did what it should have.
func (c *killCell) confirmed() bool {
	log := c.log(c.culprit, c.from[c.culprit])
	switch {
	case c.victim == theCommand:
		return log.says("command ended", "status=signaled")
	case c.victim == theFirst:
		return log.says("building failed, tries again", "from outside")
	case c.victim == theEngine && (c.phase == commandRuns || c.phase == validatorsRuns):
		return log.says("building failed, tries again", c.build)
	case c.victim == theEngine && c.kind == "oci":
		return log.says("building failed, tries again", "starting a container")
	}
	return true
}

// check says what must have come of the build.
//
// A worker that dies before its commitment is succeeded, or as a validator
// replaced, and only waited for as long as its lease. One that dies after it has
// done its part: another uploads. An engine or a first process that is killed is
// no fault of the command, which runs again in the same lease. A killed command
// is another matter: to the sandbox it ended by a signal, as a command may kill
// itself, so its worker commits to a result that nobody shares. When that is
// found out it builds once more, now rightly, which does not take back what it
// committed to; the panel finds for the others and it loses stake: who lets
// strangers kill on its machine answers for what it then says. The requester gets
// the right outputs in every case.
func (c *killCell) check(r *buildReport, before *ledgerReport, hit bool) {
	c.t.Helper()
	verdict := "agreed"
	if hit && c.victim == theCommand {
		verdict = "judged"
	}
	if r.State != "settled" || r.Verdict != verdict || r.ExitCode != 0 || r.Status != "exited" {
		c.t.Fatalf("the build came to %+v, want it settled and %s", r, verdict)
	}
	if hit && c.victim == theWorker {
		seats := r.Winner == c.culprit
		for _, v := range r.Validators {
			seats = seats || v.Worker == c.culprit
		}
		if keeps := c.phase == othersBuild || c.phase == uploading; seats != keeps {
			c.t.Errorf("%s was killed; it has a part in the build: %v, want %v: %+v", c.culprit, seats, keeps, r)
		}
	}
	to := c.t.TempDir()
	c.cli(exitDone, "download", c.build, "-o", to)
	if content, err := os.ReadFile(filepath.Join(to, "out/hello")); string(content) != "hello\n" {
		c.t.Errorf("the requester got %q, %v", content, err)
	}
	after := c.balanced()
	was, _ := before.find(requesterName)
	is, _ := after.find(requesterName)
	if r.Payment == nil {
		c.t.Fatalf("a settled build without a payment: %+v", r)
	}
	// Who dies before its commitment, or is so slow that its lease runs out, pays as
	// winner what its successor costs more, as validator one fee.
	worst, paid := max(oneFee, *r.Payment), int64(0)
	for _, name := range c.workers() {
		had, _ := before.find(name)
		has, _ := after.find(name)
		lost, least, most := had.Stake-has.Stake, int64(0), worst
		if name == c.culprit && hit && c.victim == theCommand {
			least, most = 2*worst, had.Stake
		}
		if lost < least || lost > most {
			c.t.Errorf("the stake of %s went from %d to %d", name, had.Stake, has.Stake)
		}
		paid += lost
	}
	beside := was.Available - is.Available - *r.Payment
	if beside < max(fees-paid, -*r.Payment) || beside > fees+oneFee {
		c.t.Errorf("the build cost %d micro-credits beside its price of %d, of which workers paid up to %d", beside, *r.Payment, paid)
	}
}

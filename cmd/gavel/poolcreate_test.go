package main

import (
	"strings"
	"testing"
	"time"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// The ranges that pool create tells by flag are those of the farm: at each end a pool
// is valid, and a step beyond neither the command nor the farm takes it.
func TestPoolFlagsHaveTheFarmsRanges(t *testing.T) {
	day := 24 * time.Hour
	rules := func(f *poolFlags, lane build.Lane) *build.Pool {
		p := &build.Pool{Name: "p", Lane: lane, Domain: build.DomainOperator}
		_ = f.rules(p, func(string) bool { return true }) // what it says is looked at below
		return p
	}
	for _, c := range []struct {
		what string
		lane build.Lane
		set  func(*poolFlags, int64)
		low  int64 // −1: none
		high int64
		step int64
		flag bool // the flag itself keeps to the range
	}{
		{"epoch", build.LaneBatch, func(f *poolFlags, v int64) { f.epoch = time.Duration(v) }, int64(minWait), int64(day), int64(time.Millisecond), false},
		{"reserve", build.LaneBatch, func(f *poolFlags, v int64) { f.reserve.value = escrow.Credits(v) }, 1, int64(maxUnitReserve), 1, false},
		{"period", build.LaneLease, func(f *poolFlags, v int64) { f.period = time.Duration(v) }, int64(minPeriod), int64(maxPeriod), int64(time.Millisecond), false},
		{"opening", build.LaneLease, func(f *poolFlags, v int64) { f.opening = time.Duration(v) }, 0, int64(maxPeriod), int64(time.Millisecond), false},
		{"ending", build.LaneLease, func(f *poolFlags, v int64) { f.ending = time.Duration(v) }, int64(20 * time.Millisecond), int64(maxPeriod), int64(time.Millisecond), false},
		{"samples", build.LaneLease, func(f *poolFlags, v int64) { f.samples = uint32(v) }, 1, maxSamples, 1, true},
		{"slots", build.LaneLease, func(f *poolFlags, v int64) { f.slots = uint32(v) }, 1, maxSlots, 1, true},
		{"lease reserve", build.LaneLease, func(f *poolFlags, v int64) { f.reserve.value = escrow.Credits(v) }, 0, int64(maxAmount), 1, false},
		{"ticket", build.LaneLottery, func(f *poolFlags, v int64) { f.ticket.value = escrow.Credits(v) }, 0, int64(maxAmount), 1, false},
		{"lookahead", build.LaneLottery, func(f *poolFlags, v int64) { f.lookahead = uint32(v) }, -1, maxLookahead, 1, true},
		{"slot", build.LaneLottery, func(f *poolFlags, v int64) { f.slot = time.Duration(v) }, int64(minWait), int64(day), int64(time.Millisecond), false},
	} {
		try := func(v int64) (said, farm error) {
			f := defaultPoolFlags()
			f.epoch, f.period, f.opening, f.ending, f.slot = time.Second, time.Hour, time.Second, time.Second, time.Second
			f.pricing, f.rule = "vcg", "all-pay"
			c.set(f, v)
			p := rules(f, c.lane)
			return f.rules(p, func(string) bool { return true }), p.Validate()
		}
		for _, v := range []int64{max(0, c.low), c.high} {
			if said, farm := try(v); said != nil || farm != nil {
				t.Errorf("%s at %d, an end of its range: the command says %v, the farm %v", c.what, v, said, farm)
			}
		}
		beyond := []int64{c.high + c.step}
		if c.low >= 0 {
			beyond = append(beyond, c.low-c.step)
		}
		for _, v := range beyond {
			said, farm := try(v)
			if farm == nil || said == nil && !c.flag {
				t.Errorf("%s at %d, beyond its range: the command says %v, the farm %v", c.what, v, said, farm)
			}
		}
	}
}

// Whatever is refused is refused by the flag that was wrong, in the units it was
// given in; names that no command has room for once ended in a panic.
func TestPoolCreateRefuses(t *testing.T) {
	long := strings.Repeat("n", 129)
	for _, c := range []struct {
		args string
		says string
	}{
		{long, "a pool cannot be called"},
		{"--lane batch ''", `a pool cannot be called "": want a name`},
		{".p", "a pool cannot be called"},
		{"p --shares " + long, "--shares: a pool cannot be called"},
		{"p --operators a," + long, "--operators: an operator cannot be called"},
		{"p --class " + strings.Repeat("c", build.MaxClassBytes+1), "--class is 513 bytes long: want at most 512"},
		{"p --shares p", "cannot share its own"},
		{"p --lane lease --samples 100000", `invalid argument "100000" for "--samples" flag: want a whole number from 1 to 256`},
		{"p --lane lease --slots 99999999999", `"--slots" flag: want a whole number from 1 to 1024`},
		{"p --lane lease --ending 10ms", "--ending 10ms: with --samples 20 it must last at least 20ms"},
		{"p --lane lease --period 10ms", "--period 10ms: want 1s to 12725 days"},
		{"p --lane batch --epoch 25h", "--epoch 25h: want 100ms to 24h"},
		{"p --lane batch --reserve 0", "--reserve 0: want 0.000001 to"},
		{"p --lane batch --reserve 99999999999999", "want at most 4611686018427.387904"},
		{"p --lane lottery --slot 1ms", "--slot 1ms: want 100ms to 24h"},
		{"p --lane lottery --reserve 1", "--reserve means nothing in lane lottery"},
	} {
		args := []string{"pool", "create", "--farm", "nowhere"}
		for _, a := range strings.Fields(c.args) {
			args = append(args, strings.Trim(a, "'"))
		}
		code, _, stderr := call(t.Context(), args...)
		if code != exitUsage || !strings.Contains(stderr, c.says) || strings.Contains(stderr, "milliseconds") {
			t.Errorf("pool create %.60s: exit status %d: %s, want %q in it", c.args, code, stderr, c.says)
		}
	}
}

// --reserve has a default for each of its lanes, and the manual says which.
func TestReserveDefaultsByLane(t *testing.T) {
	c := poolCreateCommand()
	if text := c.Flags().FlagUsages(); !strings.Contains(text, "costs (default 10); lease: the least bid a period (default 0)\n") {
		t.Errorf("the manual says\n%s", text)
	}
	for lane, want := range map[string]escrow.Credits{"batch": 10 * escrow.One, "lease": 0} {
		f := defaultPoolFlags()
		f.lane, f.domain, f.pricing, f.rule, f.epoch, f.period, f.ending = lane, "operator", "vcg", "all-pay", time.Second, time.Hour, time.Second
		p, err := f.pool("p", func(string) bool { return false })
		if err != nil || p.Batch.Reserve+p.Lease.Reserve != want {
			t.Errorf("%s: %v, %+v", lane, err, p)
		}
	}
}

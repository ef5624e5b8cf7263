package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"gavel/sandbox"
)

// The dimensions of a Variation, for Config.CannotVary.
const (
	VaryPath      = "path"
	VaryHostname  = "host name"
	VaryUser      = "user"
	VaryUmask     = "umask"
	VaryLocale    = "locale"
	VaryTimeZone  = "time zone"
	VaryCPUs      = "CPUs"
	VaryOrder     = "order"
	VaryAddresses = "addresses"
	VaryClock     = "clock"
)

// variedStart is a whole minute, long past.
const variedStart = 1_000_000_020

// dimensions are how each shows inside: what a script says under a variation.
var dimensions = []struct {
	name      string
	variation sandbox.Variation
	script    string
	want      string // the log; compared when it is not empty
}{
	{VaryPath, sandbox.Variation{WorkRoot: "/build/v3/tree"},
		`pwd -P; echo $PWD; cat ../f; ls -A /build /build/v3; (: > /build/x) 2>/dev/null && echo "above is writable"; true`,
		"/build/v3/tree/d\n/build/v3/tree/d\nold/build:\nv3\n\n/build/v3:\ntree\n"},
	{VaryHostname, sandbox.Variation{Hostname: "other-7"},
		`cat /proc/sys/kernel/hostname; uname -n; echo $HOSTNAME
			test ! -e /etc/hosts || grep -w other-7 /etc/hosts >/dev/null || echo "hosts does not know it"`, "other-7\nother-7\nother-7\n"},
	{VaryUser, sandbox.Variation{UID: 1234},
		`id -u; id -g; id -G; cd ..; stat -c '%n %u %g %a %Y' . f x d d/e d/e/g empty; ./x
			set -e; echo new > f; echo more >> d/e/g; : > d/e/new; rm -r gone empty; mkdir empty; : > /tmp/t; cat f d/e/g; stat -c %u f d/e/new /tmp/t`,
		`1234
1234
1234
. 1234 1234 755 1700000000
f 1234 1234 644 1700000000
x 1234 1234 755 1700000000
d 1234 1234 755 1700000000
d/e 1234 1234 755 1700000000
d/e/g 1234 1234 644 1700000000
empty 1234 1234 755 1700000000
ran
new
deepmore
1234
1234
1234
`},
	{VaryUmask, sandbox.Variation{Umask: 0o077}, "umask; : > new; mkdir m; stat -c %a new m", "0077\n600\n700\n"},
	{VaryLocale, sandbox.Variation{Locale: "et_EE.UTF-8"}, "echo $LC_ALL", "et_EE.UTF-8\n"},
	{VaryTimeZone, sandbox.Variation{TimeZone: "XYZ+5"}, "echo $TZ; date +%Z", "XYZ+5\nXYZ\n"},
	{VaryCPUs, sandbox.Variation{CPUs: 1},
		"nproc; grep -c '^processor' /proc/cpuinfo; grep -c '^cpu[0-9]' /proc/stat; cd /sys/devices/system/cpu; cat online possible present",
		"1\n1\n1\n0\n0\n0\n"},
	// Two programs that start alike have their stacks at one place.
	{VaryAddresses, sandbox.Variation{FixedAddresses: true}, "set -- $(grep -h stack /proc/self/maps) x; first=$1; set -- $(grep -h stack /proc/self/maps) x; test $first = $1 && echo same", "same\n"},
	{VaryClock, sandbox.Variation{Clock: &sandbox.Clock{StartSeconds: variedStart, StepSeconds: 60}}, "date +%s; sleep 1; date +%s", fmt.Sprintf("%d\n%[1]d\n", variedStart)},
}

// variation checks that a command sees each departure from the fixed environment, and only those.
func variation(t *testing.T, h *harness) {
	tree := map[string]input{
		"f": {content: "old"}, "x": {content: "#!/bin/sh\necho ran\n", mode: 0o755}, "d/e/g": {content: "deep"}, "gone/x": {}, "empty/": {},
	}
	// varied is a run in the directory d that makes an output.
	varied := func(t *testing.T, v sandbox.Variation, script string) sandbox.Spec {
		s := h.spec(t, "("+script+"\n) && echo made > out", tree)
		s.WorkDir, s.Outputs, s.Variation = "d", []string{"out"}, v
		return s
	}
	for _, d := range dimensions {
		t.Run(d.name, func(t *testing.T) {
			s := varied(t, d.variation, d.script)
			if h.refuses(t, d.name, s) {
				return
			}
			before := listing(t, s.InputDir)
			o := h.run(t, s)
			o.want(t, sandbox.Exited, 0)
			o.wantLog(t, d.want)
			if got := listing(t, o.out); got != "-rw-r--r-- out \"made\\n\"\n" {
				t.Errorf("outputs are\n%s", got)
			}
			if after := listing(t, s.InputDir); after != before {
				t.Errorf("the input tree was\n%sand is\n%s", before, after)
			}
		})
	}
	t.Run("together", func(t *testing.T) {
		var all sandbox.Variation
		var script, want strings.Builder
		for _, d := range dimensions {
			if slices.Contains(h.CannotVary, d.name) {
				continue
			}
			merge(&all, d.variation)
			if d.name != VaryUser && d.name != VaryPath { // their scripts name what the others change, and the reverse
				fmt.Fprintf(&script, "(%s\n)\n", d.script)
				want.WriteString(d.want)
			}
		}
		all.ReverseOrder = !slices.Contains(h.CannotVary, VaryOrder)
		o := h.run(t, varied(t, all, script.String()+"id -u; pwd"))
		o.want(t, sandbox.Exited, 0)
		uid, dir := sandbox.UID, sandbox.WorkRoot
		if all.UID != 0 {
			uid = all.UID
		}
		if all.WorkRoot != "" {
			dir = all.WorkRoot
		}
		o.wantLog(t, fmt.Sprintf("%s%d\n%s/d\n", want.String(), uid, dir))
		if got := o.file(t, "out"); got != "made\n" {
			t.Errorf("output %q", got)
		}
	})
	t.Run(VaryOrder, func(t *testing.T) { reversed(t, h) })
	t.Run("more CPUs", func(t *testing.T) { moreCPUs(t, h) })
	t.Run("smooth clock", func(t *testing.T) { smoothClock(t, h) })
	t.Run("usual addresses", func(t *testing.T) {
		if b, err := os.ReadFile("/proc/sys/kernel/randomize_va_space"); err != nil || strings.TrimSpace(string(b)) == "0" {
			t.Fatalf("this machine does not randomise addresses (%q, %v); run `sudo sysctl -w kernel.randomize_va_space=2`", b, err)
		}
		for _, d := range dimensions {
			if d.name == VaryAddresses {
				h.script(t, d.script+"; true").wantLog(t, "")
			}
		}
	})
	t.Run("what is usual", func(t *testing.T) {
		script := "env; id; umask; pwd; uname -n; ls -lan | grep -v ' [.][.]$'; stat -c '%Y %a %u %g' . d f; find .; nproc; cat /proc/cpuinfo; grep . /sys/devices/system/cpu/online"
		s := h.spec(t, script, tree)
		plain := h.run(t, s)
		plain.want(t, sandbox.Exited, 0)
		s.Variation = sandbox.Variation{Hostname: sandbox.Hostname, UID: sandbox.UID, Umask: sandbox.Umask, Locale: "C.UTF-8", TimeZone: "UTC"}
		s.OutputDir = t.TempDir()
		if len(h.CannotVary) == 0 || !slices.ContainsFunc([]string{VaryHostname, VaryUser, VaryUmask, VaryLocale, VaryTimeZone}, func(d string) bool { return slices.Contains(h.CannotVary, d) }) {
			h.run(t, s).wantLog(t, plain.log)
		}
	})
}

// refuses says whether the runner cannot vary a dimension, having checked that it says so.
func (h *harness) refuses(t *testing.T, dimension string, s sandbox.Spec) bool {
	t.Helper()
	if !slices.Contains(h.CannotVary, dimension) {
		return false
	}
	if _, err := h.r.Run(context.Background(), s); !errors.Is(err, sandbox.ErrRefused) {
		t.Errorf("error %v, want a refusal of what the runner cannot vary", err)
	}
	return true
}

// merge sets in all what one dimension sets.
func merge(all *sandbox.Variation, one sandbox.Variation) {
	all.WorkRoot += one.WorkRoot
	all.Hostname += one.Hostname
	all.UID += one.UID
	all.Umask |= one.Umask
	all.Locale += one.Locale
	all.TimeZone += one.TimeZone
	all.CPUs += one.CPUs
	all.FixedAddresses = all.FixedAddresses || one.FixedAddresses
	if one.Clock != nil {
		all.Clock = one.Clock
	}
}

// reversed checks that every directory is listed backwards, deeper ones too.
func reversed(t *testing.T, h *harness) {
	tree := map[string]input{"d/e/": {}}
	for _, name := range strings.Fields("zeta alpha mu Beta _x 0 kappa 10 Omega nine") {
		tree[name], tree["d/"+name], tree["d/e/"+name] = input{content: name}, input{link: "e"}, input{mode: 0o755}
	}
	s := h.spec(t, "for d in . d d/e; do find $d -mindepth 1 -maxdepth 1; echo; done; stat -c '%n %u %a %Y' . d d/e zeta d/e/0; cat mu; touch d/e/new; echo x >> mu", tree)
	s.Variation.ReverseOrder = true
	if h.refuses(t, VaryOrder, s) {
		return
	}
	backwards := h.run(t, s)
	s.OutputDir, s.Variation = t.TempDir(), sandbox.Variation{}
	forwards := h.run(t, s)
	a, b := strings.SplitN(backwards.log, "\n\n", 4), strings.SplitN(forwards.log, "\n\n", 4)
	if len(a) != 4 || len(b) != 4 || a[3] != b[3] {
		t.Fatalf("logs\n%s\nand\n%s", backwards.log, forwards.log)
	}
	for i, dir := range []string{".", "d", "d/e"} {
		listed, want := strings.Split(a[i], "\n"), strings.Split(b[i], "\n")
		slices.Reverse(want)
		if len(want) < 10 || !slices.Equal(listed, want) {
			t.Errorf("%s is listed as\n%v\nwant\n%v", dir, listed, want)
		}
	}
}

// moreCPUs checks counts above one: those of limits, and what no machine has.
func moreCPUs(t *testing.T, h *harness) {
	const script = "grep -c '^processor' /proc/cpuinfo; cat /sys/devices/system/cpu/online"
	s := h.spec(t, script, nil)
	s.Limits.CPUMillis = 400
	h.run(t, s).wantLog(t, "1\n0\n")
	s = h.spec(t, "true", nil)
	s.Variation.CPUs = 8192
	if !h.refuses(t, VaryCPUs, s) {
		if _, err := h.r.Run(context.Background(), s); !errors.Is(err, sandbox.ErrUnavailable) {
			t.Errorf("8192 CPUs: %v, want that this machine has too few", err)
		}
	}
}

// smoothClock checks a clock that runs.
func smoothClock(t *testing.T, h *harness) {
	s := h.spec(t, "date +%s; sleep 2; date +%s", nil)
	s.Variation.Clock = &sandbox.Clock{StartSeconds: variedStart}
	if h.refuses(t, VaryClock, s) {
		return
	}
	o := h.run(t, s)
	var first, second int64
	if _, err := fmt.Sscan(o.log, &first, &second); err != nil {
		t.Fatalf("%v: %s", err, o.log)
	}
	if took := second - first; first < variedStart || first > variedStart+int64(patience.Seconds()) || took < 2 || took > int64(patience.Seconds()) {
		t.Errorf("shows %d and after two seconds %d, begun at %d", first, second, variedStart)
	}
}

package native

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

// askKernel makes this test binary a command that makes calls and says what they answer.
const askKernel = "GAVEL_TEST_ASK_KERNEL"

// callKernel is the command of TestTheKernelFilters.
func callKernel() {
	for _, c := range [][4]uintptr{
		{unix.SYS_CLONE3}, {600}, {unix.SYS_IO_URING_SETUP}, {unix.SYS_PTRACE}, {unix.SYS_BPF}, {unix.SYS_KEYCTL},
		{unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET}, {unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM},
		{unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, {unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM},
		{unix.SYS_PERSONALITY, 0xffffffff},
	} {
		_, _, errno := unix.RawSyscall(c[0], c[1], c[2], c[3])
		fmt.Print(int(errno), " ")
	}
	os.Exit(0)
}

// The filter's own tests ask an interpreter; the kernel must agree.
func TestTheKernelFilters(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	inputs := t.TempDir()
	if err := os.WriteFile(filepath.Join(inputs, "ask"), self, 0o755); err != nil {
		t.Fatal(err)
	}
	got := runShell(t, newRunner(t), askKernel+"=1 ./ask", func(s *sandbox.Spec) { s.InputDir = inputs })
	if want := "38 38 1 1 1 1 1 1 0 0 0 "; got != want {
		t.Errorf("answers %q, want %q", got, want)
	}
}

// countCPUs makes this test binary a command that says how many CPUs Go finds.
const countCPUs = "GAVEL_TEST_COUNT_CPUS"

// Each asks in its own way: the C library files of /sys, coreutils and Go the
// scheduler, shells /proc, and Python one or the other by its version.
func TestProgramsAgreeOnTheCPUs(t *testing.T) {
	r := newRunner(t)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	inputs := t.TempDir()
	if err := os.WriteFile(filepath.Join(inputs, "count"), self, 0o755); err != nil {
		t.Fatal(err)
	}
	const script = `nproc; getconf _NPROCESSORS_ONLN; getconf _NPROCESSORS_CONF; grep -c '^processor' /proc/cpuinfo
		grep -c '^cpu[0-9]' /proc/stat; ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l; ` + countCPUs + `=1 ./count
		test ! -x /usr/bin/python3 || /usr/bin/python3 -c 'import os; print(os.cpu_count())'`
	// Python counts what is bound only in newer versions, so it is asked where nothing is.
	bound, _, _ := strings.Cut(script, "\n\t\ttest ! -x")
	for _, c := range []struct {
		change func(*sandbox.Spec)
		script string
		want   int
	}{
		{func(*sandbox.Spec) {}, script, r.spread.Count()},
		{func(s *sandbox.Spec) { s.Variation.CPUs = 1 }, bound, 1},
		{func(s *sandbox.Spec) { s.Variation.CPUs = r.spread.Count() }, script, r.spread.Count()},
		{func(s *sandbox.Spec) { s.Limits.CPUMillis = 1000 }, bound, 1},
		{func(s *sandbox.Spec) { s.Limits.CPUMillis = 1_000_000 }, script, r.spread.Count()}, // a limit is no demand
	} {
		got := runShell(t, r, c.script, func(s *sandbox.Spec) { s.InputDir = inputs; c.change(s) })
		for i, line := range strings.Fields(got) {
			if line != strconv.Itoa(c.want) {
				t.Errorf("answer %d is %s CPUs, want %d", i+1, line, c.want)
			}
		}
		if answers := len(strings.Fields(got)); answers < 7 {
			t.Errorf("%d answers:\n%s", answers, got)
		}
	}
}

// sayCPUs is the command of TestProgramsAgreeOnTheCPUs.
func sayCPUs() {
	os.Stdout.WriteString(strconv.Itoa(runtime.NumCPU()) + "\n")
	os.Exit(0)
}

func TestCPUsTellNothingElse(t *testing.T) {
	r := newRunner(t)
	got := runShell(t, r, `find /sys -type f | sort; grep btime /proc/stat; grep -c microcode /proc/cpuinfo
		for f in /sys/devices/system/cpu/online /proc/cpuinfo /proc/stat; do (: > $f) 2>/dev/null && echo "$f is writable"; done; true`, func(*sandbox.Spec) {})
	const cpu = "/sys/devices/system/cpu/"
	want := strings.Join([]string{cpu + "kernel_max", cpu + "offline", cpu + "online", cpu + "possible", cpu + "present", "btime 946684800", "0", ""}, "\n")
	if got != want {
		t.Errorf("log\n%s\nwant\n%s", got, want)
	}
}

// What container engines hide and protect of /proc (masked and read-only paths
// of the OCI runtimes' defaults) is hidden and protected here.
func TestProcIsMaskedAsContainersHaveIt(t *testing.T) {
	r := newRunner(t)
	var script strings.Builder
	for _, hidden := range []string{"asound", "acpi", "interrupts", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi"} {
		script.WriteString("p=/proc/" + hidden + `; if [ -d $p ]; then ls -A $p; elif [ -e $p ]; then head -c 1 $p; fi` + "\n")
	}
	for _, p := range protectedProc {
		script.WriteString(`grep -q ' /proc/` + p + ` ro[, ]' /proc/self/mountinfo || test ! -e /proc/` + p + ` || echo "` + p + " is not read-only\"\n")
	}
	if got := runShell(t, r, script.String()+"true", func(*sandbox.Spec) {}); got != "" {
		t.Errorf("log %q", got)
	}
}

func TestVariedNameIsInAllFilesThatTellIt(t *testing.T) {
	r := newRunner(t)
	got := runShell(t, r, "cat /etc/hostname /etc/hosts; getent hosts elsewhere; (: > /etc/hosts) 2>/dev/null && echo writable; true",
		func(s *sandbox.Spec) { s.Variation.Hostname = "elsewhere" })
	want := "elsewhere\n127.0.0.1 localhost elsewhere\n::1 localhost ip6-localhost ip6-loopback\n127.0.0.1       localhost elsewhere\n"
	if got != want {
		t.Errorf("log %q, want %q", got, want)
	}
}

// A varied run takes no spare, and leaves it to the next usual one.
func TestVariedRunsLeaveTheSpare(t *testing.T) {
	r := newRunner(t)
	if got := runShell(t, r, "id -u", func(s *sandbox.Spec) { s.Variation.UID = 77 }); got != "77\n" {
		t.Errorf("log %q", got)
	}
	if got := runShell(t, r, "id -u", func(*sandbox.Spec) {}); got != "65534\n" {
		t.Errorf("log %q", got)
	}
}

func TestRangesOfUsers(t *testing.T) {
	for text, want := range map[string]bool{
		"         0          0 4294967295\n":       true,
		"0 0 65536\n":                              false,
		"0 100000 65536\n65536 2054815744 65536\n": false,
		"0 1000 1\n2054815744 2054815744 65536\n":  true,
		"2054815744 0 65535\n":                     false,
		"2054815745 0 65536\n":                     false,
		"nonsense\n":                               false,
		"":                                         false,
	} {
		if got := covers(text, IDBase, IDBase+sandbox.UID+1); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	const all, small = "0 0 4294967295\n", "0 100000 65536\n"
	for _, c := range []struct {
		uid           int
		users, groups string
		ranged, fails bool
	}{
		{1000, all, all, false, false},
		{0, all, all, true, false},
		{0, small, small, false, false},      // a container without privileges
		{0, all, "0 0 65536\n", false, true}, // and with some
		{0, "0 0 1\n", "0 0 1\n", false, true},
	} {
		ranged, err := chooseUsers(c.uid, c.users, c.groups)
		if ranged != c.ranged || (err != nil) != c.fails {
			t.Errorf("%+v: %v, %v", c, ranged, err)
		}
	}
	if IDBase < 1<<29 || IDBase%(1<<16) != 0 || IDBase+1<<16 > 1<<31 {
		t.Errorf("base %d", IDBase)
	}
}

func TestQuotasOfFiles(t *testing.T) {
	with, without := &Runner{cgroups: &cgroups{}}, &Runner{}
	memory := sandbox.Limits{MemoryBytes: 512 << 20}
	for size, want := range map[int64]string{1 << 20: "65536", 512 << 20: "131072", 4 << 30: "1048576", 1 << 40: "1048576"} {
		if got := with.tmpfs("tmp", "1777", size, memory).Options; !strings.HasSuffix(got, ",nr_inodes="+want) {
			t.Errorf("%d bytes: %s", size, got)
		}
	}
	if got := without.tmpfs("tmp", "1777", 4<<30, memory).Options; !strings.HasSuffix(got, ",nr_inodes=262144") {
		t.Errorf("where memory is polled: %s", got)
	}
	small := func(s *sandbox.Spec) { s.Limits.DiskBytes = 16 << 20 }
	r := newRunner(t)
	if got := runShell(t, r, "stat -f -c %c /build /tmp /dev/shm", small); got != "65536\n65536\n65536\n" {
		t.Errorf("numbers of files: %q", got)
	}
	got := runShell(t, r, "cd /tmp; i=0; while [ $i -lt 70 ]; do mkdir $i && (cd $i && seq 1000 | xargs touch) 2>/dev/null || exit 0; i=$((i+1)); done; echo no end", small)
	if got != "" {
		t.Errorf("log %q", got)
	}
}

func TestResourceLimits(t *testing.T) {
	r := newRunner(t)
	got := runShell(t, r, "grep -E '^Max (core|locked|msgqueue)' /proc/self/limits | sed 's/  */ /g'", func(*sandbox.Spec) {})
	want := "Max core file size 0 0 bytes \nMax locked memory 65536 65536 bytes \nMax msgqueue size 819200 819200 bytes \n"
	if got != want {
		t.Errorf("log %q, want %q", got, want)
	}
}

package sandboxtest

import (
	"fmt"
	"strings"
	"testing"

	"gavel/sandbox"
)

// environment checks that a command sees exactly what the design promises.
func environment(t *testing.T, h *harness) {
	t.Run("variables", func(t *testing.T) {
		s := h.spec(t, "", nil)
		s.Argv = []string{"env"}
		s.Env = []string{"B=2", "A=1 =x", "TZ=Europe/Paris", "EMPTY="}
		o := h.run(t, s)
		o.want(t, sandbox.Exited, 0)
		path := "PATH=" + strings.Join(append([]string{sandbox.SearchPath}, h.PathTail...), ":")
		o.wantLog(t, strings.Join([]string{path, "HOME=/tmp", "TMPDIR=/tmp", "HOSTNAME=gavel",
			"LC_ALL=C.UTF-8", "SOURCE_DATE_EPOCH=1700000000", "B=2", "A=1 =x", "TZ=Europe/Paris", "EMPTY=", ""}, "\n"))
	})
	for name, c := range map[string]struct{ script, want string }{
		"user":        {"id -u; id -g; id -G", "65534\n65534\n65534\n"},
		"host name":   {"cat /proc/sys/kernel/hostname; uname -n", "gavel\ngavel\n"},
		"directory":   {"pwd -P; echo $PWD", "/build\n/build\n"},
		"umask":       {"umask; : > f; mkdir d; stat -c %a f d", "0022\n644\n755\n"},
		"input":       {"cat; echo end", "end\n"},
		"files":       {"ulimit -n; ulimit -c; ulimit -s", fmt.Sprintf("%d\n0\n%d\n", sandbox.OpenFiles, sandbox.StackBytes>>10)},
		"temporaries": {"cd $TMPDIR && pwd -P && : > x && stat -c %a . && ls", "/tmp\n1777\nx\n"},
		"devices": {`for d in null zero full random urandom; do test -c /dev/$d && echo $d; done
			head -c 3 /dev/zero | wc -c; echo x > /dev/null && echo written`, "null\nzero\nfull\nrandom\nurandom\n3\nwritten\n"},
		"descriptors":   {"ls /proc/self/fd | tr '\\n' ' '", "0 1 2 3 "}, // the last is ls's own
		"shared memory": {": > /dev/shm/x && ls /dev/shm", "x\n"},
	} {
		t.Run(name, func(t *testing.T) {
			o := h.script(t, c.script)
			o.want(t, sandbox.Exited, 0)
			o.wantLog(t, c.want)
		})
	}
	t.Run("working directory", func(t *testing.T) {
		s := h.spec(t, "pwd -P; echo made > out", map[string]input{"a/b/": {}})
		s.WorkDir, s.Outputs = "a/b", []string{"out"}
		o := h.run(t, s)
		o.want(t, sandbox.Exited, 0)
		o.wantLog(t, "/build/a/b\n")
		if got := o.file(t, "out"); got != "made\n" {
			t.Errorf("output %q", got)
		}
	})
	t.Run("both streams in order", func(t *testing.T) {
		h.script(t, "echo 1; echo 2 >&2; echo 3").wantLog(t, "1\n2\n3\n")
	})
	t.Run("same twice", func(t *testing.T) {
		script := "env; id; umask; pwd; uname -n; ls -lan . /tmp; stat -c '%Y %a %u %g' . in; cp in out; mkdir d; ln -s ../in d/l"
		s := h.spec(t, script, map[string]input{"in": {content: "x"}})
		s.Outputs = []string{"d", "out"}
		first := h.run(t, s)
		first.want(t, sandbox.Exited, 0)
		s.OutputDir = t.TempDir()
		second := h.run(t, s)
		second.wantLog(t, first.log)
		if a, b := listing(t, first.out), listing(t, second.out); a != b {
			t.Errorf("outputs differ:\n%s\n%s", a, b)
		}
	})
}

// isolation checks what a command must not see or do.
func isolation(t *testing.T, h *harness) {
	t.Run("privileges", func(t *testing.T) {
		o := h.script(t, "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status")
		const none = "\t0000000000000000\n"
		for _, c := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
			if !strings.Contains(o.log, c+":"+none) {
				t.Errorf("%s is not empty:\n%s", c, o.log)
			}
		}
		for _, l := range []string{"NoNewPrivs:\t1\n", "Seccomp:\t2\n"} {
			if !strings.Contains(o.log, l) {
				t.Errorf("no line %q in:\n%s", l, o.log)
			}
		}
	})
	t.Run("network", func(t *testing.T) {
		o := h.script(t, "sed '1,2d;s/:.*//;s/ //g' /proc/net/dev; cat /proc/net/route | wc -l")
		o.wantLog(t, "lo\n1\n")
	})
	t.Run("processes", func(t *testing.T) {
		o := h.script(t, "ls -d /proc/[0-9]* | wc -l")
		var n int
		if _, err := fmt.Sscan(o.log, &n); err != nil || n > 8 {
			t.Errorf("sees %q processes, want its own few", strings.TrimSpace(o.log))
		}
	})
	t.Run("kernel", func(t *testing.T) {
		o := h.script(t, `for f in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug /proc/kmsg; do
				n=$(head -c 1 $f 2>/dev/null | wc -c); test $n -eq 0 || echo "$f is readable"
			done
			for f in /proc/sysrq-trigger /proc/sys/kernel/hostname /proc/sys/kernel/core_pattern /sys/kernel/mm/ksm/run; do
				{ echo x > $f; } 2>/dev/null && echo "$f is writable"
			done
			{ echo 1 > /proc/1/oom_score_adj; } 2>/dev/null && echo "init is writable"
			head -c 1 /proc/1/mem 2>/dev/null && echo "init is readable"
			true`)
		o.want(t, sandbox.Exited, 0)
		o.wantLog(t, "")
	})
	t.Run("read-only root", func(t *testing.T) {
		o := h.script(t, `for d in / /etc /usr /usr/bin /bin /lib /dev /proc /root /var /home; do
				test -d $d && touch $d/gavel-was-here 2>/dev/null && echo "$d is writable"
			done; true`)
		o.want(t, sandbox.Exited, 0)
		o.wantLog(t, "")
	})
	t.Run("new devices", func(t *testing.T) {
		if o := h.script(t, "mknod null c 1 3"); o.Status != sandbox.Exited || o.ExitCode == 0 {
			t.Errorf("made a device: %+v", o.Result)
		}
	})
	t.Run("mounts", func(t *testing.T) {
		o := h.script(t, "mount -t tmpfs none /tmp 2>/dev/null && echo mounted; unshare -r true 2>/dev/null && echo unshared; true")
		o.wantLog(t, "")
	})
	t.Run("paths of the machine", func(t *testing.T) {
		s := h.spec(t, "cat /proc/self/cgroup", nil)
		s.Argv = append(s.Argv, "x")
		o := h.run(t, s)
		if strings.Contains(o.log, h.tree(t, nil)) {
			t.Errorf("names host paths:\n%s", o.log)
		}
	})
}

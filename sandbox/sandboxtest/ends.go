package sandboxtest

import (
	"strings"
	"testing"
	"time"

	"gavel/sandbox"
)

// ends checks that each way a command ends is told apart.
func ends(t *testing.T, h *harness) {
	for name, c := range map[string]struct {
		script string
		want   sandbox.Result
	}{
		"success":          {"exit 0", sandbox.Result{Status: sandbox.Exited}},
		"failure":          {"exit 3", sandbox.Result{Status: sandbox.Exited, ExitCode: 3}},
		"largest code":     {"exit 255", sandbox.Result{Status: sandbox.Exited, ExitCode: 255}},
		"killed":           {"kill -9 $$", sandbox.Result{Status: sandbox.Signaled, Signal: 9}},
		"terminated":       {"kill -15 $$", sandbox.Result{Status: sandbox.Signaled, Signal: 15}},
		"aborted":          {"kill -6 $$", sandbox.Result{Status: sandbox.Signaled, Signal: 6}},
		"like a signal":    {"exit 137", sandbox.Result{Status: sandbox.Exited, ExitCode: 137}},
		"like not found":   {"exit 127", sandbox.Result{Status: sandbox.Exited, ExitCode: 127}},
		"child was killed": {"sh -c 'kill -9 $$'; exit 4", sandbox.Result{Status: sandbox.Exited, ExitCode: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			o := h.script(t, c.script)
			if o.Status != c.want.Status || o.ExitCode != c.want.ExitCode || o.Signal != c.want.Signal {
				t.Errorf("got %+v, want %+v\nlog: %s", o.Result, c.want, o.log)
			}
		})
	}
	t.Run("unknown command", func(t *testing.T) {
		for _, argv0 := range []string{"no-such-command", "/no/such/command", "./no-such-command"} {
			s := h.spec(t, "", nil)
			s.Argv = []string{argv0, "x"}
			o := h.run(t, s)
			o.want(t, sandbox.Exited, sandbox.ExitNotFound)
			if !strings.Contains(o.log, argv0) || strings.Count(o.log, "\n") != 1 {
				t.Errorf("log is not one line naming %s: %q", argv0, o.log)
			}
		}
	})
	t.Run("not executable", func(t *testing.T) {
		for argv0, in := range map[string]input{"./data": {content: "#!/bin/sh\n"}, "./text": {content: "words\n", mode: 0o755}} {
			s := h.spec(t, "", map[string]input{argv0: in})
			s.Argv = []string{argv0}
			o := h.run(t, s)
			o.want(t, sandbox.Exited, sandbox.ExitNotExecutable)
			if !strings.Contains(o.log, argv0) {
				t.Errorf("log does not name %s: %q", argv0, o.log)
			}
		}
	})
	t.Run("found in own PATH", func(t *testing.T) {
		s := h.spec(t, "", map[string]input{"bin/tool": {content: "#!/bin/sh\necho tool $1\n", mode: 0o755}})
		s.Argv, s.Env = []string{"tool", "a"}, []string{"PATH=/build/bin:/usr/bin:/bin"}
		h.run(t, s).wantLog(t, "tool a\n")
	})
	t.Run("times", func(t *testing.T) {
		o := h.script(t, "sleep 1")
		// The runner may learn of the start a little late, never of the end early.
		if o.RunNanos <= 0 || o.SetupNanos <= 0 || o.RunNanos+o.SetupNanos < int64(time.Second) || o.RunNanos > int64(patience) {
			t.Errorf("run %v, setup %v", time.Duration(o.RunNanos), time.Duration(o.SetupNanos))
		}
	})
}

// limits checks that each limit holds and names itself.
func limits(t *testing.T, h *harness) {
	t.Run("time", func(t *testing.T) {
		m := marker(t)
		s := h.spec(t, "echo made > out; trap '' TERM INT; sleep "+m+" & sleep "+m, nil)
		s.Outputs = []string{"out"}
		s.Limits.TimeMillis = 500
		o := h.run(t, s)
		o.want(t, sandbox.Timeout, 0)
		if got := listing(t, o.out); got != "" {
			t.Errorf("a timeout carries outputs:\n%s", got)
		}
		if left := alive(t, m); len(left) > 0 {
			t.Errorf("still alive: %v", left)
		}
	})
	t.Run("memory", func(t *testing.T) {
		s := h.spec(t, "echo made > out; x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done", nil)
		s.Outputs = []string{"out"}
		s.Limits.MemoryBytes = 64 << 20
		o := h.run(t, s)
		o.want(t, sandbox.OOM, 0)
		if got := listing(t, o.out); got != "" {
			t.Errorf("an oom carries outputs:\n%s", got)
		}
		if o.Detail == "" {
			t.Error("no detail says which limit was hit")
		}
	})
	t.Run("memory of a child", func(t *testing.T) {
		s := h.spec(t, "sh -c 'x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done'; exit 0", nil)
		s.Limits.MemoryBytes = 64 << 20
		h.run(t, s).want(t, sandbox.OOM, 0)
	})
	t.Run("processes", func(t *testing.T) {
		m := marker(t)
		s := h.spec(t, "i=0; while [ $i -lt 100 ]; do sleep "+m+" & i=$((i+1)); done; echo all started", nil)
		s.Limits.Pids = 20
		o := h.run(t, s)
		if strings.Contains(o.log, "all started") || o.Status != sandbox.Exited || o.ExitCode == 0 {
			t.Errorf("100 processes within a limit of 20: %+v\n%s", o.Result, o.log)
		}
		if left := alive(t, m); len(left) > 0 {
			t.Errorf("still alive: %d processes", len(left))
		}
	})
	t.Run("fork bomb", func(t *testing.T) {
		s := h.spec(t, "f() { f | f & }; f; sleep 100", nil)
		s.Limits.Pids, s.Limits.TimeMillis = 64, 1000
		if o := h.run(t, s); o.Status == sandbox.Exited && o.ExitCode == 0 {
			t.Errorf("a fork bomb succeeded: %+v", o.Result)
		}
	})
	for _, dir := range []string{"/build", "/tmp"} {
		t.Run("disk of "+dir, func(t *testing.T) {
			s := h.spec(t, "cd "+dir+" && dd if=/dev/zero of=big bs=1048576 count=64", nil)
			s.Limits.DiskBytes = 16 << 20
			o := h.run(t, s)
			if o.Status != sandbox.Exited || o.ExitCode == 0 || !strings.Contains(o.log, "No space left") {
				t.Errorf("wrote 64 MiB within 16: %+v\n%s", o.Result, o.log)
			}
		})
	}
	t.Run("log", func(t *testing.T) {
		s := h.spec(t, "yes | head -c 5000000; echo end >&2", nil)
		s.Limits.LogBytes = 1000
		o := h.run(t, s)
		o.want(t, sandbox.Exited, 0)
		kept, said, _ := strings.Cut(o.log, "\ngavel: ")
		if !o.LogTruncated || len(kept) != 1000 || !strings.Contains(said, "cut") {
			t.Errorf("truncated %v, kept %d bytes, said %q", o.LogTruncated, len(kept), said)
		}
	})
	t.Run("log that just fits", func(t *testing.T) {
		s := h.spec(t, "yes | head -c 1000", nil)
		s.Limits.LogBytes = 1000
		if o := h.run(t, s); o.LogTruncated || len(o.log) != 1000 {
			t.Errorf("truncated %v, %d bytes", o.LogTruncated, len(o.log))
		}
	})
}

package main

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

// orphanAttempts leave processes behind. That a child was left is no success yet:
// the suite looks for any that outlives the run, by the mark in its arguments.
var orphanAttempts = table{
	"orphan-daemon":        orphan(nil, "twice"),
	"orphan-session":       orphan(&syscall.SysProcAttr{Setsid: true}, ""),
	"orphan-group":         orphan(&syscall.SysProcAttr{Setpgid: true}, ""),
	"orphan-ignores":       orphan(&syscall.SysProcAttr{Setsid: true}, "ignore"),
	"orphan-many":          orphan(&syscall.SysProcAttr{Setsid: true}, "many"),
	"orphan-forks":         orphan(&syscall.SysProcAttr{Setsid: true}, "forks"),
	"orphan-stopped":       orphan(&syscall.SysProcAttr{Setsid: true}, "stop"),
	"orphan-holds-log":     orphanWithLog,
	"orphan-of-subreaper":  orphanOfSubreaper,
	"orphan-of-vfork":      orphanOfVfork,
	"orphan-holds-outputs": orphanWithOutputs,
}

// orphan starts a child without the log and ends.
func orphan(how *syscall.SysProcAttr, mode string) attempt {
	return func(*world.World) verdict {
		c := exec.Command("/proc/self/exe", "-linger", os.Args[2], mode)
		c.SysProcAttr = how
		return started(c)
	}
}

func started(c *exec.Cmd) verdict {
	if err := c.Start(); err != nil {
		return denied("%v", err)
	}
	time.Sleep(100 * time.Millisecond) // until it is what it is to be
	return denied("left process %d", c.Process.Pid)
}

// lingerTime is how long an orphan lives where nothing ends it.
const lingerTime = 40 * time.Second

// linger is an orphan.
func linger() {
	mode := ""
	if len(os.Args) > 3 {
		mode = os.Args[3]
	}
	again := func(mode string) {
		c := exec.Command("/proc/self/exe", "-linger", os.Args[2], mode)
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		_ = c.Start() // where it cannot be, there is one fewer
	}
	switch mode {
	case "twice":
		again("")
		return
	case "ignore":
		signal.Ignore()
	case "many":
		for range 5 {
			again("")
		}
	case "forks":
		// A new one each time, so that who kills by list is always late.
		time.Sleep(5 * time.Millisecond)
		if len(os.Args) < 5 || time.Since(parsed(os.Args[4])) < lingerTime/4 {
			since := time.Now().Format(time.RFC3339Nano)
			if len(os.Args) > 4 {
				since = os.Args[4]
			}
			c := exec.Command("/proc/self/exe", "-linger", os.Args[2], "forks", since)
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			_ = c.Start() // as above
		}
		return
	case "stop":
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP) // cannot fail on oneself
	}
	time.Sleep(lingerTime)
}

func parsed(s string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, s) // written above
	return t
}

// orphanWithLog leaves a child that keeps the log open: who waits for its end waits for it.
func orphanWithLog(*world.World) verdict {
	c := exec.Command("/proc/self/exe", "-linger", os.Args[2])
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return started(c)
}

// orphanOfSubreaper leaves a child that adopts the rest.
func orphanOfSubreaper(*world.World) verdict {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return denied("%v", err)
	}
	return orphan(&syscall.SysProcAttr{Setsid: true}, "twice")(nil)
}

// orphanOfVfork leaves a parent that waits, deaf to signals, for a child that
// neither executes nor ends.
func orphanOfVfork(*world.World) verdict {
	// A process of its own: on one CPU whoever waits so keeps Go from all else.
	return started(exec.Command("/proc/self/exe", "-vfork", os.Args[2]))
}

// orphanWithOutputs leaves a child that works in the output and holds it open.
func orphanWithOutputs(*world.World) verdict {
	if err := os.Mkdir("out", 0o755); err != nil {
		return denied("%v", err)
	}
	c := exec.Command("/proc/self/exe", "-linger", os.Args[2])
	c.Dir = "out"
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return started(c)
}

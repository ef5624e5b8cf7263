package container

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"gavel/sandbox"
	"gavel/sandbox/container/pid1"
)

// ErrUndead is what Watch ends with when even SIGKILL did not help.
var ErrUndead = errors.New("the container did not die of SIGKILL")

// Course is how one container's command fares, as PID 1 reports it and the clock
// says. Whoever reads the container's streams writes to Log and Report; all
// methods run in the goroutine of the run.
type Course struct {
	Log    *sandbox.CappedLog
	Report pid1.ReportReader // to be read once its stream has ended
	// OutOfMemory says that the runner itself saw the kernel kill for memory.
	OutOfMemory bool

	began  time.Time
	limits sandbox.Limits
	starts chan time.Time // when PID 1 reported the command's start, once
	ends   chan time.Time // and its end, once

	startedAt, endedAt time.Time // zero until known
	timedOut           bool
}

// NewCourse begins the course of s, whose limits are complete, at began.
func NewCourse(s sandbox.Spec, began time.Time) *Course {
	c := &Course{
		Log: sandbox.NewCappedLog(s.Log, s.Limits.LogBytes), began: began, limits: s.Limits,
		starts: make(chan time.Time, 1), ends: make(chan time.Time, 1),
	}
	c.Report.OnLine = stamp(c.starts, c.ends)
	return c
}

// stamp sends the time at which each step was first reported.
func stamp(starts, ends chan<- time.Time) func(pid1.Report) {
	var before pid1.Report
	return func(rep pid1.Report) {
		if rep.Started && !before.Started {
			starts <- time.Now()
		}
		if rep.Ended && !before.Ended {
			ends <- time.Now()
		}
		before = rep
	}
}

// Watch waits until ended has something, which it returns, and calls kill at the
// time limit, when ctx ends, or when the command does not even start.
func (c *Course) Watch(ctx context.Context, ended <-chan error, kill func()) error {
	deadline := time.NewTimer(LaunchTimeout)
	defer deadline.Stop()
	var undead <-chan time.Time // fires when even SIGKILL did not help
	killOnce := func() {
		if undead == nil {
			undead = time.After(KillTimeout)
			kill()
		}
	}
	cancelled, starts, ends := ctx.Done(), c.starts, c.ends
	for {
		select {
		case err := <-ended:
			return err
		case c.startedAt = <-starts:
			starts = nil
			deadline.Reset(c.limits.Timeout())
		case c.endedAt = <-ends:
			ends = nil
			deadline.Reset(KillTimeout) // PID 1 is exiting
		case <-cancelled:
			cancelled = nil
			killOnce()
		case <-deadline.C:
			c.timedOut = undead == nil && !c.startedAt.IsZero() && c.endedAt.IsZero()
			killOnce()
		case <-undead:
			return ErrUndead
		}
	}
}

// Result tells how the command of a dead container ended, from PID 1's report;
// only when there is none, or PID 1 cannot know, does oomKilled's word count.
// drained is how the streams ended, and how what else is known of the container's end.
func (c *Course) Result(oomKilled func() bool, drained error, how string) (sandbox.Result, error) {
	rep := c.Report.Report()
	res := sandbox.Result{LogTruncated: c.Log.Truncated()}
	c.times(&res)
	switch {
	case c.OutOfMemory, rep.Ended && rep.OOMKills > 0:
		c.outOfMemory(&res)
	case rep.Ended && rep.Signal != 0:
		if rep.OOMKills < 0 && rep.Signal == int(syscall.SIGKILL) && oomKilled() {
			c.outOfMemory(&res)
			break
		}
		res.Status, res.Signal = sandbox.Signaled, rep.Signal
	case rep.Ended:
		res.Status, res.ExitCode = sandbox.Exited, rep.Code
	case c.timedOut:
		res.Status = sandbox.Timeout
		res.Detail = fmt.Sprintf("killed at its time limit of %v", c.limits.Timeout())
	case rep.Failure != "":
		return sandbox.Result{}, Unavailable(errors.New("the container's first process failed: " + rep.Failure))
	case oomKilled():
		c.outOfMemory(&res)
	case drained != nil:
		return sandbox.Result{}, Unavailable(fmt.Errorf("the connection to the container broke: %w", drained))
	default:
		return sandbox.Result{}, Unavailable(fmt.Errorf("the container ended from outside, %s, before its command did%s", how, c.stray()))
	}
	return res, nil
}

// stray is what came with the report and is none, such as the last words of a
// first process that broke.
func (c *Course) stray() string {
	text := strings.Join(strings.Fields(c.Report.Stray()), " ")
	if text == "" {
		return ""
	}
	return "; it said: " + text[:min(len(text), maxStray)]
}

// maxStray is what is shown of a process's last words: a person reads them.
const maxStray = 1000

func (c *Course) outOfMemory(res *sandbox.Result) {
	res.Status = sandbox.OOM
	res.Detail = fmt.Sprintf("killed at its memory limit of %d bytes, which what it writes to %s and /tmp counts against", c.limits.MemoryBytes, sandbox.WorkRoot)
}

// times settles when the command ran; a report may have come with the exit.
func (c *Course) times(res *sandbox.Result) {
	end := time.Now()
	select {
	case c.startedAt = <-c.starts:
	default:
	}
	select {
	case c.endedAt = <-c.ends:
	default:
	}
	if c.startedAt.IsZero() {
		c.startedAt = end
	}
	if c.endedAt.IsZero() {
		c.endedAt = end
	}
	res.SetupNanos = c.startedAt.Sub(c.began).Nanoseconds()
	res.RunNanos = c.endedAt.Sub(c.startedAt).Nanoseconds()
}

package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gavel/sandbox"
)

func never() bool { return false }

func courseOf(log *bytes.Buffer) *Course {
	s := sandbox.Spec{Log: log, Limits: sandbox.Limits{TimeMillis: 1000}.WithDefaults()}
	return NewCourse(s, time.Now())
}

func TestCourseResult(t *testing.T) {
	killed := func() bool { return true }
	for name, c := range map[string]struct {
		report    string
		seen      bool // the runner itself saw a kill for memory
		oomKilled func() bool
		drained   error
		want      sandbox.Result
		says      string // of the error, or else of Detail
	}{
		"exit":                {"started\nended 3 0 0\n", false, killed, nil, sandbox.Result{Status: sandbox.Exited, ExitCode: 3}, ""},
		"exit, cut log":       {"started\nended 3 0 0\n", false, killed, errors.New("cut"), sandbox.Result{Status: sandbox.Exited, ExitCode: 3}, ""},
		"signal":              {"started\nended 0 15 0\n", false, killed, nil, sandbox.Result{Status: sandbox.Signaled, Signal: 15}, ""},
		"killed":              {"started\nended 0 9 0\n", false, killed, nil, sandbox.Result{Status: sandbox.Signaled, Signal: 9}, ""},
		"killed, unseen":      {"started\nended 0 9 -1\n", false, killed, nil, sandbox.Result{Status: sandbox.OOM}, "memory limit"},
		"killed by itself":    {"started\nended 0 9 -1\n", false, never, nil, sandbox.Result{Status: sandbox.Signaled, Signal: 9}, ""},
		"child out of memory": {"started\nended 0 0 1\n", false, never, nil, sandbox.Result{Status: sandbox.OOM}, "memory limit"},
		"seen by the runner":  {"started\nended 0 0 -1\n", true, never, nil, sandbox.Result{Status: sandbox.OOM}, "memory limit"},
		"first process gone":  {"started\n", false, killed, nil, sandbox.Result{Status: sandbox.OOM}, "memory limit"},
		"from outside":        {"started\n", false, never, nil, sandbox.Result{}, "with code 7, before its command did"},
		"last words":          {"started\npanic: x\n\ngoroutine 1\n", false, never, nil, sandbox.Result{}, "it said: panic: x goroutine 1"},
		"lost":                {"started\n", false, never, errors.New("cut"), sandbox.Result{}, "cut"},
		"failed":              {"failed no room\n", false, never, nil, sandbox.Result{}, "no room"},
	} {
		t.Run(name, func(t *testing.T) {
			co := courseOf(nil)
			co.OutOfMemory = c.seen
			fmt.Fprint(&co.Report, c.report)
			got, err := co.Result(c.oomKilled, c.drained, "with code 7")
			if c.want.Status == 0 {
				if !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error %v, want one that says %q", err, c.says)
				}
				return
			}
			if err != nil || got.Status != c.want.Status || got.ExitCode != c.want.ExitCode || got.Signal != c.want.Signal || !strings.Contains(got.Detail, c.says) {
				t.Errorf("%+v, %v; want %+v that says %q", got, err, c.want, c.says)
			}
		})
	}
}

// Watch kills once, at the first reason, and waits for the end.
func TestCourseWatch(t *testing.T) {
	lost := errors.New("lost")
	for name, c := range map[string]struct {
		start, end, cancel time.Duration // when it is reported or done; 0 is never
		dies               time.Duration // after the kill; 0 is never
		loses              time.Duration
		wantAt             time.Duration
		want               error
		killed             bool
		timedOut           bool
	}{
		"ends":              {start: time.Second, end: 1900 * time.Millisecond, wantAt: 1900 * time.Millisecond},
		"time limit":        {start: time.Second, dies: 50 * time.Millisecond, wantAt: 2050 * time.Millisecond, killed: true, timedOut: true},
		"never starts":      {dies: time.Millisecond, wantAt: LaunchTimeout + time.Millisecond, killed: true},
		"cancelled":         {start: time.Second, cancel: 1500 * time.Millisecond, dies: time.Second, wantAt: 2500 * time.Millisecond, killed: true},
		"undead":            {start: time.Second, cancel: 1500 * time.Millisecond, wantAt: 1500*time.Millisecond + KillTimeout, want: ErrUndead, killed: true},
		"lost":              {start: time.Second, loses: 1200 * time.Millisecond, wantAt: 1200 * time.Millisecond, want: lost},
		"ended but remains": {start: time.Second, end: -1, dies: time.Second, wantAt: 1500*time.Millisecond + KillTimeout + time.Second, killed: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				co := courseOf(nil)
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				ended := make(chan error, 1)
				after := func(d time.Duration, what func()) {
					if d > 0 {
						time.AfterFunc(d, what)
					}
				}
				var one sync.Mutex // one goroutine writes a report
				say := func(line string) {
					one.Lock()
					defer one.Unlock()
					fmt.Fprint(&co.Report, line)
				}
				after(c.start, func() { say("started\n") })
				after(c.end, func() { say("ended 0 0 0\n"); ended <- nil })
				if c.end < 0 { // PID 1 says so, and does not exit
					after(1500*time.Millisecond, func() { say("ended 0 0 0\n") })
				}
				after(c.cancel, cancel)
				after(c.loses, func() { ended <- lost })
				kills := 0
				err := co.Watch(ctx, ended, func() {
					kills++
					after(c.dies, func() { ended <- nil })
				})
				if took := time.Since(began); err != c.want || took != c.wantAt || (kills == 1) != c.killed || kills > 1 || co.timedOut != c.timedOut {
					t.Errorf("%v after %v, %d kills, timed out %v; want %v after %v", err, took, kills, co.timedOut, c.want, c.wantAt)
				}
			})
		})
	}
}

// No cgroup's name may be taken for that of every container.
func TestKillOfNothing(t *testing.T) {
	Kill("", time.Minute) // which would include this test
	Kill("gavel-no-such-container", time.Minute)
}

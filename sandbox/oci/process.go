package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/container/pid1"
)

// process is one container from its start to its removal. All its methods run in
// Run's goroutine; the streams' goroutines touch the course's log and report.
type process struct {
	r      *Runner
	run    string
	course *container.Course

	input    *os.File   // PID 1's; closing it ends PID 1
	log      *os.File   // the command's output
	report   *os.File   // PID 1's words
	drained  chan error // the log's end, once
	reported chan error // the report's end, once: PID 1 is exiting
}

// execute starts the container, sees it to its end, and removes it.
func (p *process) execute(ctx context.Context, order pid1.Order, uid int) (_ sandbox.Result, err error) {
	theirs, err := p.open(uid)
	if err != nil {
		return sandbox.Result{}, container.Unavailable(fmt.Errorf("making the container's streams: %w", err))
	}
	defer p.close()
	defer func() {
		if rmErr := p.remove(ctx); rmErr != nil && err == nil {
			err = rmErr
		}
	}()
	// Cancelling ctx must not leave it open whether the container has started.
	starting, cancel := context.WithTimeout(context.WithoutCancel(ctx), runtimeTimeout)
	defer cancel()
	go p.input.Write(pid1.AppendOrder(nil, order)) // what does not arrive shows as a command that does not start
	pid, err := p.r.runtime.start(starting, p.r.bundlePath(p.run), p.run, theirs)
	for _, f := range theirs {
		f.Close() // the container has its own of them
	}
	if err != nil {
		if ctx.Err() != nil {
			return sandbox.Result{}, ctx.Err()
		}
		return sandbox.Result{}, err
	}
	first, err := p.find(pid)
	if err != nil {
		return sandbox.Result{}, container.Unavailable(err)
	}
	ended := make(chan error, 1)
	go func() {
		<-p.reported
		ended <- awaitExit(first)
	}()
	if err := p.course.Watch(ctx, ended, p.kill); err != nil {
		return sandbox.Result{}, container.Unavailable(fmt.Errorf("container %s did not die within %v of SIGKILL: %w", p.run, container.KillTimeout, err))
	}
	drainErr := p.drain()
	if err := ctx.Err(); err != nil {
		return sandbox.Result{}, err
	}
	p.course.OutOfMemory = p.oomKilled()
	return p.course.Result(func() bool { return false }, drainErr, "without a report of its first process")
}

// open makes the streams and begins to read; it returns the container's ends.
func (p *process) open(uid int) (theirs [3]*os.File, err error) {
	var opened []*os.File
	defer func() {
		if err != nil {
			for _, f := range opened {
				f.Close()
			}
		}
	}()
	pipe := func(ours, other **os.File, oursReads bool) {
		if err != nil {
			return
		}
		var r, w *os.File
		if r, w, err = os.Pipe(); err != nil {
			return
		}
		opened = append(opened, r, w)
		if *ours, *other = w, r; oursReads {
			*ours, *other = r, w
		}
	}
	pipe(&p.input, &theirs[0], false)
	pipe(&p.log, &theirs[1], true)
	pipe(&p.report, &theirs[2], true)
	if err != nil {
		return theirs, err
	}
	// So that the command can open /dev/stdout by name, as in an engine's container.
	if err = theirs[1].Chown(sandbox.IDBase+uid, sandbox.IDBase+uid); err != nil {
		return theirs, err
	}
	p.drained, p.reported = make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := io.Copy(p.course.Log, p.log)
		p.drained <- err
	}()
	go func() {
		_, err := io.Copy(&p.course.Report, p.report)
		p.reported <- err
	}()
	return theirs, nil
}

// find takes hold of PID 1. One that has ended already may be reaped, and its
// number another's; then there is none, which is -1.
func (p *process) find(pid int) (fd int, err error) {
	fd, err = unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("taking hold of a container's first process: %w", err)
	}
	if !container.Exited(fd, 0) && !container.Holds(pid, p.run) {
		return -1, unix.Close(fd)
	}
	return fd, nil
}

// awaitExit waits for the exit of PID 1, whose report has ended; with it the
// kernel ends everything in the container.
func awaitExit(first int) error {
	if first < 0 {
		return nil
	}
	defer unix.Close(first)
	if !container.Exited(first, container.KillTimeout) {
		return container.ErrUndead
	}
	return nil
}

// kill sends SIGKILL to whatever is in the container, PID 1 among it.
func (p *process) kill() { container.Kill(p.run, container.KillTimeout) }

// oomKilled says whether the container was killed in for memory.
func (p *process) oomKilled() bool {
	mounts, err := findHierarchies()
	return err == nil && mounts.oomKilled(p.r.cgroup(p.run))
}

// drain waits for the log's end: everybody who could write is dead.
func (p *process) drain() error {
	late := time.NewTimer(container.DrainTimeout)
	defer late.Stop()
	select {
	case err := <-p.drained:
		p.drained = nil
		return err
	case <-late.C:
		return fmt.Errorf("the log did not end within %v of its container", container.DrainTimeout)
	}
}

// remove kills what is left and removes the container.
func (p *process) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), runtimeTimeout)
	defer cancel()
	p.input.Close()
	if err := p.r.runtime.remove(ctx, p.run); err != nil {
		return err
	}
	mounts, err := findHierarchies()
	if err != nil {
		return container.Unavailable(err)
	}
	for _, dir := range mounts.groups(p.r.cgroup(p.run)) { // of a start that failed halfway
		p.kill()
		if err := removeGroup(dir); err != nil {
			return container.Unavailable(err)
		}
	}
	return nil
}

// close ends the streams and waits for their goroutines, so that nothing is
// logged after Run.
func (p *process) close() {
	p.input.Close()
	p.log.Close()
	p.report.Close()
	if p.drained != nil {
		<-p.drained
	}
}

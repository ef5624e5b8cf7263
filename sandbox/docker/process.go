package docker

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"gavel/sandbox"
	"gavel/sandbox/docker/pid1"
)

// process is one container from attaching to its death. All its methods run in
// Run's goroutine; the stream's goroutine touches log, report and the channels.
type process struct {
	r         *Runner
	container string // its name
	id        string // what the engine calls it, and its cgroup
	began     time.Time
	limits    sandbox.Limits
	log       *sandbox.CappedLog

	stream  *types.HijackedResponse // nil unless attached
	drained chan error              // the stream's end, once; report may be read after it
	report  pid1.ReportReader
	starts  chan time.Time // when PID 1 reported the command's start, once
	ends    chan time.Time // and its end, once

	startedAt, endedAt time.Time // zero until known
	timedOut           bool
}

// attach connects to the container that has been created, and sends what to run.
func (p *process) attach(ctx context.Context, o pid1.Order) error {
	stream, err := p.r.attach(ctx, p.container)
	if err != nil {
		return err
	}
	p.stream = &stream
	p.starts, p.ends = make(chan time.Time, 1), make(chan time.Time, 1)
	p.report = pid1.ReportReader{OnLine: stamp(p.starts, p.ends)}
	drained := make(chan error, 1)
	p.drained = drained
	go func() {
		_, err := stdcopy.StdCopy(p.log, &p.report, stream.Reader)
		drained <- err
	}()
	// The engine takes input before the container starts, as far as its buffers
	// go; what does not arrive shows as a command that does not start.
	go stream.Conn.Write(pid1.AppendOrder(nil, o))
	return nil
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

// attach opens the container's streams. The client's own call ignores ctx once
// it is connected, so an engine that hangs is left behind here.
func (r *Runner) attach(ctx context.Context, name string) (types.HijackedResponse, error) {
	type answer struct {
		stream types.HijackedResponse
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		stream, err := r.engine.ContainerAttach(ctx, name, container.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
		answers <- answer{stream, err}
	}()
	select {
	case a := <-answers:
		return a.stream, a.err
	case <-ctx.Done():
		go func() {
			if a := <-answers; a.err == nil {
				a.stream.Close()
			}
		}()
		return types.HijackedResponse{}, ctx.Err()
	}
}

// detach closes the streams, which also ends the container, and waits for their
// goroutine, so that nothing is logged after Run.
func (p *process) detach() {
	if p.stream == nil {
		return
	}
	p.stream.Close()
	p.awaitStream(0)
	p.stream = nil
}

// execute starts the container and sees it to its end.
func (p *process) execute(ctx context.Context) (sandbox.Result, error) {
	watched, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	exited, lost := p.r.engine.ContainerWait(watched, p.container, container.WaitConditionNextExit)
	// Cancelling ctx must not leave it open whether the container has started.
	starting, cancelStart := context.WithTimeout(watched, callTimeout)
	defer cancelStart()
	if err := p.r.engine.ContainerStart(starting, p.container, container.StartOptions{}); err != nil {
		if connectionLost(err) || starting.Err() != nil { // it may have started
			return sandbox.Result{}, p.lostWhile(ctx, err)
		}
		if ctx.Err() != nil {
			return sandbox.Result{}, ctx.Err()
		}
		return sandbox.Result{}, unavailable(fmt.Errorf("starting a container: %w", err))
	}
	answer, err := p.watch(ctx, exited, lost)
	if err != nil {
		return sandbox.Result{}, err
	}
	drainErr := p.awaitStream(drainTimeout)
	if err := ctx.Err(); err != nil {
		return sandbox.Result{}, err
	}
	return p.result(ctx, answer, drainErr)
}

// watch waits for the container's end, and kills it at the time limit, when ctx
// ends, or when the command does not even start.
func (p *process) watch(ctx context.Context, exited <-chan container.WaitResponse, lost <-chan error) (container.WaitResponse, error) {
	deadline := time.NewTimer(launchTimeout)
	defer deadline.Stop()
	var undead <-chan time.Time // fires when even SIGKILL did not help
	kill := func() {
		if undead == nil {
			undead = time.After(killTimeout)
			p.kill(ctx)
		}
	}
	cancelled, starts, ends := ctx.Done(), p.starts, p.ends
	for {
		select {
		case answer := <-exited:
			return answer, nil
		case err := <-lost:
			return container.WaitResponse{}, p.lostWhile(ctx, err)
		case p.startedAt = <-starts:
			starts = nil
			deadline.Reset(p.limits.Timeout())
		case p.endedAt = <-ends:
			ends = nil
			deadline.Reset(killTimeout) // PID 1 is exiting
		case <-cancelled:
			cancelled = nil
			kill()
		case <-deadline.C:
			p.timedOut = !p.startedAt.IsZero() && p.endedAt.IsZero()
			kill()
		case <-undead:
			return container.WaitResponse{}, unavailable(fmt.Errorf("container %s did not die within %v of SIGKILL; see docker ps", p.container, killTimeout))
		}
	}
}

// kill sends SIGKILL to PID 1, with which everything in the container dies:
// through the engine, or past an engine that does not answer. An engine that says
// the container is not running tells the same to the wait.
func (p *process) kill(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killCallTimeout)
	defer cancel()
	err := p.r.engine.ContainerKill(ctx, p.container, "KILL")
	if err != nil && (connectionLost(err) || ctx.Err() != nil) {
		p.stream.Close()
		killContainer(p.id, killTimeout)
	}
}

// lostWhile ends a run whose engine is lost: how the command would have ended
// is unknown, and it must not go on.
func (p *process) lostWhile(ctx context.Context, err error) error {
	p.stream.Close() // PID 1 ends by this, where an engine is left to tell it
	killContainer(p.id, killTimeout)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return unavailable(fmt.Errorf("the Docker engine was lost while the command ran; the build can be repeated once it is back: %w", err))
}

// awaitStream waits for the log's end, at most patience long, and then closes it.
func (p *process) awaitStream(patience time.Duration) error {
	if p.drained == nil {
		return nil
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	var err error
	select {
	case err = <-p.drained:
	case <-late.C:
		p.stream.Close()
		<-p.drained
		err = fmt.Errorf("the log did not end within %v of its container", patience)
	}
	p.drained = nil
	return err
}

// result tells how the command ended from PID 1's report; only when there is
// none does the engine's word count.
func (p *process) result(ctx context.Context, answer container.WaitResponse, drainErr error) (sandbox.Result, error) {
	rep := p.report.Report()
	res := sandbox.Result{LogTruncated: p.log.Truncated()}
	p.times(&res)
	switch {
	case rep.Ended && rep.OOMKills > 0:
		p.outOfMemory(&res)
	case rep.Ended && rep.Signal != 0:
		if rep.OOMKills < 0 && rep.Signal == int(syscall.SIGKILL) && p.r.oomKilled(ctx, p.container) {
			p.outOfMemory(&res)
			break
		}
		res.Status, res.Signal = sandbox.Signaled, rep.Signal
	case rep.Ended:
		res.Status, res.ExitCode = sandbox.Exited, rep.Code
	case p.timedOut:
		res.Status = sandbox.Timeout
		res.Detail = fmt.Sprintf("killed at its time limit of %v", p.limits.Timeout())
	case rep.Failure != "":
		return sandbox.Result{}, unavailable(errors.New("the container's first process failed: " + rep.Failure))
	case p.r.oomKilled(ctx, p.container):
		p.outOfMemory(&res)
	case drainErr != nil:
		return sandbox.Result{}, unavailable(fmt.Errorf("the connection to the container broke: %w", drainErr))
	default:
		return sandbox.Result{}, unavailable(fmt.Errorf("the container ended from outside, with exit code %d, before its command did", answer.StatusCode))
	}
	return res, nil
}

func (p *process) outOfMemory(res *sandbox.Result) {
	res.Status = sandbox.OOM
	res.Detail = fmt.Sprintf("killed at its memory limit of %d bytes, which what it writes to %s and /tmp counts against", p.limits.MemoryBytes, sandbox.WorkRoot)
}

// times settles when the command ran; a report may have come with the exit.
func (p *process) times(res *sandbox.Result) {
	end := time.Now()
	select {
	case p.startedAt = <-p.starts:
	default:
	}
	select {
	case p.endedAt = <-p.ends:
	default:
	}
	if p.startedAt.IsZero() {
		p.startedAt = end
	}
	if p.endedAt.IsZero() {
		p.endedAt = end
	}
	res.SetupNanos = p.startedAt.Sub(p.began).Nanoseconds()
	res.RunNanos = p.endedAt.Sub(p.startedAt).Nanoseconds()
}

// oomKilled asks whether the engine saw a container killed for memory. Its word
// of that may come after that of the exit.
func (r *Runner) oomKilled(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, oomTimeout)
	defer cancel()
	tick := time.NewTicker(oomPoll)
	defer tick.Stop()
	for {
		found, err := r.engine.ContainerInspect(ctx, name)
		if err != nil {
			return false
		}
		if found.State.OOMKilled {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

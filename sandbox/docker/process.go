package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types"
	engine "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/container/pid1"
)

// process is one container from before it is made to its death. All its methods
// run in one goroutine, Run's or that which makes a spare; the stream's goroutine
// touches the course's log and report.
type process struct {
	r         *Runner
	run       string
	scratch   container.Scratch
	container string // its name
	id        string // what the engine calls it, and its cgroup
	course    *container.Course

	stream  *types.HijackedResponse // nil unless attached
	drained chan error              // the stream's end, once; nil unless commanded

	pid, pidfd int // of the first process of a spare, otherwise 0 and -1
	exited     <-chan engine.WaitResponse
	lost       <-chan error
	unwatch    context.CancelFunc // ends the wait for these; nil before it
}

// newProcess names a container that bears this run and none that is swept.
func (r *Runner) newProcess() *process {
	run := container.NewRunID()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs[run] = true
	return &process{r: r, run: run, scratch: r.place.Run(run), container: containerName(run), pidfd: -1}
}

// end lets everything go that the process holds; the container must be dead, or
// have nothing to do. The tmpfs goes first, so that its memory is not held while
// the engine removes the container in the background.
func (p *process) end() error {
	p.detach()
	if p.unwatch != nil {
		p.unwatch()
	}
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
		p.pidfd = -1
	}
	err := p.scratch.Remove()
	p.r.discard(p.run)
	return err
}

// attach connects to the container that has been created.
func (p *process) attach(ctx context.Context) error {
	stream, err := p.r.attach(ctx, p.container)
	if err != nil {
		return err
	}
	p.stream = &stream
	return nil
}

// command sends what to run to PID 1, and follows what comes of it in course.
func (p *process) command(order pid1.Order, course *container.Course) {
	stream := p.stream
	drained := make(chan error, 1)
	p.course, p.drained = course, drained
	go func() {
		_, err := stdcopy.StdCopy(course.Log, &course.Report, stream.Reader)
		drained <- err
	}()
	// The engine takes input before the container starts, as far as its buffers
	// go; what does not arrive shows as a command that does not start.
	go stream.Conn.Write(pid1.AppendOrder(nil, order))
}

// watch begins to wait for the container's exit. An engine that hangs is lost.
func (p *process) watch(ctx context.Context, until engine.WaitCondition) {
	watched, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.unwatch = cancel
	late := time.AfterFunc(callTimeout, cancel)
	defer late.Stop()
	p.exited, p.lost = p.r.engine.ContainerWait(watched, p.container, until)
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
		stream, err := r.engine.ContainerAttach(ctx, name, engine.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
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

// start starts a container that has got its command.
func (p *process) start(ctx context.Context) error {
	p.watch(ctx, engine.WaitConditionNextExit)
	// Cancelling ctx must not leave it open whether the container has started.
	starting, cancelStart := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancelStart()
	err := p.r.engine.ContainerStart(starting, p.container, engine.StartOptions{})
	switch {
	case err == nil:
		return nil
	case connectionLost(err) || starting.Err() != nil: // it may have started
		return p.lostWhile(ctx, err)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return container.Unavailable(fmt.Errorf("starting a container: %w", err))
}

// follow sees a container that has started, with its command, to its end.
func (p *process) follow(ctx context.Context) (sandbox.Result, error) {
	var exitCode int64
	ended := make(chan error, 1)
	go func() {
		select {
		case answer := <-p.exited:
			exitCode = answer.StatusCode
			ended <- nil
		case err := <-p.lost:
			ended <- err
		}
	}()
	if err := p.course.Watch(ctx, ended, func() { p.kill(ctx) }); errors.Is(err, container.ErrUndead) {
		return sandbox.Result{}, container.Unavailable(fmt.Errorf("container %s did not die within %v of SIGKILL; see docker ps", p.container, container.KillTimeout))
	} else if err != nil {
		return sandbox.Result{}, p.lostWhile(ctx, err)
	}
	drainErr := p.awaitStream(container.DrainTimeout)
	if err := ctx.Err(); err != nil {
		return sandbox.Result{}, err
	}
	return p.course.Result(func() bool { return p.r.oomKilled(ctx, p.container) }, drainErr, fmt.Sprintf("with exit code %d", exitCode))
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
		container.Kill(p.id, container.KillTimeout)
	}
}

// lostWhile ends a run whose engine is lost: how the command would have ended
// is unknown, and it must not go on.
func (p *process) lostWhile(ctx context.Context, err error) error {
	p.stream.Close() // PID 1 ends by this, where an engine is left to tell it
	container.Kill(p.id, container.KillTimeout)
	p.r.mu.Lock()
	p.r.lost[p.run] = p.id
	p.r.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return container.Unavailable(fmt.Errorf("the Docker engine was lost while the command ran; the build can be repeated once it is back: %w", err))
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

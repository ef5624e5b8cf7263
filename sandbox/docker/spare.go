package docker

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	cerrdefs "github.com/containerd/errdefs"
	engine "github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/container"
)

// kind is all that a container is made for before it gets an order and inputs.
// What a Spec has beyond that must not show in the container's config.
type kind struct {
	root   string
	limits sandbox.Limits // but for time and log, which the engine does not see
	cpus   string         // what shows them
}

// kindOf is the kind of s, whose limits are complete, unless a container must be
// made for it alone: for a variation, or for the machine's network, whose
// resolv.conf may change while a spare waits.
func kindOf(s sandbox.Spec, shown string) (kind, bool) {
	k := kind{root: s.Root, limits: s.Limits, cpus: shown}
	k.limits.TimeMillis, k.limits.LogBytes = 0, 0
	return k, !s.Network && s.Variation == sandbox.Variation{}
}

// A spare is a container that was started ahead: PID 1 waits for an order, over a
// build directory that is still empty, so that a command waits neither for the
// engine nor for a runtime (nine tenths of a start). There is at most one, made
// when a Run has ended, since each holds a process, a shim and an engine's memory.
type spare struct {
	kind kind
	made chan struct{} // closed when process is settled
	// process is nil if the spare could not be made. It belongs to whoever took
	// the spare out of Runner.spare, and only after made.
	process *process
}

// makeSpare begins to start a container for the next Run of this kind, unless
// there is a spare. One of another kind stays until two Runs in a row were not of it.
func (r *Runner) makeSpare(k kind, facts imageFacts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	again := r.lastKind == k
	r.lastKind = k
	if r.closed || r.spoilt >= maxSpoilt {
		return
	}
	if old := r.spare; old != nil {
		if old.kind == k || !again {
			return
		}
		r.dropLater(old)
	}
	s := &spare{kind: k, made: make(chan struct{})}
	r.spare = s
	go func() {
		defer close(s.made)
		p, err := r.startAhead(k, facts)
		if err == nil {
			s.process = p
		} else if !cerrdefs.IsNotFound(err) && !connectionLost(err) { // image let go; engine away
			r.spoil()
		}
	}()
}

// spoil counts a spare that came to nothing where it should have served. Where that
// is the rule, such as with a runtime of virtual machines, none are made any more.
func (r *Runner) spoil() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spoilt++
}

// startAhead makes the container of a spare; of one that fails nothing stays.
func (r *Runner) startAhead(k kind, facts imageFacts) (_ *process, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	p := r.newProcess()
	defer func() {
		if err != nil {
			err = errors.Join(err, p.abandon())
		}
	}()
	s := sandbox.Spec{Root: k.root, Limits: k.limits}
	if err := p.scratch.MakeAhead(container.TreeOf(s, 0)); err != nil {
		return nil, err
	}
	if p.id, err = r.create(ctx, p.run, s, facts, files{p.scratch, k.cpus}); err != nil {
		return nil, err
	}
	// Before it starts: when this process is killed the stream ends, and with it PID 1.
	if err := p.attach(ctx); err != nil {
		return nil, err
	}
	if err := r.engine.ContainerStart(ctx, p.container, engine.StartOptions{}); err != nil {
		return nil, err
	}
	found, err := r.engine.ContainerInspect(ctx, p.container)
	if err != nil {
		return nil, err
	}
	return p, p.hold(found.State.Pid)
}

// hold opens the container's first process, so that it is known to live, and can
// be killed, without the engine.
func (p *process) hold(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("opening the first process of container %s: %w", p.container, err)
	}
	if !container.Holds(pid, p.id) || container.Exited(fd, 0) {
		unix.Close(fd)
		return fmt.Errorf("process %d, the first of container %s, is not in its cgroup", pid, p.container)
	}
	p.pid, p.pidfd = pid, fd
	return nil
}

// takeSpare hands the spare of s out, with the inputs of s, or nil where there is
// none that is fit: a spare that does not serve costs its Run no more than time.
func (r *Runner) takeSpare(ctx context.Context, s sandbox.Spec, shown string) *process {
	k, ok := kindOf(s, shown)
	if !ok {
		return nil
	}
	r.mu.Lock()
	sp := r.spare
	if sp == nil || sp.kind != k {
		r.mu.Unlock()
		return nil
	}
	r.spare = nil
	r.mu.Unlock()
	select {
	case <-sp.made:
	case <-ctx.Done():
		r.dropLater(sp)
		return nil
	}
	p := sp.process
	if p == nil {
		return nil
	}
	if !p.waits(ctx) || p.fill(s) != nil {
		r.dropLater(sp)
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spoilt = 0
	return p
}

// waits says whether the spare still waits for its order, and begins to watch it.
func (p *process) waits(ctx context.Context) bool {
	if container.Exited(p.pidfd, 0) || !p.silent() {
		return false
	}
	// An engine that answers this is there. A spare that ends afterwards ends the run.
	p.watch(ctx, engine.WaitConditionNotRunning)
	select {
	case <-p.lost:
		return false
	case <-p.exited:
		return false
	default:
		return p.silent()
	}
}

// silent says whether the stream is open and nothing came on it: PID 1 has nothing
// to say yet. The kernel is asked, since an engine may just have gone.
func (p *process) silent() bool {
	conn, ok := p.stream.Conn.(interface {
		SyscallConn() (syscall.RawConn, error)
	})
	if !ok || p.stream.Reader.Buffered() > 0 {
		return false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var n int
	err = raw.Control(func(fd uintptr) {
		n, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}, 0)
	})
	return err == nil && n == 0
}

// fill gives the spare the inputs of s, and makes sure that it sees them.
func (p *process) fill(s sandbox.Spec) error {
	err := p.scratch.Fill(container.TreeOf(s, 0))
	if err != nil {
		return err // the container that is made instead tells why
	}
	if err = p.scratch.ShownIn(p.pid, s.Surroundings().WorkRoot); err != nil {
		p.r.spoil()
	}
	return err
}

// abandon ends a container that got no order: it kills PID 1 past the engine,
// which may be gone, and has the rest removed.
func (p *process) abandon() error {
	if p.pidfd < 0 {
		container.Kill(p.id, container.KillTimeout) // where it started although its start failed
	} else if err := unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0); err == nil {
		container.Exited(p.pidfd, container.KillTimeout)
	}
	return p.end()
}

// drop waits until the spare is made and ends it.
func (s *spare) drop() error {
	<-s.made
	if s.process == nil {
		return nil
	}
	return s.process.abandon()
}

// dropLater drops a spare that was taken out of Runner.spare, in the background.
func (r *Runner) dropLater(s *spare) {
	r.removals.Add(1)
	go func() {
		defer r.removals.Done()
		err := s.drop()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.dropErr = errors.Join(r.dropErr, err)
	}()
}

// dropSpare ends the spare, if there is one; its container is removed among the removals.
func (r *Runner) dropSpare() {
	r.mu.Lock()
	s := r.spare
	r.spare = nil
	r.mu.Unlock()
	if s != nil {
		r.dropLater(s)
	}
}

// dropSpareOf ends the spare if it needs this image, and returns when its
// container is gone.
func (r *Runner) dropSpareOf(ctx context.Context, root string) error {
	r.mu.Lock()
	s := r.spare
	if s == nil || s.kind.root != root {
		r.mu.Unlock()
		return nil
	}
	r.spare = nil
	r.mu.Unlock()
	if err := s.drop(); err != nil || s.process == nil {
		return err
	}
	return r.retry(ctx, "removing a container", func(ctx context.Context) error {
		return r.remove(ctx, s.process.container)
	})
}

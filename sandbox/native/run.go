package native

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/clock"
	"gavel/sandbox/native/box"
)

const (
	// setupPatience bounds building a sandbox, which takes milliseconds.
	setupPatience = 30 * time.Second
	// logPatience bounds reading what the log pipe still holds after all writers of
	// the sandbox are dead; only a descriptor smuggled out could keep it open.
	logPatience = time.Second
	// deathPatience is how much later than its boxes a dying spawner can be seen dead.
	deathPatience = 200 * time.Millisecond
	// spawnAttempts bounds how often a command that never started is tried with another spawner.
	spawnAttempts = 3
)

// errSpawnerLost is an end before the command started, for no fault of its own.
var errSpawnerLost = fmt.Errorf("%w: the spawner died", sandbox.ErrUnavailable)

// Run runs one command; see sandbox.Runner.
func (r *Runner) Run(ctx context.Context, s sandbox.Spec) (sandbox.Result, error) {
	if err := s.Validate(); err != nil {
		return sandbox.Result{}, err
	}
	if err := s.ValidateInputs(); err != nil {
		return sandbox.Result{}, err
	}
	leave, err := r.enter()
	if err != nil {
		return sandbox.Result{}, err
	}
	defer leave()
	imageDir, release, err := r.acquire(s.Root)
	if err != nil {
		return sandbox.Result{}, err
	}
	defer release()
	s.Limits = s.Limits.WithDefaults()
	return r.run(ctx, s, imageDir)
}

// run runs a valid Spec, whose root is unpacked in imageDir unless it is the
// machine's; one without Argv builds a sandbox and runs nothing.
func (r *Runner) run(ctx context.Context, s sandbox.Spec, imageDir string) (sandbox.Result, error) {
	plan, err := r.planFor(s, imageDir)
	if err != nil {
		return sandbox.Result{}, err
	}
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return sandbox.Result{}, err
		}
		res, err := r.attempt(ctx, plan, s)
		if !errors.Is(err, errSpawnerLost) || attempt == spawnAttempts {
			return res, err
		}
	}
}

// attempt runs s in one box.
func (r *Runner) attempt(ctx context.Context, plan *box.Plan, s sandbox.Spec) (res sandbox.Result, err error) {
	start := time.Now()
	c, err := r.take(box.Request{Network: s.Network, UID: s.Surroundings().UID, Ranged: r.ranged})
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, unavailable(c.discard())) }()
	c.start = start
	extra := int64(boxProcesses)
	if plan.Clock {
		extra += clock.Threads + clock.LauncherThreads
	}
	if c.group != nil {
		if err := c.group.limit(s.Limits, extra); err != nil {
			return res, unavailable(err)
		}
	} else {
		plan.PollBytes = uint64(s.Limits.MemoryBytes)
		processes := uint64(s.Limits.Pids + extra)
		plan.Limits = append(plan.Limits, box.Limit{Resource: unix.RLIMIT_NPROC, Soft: processes, Hard: processes})
	}
	log := sandbox.NewCappedLog(s.Log, s.Limits.LogBytes)
	if err := c.begin(r, plan, log); err != nil {
		return res, err
	}
	ready := r.makeSpare
	if len(s.Argv) == 0 { // only trying whether cgroups work
		ready = func() {}
	}
	if err := c.follow(ctx, s.Limits.Timeout(), ready); err != nil {
		return res, err
	}
	if err := ctx.Err(); err != nil {
		return res, err
	}
	return c.result(ctx, s, log)
}

func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", sandbox.ErrUnavailable, err)
}

// command is one sandbox as the runner sees it.
type command struct {
	process *spawnerProcess
	group   *group // nil where the machine refuses cgroups
	control *os.File
	logRead *os.File
	logDone chan struct{} // closed when the log is read to its end; nil before begin
	start   time.Time

	work      *os.File    // WorkRoot inside, once ready
	end       *box.Report // how it ended, unless it was killed
	sigkilled bool        // the first process ended by SIGKILL, whoever sent it
	setup     time.Duration
	timedOut  atomic.Bool

	mu     sync.Mutex
	pidfd  int // of the box; -1 before it is known
	killed bool
}

// launch asks a spawner for a box, which will wait for its plan.
func (r *Runner) launch(p *spawnerProcess, q box.Request) (_ *command, err error) {
	c := &command{process: p, pidfd: -1}
	var sent []int // in the order the spawner expects
	defer func() {
		closeAll(sent)
		if err != nil {
			err = unavailable(errors.Join(err, c.discard()))
		}
	}()
	if r.cgroups != nil {
		if c.group, err = r.cgroups.create(); err != nil {
			return nil, err
		}
	}
	var fd int
	if c.control, fd, err = socketPair("control"); err != nil {
		return nil, fmt.Errorf("making a control socket: %w", err)
	}
	sent = append(sent, fd)
	if c.logRead, fd, err = logPipe(); err != nil {
		return nil, fmt.Errorf("making the log pipe: %w", err)
	}
	sent = append(sent, fd)
	if c.group != nil {
		sent = append(sent, c.group.takeProcs()...)
	}
	if err := send(p.socket, q.Encode(), sent); err != nil {
		return nil, fmt.Errorf("%w: %w", c.lost(), err)
	}
	return c, nil
}

// begin sends the box its plan and starts to read the log.
func (c *command) begin(r *Runner, plan *box.Plan, log io.Writer) error {
	trees, err := r.openTrees(plan)
	if err != nil {
		return err
	}
	defer closeAll(trees)
	planFD, err := memoryFile(plan.Encode())
	if err != nil {
		return unavailable(err)
	}
	defer unix.Close(planFD)
	c.logDone = make(chan struct{})
	go c.copyLog(log)
	if err := send(c.control, []byte(box.PlanMessage), append([]int{planFD}, trees...)); err != nil {
		return fmt.Errorf("%w: %w", c.lost(), err)
	}
	return nil
}

// logPipe makes a pipe of which only this process's end has deadlines: the
// command's must block when the log is read slower than it is written.
func logPipe() (*os.File, int, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		closeAll(fds[:])
		return nil, -1, err
	}
	return os.NewFile(uintptr(fds[0]), "log"), fds[1], nil
}

func (c *command) copyLog(log io.Writer) {
	defer close(c.logDone)
	// It ends with the last writer, or at the deadline after the sandbox's death.
	_, _ = io.Copy(log, c.logRead)
}

// memoryFile puts b where a descriptor can carry it, whatever its size.
func memoryFile(b []byte) (int, error) {
	fd, err := unix.MemfdCreate("gavel-plan", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("making the plan: %w", err)
	}
	if _, err := unix.Write(fd, b); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("writing the plan: %w", err)
	}
	return fd, nil
}

// follow reads reports until the sandbox is dead, and calls ready when the command is about to start.
func (c *command) follow(ctx context.Context, timeout time.Duration, ready func()) error {
	stop := context.AfterFunc(ctx, c.kill)
	defer stop()
	var timer *time.Timer
	var failure error
	_ = c.control.SetReadDeadline(time.Now().Add(setupPatience)) // sockets have deadlines
	for {
		r, fd, err := c.receive()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				failure = fmt.Errorf("%w: building the sandbox took longer than %v", sandbox.ErrUnavailable, setupPatience)
				c.kill()
			} else if !errors.Is(err, io.EOF) {
				failure = unavailable(err)
				c.kill()
			}
			break
		}
		switch r.Kind {
		case box.Spawned:
			c.adopt(fd)
		case box.Ready:
			c.work = os.NewFile(uintptr(fd), sandbox.WorkRoot)
			c.setup = time.Since(c.start)
			_ = c.control.SetReadDeadline(time.Time{})
			timer = time.AfterFunc(timeout, func() { c.timedOut.Store(true); c.kill() })
			ready()
		case box.SpawnFailed, box.SetupFailed:
			failure = setupFailure(r)
		case box.Killed: // after whatever the box had to say
			c.sigkilled = unix.Signal(r.Code) == unix.SIGKILL
		default:
			c.end = &r
		}
	}
	if timer != nil {
		timer.Stop()
	}
	c.awaitDeath()
	c.finishLog()
	if failure != nil {
		return failure
	}
	if c.work == nil && ctx.Err() == nil {
		return c.lost()
	}
	return nil
}

// lost is errSpawnerLost, once the dead spawner is known to be dead, so that the
// next attempt waits for another.
func (c *command) lost() error {
	c.spawnerDied()
	return errSpawnerLost
}

// receive reads one report and the descriptor it carries, or -1. The end of the
// sandbox is io.EOF.
func (c *command) receive() (r box.Report, fd int, err error) {
	raw, err := c.control.SyscallConn()
	if err != nil {
		return r, -1, err
	}
	var n, rn int
	var recvErr error
	var body [box.MaxReportBytes]byte
	rights := make([]byte, unix.CmsgSpace(4))
	err = raw.Read(func(s uintptr) bool {
		n, rn, _, _, recvErr = unix.Recvmsg(int(s), body[:], rights, unix.MSG_CMSG_CLOEXEC)
		return recvErr != unix.EAGAIN && recvErr != unix.EINTR
	})
	if err = errors.Join(err, recvErr); err != nil {
		return r, -1, fmt.Errorf("reading from the sandbox: %w", err)
	}
	if n == 0 {
		return r, -1, io.EOF
	}
	fd = -1
	if messages, err := unix.ParseSocketControlMessage(rights[:rn]); err == nil && len(messages) == 1 {
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			fd = fds[0]
		}
	}
	r, err = box.DecodeReport(body[:n])
	if err == nil && fd < 0 && (r.Kind == box.Spawned || r.Kind == box.Ready) {
		err = fmt.Errorf("reading from the sandbox: %w: no descriptor", box.ErrEncoding)
	}
	return r, fd, err
}

// adopt takes the box's pidfd.
func (c *command) adopt(pidfd int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pidfd = pidfd
	if c.killed {
		c.signal()
	}
}

// kill ends the box and with it everything in its namespace, now or as soon as it is known.
func (c *command) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killed = true
	if c.pidfd >= 0 {
		c.signal()
	}
}

func (c *command) signal() {
	_ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0) // ESRCH: it is dead already
}

// awaitDeath returns when the kernel has ended every process of the namespace:
// the first one is not seen dead before.
func (c *command) awaitDeath() {
	c.mu.Lock()
	pidfd := c.pidfd
	c.mu.Unlock()
	if pidfd < 0 {
		return // it was never cloned, or died with the spawner before we knew it
	}
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1); err != unix.EINTR {
			break
		}
	}
}

// discard ends what still lives and gives back what the command held.
func (c *command) discard() error {
	if c.control != nil {
		c.kill()
		c.control.Close() // a box without pidfd yet waits for its plan, and ends without one
		c.awaitDeath()
	}
	if c.logRead != nil {
		c.finishLog()
		c.logRead.Close()
	}
	if c.work != nil {
		c.work.Close() // with it go the overlay and the memory under it
	}
	c.mu.Lock()
	if c.pidfd >= 0 {
		unix.Close(c.pidfd)
		c.pidfd = -1
	}
	c.mu.Unlock()
	if c.group != nil {
		return c.group.remove()
	}
	return nil
}

// finishLog reads what a dead sandbox left in the pipe.
func (c *command) finishLog() {
	if c.logDone != nil {
		_ = c.logRead.SetReadDeadline(time.Now().Add(logPatience)) // pipes have deadlines
		<-c.logDone
	}
}

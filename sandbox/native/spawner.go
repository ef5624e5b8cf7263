package native

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/native/box"
)

// How a spawner that died is replaced.
const (
	restartPause    = 10 * time.Millisecond // doubled with each early death
	maxRestartPause = time.Second
	steadyAfter     = 10 * time.Second // a spawner that lived so long was not broken from the start
	spawnerPatience = 5 * time.Second  // how long a Run waits for the next spawner
)

// spawner keeps one spawner process alive. It is safe for concurrent use.
type spawner struct {
	program *os.File // the binary to start, nil for this process's own
	done    chan struct{}

	mu      sync.Mutex
	process *spawnerProcess // nil between two
	changed chan struct{}   // closed and replaced whenever process changes
	closed  bool
	failure error // why the latest start failed
}

// spawnerProcess is one life of the spawner.
type spawnerProcess struct {
	socket *os.File
	died   chan struct{} // closed when it was reaped
	cmd    *exec.Cmd
}

func (p *spawnerProcess) dead() bool {
	select {
	case <-p.died:
		return true
	default:
		return false
	}
}

// startSpawner begins the first spawner and whatever replaces it.
func startSpawner(binary []byte) (*spawner, error) {
	s := &spawner{done: make(chan struct{}), changed: make(chan struct{})}
	if len(binary) > 0 {
		f, err := executable(binary)
		if err != nil {
			return nil, err
		}
		s.program = f
	}
	go s.keep()
	if _, err := s.wait(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// executable puts a program where it needs no file system that allows execution.
func executable(binary []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("gavel-init", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3 every one is executable, and none is asked for
		fd, err = unix.MemfdCreate("gavel-init", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("making an executable in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "gavel-init")
	if _, err = f.Write(binary); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("making an executable in memory: %w", err)
	}
	return f, nil
}

// keep starts spawners until close. A child gets its death signal when the
// thread that started it ends, so this one is never given back.
func (s *spawner) keep() {
	runtime.LockOSThread()
	defer close(s.done)
	pause := restartPause
	for {
		p, err := s.start()
		if !s.publish(p, err) {
			return
		}
		if err == nil {
			began := time.Now()
			_ = p.cmd.Wait() // however it ended, it is replaced
			close(p.died)
			p.socket.Close()
			if time.Since(began) > steadyAfter {
				pause = restartPause
			}
			if !s.publish(nil, nil) {
				return
			}
		}
		time.Sleep(pause)
		pause = min(2*pause, maxRestartPause)
	}
}

func (s *spawner) start() (*spawnerProcess, error) {
	ours, theirsFD, err := socketPair("spawner")
	if err != nil {
		return nil, fmt.Errorf("making the spawner's socket: %w", err)
	}
	theirs := os.NewFile(uintptr(theirsFD), "spawner")
	defer theirs.Close()
	program := "/proc/self/exe"
	if s.program != nil {
		// By this process's number: in the child, its descriptor may already be another.
		program = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.program.Fd())
	}
	cmd := &exec.Cmd{
		Path: program, Args: []string{box.SpawnerName}, Env: []string{}, Dir: "/",
		ExtraFiles: []*os.File{theirs},
		// A session of its own keeps the terminal's interrupts from it: the worker decides what ends.
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, fmt.Errorf("starting the spawner: %w", err)
	}
	return &spawnerProcess{socket: ours, died: make(chan struct{}), cmd: cmd}, nil
}

// socketPair makes a pair of sockets that keep messages apart: one for this
// process, with deadlines, and a blocking one for another.
func socketPair(name string) (ours *os.File, theirs int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, err
	}
	if err := unix.SetNonblock(pair[0], true); err != nil {
		closeAll(pair[:])
		return nil, -1, err
	}
	return os.NewFile(uintptr(pair[0]), name), pair[1], nil
}

// publish makes p, or its absence, the current process; false means closed.
func (s *spawner) publish(p *spawnerProcess, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process, s.failure = p, err
	close(s.changed)
	s.changed = make(chan struct{})
	if s.closed && p != nil { // closed while it started: nobody else will end it
		p.socket.Close()
		_ = p.cmd.Wait()
		s.process = nil
	}
	return !s.closed
}

// wait returns the living spawner, waiting a while for the next when one died.
func (s *spawner) wait() (*spawnerProcess, error) {
	late := time.NewTimer(spawnerPatience)
	defer late.Stop()
	for {
		s.mu.Lock()
		p, changed, closed, failure := s.process, s.changed, s.closed, s.failure
		s.mu.Unlock()
		if closed {
			return nil, fmt.Errorf("%w: the runner is closed", sandbox.ErrUnavailable)
		}
		if p != nil && !p.dead() {
			return p, nil
		}
		select {
		case <-changed:
		case <-late.C:
			if failure == nil {
				failure = errors.New("the spawner keeps dying")
			}
			return nil, fmt.Errorf("%w: %w", sandbox.ErrUnavailable, failure)
		}
	}
}

// send writes one message with descriptors to a socket.
func send(socket *os.File, body []byte, fds []int) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	rights := unix.UnixRights(fds...)
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), body, rights, nil, unix.MSG_NOSIGNAL)
		return sendErr != unix.EAGAIN && sendErr != unix.EINTR
	})
	return errors.Join(err, sendErr)
}

// close ends the spawner and waits until it is gone.
func (s *spawner) close() {
	s.mu.Lock()
	s.closed = true
	if s.process != nil {
		s.process.socket.Close() // end of requests, on which it exits
	}
	s.mu.Unlock()
	<-s.done
	if s.program != nil {
		s.program.Close()
	}
}

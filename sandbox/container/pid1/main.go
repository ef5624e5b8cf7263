package pid1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/clock"
	"gavel/sandbox/cpus"
	"gavel/sandbox/seccomp"
	"gavel/sandbox/signals"
)

// exitFault is the container's exit code when this program could not do its
// duty; the report line says why. The worker reads the report, not the code.
const exitFault = 125

// MaybeRun is Main when this process was started as a container's PID 1, and
// nothing otherwise. A binary that may be shown at Path calls it first in main.
func MaybeRun() {
	if clock.IsRole() {
		clock.Main()
	}
	if len(os.Args) > 0 && os.Args[0] == Path && os.Getpid() == 1 {
		Main()
	}
}

// Main carries out the Order on standard input and does not return.
func Main() {
	if clock.IsRole() {
		clock.Main() // between PID 1 and a command with a clock of its own
	}
	settleThreads()
	// The command runs under this same user. Undumpable, this process's
	// descriptors in /proc belong to root and the command cannot write a report.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fail(fmt.Errorf("hiding from the command: %w", err))
	}
	// A first process gets only signals it handles. With handlers for all, none
	// that the command sends ends the sandbox, and as handlers, unlike ignored
	// signals, do not pass through exec, the command starts with every default.
	signal.Notify(make(chan os.Signal, 1))
	signal.Reset(syscall.SIGCHLD) // harmless, and a fork bomb's thousands would keep threads busy

	order, err := ReadOrder(os.Stdin)
	if err != nil {
		fail(err)
	}
	go dieWithWorker()

	// What surround sets is a thread's own, and the command gets that of the thread
	// which starts it. Afterwards this one is as good as any: kept to one goroutine,
	// it would make the runtime need more threads than settleThreads made.
	runtime.LockOSThread()
	if err := surround(order); err != nil {
		fail(err)
	}
	wait, err := start(order)
	if !order.Clock { // the tracer of a clocked command is one thread to its end
		runtime.UnlockOSThread()
	}
	var launch launchError
	if errors.As(err, &launch) {
		code, line := sandbox.LaunchFailure(order.Argv[0], launch.err)
		os.Stdout.WriteString(line)
		report(startedLine() + endedLine(code, 0, 0))
		os.Exit(0)
	}
	if err != nil {
		fail(err)
	}
	report(startedLine())
	status, err := wait()
	if err != nil {
		fail(err)
	}
	if status.Signaled() {
		report(endedLine(0, int(status.Signal()), oomKills()))
	} else {
		report(endedLine(status.ExitStatus(), 0, oomKills()))
	}
	os.Exit(0) // with PID 1 the kernel kills whatever the command left running
}

// settleThreads makes every thread that this program will ever need. The Go
// runtime ends the process when it cannot make one, and once the command has
// used up the container's limit nobody can.
func settleThreads() {
	runtime.GOMAXPROCS(1)  // there is one command to watch
	debug.SetGCPercent(-1) // all this program keeps is the order
	var ready, release sync.WaitGroup
	release.Add(1)
	for range spareThreads {
		ready.Add(1)
		go func() {
			runtime.LockOSThread() // a thread of its own, idle afterwards
			defer runtime.UnlockOSThread()
			ready.Done()
			release.Wait()
		}()
	}
	ready.Wait()
	release.Done()
}

// surround gives this thread, from which the command is started, what of the
// command's surroundings a process inherits.
func surround(o Order) error {
	unix.Umask(int(o.Umask))
	if len(o.CPUs) > 0 {
		numbers := make([]int, 0, len(o.CPUs))
		for _, n := range o.CPUs {
			numbers = append(numbers, int(n))
		}
		if err := cpus.Bind(numbers); err != nil {
			return fmt.Errorf("choosing the command's CPUs: %w", err)
		}
	}
	if o.FixedAddresses {
		// personality(2) answers with the one that was, and -1 is an error.
		if _, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, addrNoRandomize, 0, 0); errno != 0 {
			return fmt.Errorf("turning address randomisation off: %w", errno)
		}
	}
	return setLimits()
}

// addrNoRandomize is ADDR_NO_RANDOMIZE of linux/personality.h.
const addrNoRandomize = 0x0040000

// setLimits lowers this process's resource limits, which the command inherits.
// The engine is not asked to, because it fails where its own limits are lower.
func setLimits() error {
	for _, l := range sandbox.ResourceLimits() {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(l.Resource, &now); err != nil {
			return fmt.Errorf("reading a resource limit: %w", err)
		}
		hard := min(l.Hard, now.Max)
		// By package syscall, which would else give the command back the number of
		// open files that this process started with.
		if err := syscall.Setrlimit(l.Resource, &syscall.Rlimit{Cur: min(l.Soft, hard), Max: hard}); err != nil {
			return fmt.Errorf("setting a resource limit: %w", err)
		}
	}
	return nil
}

// launchError is a failure that is the command's own: it is not there, or no program.
type launchError struct{ err error }

func (e launchError) Error() string { return e.err.Error() }

// start begins the command with standard output as both its streams, so that
// the log keeps the order in which it wrote. wait returns how the command ended.
func start(o Order) (wait func() (syscall.WaitStatus, error), err error) {
	if err := signals.Default(); err != nil {
		return nil, fmt.Errorf("forgetting what the worker ignores: %w", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	if err := os.Chdir(o.Dir); err != nil {
		return nil, fmt.Errorf("entering the working directory: %w", err)
	}
	file, err := lookPath(o.Argv[0], o.Env)
	if err != nil {
		return nil, launchError{err}
	}
	if o.Clock {
		wait, err = startWithClock(o, file, null.Fd())
	} else {
		wait, err = startPlainly(o, file, null.Fd())
	}
	var setup *clock.SetupError
	switch {
	case err == nil:
		return wait, nil
	case errors.As(err, &setup), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOMEM):
		return nil, fmt.Errorf("starting the command: %w", err) // the machine or the limits, not the command
	}
	return nil, launchError{err}
}

func startPlainly(o Order, file string, null uintptr) (func() (syscall.WaitStatus, error), error) {
	pid, err := syscall.ForkExec(file, o.Argv, &syscall.ProcAttr{
		Env:   o.Env,
		Files: []uintptr{null, 1, 1},
		// A session of its own: signals to its group do not reach this process.
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	return func() (syscall.WaitStatus, error) { return reap(pid) }, err
}

// startWithClock gives the command the strict filter, too: that of the container
// lets this process trace it.
func startWithClock(o Order, file string, null uintptr) (func() (syscall.WaitStatus, error), error) {
	tree, err := clock.Start(o.Time, clock.Command{
		Program: file, Argv: o.Argv, Env: o.Env, Files: [3]uintptr{null, 1, 1}, Filter: seccomp.Program(),
	})
	if err != nil {
		return nil, err
	}
	return func() (syscall.WaitStatus, error) {
		status, err := tree.Wait()
		if err != nil {
			err = fmt.Errorf("waiting for the command: %w", err)
		}
		return status, err
	}, nil
}

// reap waits for every child that ends until it is pid.
func reap(pid int) (syscall.WaitStatus, error) {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("waiting for the command: %w", err)
		case got == pid:
			return status, nil
		}
	}
}

// dieWithWorker ends the sandbox when standard input ends: the engine closes
// it when the worker's connection closes, for whatever reason it does.
func dieWithWorker() {
	io.Copy(io.Discard, os.Stdin)
	os.Exit(exitFault)
}

// oomKills reads how often the kernel killed for this container's memory limit.
func oomKills() int64 {
	for _, file := range []string{
		"/sys/fs/cgroup/memory.events",             // version 2
		"/sys/fs/cgroup/memory/memory.oom_control", // version 1
	} {
		text, err := os.ReadFile(file)
		if err == nil {
			return parseOOMKills(text)
		}
	}
	return -1
}

func parseOOMKills(text []byte) int64 {
	for line := range bytes.Lines(text) {
		if count, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			n, err := strconv.ParseInt(string(bytes.TrimSpace(count)), 10, 64)
			if err != nil || n < 0 {
				return -1
			}
			return n
		}
	}
	return -1
}

func fail(err error) {
	report(failedLine(err))
	os.Exit(exitFault)
}

// report writes whole lines in one call; a reader that is gone takes the
// sandbox down by dieWithWorker, so the error says nothing new.
func report(lines string) { os.Stderr.WriteString(lines) }

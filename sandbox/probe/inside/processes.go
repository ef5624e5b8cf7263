package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

var processAttempts = table{
	"see-processes": seeProcesses,
	"signal-process": func(w *world.World) verdict {
		return call("signalling a process of the machine", unix.Kill(w.SleeperPID, unix.SIGTERM))
	},
	"signal-group": func(w *world.World) verdict {
		return call("signalling a process group of the machine", unix.Kill(-w.SleeperPID, unix.SIGTERM))
	},
	"signal-all": func(w *world.World) verdict {
		if reachesMachine(w) {
			return succeeded("the machine's processes are within reach; none was signalled")
		}
		// All else that it may reach; the suite looks for what died.
		err := unix.Kill(-1, unix.SIGTERM)
		time.Sleep(100 * time.Millisecond)
		return denied("kill(-1): %v", err)
	},
	"signal-queue": func(w *world.World) verdict {
		info := make([]byte, 128)
		info[8] = 0xff // si_code SI_QUEUE, -1
		for i := range 3 {
			info[9+i] = 0xff
		}
		_, _, errno := unix.Syscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(w.SleeperPID), uintptr(unix.SIGTERM), pointer(&info[0]))
		return errnoCall("rt_sigqueueinfo", errno)
	},
	"pidfd-signal": func(w *world.World) verdict {
		fd, err := unix.PidfdOpen(w.SleeperPID, 0)
		if err != nil {
			return denied("pidfd_open: %v", err)
		}
		return call("pidfd_send_signal", unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0))
	},
	"kill-pid1": func(w *world.World) verdict {
		if reachesMachine(w) {
			return succeeded("PID 1 is the machine's; it was not signalled")
		}
		before := os.Getppid()
		for signal := unix.Signal(1); signal < 65; signal++ {
			if signal != unix.SIGSTOP {
				_ = unix.Kill(1, signal)
			}
		}
		time.Sleep(300 * time.Millisecond)
		return denied("PID 1 outlives all signals (parent %d, then %d)", before, os.Getppid())
	},
	"stop-pid1": func(w *world.World) verdict {
		if reachesMachine(w) {
			return succeeded("PID 1 is the machine's; it was not signalled")
		}
		err := unix.Kill(1, unix.SIGSTOP)
		time.Sleep(200 * time.Millisecond)
		state := processState(1)
		if state == "T" {
			return succeeded("PID 1 is stopped")
		}
		return denied("PID 1 is in state %q (%v)", state, err)
	},
	"ptrace-pid1": func(*world.World) verdict {
		_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, 1, 0, 0, 0, 0)
		return errnoCall("ptrace", errno)
	},
	"ptrace-process": func(w *world.World) verdict {
		_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(w.SleeperPID), 0, 0, 0, 0)
		return errnoCall("ptrace", errno)
	},
	"read-pid1-memory":  vmAccess(unix.SYS_PROCESS_VM_READV),
	"write-pid1-memory": vmAccess(unix.SYS_PROCESS_VM_WRITEV),
	"pidfd-getfd-pid1": func(*world.World) verdict {
		fd, err := unix.PidfdOpen(1, 0)
		if err != nil {
			return denied("pidfd_open: %v", err)
		}
		for target := range 64 {
			if _, err = unix.PidfdGetfd(fd, target, 0); err == nil {
				return succeeded("took descriptor %d of PID 1", target)
			}
		}
		return denied("pidfd_getfd: %v", err)
	},
	"pidfd-process": func(w *world.World) verdict {
		_, err := unix.PidfdOpen(w.SleeperPID, 0)
		return call("pidfd_open of a process of the machine", err)
	},
	"process-memory": func(w *world.World) verdict {
		return opened(fmt.Sprintf("/proc/%d/mem", w.SleeperPID), unix.O_RDWR)(w)
	},
	"prlimit-process": func(w *world.World) verdict {
		var l unix.Rlimit
		return call("prlimit of a process of the machine", unix.Prlimit(w.SleeperPID, unix.RLIMIT_NOFILE, nil, &l))
	},
	"renice-process": func(w *world.World) verdict {
		return call("setpriority of a process of the machine", unix.Setpriority(unix.PRIO_PROCESS, w.SleeperPID, 19))
	},
	"affinity-process": func(w *world.World) verdict {
		var set unix.CPUSet
		set.Set(0)
		return call("sched_setaffinity of a process of the machine", unix.SchedSetaffinity(w.SleeperPID, &set))
	},
	"kcmp-pid1": func(*world.World) verdict {
		const files = 2 // KCMP_FILES
		_, _, errno := unix.Syscall6(unix.SYS_KCMP, 1, uintptr(os.Getpid()), files, 0, 0, 0)
		return errnoCall("kcmp", errno)
	},
	"move-pages-pid1": func(*world.World) verdict {
		_, _, errno := unix.Syscall6(unix.SYS_MOVE_PAGES, 1, 0, 0, 0, 0, 0)
		return errnoCall("move_pages", errno)
	},
	"shared-memory": func(w *world.World) verdict {
		_, err := unix.SysvShmGet(w.SharedKey, 0, 0)
		return call("finding the machine's shared memory", err)
	},
	"message-queue": func(w *world.World) verdict {
		_, _, errno := unix.Syscall(unix.SYS_MSGGET, uintptr(w.QueueKey), 0, 0)
		return errnoCall("finding the machine's message queue", errno)
	},
	"posix-queue": func(w *world.World) verdict {
		name, err := unix.BytePtrFromString(w.Queue)
		if err != nil {
			return denied("%v", err)
		}
		_, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, pointer(name), unix.O_RDONLY, 0, 0, 0, 0)
		return errnoCall("opening the machine's POSIX message queue", errno)
	},
}

// reachesMachine says whether the machine's process is known by its number here,
// allowed to be signalled or not. Where it is, an attempt at all processes would
// do the harm that it looks for, and is not made.
func reachesMachine(w *world.World) bool {
	return w.SleeperPID <= 1 || unix.Kill(w.SleeperPID, 0) != unix.ESRCH
}

func errnoCall(name string, errno unix.Errno) verdict {
	if errno == 0 {
		return call(name, nil)
	}
	return call(name, errno)
}

// seeProcesses looks for a process of the machine by an argument.
func seeProcesses(*world.World) verdict {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is well-formed
	for _, n := range names {
		if b, err := os.ReadFile(n); err == nil && bytes.Contains(b, []byte(world.Sleeper)) {
			return succeeded("%s is a process of the machine", n)
		}
	}
	return denied("only %d processes are visible, all the sandbox's", len(names))
}

// processState is the letter in /proc/PID/stat, or "".
func processState(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(b), ") ")
	return after[:min(1, len(after))]
}

// vmAccess reads or writes nothing at no address: EFAULT says that it might.
func vmAccess(number uintptr) attempt {
	return func(*world.World) verdict {
		var b [1]byte
		local := unix.Iovec{Base: &b[0]}
		local.SetLen(1)
		remote := unix.RemoteIovec{Base: 1, Len: 1}
		_, _, errno := unix.Syscall6(number, 1, pointer(&local), 1, pointer(&remote), 1, 0)
		if errno == 0 {
			return succeeded("allowed")
		}
		return beyond("reaching into PID 1's memory", errno, unix.EFAULT)
	}
}

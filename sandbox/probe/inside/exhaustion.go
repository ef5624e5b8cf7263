package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

// exhaustionAttempts take a bounded amount that is well above the limit, hold it
// for a moment (where memory is polled, it is polled meanwhile), and give it back.
var exhaustionAttempts = table{
	"fork-bomb":   forkBomb,
	"thread-bomb": threadBomb,
	"memory": func(w *world.World) verdict {
		return held(w, func(n int64) error { return mapMemory(n, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS) })
	},
	"memory-shared": func(w *world.World) verdict {
		return held(w, func(n int64) error { return mapMemory(n, unix.MAP_SHARED|unix.MAP_ANONYMOUS) })
	},
	"memory-of-children": memoryOfChildren,
	"memory-tmp": func(w *world.World) verdict {
		return held(w, func(n int64) error { return fill("/tmp/gavel-probe", n) })
	},
	"memory-build": func(w *world.World) verdict { return held(w, func(n int64) error { return fill("big", n) }) },
	"memory-dev-shm": func(w *world.World) verdict {
		return held(w, func(n int64) error { return fill("/dev/shm/gavel-probe", n) })
	},
	"memory-dev-shm-many": func(w *world.World) verdict {
		return held(w, func(n int64) error {
			for i := range 8 {
				if err := fill(fmt.Sprintf("/dev/shm/gavel-probe-%d", i), n/8); err != nil {
					return err
				}
			}
			return nil
		})
	},
	"memory-memfd": func(w *world.World) verdict {
		return held(w, func(n int64) error {
			fd, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC)
			if err != nil {
				return err
			}
			return fillFD(fd, n)
		})
	},
	"memory-pipes":   func(w *world.World) verdict { return held(w, fillPipes) },
	"memory-sockets": func(w *world.World) verdict { return held(w, fillSockets) },
	"memory-system-v": func(w *world.World) verdict {
		return held(w, func(n int64) error {
			id, err := unix.SysvShmGet(unix.IPC_PRIVATE, int(n), unix.IPC_CREAT|0o600)
			if err != nil {
				return err
			}
			defer func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) }() // it goes with the namespace, too
			b, err := unix.SysvShmAttach(id, 0, 0)
			if err != nil {
				return err
			}
			touch(b)
			return unix.SysvShmDetach(b)
		})
	},
	"message-queues": func(w *world.World) verdict { return held(w, fillQueues) },
	"memory-locked": func(w *world.World) verdict {
		return held(w, func(n int64) error {
			b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
			if err != nil {
				return err
			}
			return unix.Mlock(b)
		})
	},
	"memory-huge": func(w *world.World) verdict {
		return held(w, func(n int64) error { return mapMemory(n, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB) })
	},
	"disk-build":          func(w *world.World) verdict { return call("writing too much", fill("big", 4*w.Disk)) },
	"disk-tmp":            func(w *world.World) verdict { return call("writing too much", fill("/tmp/gavel-probe", 4*w.Disk)) },
	"disk-preallocate":    preallocate,
	"disk-removed-files":  removedFiles,
	"inodes-build":        func(w *world.World) verdict { return held(w, func(int64) error { return inodes(".") }) },
	"inodes-tmp":          func(w *world.World) verdict { return held(w, func(int64) error { return inodes("/tmp") }) },
	"log-flood":           logFlood,
	"descriptors":         descriptors,
	"cpu-hog":             cpuHog,
	"cpu-beyond-time":     func(*world.World) verdict { burn(pastAny); return denied("not ended") },
	"sleep-beyond-time":   func(*world.World) verdict { time.Sleep(pastAny); return denied("not ended") },
	"ignore-signals":      ignoreSignals,
	"stop-itself":         stopItself,
	"stop-all":            stopAll,
	"core-dump":           coreDump,
	"zombies":             zombies,
	"hold-the-log-closed": holdLogClosed,
}

// excess is how far above its limit an attempt goes.
const excess = 3

// pastAny is longer than any run's time that an attempt outlasts.
const pastAny = 20 * time.Second

// holdTime is how long what was taken is held: long enough for any poll.
const holdTime = 700 * time.Millisecond

// held takes memory above the limit and succeeds if that was neither refused nor deadly.
func held(w *world.World, take func(bytes int64) error) verdict {
	n := excess * w.Memory
	if err := take(n); err != nil {
		return denied("%v", err)
	}
	time.Sleep(holdTime)
	return succeeded("held %d MiB within a limit of %d", n>>20, w.Memory>>20)
}

func touch(b []byte) {
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
}

func mapMemory(n int64, flags int) error {
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return err
	}
	touch(b)
	return nil
}

// fill writes n bytes to a file, and removes its name: its bytes stay until this process ends.
func fill(path string, n int64) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return fillFD(fd, n)
}

func fillFD(fd int, n int64) error {
	b := make([]byte, 1<<20)
	touch(b)
	for n > 0 {
		m, err := unix.Write(fd, b[:min(n, int64(len(b)))])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

func fillPipes(n int64) error {
	b := make([]byte, 1<<16)
	for n > 0 {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_NONBLOCK); err != nil {
			return err
		}
		_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, 1<<20) // the larger the fewer
		for {
			m, err := unix.Write(p[1], b)
			if err != nil {
				break
			}
			n -= int64(m)
		}
	}
	return nil
}

func fillSockets(n int64) error {
	b := make([]byte, 1<<16)
	for n > 0 {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		for _, fd := range p {
			for {
				m, err := unix.Write(fd, b)
				if err != nil {
					break
				}
				n -= int64(m)
			}
		}
	}
	return nil
}

// fillQueues fills System V message queues.
func fillQueues(n int64) error {
	const bytes = 8192
	message := make([]byte, 8+bytes)
	message[0] = 1
	for n > 0 {
		id, _, errno := unix.Syscall(unix.SYS_MSGGET, unix.IPC_PRIVATE, unix.IPC_CREAT|0o600, 0)
		if errno != 0 {
			return errno
		}
		defer func() { _, _, _ = unix.Syscall(unix.SYS_MSGCTL, id, unix.IPC_RMID, 0) }() // it goes with the namespace, too
		for {
			if _, _, errno := unix.Syscall6(unix.SYS_MSGSND, id, pointer(&message[0]), bytes, unix.IPC_NOWAIT, 0, 0); errno != 0 {
				break
			}
			n -= bytes
		}
	}
	time.Sleep(holdTime) // before the queues go
	return nil
}

// forkBomb has more processes at once than it may.
func forkBomb(w *world.World) verdict {
	want := int(w.Pids) * excess
	var all []*exec.Cmd
	defer func() {
		for _, c := range all {
			_ = c.Process.Kill()
			_ = c.Wait() // it was killed
		}
	}()
	var last error
	for range want {
		c := exec.Command("/proc/self/exe", "-sleep", os.Args[2])
		if last = c.Start(); last != nil {
			break
		}
		all = append(all, c)
	}
	if last != nil {
		return denied("after %d processes: %v", len(all), last)
	}
	return succeeded("had %d processes within a limit of %d", len(all), w.Pids)
}

// threadBomb does it with threads, without which the runtime ends the process.
func threadBomb(w *world.World) verdict {
	want := int(w.Pids) * excess
	var ready, hold sync.WaitGroup
	hold.Add(1)
	for range want {
		ready.Add(1)
		go func() {
			runtime.LockOSThread()
			ready.Done()
			_ = unix.Nanosleep(&unix.Timespec{Sec: 1}, nil) // in the kernel, so that the thread is needed
			hold.Wait()
		}()
	}
	ready.Wait()
	time.Sleep(200 * time.Millisecond)
	v := statusOf("self", "Threads")
	hold.Done()
	var n int
	if _, err := fmt.Sscan(v, &n); err != nil || n < want {
		return denied("only %s threads", v)
	}
	return succeeded("had %d threads within a limit of %d", n, w.Pids)
}

// memoryOfChildren exceeds the limit with children that each stay below it.
func memoryOfChildren(w *world.World) verdict {
	var all []*exec.Cmd
	defer func() {
		for _, c := range all {
			_ = c.Process.Kill()
			_ = c.Wait() // it was killed
		}
	}()
	for range 2 * excess {
		c := exec.Command("/proc/self/exe", "-hold", fmt.Sprint(w.Memory/2))
		ready, err := c.StdoutPipe()
		if err != nil {
			return denied("%v", err)
		}
		if err := c.Start(); err != nil {
			return denied("%v", err)
		}
		all = append(all, c)
		if n, err := ready.Read(make([]byte, 1)); n != 1 {
			return denied("a child is gone: %v", err)
		}
	}
	time.Sleep(holdTime)
	for _, c := range all {
		if state := processState(c.Process.Pid); state == "Z" || state == "" {
			return denied("a child was ended")
		}
	}
	return succeeded("%d children hold half of the limit each", len(all))
}

func hold() {
	var n int64
	if _, err := fmt.Sscan(os.Args[2], &n); err != nil || mapMemory(n, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS) != nil {
		os.Exit(2)
	}
	fmt.Print("r")
	time.Sleep(pastAny)
}

func preallocate(w *world.World) verdict {
	fd, err := unix.Open("big", unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		return denied("%v", err)
	}
	defer os.Remove("big")
	return call("reserving too much", unix.Fallocate(fd, 0, 0, 4*w.Disk))
}

// removedFiles fills files without names, each below the limit.
func removedFiles(w *world.World) verdict {
	for i := range 8 {
		if err := fill(fmt.Sprintf("big-%d", i), w.Disk/2); err != nil {
			return denied("%v", err)
		}
	}
	return succeeded("8 files without name, each of half the limit")
}

// inodes makes empty files, which cost memory all the same.
func inodes(dir string) error {
	top := dir + "/gavel-probe-inodes"
	if err := os.Mkdir(top, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(top)
	for i := range 200_000 {
		sub := fmt.Sprintf("%s/%d", top, i/1000)
		if i%1000 == 0 {
			if err := os.Mkdir(sub, 0o700); err != nil {
				return err
			}
		}
		fd, err := unix.Open(fmt.Sprintf("%s/%d", sub, i), unix.O_CREAT|unix.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		unix.Close(fd)
	}
	time.Sleep(holdTime) // before they go
	return nil
}

func logFlood(*world.World) verdict {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = "flood\n"[i%6]
	}
	for range 1024 {
		if _, err := os.Stdout.Write(b); err != nil {
			return denied("%v", err)
		}
	}
	return denied("1 GiB is written")
}

func descriptors(*world.World) verdict {
	const allowed = 16384 // sandbox.OpenFiles
	for n := range allowed + 100 {
		if _, err := unix.Open("/dev/null", unix.O_RDONLY, 0); err != nil {
			return denied("after %d: %v", n, err)
		}
	}
	return succeeded("more than %d descriptors", allowed)
}

func burn(d time.Duration) {
	for range 4 {
		go func() {
			runtime.LockOSThread()
			for x := 0; ; x++ {
				_ = x * x
			}
		}()
	}
	time.Sleep(d)
}

// cpuHog uses all it can for two seconds and looks at how much that was.
func cpuHog(w *world.World) verdict {
	start := time.Now()
	burn(2 * time.Second)
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return denied("%v", err)
	}
	used := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	allowed := time.Duration(float64(time.Since(start)) * float64(w.CPUMillis) / 1000)
	if used > allowed*3/2+150*time.Millisecond { // starting took some
		return succeeded("used %v of CPU time where %v are allowed", used.Round(time.Millisecond), allowed.Round(time.Millisecond))
	}
	return denied("used %v where %v are allowed", used.Round(time.Millisecond), allowed.Round(time.Millisecond))
}

func ignoreSignals(*world.World) verdict {
	signal.Ignore() // all that can be
	time.Sleep(pastAny)
	return denied("not ended")
}

func stopItself(*world.World) verdict {
	_ = unix.Kill(os.Getpid(), unix.SIGSTOP) // cannot fail on oneself
	return denied("not stopped")
}

func stopAll(w *world.World) verdict {
	if reachesMachine(w) {
		return succeeded("the machine's processes are within reach; none was stopped")
	}
	for range 3 {
		c := exec.Command("/proc/self/exe", "-sleep", os.Args[2])
		if err := c.Start(); err != nil {
			return denied("%v", err)
		}
		_ = c.Process.Signal(unix.SIGSTOP) // it lives
	}
	_ = unix.Kill(-1, unix.SIGSTOP) // whatever it reaches
	_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
	return denied("not stopped")
}

// coreDump has a child crash, and asks whether a core was dumped.
func coreDump(*world.World) verdict {
	for _, s := range []unix.Signal{unix.SIGABRT, unix.SIGQUIT, unix.SIGTRAP} {
		c := exec.Command("/proc/self/exe", "-crash", fmt.Sprint(int(s)))
		c.Env = append(os.Environ(), "GOTRACEBACK=crash") // Go passes the signal on only then
		_ = c.Run()                                       // that it dies is the point
		if st, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && st.CoreDump() {
			return succeeded("%v dumped a core", s)
		}
	}
	return denied("no core is dumped")
}

// zombies leaves children unwaited for: each counts until it is collected.
func zombies(w *world.World) verdict {
	for i := range int(w.Pids) * excess {
		c := exec.Command("/proc/self/exe", "-nothing")
		if err := c.Start(); err != nil {
			return denied("after %d: %v", i, err)
		}
	}
	return succeeded("left more zombies than it may have processes")
}

// holdLogClosed closes all that the sandbox gave it and goes on in the background.
func holdLogClosed(*world.World) verdict {
	for fd := range 3 {
		unix.Close(fd)
	}
	time.Sleep(pastAny)
	return denied("not ended")
}

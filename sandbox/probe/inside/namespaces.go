package main

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

var namespaceAttempts = table{
	"unshare-user":       unshare(unix.CLONE_NEWUSER),
	"unshare-mount":      unshare(unix.CLONE_NEWNS),
	"unshare-pid":        unshare(unix.CLONE_NEWPID),
	"unshare-net":        unshare(unix.CLONE_NEWNET),
	"unshare-uts":        unshare(unix.CLONE_NEWUTS),
	"unshare-ipc":        unshare(unix.CLONE_NEWIPC),
	"unshare-cgroup":     unshare(unix.CLONE_NEWCGROUP),
	"unshare-time":       unshare(unix.CLONE_NEWTIME),
	"clone-user":         clone(unix.CLONE_NEWUSER),
	"clone-user-all":     clone(unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS),
	"clone-mount":        clone(unix.CLONE_NEWNS),
	"clone-pid":          clone(unix.CLONE_NEWPID),
	"clone-net":          clone(unix.CLONE_NEWNET),
	"clone-ipc":          clone(unix.CLONE_NEWIPC),
	"clone-uts":          clone(unix.CLONE_NEWUTS),
	"clone-cgroup":       clone(unix.CLONE_NEWCGROUP),
	"clone3-user":        clone3(unix.CLONE_NEWUSER),
	"clone3-user-mount":  clone3(unix.CLONE_NEWUSER | unix.CLONE_NEWNS),
	"clone3-into-cgroup": clone3(1 << 33), // CLONE_INTO_CGROUP, of descriptor 0
	"setns-net":          setns("net", unix.CLONE_NEWNET),
	"setns-uts":          setns("uts", unix.CLONE_NEWUTS),
	"setns-ipc":          setns("ipc", unix.CLONE_NEWIPC),
	"setns-pid":          setns("pid", unix.CLONE_NEWPID),
	"setns-cgroup":       setns("cgroup", unix.CLONE_NEWCGROUP),
	"setns-mount":        setns("mnt", unix.CLONE_NEWNS),
	"setns-pidfd": func(*world.World) verdict {
		runtime.LockOSThread()
		fd, err := unix.PidfdOpen(1, 0)
		if err != nil {
			return denied("pidfd_open: %v", err)
		}
		return call("setns by pidfd", unix.Setns(fd, unix.CLONE_NEWUTS|unix.CLONE_NEWNET))
	},
}

// unshare has a child leave namespaces, between fork and exec, where it has one thread.
func unshare(flags uintptr) attempt {
	return child(&syscall.SysProcAttr{Unshareflags: flags}, "unshare")
}

func clone(flags uintptr) attempt {
	return child(&syscall.SysProcAttr{Cloneflags: flags}, "clone")
}

func child(how *syscall.SysProcAttr, name string) attempt {
	return func(*world.World) verdict {
		c := exec.Command("/proc/self/exe", "-nothing")
		c.SysProcAttr = how
		err := c.Start()
		if err != nil {
			return denied("%s: %v", name, err)
		}
		_ = c.Wait() // what the child did in it says nothing
		return succeeded("%s is allowed", name)
	}
}

// clone3 makes a child with the newest call, whose flags a filter cannot read.
// The child shares nothing, and ends at once.
func clone3(flags uint64) attempt {
	return func(*world.World) verdict {
		runtime.LockOSThread()
		args := [11]uint64{0: flags, 4: uint64(unix.SIGCHLD)}
		pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, pointer(&args[0]), 88, 0)
		if errno != 0 {
			if flags == 1<<33 && errno == unix.EBADF {
				return succeeded("clone3 looks for the cgroup to join")
			}
			return denied("clone3: %v", errno)
		}
		if pid == 0 {
			for {
				unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
			}
		}
		_, _ = unix.Wait4(int(pid), nil, 0, nil) // it has nothing to say
		return succeeded("clone3 is allowed")
	}
}

// setns enters the namespace of PID 1, which takes a privilege even if it is one's own.
func setns(name string, kind int) attempt {
	return func(*world.World) verdict {
		runtime.LockOSThread()
		fd, err := unix.Open("/proc/1/ns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			fd, err = unix.Open("/proc/self/ns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		if err != nil {
			return denied("%v", err)
		}
		if kind == unix.CLONE_NEWNS {
			_ = unix.Unshare(unix.CLONE_FS) // Go's threads share a directory; refused where all of it is
		}
		return call("setns", unix.Setns(fd, kind))
	}
}

// roles are what this program does for its own attempts, as their child.
var roles = map[string]func(){
	"-nothing":    func() {},
	"-privileges": func() { os.Stdout.WriteString(privileges()) },
	"-sleep": func() {
		for {
			time.Sleep(time.Hour)
		}
	},
	"-foreign": foreignCall,
	"-crash":   crash,
	"-linger":  linger,
	"-swap":    swap,
	"-hold":    hold,
	"-vfork":   vforkAndSleep,
}

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

var privilegeAttempts = table{
	"setuid-0":  func(*world.World) verdict { return rawCall("setuid(0)", unix.SYS_SETUID, 0) },
	"setgid-0":  func(*world.World) verdict { return rawCall("setgid(0)", unix.SYS_SETGID, 0) },
	"setuid-1":  func(*world.World) verdict { return rawCall("setuid(1)", unix.SYS_SETUID, 1) },
	"setgroups": func(*world.World) verdict { return call("setgroups", unix.Setgroups([]int{0})) },
	"setresuid-0": func(*world.World) verdict {
		return rawCall("setresuid(0, 0, 0)", unix.SYS_SETRESUID, 0)
	},
	"setfsuid-0": func(*world.World) verdict {
		runtime.LockOSThread()
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, 0, 0, 0) // it tells nothing but what was before
		now, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, ^uintptr(0), 0, 0)
		if now == 0 {
			return succeeded("files are root's now")
		}
		return denied("files are still those of %d", now)
	},
	"capset":        capset,
	"capabilities":  func(*world.World) verdict { return heldCapabilities("CapEff", "CapPrm", "CapInh", "CapAmb") },
	"bounding-set":  func(*world.World) verdict { return heldCapabilities("CapBnd") },
	"ambient":       ambient,
	"securebits":    func(*world.World) verdict { return prctl("PR_SET_SECUREBITS", unix.PR_SET_SECUREBITS, 0) },
	"setuid-input":  runGaining("./setuid-root"),
	"setgid-input":  runGaining("./setgid-root"),
	"filecap-input": runGaining("./with-capability"),
	"setuid-su":     runSetuid("su"),
	"setuid-passwd": runSetuid("passwd"),
	"setuid-mount":  runSetuid("mount"),
	"setuid-any": func(*world.World) verdict {
		for _, name := range []string{"umount", "newgrp", "chsh", "chfn", "gpasswd", "sudo", "pkexec", "ping", "fusermount3", "crontab", "newuidmap", "unix_chkpwd"} {
			if v := runSetuid(name)(nil); v.code == world.Succeeded {
				return v
			}
		}
		return denied("no program gives more")
	},
	"setuid-own-copy": func(*world.World) verdict {
		// A copy of a program is one's own; chown to root is what would matter.
		if err := copyProgram("mine"); err != nil {
			return denied("%v", err)
		}
		return call("chown to root", os.Chown("mine", 0, 0))
	},
	"filecap-own-copy": func(*world.World) verdict {
		if err := copyProgram("mine"); err != nil {
			return denied("%v", err)
		}
		return call("setting file capabilities", unix.Setxattr("mine", "security.capability", capabilityXattr, 0))
	},
	"no-new-privileges": func(*world.World) verdict {
		v, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
		if err == nil && v == 0 {
			return succeeded("programs may gain privileges")
		}
		return denied("no_new_privs is %d (%v)", v, err)
	},
	"seccomp-absent": func(*world.World) verdict {
		if v := status("Seccomp"); v != "2" {
			return succeeded("no filter of system calls (Seccomp: %s)", v)
		}
		return denied("a filter is on")
	},
	"trusted-xattr": func(*world.World) verdict {
		return call("setting a trusted attribute", unix.Setxattr(".", "trusted.gavel", []byte("1"), 0))
	},
	"rlimit-raise": func(*world.World) verdict {
		var l unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
			return denied("%v", err)
		}
		l.Max++
		return call("raising a hard resource limit", unix.Setrlimit(unix.RLIMIT_NOFILE, &l))
	},
	"nice-negative": func(*world.World) verdict {
		return call("setpriority(-5)", unix.Setpriority(unix.PRIO_PROCESS, 0, -5))
	},
	"realtime-priority": func(*world.World) verdict {
		param := int32(1)
		_, _, errno := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, pointer(&param))
		return errnoCall("sched_setscheduler(SCHED_FIFO)", errno)
	},
	"realtime-io": func(*world.World) verdict {
		const self, realtime = 1, 1<<13 | 4
		_, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, self, 0, realtime)
		return errnoCall("ioprio_set(realtime)", errno)
	},
	"wake-alarm": func(*world.World) verdict {
		_, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME_ALARM, unix.TFD_CLOEXEC)
		return call("an alarm that wakes the machine", err)
	},
	"file-lease": func(*world.World) verdict {
		fd, err := unix.Open("/etc/passwd", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return denied("%v", err)
		}
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
		return call("a lease on root's file", err)
	},
}

// capabilityXattr grants CAP_CHOWN, effective at once, in revision 2 of its encoding.
var capabilityXattr = append([]byte{1, 0, 0, 2}, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)

func rawCall(name string, number, argument uintptr) verdict {
	runtime.LockOSThread() // this thread's identity is thrown away with it
	_, _, errno := unix.RawSyscall(number, argument, argument, argument)
	return errnoCall(name, errno)
}

func prctl(name string, option int, argument uintptr) verdict {
	return call(name, unix.Prctl(option, argument, 0, 0, 0))
}

// capset asks for every capability that PID 1 of the machine has.
func capset(*world.World) verdict {
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	want := [2]unix.CapUserData{}
	want[0].Effective, want[0].Permitted = 1<<unix.CAP_SYS_ADMIN, 1<<unix.CAP_SYS_ADMIN
	return call("capset", unix.Capset(&header, &want[0]))
}

func ambient(*world.World) verdict {
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var now [2]unix.CapUserData
	if err := unix.Capget(&header, &now[0]); err != nil {
		return denied("%v", err)
	}
	now[0].Inheritable |= 1 << unix.CAP_CHOWN
	if err := unix.Capset(&header, &now[0]); err != nil {
		return denied("inheritable: %v", err)
	}
	return call("raising an ambient capability", unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_CHOWN, 0, 0))
}

// status is a field of /proc/self/status.
func status(field string) string { return statusOf("self", field) }

func statusOf(process, field string) string {
	f, err := os.Open("/proc/" + process + "/status")
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), field+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func heldCapabilities(sets ...string) verdict {
	for _, s := range sets {
		if v := status(s); strings.Trim(v, "0") != "" {
			return succeeded("%s is %s", s, v)
		}
	}
	return denied("none in %s", strings.Join(sets, ", "))
}

// runGaining runs a copy of this program that claims more, and asks it what it got.
func runGaining(path string) attempt {
	return func(*world.World) verdict {
		if _, err := os.Stat(path); err != nil {
			return absent("the suite could not prepare it: %v", err)
		}
		out, err := exec.Command(path, "-privileges").CombinedOutput()
		if err != nil {
			return denied("running it: %v %s", err, out)
		}
		mine := privileges()
		if string(out) != mine {
			return succeeded("it has %s, its parent %s", out, mine)
		}
		return denied("it has no more than its parent")
	}
}

// privileges says who this process is and what it may.
func privileges() string {
	return fmt.Sprintf("user %d group %d capabilities %s", os.Geteuid(), os.Getegid(), status("CapEff"))
}

// runSetuid starts a program of the root that is set-user-ID and looks at who it
// runs as. Its identity stays to be seen after it ended, until it is waited for.
func runSetuid(name string) attempt {
	return func(*world.World) verdict {
		path, err := exec.LookPath(name)
		if err != nil {
			return denied("%v", err)
		}
		c := exec.Command(path)
		if _, err := c.StdinPipe(); err != nil { // it waits for an answer
			return denied("%v", err)
		}
		if err := c.Start(); err != nil {
			return denied("%v", err)
		}
		defer func() { _ = c.Process.Kill(); _ = c.Wait() }() // nothing more to learn
		theirs, mine := statusOf(fmt.Sprint(c.Process.Pid), "Uid"), status("Uid")
		if theirs != mine {
			return succeeded("%s runs as %s, its parent as %s", path, theirs, mine)
		}
		return denied("%s runs as its parent", path)
	}
}

func copyProgram(to string) error {
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

package main

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

// machineAttempts change what the whole machine shares: its time and its name. A
// clock is never set by who could: holding the capability is already success.
var machineAttempts = table{
	"settimeofday": func(*world.World) verdict {
		if holdsTime() {
			return succeeded("it holds CAP_SYS_TIME")
		}
		now := unix.NsecToTimeval(time.Now().UnixNano())
		return call("settimeofday", unix.Settimeofday(&now))
	},
	"clock-settime": func(*world.World) verdict {
		if holdsTime() {
			return succeeded("it holds CAP_SYS_TIME")
		}
		now := unix.NsecToTimespec(time.Now().UnixNano())
		return call("clock_settime", unix.ClockSettime(unix.CLOCK_REALTIME, &now))
	},
	// The tick is set to what it is.
	"adjtimex": func(*world.World) verdict {
		t, err := tick()
		if err != nil {
			return denied("reading the tick: %v", err)
		}
		_, err = unix.Adjtimex(t)
		return call("adjtimex", err)
	},
	"clock-adjtime": func(*world.World) verdict {
		t, err := tick()
		if err != nil {
			return denied("reading the tick: %v", err)
		}
		_, err = unix.ClockAdjtime(unix.CLOCK_REALTIME, t)
		return call("clock_adjtime", err)
	},
	"timezone": func(*world.World) verdict {
		if holdsTime() {
			return succeeded("it holds CAP_SYS_TIME")
		}
		var zone [2]int32
		_, _, errno := unix.Syscall(unix.SYS_SETTIMEOFDAY, 0, pointer(&zone[0]), 0)
		return errnoCall("setting the kernel's time zone", errno)
	},
	"rtc": opened("/dev/rtc0", unix.O_RDONLY),
	"hostname": func(*world.World) verdict {
		return call("sethostname", unix.Sethostname([]byte("probed")))
	},
	"domainname": func(*world.World) verdict {
		return call("setdomainname", unix.Setdomainname([]byte("probed")))
	},
	"hostname-by-proc":   writeTo("/proc/sys/kernel/hostname", "probed"),
	"domainname-by-proc": writeTo("/proc/sys/kernel/domainname", "probed"),
}

// holdsTime says whether this process has CAP_SYS_TIME.
func holdsTime() bool {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var now [2]unix.CapUserData
	return unix.Capget(&header, &now[0]) != nil || now[0].Effective&(1<<unix.CAP_SYS_TIME) != 0
}

func tick() (*unix.Timex, error) {
	t := &unix.Timex{}
	if _, err := unix.Adjtimex(t); err != nil {
		return nil, err
	}
	const adjustTick = 0x4000
	return &unix.Timex{Modes: adjustTick, Tick: t.Tick}, nil
}

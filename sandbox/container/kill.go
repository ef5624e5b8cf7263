package container

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Kill kills a container's processes past its engine, and returns when they are
// dead or patience is over: an engine that dies leaves its containers running,
// also one that it was just starting. They are known by their cgroup, whose name
// every engine makes of the container's id.
func Kill(id string, patience time.Duration) {
	if id == "" {
		return // every process lives in a cgroup whose name holds that
	}
	giveUp := time.Now().Add(patience)
	for time.Now().Before(giveUp) {
		killed := 0
		for _, pid := range pids() {
			if killMember(pid, id, time.Until(giveUp)) {
				killed++
			}
		}
		if killed == 0 {
			return // whatever the killed ones started meanwhile has been looked for
		}
	}
}

// pids lists the machine's processes.
func pids() []int {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil // only a malformed pattern fails
	}
	list := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(filepath.Base(name)); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

// killMember kills a process if it lives in the container, and says whether it
// did. The descriptor is opened first: what is read afterwards of a process that
// still lives then is true of the process that is signalled, not of a later one
// with its number.
func killMember(pid int, id string, patience time.Duration) bool {
	if !Holds(pid, id) {
		return false
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if Exited(fd, 0) || !Holds(pid, id) {
		return false
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return false
	}
	Exited(fd, patience)
	return true
}

// Holds says whether a process lives in the cgroup of the container of that id.
func Holds(pid int, id string) bool {
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && bytes.Contains(groups, []byte(id))
}

// Exited waits for the process of a descriptor to end, at most patience long.
func Exited(fd int, patience time.Duration) bool {
	giveUp := time.Now().Add(patience)
	for {
		left := max(0, time.Until(giveUp).Milliseconds())
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left))
		if err != unix.EINTR || left == 0 {
			return n > 0
		}
	}
}

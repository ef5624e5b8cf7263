// Package profile writes the decisions of package seccomp as engines take them:
// for OCI runtimes and for Docker, by the calls' names. It decides nothing, and is
// a package of its own so that the first processes of sandboxes, which link the
// decisions, stay small. What an engine's library is too old to know keeps the
// default, ENOSYS, so an engine never allows more than the native program does.
package profile

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gavel/sandbox/seccomp"
)

// OCI is the filter for linux.seccomp of an OCI runtime's configuration. Calls of
// other architectures kill, as they do wherever only the native one is named.
func OCI(supervisor bool) *specs.LinuxSeccomp {
	byDecision := make(map[seccomp.Decision][]string)
	calls := seccomp.Calls(supervisor)
	for _, n := range slices.Sorted(maps.Keys(calls)) {
		byDecision[calls[n]] = append(byDecision[calls[n]], names[n])
	}
	p := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: errno(unix.ENOSYS),
		Architectures: []specs.Arch{architecture},
		Syscalls: []specs.LinuxSyscall{
			{Names: byDecision[seccomp.Allowed], Action: specs.ActAllow},
			{Names: byDecision[seccomp.Denied], Action: specs.ActErrno, ErrnoRet: errno(unix.EPERM)},
			// The default, again: engines before Docker 22 know no default but EPERM.
			{Names: byDecision[seccomp.Absent], Action: specs.ActErrno, ErrnoRet: errno(unix.ENOSYS)},
		},
	}
	for _, j := range seccomp.Judgements() {
		p.Syscalls = append(p.Syscalls, judged(j)...)
	}
	return p
}

// DockerProfile is the same as the JSON that Docker 20.10 and newer take as
// security option seccomp=, whose form holds OCI's.
func DockerProfile(supervisor bool) ([]byte, error) {
	return json.Marshal(OCI(supervisor))
}

func errno(e unix.Errno) *uint { n := uint(e); return &n }

package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/container/pid1"
	"gavel/sandbox/cpus"
)

// maskedPaths and readonlyPaths are Docker's.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// shown are the host directories that a run's container shows.
type shown struct {
	root string
	work string // the build directory
	cpus string // what shows the CPUs
	etc  bool   // the root has an /etc with its names
}

// spec is the container of s, whose limits are complete.
func (r *Runner) spec(run string, s sandbox.Spec, d shown) *specs.Spec {
	v := s.Surroundings()
	return &specs.Spec{
		Version: "1.0.2", // of which nothing newer is used, and which older runtimes take, too
		Process: &specs.Process{
			User:            specs.User{UID: uint32(v.UID), GID: uint32(v.UID), AdditionalGids: []uint32{uint32(v.UID)}}, // as Docker has it
			Args:            []string{pid1.Path},                                                                         // what to run comes on standard input
			Env:             []string{},
			Cwd:             "/",
			Capabilities:    &specs.LinuxCapabilities{},
			NoNewPrivileges: true,
		},
		Root:        &specs.Root{Path: d.root, Readonly: true},
		Hostname:    v.Hostname,
		Mounts:      r.mounts(s, d),
		Annotations: map[string]string{"gavel.owner": r.config.Owner, "gavel.run": run},
		Linux: &specs.Linux{
			Namespaces:    namespaces(s.Network),
			UIDMappings:   []specs.LinuxIDMapping{{ContainerID: 0, HostID: sandbox.IDBase, Size: sandbox.IDs}},
			GIDMappings:   []specs.LinuxIDMapping{{ContainerID: 0, HostID: sandbox.IDBase, Size: sandbox.IDs}},
			CgroupsPath:   "/" + r.cgroup(run),
			Resources:     r.resources(s),
			Seccomp:       r.filterFor(s),
			MaskedPaths:   maskedPaths,
			ReadonlyPaths: readonlyPaths,
		},
	}
}

// cgroup is a run's, below each hierarchy's mount.
func (r *Runner) cgroup(run string) string { return r.name + "/" + run }

// namespaces are all there are but that of time, and with the host's network not that.
func namespaces(network bool) []specs.LinuxNamespace {
	list := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
		{Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace}, {Type: specs.UserNamespace},
	}
	if !network {
		list = append(list, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	}
	return list
}

// filterFor is the filter of system calls; a first process that gives its command
// another clock has to trace it.
func (r *Runner) filterFor(s sandbox.Spec) *specs.LinuxSeccomp {
	if s.Variation.Clock != nil {
		return r.tracing
	}
	return r.filter
}

func (r *Runner) resources(s sandbox.Spec) *specs.LinuxResources {
	l, pids := s.Limits, container.Pids(s)
	res := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}, // but for the runtime's own /dev/null and so on
		Memory:  &specs.LinuxMemory{Limit: &l.MemoryBytes},
		Pids:    &specs.LinuxPids{Limit: &pids},
	}
	if r.swap {
		res.Memory.Swap = &l.MemoryBytes // memory and swap together: no swap
	}
	if l.CPUMillis > 0 {
		period, quota := uint64(cpuPeriodMicros), l.CPUMillis*cpuPeriodMicros/1000
		res.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota}
	}
	return res
}

// mounts are in the order in which they cover one another.
func (r *Runner) mounts(s sandbox.Spec, d shown) []specs.Mount {
	bind := func(source, target string, options ...string) specs.Mount {
		return specs.Mount{Destination: target, Type: "bind", Source: source, Options: append([]string{"bind", "nosuid", "nodev"}, options...)}
	}
	tmpfs := func(target, options string) specs.Mount {
		return specs.Mount{Destination: target, Type: "tmpfs", Source: "tmpfs", Options: strings.Split("nosuid,nodev,"+options, ",")}
	}
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		tmpfs("/dev/shm", fmt.Sprintf("noexec,mode=1777,size=%d", container.SharedMemoryBytes)),
		tmpfs("/tmp", fmt.Sprintf("mode=1777,size=%d", s.Limits.DiskBytes)),
		bind(d.work, s.Surroundings().WorkRoot, "rprivate"),
		// All of /sys: the kernel's own tells of the whole machine.
		bind(filepath.Join(d.cpus, cpus.SysDir), "/sys", "ro", "noexec", "rprivate"),
		bind(filepath.Join(d.cpus, cpus.InfoFile), "/proc/cpuinfo", "ro", "noexec", "rprivate"),
		bind(filepath.Join(d.cpus, cpus.StatFile), "/proc/stat", "ro", "noexec", "rprivate"),
	}
	if s.Network && d.etc { // where the machine asks for names
		mounts = append(mounts, bind("/etc/resolv.conf", "/etc/resolv.conf", "ro", "noexec", "rprivate"))
	}
	return mounts
}

// mountPoints are the directories that mounts of s need, with their modes, which
// runc gives what it mounts there.
func (r *Runner) mountPoints(s sandbox.Spec) map[string]os.FileMode {
	points := map[string]os.FileMode{
		"proc": 0o755, "dev": 0o755, "sys": 0o755, "tmp": os.ModeSticky | 0o777,
	}
	points[strings.TrimPrefix(s.Surroundings().WorkRoot, "/")] = 0o755
	return points
}

// writeBundle writes a container's configuration.
func writeBundle(dir string, spec *specs.Spec) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making a bundle: %w", err)
	}
	text, err := json.Marshal(spec)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing a bundle: %w", err)
	}
	return nil
}

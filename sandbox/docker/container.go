package docker

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	engine "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/strslice"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/container/pid1"
)

// The labels of everything this runner makes in an engine.
const (
	ownerLabel = "gavel.owner" // Config.Owner
	runLabel   = "gavel.run"   // which of its runs
)

// files are the directories of one run on this machine.
type files struct {
	scratch container.Scratch
	cpus    string // what shows the command's CPUs
}

// containerName is unique, so that a create call whose answer was lost can be repeated.
func containerName(run string) string { return "gavel-" + run }

func (r *Runner) labels(run string) map[string]string {
	return map[string]string{ownerLabel: r.config.Owner, runLabel: run}
}

// containerConfig replaces all of the image's own config that has an effect.
func (r *Runner) containerConfig(run string, s sandbox.Spec, facts imageFacts) *engine.Config {
	v := s.Surroundings()
	return &engine.Config{
		Image:       facts.id,
		Entrypoint:  strslice.StrSlice{pid1.Path},
		Cmd:         strslice.StrSlice{}, // what to run comes on standard input
		User:        fmt.Sprintf("%d:%d", v.UID, v.UID),
		Hostname:    v.Hostname,
		WorkingDir:  "/",
		Healthcheck: &engine.HealthConfig{Test: []string{"NONE"}},
		Labels:      r.labels(run),
		StopSignal:  "SIGKILL",
		// Standard input is the worker's life line: the engine closes it when the
		// one attached connection ends, and PID 1 then ends the engine.
		AttachStdin: true, OpenStdin: true, StdinOnce: true,
		AttachStdout: true, AttachStderr: true,
	}
}

// hostConfig is the isolation. s.Limits must be complete.
func (r *Runner) hostConfig(run string, s sandbox.Spec, facts imageFacts, f files) *engine.HostConfig {
	pids := container.Pids(s)
	filter := r.seccomp
	if s.Variation.Clock != nil {
		filter = r.tracing
	}
	h := &engine.HostConfig{
		NetworkMode:    "none",
		Runtime:        r.config.Runtime,
		CapDrop:        strslice.StrSlice{"ALL"},
		SecurityOpt:    []string{"no-new-privileges", "seccomp=" + filter},
		ReadonlyRootfs: true,
		IpcMode:        "private",
		CgroupnsMode:   engine.CgroupnsModePrivate, // hides the host's cgroup paths
		ShmSize:        container.SharedMemoryBytes,
		LogConfig:      engine.LogConfig{Type: "none"},
		Mounts:         r.mounts(run, s, facts, f),
		Tmpfs: map[string]string{
			"/tmp": fmt.Sprintf("rw,exec,nosuid,nodev,mode=1777,size=%d", s.Limits.DiskBytes),
		},
		Resources: engine.Resources{
			Memory:     s.Limits.MemoryBytes,
			MemorySwap: s.Limits.MemoryBytes, // memory and swap together: no swap
			PidsLimit:  &pids,
			NanoCPUs:   min(s.Limits.CPUMillis*1e6, int64(r.cpus)*1e9),
		},
	}
	if s.Network {
		h.NetworkMode = "host"
	}
	if r.remapped {
		h.UsernsMode = "host" // the promised uid is one of the host, as inputs' owner
	}
	return h
}

// mounts are PID 1's program, the build directory, the CPUs, names, and, for each volume the
// image declares, a read-only copy of what it holds there: a declared volume
// would otherwise be writable without limit.
func (r *Runner) mounts(run string, s sandbox.Spec, facts imageFacts, f files) []mount.Mount {
	work := s.Surroundings().WorkRoot
	mounts := []mount.Mount{
		{Type: mount.TypeBind, Source: r.initPath, Target: pid1.Path, ReadOnly: true},
		r.workMount(run, work, f.scratch),
	}
	for _, name := range slices.Sorted(maps.Keys(container.CPUFiles)) {
		mounts = append(mounts, mount.Mount{Type: mount.TypeBind, Source: filepath.Join(f.cpus, name), Target: container.CPUFiles[name], ReadOnly: true})
	}
	for _, name := range container.NameFiles {
		if s.Network && name == "resolv.conf" {
			continue // the engine shows the machine's
		}
		mounts = append(mounts, mount.Mount{Type: mount.TypeBind, Source: f.scratch.Name(name), Target: "/etc/" + name, ReadOnly: true})
	}
	for i, dir := range facts.volumes {
		switch {
		case dir == work || dir == "/tmp":
			// ours is mounted there instead
		case strings.HasPrefix(work, strings.TrimSuffix(dir, "/")+"/"):
			// The build directory's mount point must be made in it, so it cannot be
			// read-only; only root, who is not inside, can write to it.
			mounts = append(mounts, mount.Mount{
				Type: mount.TypeTmpfs, Target: dir, TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 1 << 20, Mode: 0o755},
			})
		default:
			mounts = append(mounts, mount.Mount{
				// Named, as engines take no unnamed read-only volume; the sweep removes it.
				Type: mount.TypeVolume, Source: fmt.Sprintf("%s-%d", containerName(run), i), Target: dir, ReadOnly: true,
				VolumeOptions: &mount.VolumeOptions{Labels: r.labels(run)},
			})
		}
	}
	return mounts
}

// workMount is the build directory: the copy that was made of the inputs, whose
// file system is already nosuid and nodev, the slot in which a spare gets them, or
// an overlay over them.
func (r *Runner) workMount(run, target string, sc container.Scratch) mount.Mount {
	if dir, copied := sc.Copy(); copied {
		return mount.Mount{Type: mount.TypeBind, Source: dir, Target: target}
	}
	if dir, ahead := sc.Slot(); ahead {
		return mount.Mount{
			Type: mount.TypeBind, Source: dir, Target: target,
			BindOptions: &mount.BindOptions{Propagation: mount.PropagationRSlave},
		}
	}
	return mount.Mount{
		// Unnamed, so that the engine removes it with its container.
		Type: mount.TypeVolume, Target: target,
		VolumeOptions: &mount.VolumeOptions{
			NoCopy: true,
			Labels: r.labels(run),
			DriverConfig: &mount.Driver{Name: "local", Options: map[string]string{
				"type":   "overlay",
				"device": "overlay",
				"o":      "nosuid,nodev," + sc.OverlayOptions(),
			}},
		},
	}
}

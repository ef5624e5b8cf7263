package native

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/clock"
	"gavel/sandbox/native/box"
)

// How much a sandbox may keep in the file systems of its own that Limits do not name.
const (
	sharedMemoryBytes = 64 << 20 // /dev/shm, as container engines give
	// Files of each tmpfs: one for every four kilobytes, a kilobyte of kernel memory each.
	bytesPerFile       = 4 << 10
	minFiles, maxFiles = 64 << 10, 1 << 20
)

// readOnly are the attributes of everything that is shown and not the build's own.
const readOnly = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV

// hiddenProc are files and directories of /proc that tell of the whole machine,
// or reach it, where permissions alone would not hide them; protectedProc may be
// read. Container engines hide and protect at least these, of /sys too, of which
// commands here see nothing but the CPUs.
var (
	hiddenProc = []string{"kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "sysrq-trigger",
		"acpi", "asound", "interrupts", "scsi"}
	protectedProc = []string{"bus", "fs", "irq", "sys"}
)

// Sources lie on the tmpfs that the overlay of WorkRoot will cover, in the new root.
const (
	workRoot  = "build"
	inputTree = workRoot + "/inputs"
	imageTree = workRoot + "/image"
	cpuTree   = workRoot + "/cpus"
	etcTree   = workRoot + "/etc" // what of /etc is one command's own
)

// planFor compiles a Spec, with defaults filled in, to what the box does.
func (r *Runner) planFor(s sandbox.Spec, imageDir string) (*box.Plan, error) {
	v := s.Surroundings()
	p := &box.Plan{
		Hostname: v.Hostname, Loopback: !s.Network, Epoch: s.SourceDateEpoch,
		WorkRoot: v.WorkRoot, Dir: s.Dir(),
		Argv: s.Argv, Umask: v.Umask, FixedAddresses: v.FixedAddresses,
		Rooted: r.ranged,
	}
	for _, l := range sandbox.ResourceLimits() {
		p.Limits = append(p.Limits, box.Limit(l))
	}
	if c := v.Clock; c != nil {
		p.Clock, p.Time = true, clock.Setting{StartSeconds: c.StartSeconds, StepSeconds: c.StepSeconds}
	}
	p.Steps = []box.Step{directory(workRoot), r.tmpfs(workRoot, "0755"+r.owned(v.UID), s.Limits.DiskBytes, s.Limits)}
	if s.Root == sandbox.HostRoot {
		p.Env = sandbox.Environment(s, r.goroot.pathTail()...)
		p.Steps = append(p.Steps, r.hostRoot(s.Network)...)
		p.Steps = append(p.Steps, variedNames(v.Hostname)...)
	} else {
		p.Env = sandbox.Environment(s)
		image, err := r.imageRoot(imageDir, v.Hostname, s.Network)
		if err != nil {
			return nil, fmt.Errorf("reading image %s: %w: %w", s.Root, sandbox.ErrUnavailable, err)
		}
		p.Steps = append(p.Steps, image...)
	}
	taken, dir, err := r.cpusFor(s)
	if err != nil {
		return nil, err
	}
	p.CPUs = taken
	p.Steps = append(p.Steps, r.ownMounts(s, dir)...)
	return p, nil
}

func directory(target string) box.Step {
	return box.Step{Op: box.Directory, Target: target, Flags: 0o755}
}

// tree shows a directory of the worker's own, which the build's user may not be able to reach by path.
func tree(source, target string) box.Step {
	return box.Step{Op: box.Tree, FD: -1, Source: source, Target: target, Flags: readOnly}
}

// hostRoot shows the machine's programs.
func (r *Runner) hostRoot(network bool) []box.Step {
	var steps []box.Step
	for _, d := range hostDirs {
		if target, err := os.Readlink("/" + d); err == nil {
			steps = append(steps, box.Step{Op: box.Symlink, Source: target, Target: d})
		} else if info, err := os.Stat("/" + d); err == nil && info.IsDir() {
			steps = append(steps, directory(d), box.Step{Op: box.Bind, Source: "/" + d, Target: d, Flags: readOnly})
		}
	}
	steps = append(steps, directory("etc"), tree(r.etcDir(), "etc"))
	for _, d := range etcBound {
		if info, err := os.Lstat(filepath.Join(r.etcDir(), d)); err == nil && info.IsDir() {
			steps = append(steps, box.Step{Op: box.Bind, Source: "/etc/" + d, Target: "etc/" + d, Flags: readOnly})
		}
	}
	if network {
		steps = append(steps, tree(filepath.Join(r.dir, resolvConf), "etc/"+resolvConf))
	}
	if r.goroot.inside == shownGoroot {
		inside := strings.TrimPrefix(shownGoroot, "/")
		steps = append(steps, directory(inside), tree(r.goroot.outside, inside))
	}
	return steps
}

// imageRoot shows an unpacked image, entry by entry, so that the mount points
// that it may lack can lie beside them.
func (r *Runner) imageRoot(dir, hostname string, network bool) ([]box.Step, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	steps := []box.Step{directory(imageTree), tree(dir, imageTree)}
	for _, e := range entries {
		name := e.Name()
		switch name {
		case "proc", "sys", "dev", "tmp", workRoot:
			continue
		}
		part := box.Step{Op: box.Bind, Source: imageTree + "/" + name, Target: name, Flags: readOnly}
		switch {
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(filepath.Join(dir, name))
			if err != nil {
				return nil, err
			}
			steps = append(steps, box.Step{Op: box.Symlink, Source: target, Target: name})
		case e.IsDir():
			steps = append(steps, directory(name), part)
		case e.Type().IsRegular():
			steps = append(steps, box.Step{Op: box.File, Target: name}, part)
		}
	}
	names, err := r.imageNames(dir, hostname, network)
	return append(steps, names...), err
}

// ownMounts are the parts of every sandbox that are not its root's: devices,
// memory to write to, /proc, the CPUs, and the inputs.
func (r *Runner) ownMounts(s sandbox.Spec, cpuDir string) []box.Step {
	inputs := box.Step{Op: box.Overlay, Source: inputTree, Target: strings.TrimPrefix(s.Surroundings().WorkRoot, "/"), Options: workRoot}
	if v := s.Surroundings(); r.copies || v.UID != sandbox.UID || v.ReverseOrder || v.CopiedInputs {
		inputs.Op = box.Copy
		if v.ReverseOrder {
			inputs.Flags = box.Reversed
		}
	}
	var steps []box.Step
	if r.ranged {
		// As containers have it. Without a root inside it would be the command's own, to write to.
		steps = append(steps, directory("dev"), box.Step{Op: box.Tmpfs, Target: "dev", Options: "mode=0755,size=64k,nr_inodes=64" + r.rootsOwn()})
	}
	steps = append(steps, directory("dev/shm"), directory("dev/pts"), directory("dev/mqueue"), directory("proc"), directory("tmp"), directory(inputTree))
	for _, d := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		steps = append(steps, box.Step{Op: box.File, Target: "dev/" + d},
			box.Step{Op: box.Bind, Source: "/dev/" + d, Target: "dev/" + d, Flags: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC})
	}
	for _, l := range [][2]string{{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"}} {
		steps = append(steps, box.Step{Op: box.Symlink, Source: l[1], Target: "dev/" + l[0]})
	}
	terminals := "newinstance,ptmxmode=0666,mode=0620"
	if r.ranged {
		terminals += ",gid=5" // tty's everywhere, and as engines have it
	}
	steps = append(steps,
		r.tmpfs("dev/shm", "1777"+r.rootsOwn(), sharedMemoryBytes, s.Limits),
		r.tmpfs("tmp", "1777"+r.rootsOwn(), s.Limits.DiskBytes, s.Limits),
		box.Step{Op: box.Terminals, Target: "dev/pts", Options: terminals},
		box.Step{Op: box.Queues, Target: "dev/mqueue"},
		box.Step{Op: box.Proc, Target: "proc"},
	)
	steps = append(steps, cpuSteps(cpuDir)...)
	for _, p := range hiddenProc {
		steps = append(steps, box.Step{Op: box.Mask, Target: "proc/" + p})
	}
	for _, p := range protectedProc {
		steps = append(steps, box.Step{Op: box.Protect, Target: "proc/" + p})
	}
	// Last, because it covers what other steps show from there.
	return append(steps, tree(s.InputDir, inputTree), inputs)
}

func (r *Runner) tmpfs(target, mode string, size int64, l sandbox.Limits) box.Step {
	files := min(max(size/bytesPerFile, minFiles), maxFiles)
	if r.cgroups == nil { // what files take besides is polled as well, and so much at most can be made in between
		files = min(files, l.MemoryBytes/box.FileBytes)
	}
	return box.Step{Op: box.Tmpfs, Target: target, Options: fmt.Sprintf("mode=%s,size=%d,nr_inodes=%d", mode, size, files)}
}

// openTrees opens, as root, what a plan's user could not reach by path, and
// names the descriptors in the plan. Without root the user is the worker's own.
func (r *Runner) openTrees(p *box.Plan) ([]int, error) {
	if !r.ranged {
		return nil, nil
	}
	var fds []int
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Op != box.Tree {
			continue
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, s.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			closeAll(fds)
			return nil, fmt.Errorf("opening %s: %w: %w", s.Source, sandbox.ErrUnavailable, err)
		}
		s.FD = int32(len(fds))
		fds = append(fds, fd)
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

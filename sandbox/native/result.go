package native

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/native/box"
)

// result turns how a dead sandbox ended into a Result and takes its outputs.
func (c *command) result(ctx context.Context, s sandbox.Spec, log *sandbox.CappedLog) (sandbox.Result, error) {
	res := sandbox.Result{SetupNanos: int64(c.setup), RunNanos: int64(time.Since(c.start) - c.setup)}
	if c.end != nil && c.end.Nanos > 0 {
		res.RunNanos = c.end.Nanos
	}
	if err := c.judge(&res, s, log); err != nil {
		return sandbox.Result{}, err
	}
	if res.Status == sandbox.Exited || res.Status == sandbox.Signaled {
		missing, detail, err := sandbox.CollectOutputs(ctx, c.work, s)
		if ctx.Err() != nil {
			return sandbox.Result{}, ctx.Err()
		}
		if err != nil {
			return sandbox.Result{}, unavailable(err)
		}
		res.Missing = missing
		if detail != "" {
			res.Detail = strings.TrimPrefix(res.Detail+"; "+detail, "; ")
		}
		if len(missing) > 0 && res.Status == sandbox.Exited && res.ExitCode == 0 {
			res.Status = sandbox.MissingOutput
		}
	}
	res.LogTruncated = log.Truncated()
	return res, nil
}

// judge finds the status. What the kernel or this runner killed for comes before what the command says.
func (c *command) judge(res *sandbox.Result, s sandbox.Spec, log *sandbox.CappedLog) error {
	outOfMemory := c.end != nil && c.end.Kind == box.MemoryOver
	if c.group != nil {
		killed, err := c.group.oomKilled()
		if err != nil {
			return unavailable(err)
		}
		outOfMemory = outOfMemory || killed
	}
	switch {
	case outOfMemory:
		res.Status = sandbox.OOM
		res.Detail = fmt.Sprintf("killed at its memory limit of %d bytes, which also holds what it writes to %s, /tmp and /dev/shm", s.Limits.MemoryBytes, sandbox.WorkRoot)
	case c.end == nil && c.timedOut.Load():
		res.Status = sandbox.Timeout
		res.Detail = fmt.Sprintf("killed at its time limit of %v", s.Limits.Timeout())
	case c.end == nil && c.spawnerDied():
		return errSpawnerLostMidway
	case c.end == nil && c.sigkilled:
		return errKilledFromOutside
	case c.end == nil:
		res.Status, res.Signal = sandbox.Signaled, int(unix.SIGKILL)
		res.Detail = "the first process of the sandbox broke, as nothing from outside makes it do"
	case c.end.Kind == box.LaunchFailed:
		code, line := sandbox.LaunchFailure(s.Argv[0], c.end.Errno)
		_, _ = log.Write([]byte(line)) // a CappedLog takes everything
		res.Status, res.ExitCode = sandbox.Exited, code
	case c.end.Kind == box.Signaled:
		res.Status, res.Signal = sandbox.Signaled, int(c.end.Code)
	default:
		res.Status, res.ExitCode = sandbox.Exited, int(c.end.Code)
	}
	return nil
}

// errSpawnerLostMidway is the end of a command that had started: its log was seen, so it is not tried again here.
var errSpawnerLostMidway = fmt.Errorf("%w: the spawner died while the command ran", sandbox.ErrUnavailable)

// errKilledFromOutside is the end of a command whose sandbox somebody else on this machine
// killed. Nobody inside can: the kernel takes no SIGKILL for a first process from its own
// namespace (pid_namespaces(7)). What memory limits kill for is known before.
var errKilledFromOutside = fmt.Errorf("%w: the first process of the sandbox was killed from outside before its command ended", sandbox.ErrUnavailable)

// spawnerDied says whether the box died because its spawner did.
func (c *command) spawnerDied() bool {
	late := time.NewTimer(deathPatience)
	defer late.Stop()
	select {
	case <-c.process.died:
		return true
	case <-late.C:
		return false
	}
}

// setupFailure is a sandbox that could not be built, with what the operator can do about it.
func setupFailure(r box.Report) error {
	what := r.Text
	if r.Kind == box.SpawnFailed {
		what = "cloning into new namespaces"
	}
	if r.Errno != 0 {
		what += ": " + r.Errno.Error()
	}
	return fmt.Errorf("%w: %s%s", sandbox.ErrUnavailable, what, remedy(r.Errno, readSetting))
}

func readSetting(name string) string {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return "" // this kernel does not have it
	}
	return strings.TrimSpace(string(b))
}

// remedy names the kernel setting that forbids user namespaces, if one does.
func remedy(errno unix.Errno, setting func(string) string) string {
	for _, s := range []struct{ name, forbids, allows string }{
		{"kernel.unprivileged_userns_clone", "0", "1"},
		{"kernel.apparmor_restrict_unprivileged_userns", "1", "0"},
		{"user.max_user_namespaces", "0", "10000"},
	} {
		if setting(s.name) == s.forbids {
			return fmt.Sprintf("; this machine forbids user namespaces: run `sudo sysctl -w %s=%s`, or start the worker with --sandbox docker", s.name, s.allows)
		}
	}
	switch errno {
	case unix.EPERM, unix.EACCES, unix.ENOSPC, unix.EUSERS:
		return "; inside a container, allow it to make namespaces (docker run --privileged), or start the worker with --sandbox docker"
	case unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP:
		return "; the native sandbox needs Linux 5.12 with user namespaces and overlayfs, or start the worker with --sandbox docker"
	}
	return ""
}

package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"gavel/sandbox/container"
)

// runtime is the installed program, called as the OCI runtime command line
// interface has it, which runc, crun and runsc share.
type runtime struct {
	path    string
	version string // its first line about itself
	state   string // its directory of containers
}

// installing says how each known runtime gets onto a machine.
var installing = map[string]string{
	"runc":  "apt-get install runc",
	"crun":  "apt-get install crun",
	"runsc": "see https://gvisor.dev/docs/user_guide/install",
}

// findRuntime looks a runtime up and asks its version.
func findRuntime(ctx context.Context, name, state string) (runtime, error) {
	if name == "" {
		return runtime{}, errors.New("the oci sandbox has no runtime; name runc, crun or runsc")
	}
	path, err := exec.LookPath(name)
	if err != nil {
		how, known := installing[filepath.Base(name)]
		if !known {
			how = "give its path, or name runc, crun or runsc"
		}
		return runtime{}, fmt.Errorf("the OCI runtime %s is not installed (%s): %w", name, how, err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return runtime{}, err
	}
	rt := runtime{path: path, state: state}
	ctx, cancel := context.WithTimeout(ctx, runtimeTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return runtime{}, fmt.Errorf("asking the OCI runtime %s for its version: %w", path, err)
	}
	rt.version, _, _ = strings.Cut(string(out), "\n")
	return rt, nil
}

// notes are what a worker says of its sandbox at start.
func (rt runtime) notes(swap bool) []string {
	notes := []string{fmt.Sprintf("containers are run by %s (%s)", rt.path, rt.version)}
	if strings.Contains(rt.version, "runsc") {
		notes = append(notes, "runsc has a kernel of its own, which answers some programs otherwise than Linux does")
	}
	if !swap {
		notes = append(notes, "the kernel cannot limit swap: commands may use swap beyond their memory limit")
	}
	return notes
}

// start makes and starts a container of the bundle with these streams, and
// returns when the runtime has, with the process that the container began with.
func (rt runtime) start(ctx context.Context, bundle, id string, streams [3]*os.File) (pid int, err error) {
	log, pidFile := filepath.Join(bundle, "log"), filepath.Join(bundle, "pid")
	cmd := rt.command(ctx, "--log", log, "run", "--detach", "--bundle", bundle, "--pid-file", pidFile, id)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = streams[0], streams[1], streams[2]
	if err := cmd.Run(); err != nil {
		return 0, rt.complaint("starting a container", err, said(log))
	}
	text, err := os.ReadFile(pidFile)
	if err == nil {
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		return 0, fmt.Errorf("reading which process %s started: %w", rt.path, err)
	}
	return pid, nil
}

// remove takes a container's cgroups and state away, dead or alive. One that is
// not there is removed.
func (rt runtime) remove(ctx context.Context, id string) error {
	if _, err := os.Stat(filepath.Join(rt.state, id)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var complaints bytes.Buffer
	cmd := rt.command(ctx, "delete", "--force", id)
	cmd.Stderr = &complaints
	if err := cmd.Run(); err != nil {
		return rt.complaint("removing a container", err, complaints.String())
	}
	return nil
}

func (rt runtime) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, rt.path, append([]string{"--root", rt.state}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // nothing of the worker's, such as a session bus
	cmd.Dir = "/"
	return cmd
}

// complaint is a failed call with what the runtime said of it.
func (rt runtime) complaint(what string, err error, said string) error {
	said = strings.Join(strings.Fields(said), " ")
	if said == "" {
		return container.Unavailable(fmt.Errorf("%s with %s: %w", what, rt.path, err))
	}
	return container.Unavailable(fmt.Errorf("%s with %s: %w: %s", what, rt.path, err, said[:min(len(said), maxSaid)]))
}

// said reads a log, if there is one.
func said(log string) string {
	text, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	return string(text)
}

// explain adds to an error of the first container what to do about it. left are
// the controllers of version 2 on a machine that has both versions of cgroups: crun
// takes one only if there are none, not even one that nobody uses.
func explain(err error, left []string) error {
	if !strings.Contains(err.Error(), "hybrid mode not supported") || len(left) == 0 {
		return err
	}
	return fmt.Errorf("%w; this machine has both versions of cgroups: mount what version 2 still has (%s), or use runc", err, strings.Join(mountCommands(left), "; "))
}

// mountCommands mount controllers as hierarchies of version 1.
func mountCommands(controllers []string) []string {
	var commands []string
	for _, c := range controllers {
		commands = append(commands, fmt.Sprintf("mkdir -p /sys/fs/cgroup/%s && mount -t cgroup -o %s cgroup /sys/fs/cgroup/%s", c, c, c))
	}
	return commands
}

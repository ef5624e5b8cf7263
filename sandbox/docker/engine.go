package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"

	"gavel/sandbox"
	"gavel/sandbox/container"
)

// connect makes the client; no call is made yet. Inputs and scratch directories
// are named to the engine by path, so only this machine's engine will do.
func connect(host string) (*client.Client, error) {
	if host == "" {
		host = os.Getenv(client.EnvOverrideHost)
	}
	if host == "" {
		host = client.DefaultDockerHost
	}
	if !strings.HasPrefix(host, "unix://") {
		return nil, fmt.Errorf("the Docker engine at %s may be another machine's, which cannot see the build's files; set DOCKER_HOST to a unix:// socket", host)
	}
	engine, err := client.NewClientWithOpts(client.WithHost(host), client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("connecting to the Docker engine at %s: %w", host, err)
	}
	return engine, nil
}

// survey asks the engine what it is and whether it can keep the promises.
func (r *Runner) survey(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := r.engine.Info(ctx)
	if err != nil {
		return container.Unavailable(r.unreachableSentence(err))
	}
	if err := checkEngine(info, r.config.Runtime); err != nil {
		return container.Unavailable(err)
	}
	r.cpus = info.NCPU
	r.containerd = containerdImages(info)
	r.remapped = hasSecurity(info, "userns")
	r.description = sandbox.Description{
		Name:     "docker",
		InputUID: sandbox.UID,
		InputGID: sandbox.UID,
		Notes:    weaknesses(info),
	}
	return nil
}

// unreachableSentence says what to start or type.
func (r *Runner) unreachableSentence(err error) error {
	host := r.engine.DaemonHost()
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("this user may not talk to the Docker engine at %s; run the worker as root: %w", host, err)
	case connectionLost(err):
		return fmt.Errorf("no Docker engine answers at %s; start it (systemctl start docker, or dockerd as root), set DOCKER_HOST, or use --sandbox native: %w", host, err)
	}
	return fmt.Errorf("asking the Docker engine at %s what it is: %w", host, err)
}

// checkEngine refuses an engine that cannot run the commands at all.
func checkEngine(info system.Info, runtime string) error {
	if info.OSType != "linux" {
		return fmt.Errorf("the Docker engine runs %s containers; a Linux engine is needed", info.OSType)
	}
	if hasSecurity(info, "rootless") {
		return errors.New("the Docker engine is rootless and cannot mount overlay volumes; use one that runs as root, or --sandbox native")
	}
	_, known := info.Runtimes[runtime]
	if runtime != "" && !known && !strings.ContainsAny(runtime, "./") { // a path or a shim's name is not listed
		names := make([]string, 0, len(info.Runtimes))
		for name := range info.Runtimes {
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Errorf("the Docker engine has no runtime %q, only %s; add it to the engine's daemon.json and restart the engine", runtime, strings.Join(names, ", "))
	}
	return nil
}

// hasSecurity looks for "name=…" among the engine's security options.
func hasSecurity(info system.Info, name string) bool {
	return slices.ContainsFunc(info.SecurityOptions, func(o string) bool {
		return o == "name="+name || strings.HasPrefix(o, "name="+name+",")
	})
}

// weaknesses lists what this engine does not enforce, one sentence each.
func weaknesses(info system.Info) []string {
	var notes []string
	for _, w := range []struct {
		weak bool
		note string
	}{
		{!hasSecurity(info, "seccomp"), "the Docker engine filters no system calls (no seccomp)"},
		{!info.MemoryLimit, "the Docker engine cannot limit memory"},
		{info.MemoryLimit && !info.SwapLimit, "the Docker engine cannot limit swap: commands may use swap beyond their memory limit"},
		{!info.PidsLimit, "the Docker engine cannot limit processes"},
		{!info.CPUCfsQuota, "the Docker engine cannot limit CPU time"},
		{containerdImages(info), "the Docker engine keeps images in containerd: images that were loaded by hand have ids of their manifests, not of their configs"},
	} {
		if w.weak {
			notes = append(notes, w.note)
		}
	}
	return notes
}

func containerdImages(info system.Info) bool {
	return slices.ContainsFunc(info.DriverStatus, func(kv [2]string) bool {
		return kv[0] == "driver-type" && strings.HasPrefix(kv[1], "io.containerd.snapshotter")
	})
}

// connectionLost says whether err means that the engine is not there or left
// in the middle of a call, rather than that it answered.
func connectionLost(err error) bool {
	return client.IsErrConnectionFailed(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) ||
		errors.As(err, new(*net.OpError))
}

// retry makes a call that may be repeated until the engine answers, at most
// restartTimeout after the first loss. Its error is ctx's, or wraps
// sandbox.ErrUnavailable and the engine's.
func (r *Runner) retry(ctx context.Context, what string, call func(context.Context) error) error {
	var giveUp time.Time
	for {
		once, cancel := context.WithTimeout(ctx, callTimeout)
		err := call(once)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !connectionLost(err):
			return container.Unavailable(fmt.Errorf("%s: %w", what, err))
		case giveUp.IsZero():
			giveUp = time.Now().Add(restartTimeout)
		case time.Now().After(giveUp):
			return container.Unavailable(fmt.Errorf("%s: %w", what, r.unreachableSentence(err)))
		}
		pause := time.NewTimer(restartPoll)
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

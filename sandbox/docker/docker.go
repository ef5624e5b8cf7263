// Package docker is the sandbox.Runner that runs each command in a container of
// the Docker engine on this machine, from an image named by its id. It never
// pulls or builds images, never shows the engine's socket to a command,
// and never takes anything but layers from an image: its variables, entry point,
// user, volumes and health check have no effect. Every container, volume and
// mount it makes bears its owner, and whatever a killed worker left of them is
// removed when the same owner starts again.
//
// How a run is put together, and why:
//
//   - /build is an overlay volume. Its lower layer is the input tree; upper and
//     work directories lie on a tmpfs of Limits.DiskBytes that this process mounts
//     in its scratch directory, which takes root. The engine mounts the volume
//     while the container runs; afterwards this process mounts the same layers to
//     collect outputs. What is written counts as memory too, as in /tmp.
//   - PID 1 is package container/pid1, shown read-only at pid1.Path. It sets environment,
//     umask 022 and working directory exactly, reaps orphans, and tells a signal
//     from an exit code, which the engine does not.
//   - The engine keeps no log of its own: the worker's attached stream is the log,
//     and when that stream ends, for whatever reason, PID 1 ends the container. An
//     engine that is killed cannot pass that on, so this process kills the
//     container's processes itself when the engine is lost.
//   - One container is started ahead, when a Run has ended, for the next Run of the
//     same image and limits; see spare. It holds a waiting PID 1, a shim of the
//     engine's and an empty tmpfs, which nothing has run in and nothing runs in
//     twice. Its inputs come with the Run: they are mounted on a directory from which
//     the container receives mounts. The engine's work is the same, only done while
//     nobody waits, so that Runs without a pause between them gain nothing; nor do
//     the first of a kind, variations, commands with a network, and runtimes that
//     pass no mounts on, such as virtual machines, where spares are soon given up.
package docker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/seccomp/profile"
)

// Config is where and as whom a Runner works.
type Config struct {
	// Host is the engine's socket, "unix:///var/run/docker.sock"; empty takes
	// DOCKER_HOST, or that path. The engine must be this machine's.
	Host string
	// Runtime is the engine's OCI runtime, such as "runsc" or "kata"; empty is
	// the engine's default.
	Runtime string
	// ScratchDir is an absolute host directory for mounts; it is made if absent
	// and belongs to one Runner at a time.
	ScratchDir string
	// ImageBytes bounds what the images that this owner took take of the engine's
	// disk, each counted with what it shares; 0 is no bound.
	ImageBytes int64
	// DropImages lets go, when the runner is closed, of the images that this owner took.
	DropImages bool
	// NoSpare starts every container when its Run comes: none waits for one idle.
	NoSpare bool
	// Owner labels what this runner makes (gavel.owner). Two workers must not
	// share it: each removes what bears its owner and is not its own run.
	Owner string
	// Init is a host path of the static init program (sandbox/container/init); empty
	// takes the one embedded in this binary, or this binary itself if it is static.
	Init string
}

// Runner is a sandbox.ImageTaker on a Docker engine.
type Runner struct {
	engine      *client.Client
	config      Config
	initPath    string           // host path of PID 1's program
	place       *container.Place // nil until taken
	shown       *container.CPUs
	seccomp     string // the filter of system calls, as the engine takes it
	tracing     string // that of a first process which gives its command another clock
	cpus        int    // of the engine; it refuses limits above
	containerd  bool   // the engine keeps images in containerd, named by manifest
	remapped    bool   // the engine maps container users to others
	description sandbox.Description

	mu       sync.Mutex
	closed   bool
	runs     map[string]bool       // runs whose container may exist, the spare's too
	lost     map[string]string     // ids of the containers of runs that lost the engine
	images   map[string]imageFacts // by name; a name's content never changes
	uses     map[string]int64      // when an image was last used, Unix nanoseconds
	users    map[string]int        // runs under way of an image
	sweepErr error                 // of the last sweep after a run
	dropErr  error                 // of spares that were not taken

	spare    *spare // what the next Run of its kind takes; nil if none
	lastKind kind   // of the latest Run that a spare could have served
	spoilt   int    // how many spares in a row failed

	running  sync.WaitGroup // Run and TakeImage calls
	removals sync.WaitGroup // containers being removed in the background
	slots    chan struct{}  // one per removal
	sweeping sync.Mutex     // one sweep after a run at a time
	takes    chan struct{}  // held by the TakeImage at work
}

// New connects to the engine, takes ScratchDir, and removes what an earlier
// process of the same owner left. Its errors wrap sandbox.ErrUnavailable and say
// what to do.
func New(ctx context.Context, c Config) (*Runner, error) {
	if err := c.check(); err != nil {
		return nil, container.Unavailable(err)
	}
	engine, err := connect(c.Host)
	if err != nil {
		return nil, container.Unavailable(err)
	}
	var filters [2]string
	for i, supervisor := range []bool{false, true} {
		filter, err := profile.DockerProfile(supervisor)
		if err != nil {
			return nil, container.Unavailable(fmt.Errorf("writing the filter of system calls: %w", err))
		}
		filters[i] = string(filter)
	}
	r := &Runner{
		engine:  engine,
		config:  c,
		seccomp: filters[0], tracing: filters[1],
		runs:   map[string]bool{},
		lost:   map[string]string{},
		images: map[string]imageFacts{},
		uses:   map[string]int64{}, users: map[string]int{}, takes: make(chan struct{}, 1),
		slots: make(chan struct{}, maxRemovals),
	}
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(err, r.release())
	}
	return r, nil
}

func (c Config) check() error {
	if c.Owner == "" {
		return errors.New("the docker sandbox has no owner; give the worker's name")
	}
	if !filepath.IsAbs(c.ScratchDir) || strings.ContainsAny(c.ScratchDir, ",:\\\x00\"") {
		return fmt.Errorf("the scratch directory %q must be an absolute path without comma, colon, quote or backslash, which mount options cannot hold", c.ScratchDir)
	}
	return nil
}

func (r *Runner) open(ctx context.Context) error {
	if err := r.survey(ctx); err != nil {
		return err
	}
	place, err := container.TakePlace(r.config.ScratchDir, 0)
	if err != nil {
		return container.Unavailable(err)
	}
	r.place = place
	if err := r.sweep(ctx); err != nil {
		return container.Unavailable(fmt.Errorf("removing what an earlier worker left in the Docker engine: %w", err))
	}
	if err := place.Sweep(); err != nil {
		return container.Unavailable(fmt.Errorf("removing what an earlier worker left in the scratch directory: %w", err))
	}
	if err := r.adoptOrphans(ctx); err != nil {
		return container.Unavailable(fmt.Errorf("tagging the images that an earlier worker loaded: %w", err))
	}
	if r.shown, err = place.CPUs(); err != nil {
		return container.Unavailable(err)
	}
	path, err := container.InstallInit(r.config.ScratchDir, r.config.Init)
	if err != nil {
		return container.Unavailable(err)
	}
	r.initPath = path
	return nil
}

// Roots lists the engine's images: by their ids, or those that were taken by
// their names where an engine gives other ids.
func (r *Runner) Roots(ctx context.Context) ([]string, error) {
	var roots []string
	err := r.retry(ctx, "listing images", func(ctx context.Context) error {
		list, err := r.engine.ImageList(ctx, image.ListOptions{})
		roots = roots[:0]
		for _, i := range list {
			root := i.ID
			if named, taken := rootOfTags(i.RepoTags); taken && r.containerd {
				root = named
			}
			roots = append(roots, root)
		}
		return err
	})
	slices.Sort(roots)
	return slices.Compact(roots), err
}

// Describe says which owner inputs must have, and what this engine does not enforce.
func (r *Runner) Describe() sandbox.Description { return r.description }

// Close waits for runs under way and for the removal of their containers.
func (r *Runner) Close() error {
	r.mu.Lock()
	already := r.closed
	r.closed = true
	r.mu.Unlock()
	if already {
		return nil
	}
	r.running.Wait()
	r.dropSpare()
	r.removals.Wait()
	var imagesErr error
	if r.config.DropImages {
		imagesErr = r.dropImages()
	}
	return errors.Join(r.sweepErr, r.dropErr, imagesErr, r.release())
}

// release gives the scratch directory and the connections back.
func (r *Runner) release() error {
	err := r.engine.Close()
	if r.place != nil {
		err = errors.Join(err, r.place.Release())
	}
	return err
}

var errClosed = container.Unavailable(errors.New("the docker sandbox has been closed"))

// enter counts a Run or TakeImage in, unless the Runner is closed.
func (r *Runner) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errClosed
	}
	r.running.Add(1)
	return nil
}

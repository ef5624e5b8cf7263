package oci

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/rootfs"
	"gavel/sandbox/seccomp/profile"
)

// Config is where and as whom a Runner works.
type Config struct {
	// Runtime is the runtime's program: a path, or a name that is looked up in
	// PATH, such as "runc", "crun" or "runsc".
	Runtime string
	// ScratchDir is an absolute host directory for the runtime's state and the
	// runner's own files; it is made if absent and belongs to one Runner at a time.
	ScratchDir string
	// ImageDir holds the unpacked images (rootfs.Shelf) and ImageBytes bounds what
	// they take of the disk; 0 is no bound.
	ImageDir   string
	ImageBytes int64
	// Owner names what this runner makes. Two workers must not share it: each
	// removes what bears its owner and is not its own run.
	Owner string
	// Init is a host path of the static init program (sandbox/container/init); empty
	// takes the one embedded in this binary, or this binary itself if it is static.
	Init string
}

// Runner is a sandbox.ImageTaker on an OCI runtime.
type Runner struct {
	config      Config
	runtime     runtime
	name        string // of all that bears the owner: directories and cgroups
	place       *container.Place
	shelf       *rootfs.Shelf
	shown       *container.CPUs
	filter      *specs.LinuxSeccomp
	tracing     *specs.LinuxSeccomp // where a command has a clock of its own
	swap        bool                // whether the kernel limits swap
	description sandbox.Description

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // Run and TakeImage calls
}

// mountsDir is where runners mount. It is no part of ScratchDir, which may lie in
// a directory that only its owner can enter, while the range's root must pass.
const mountsDir = "/run"

// New finds the runtime, takes the directories, removes what an earlier process
// of the same owner left, and runs a container to see that it works. Its errors
// wrap sandbox.ErrUnavailable and say what to do.
func New(ctx context.Context, c Config) (*Runner, error) {
	if err := c.check(); err != nil {
		return nil, container.Unavailable(err)
	}
	sum := sha256.Sum256([]byte(c.Owner))
	r := &Runner{config: c, name: fmt.Sprintf("gavel-oci-%x", sum[:6]), filter: profile.OCI(false), tracing: profile.OCI(true)}
	if err := r.open(ctx); err != nil {
		if ctx.Err() == nil {
			err = container.Unavailable(err)
		}
		return nil, errors.Join(err, r.release())
	}
	return r, nil
}

func (c Config) check() error {
	if c.Owner == "" {
		return errors.New("the oci sandbox has no owner; give the worker's name")
	}
	for _, d := range []struct{ name, dir string }{{"scratch", c.ScratchDir}, {"image", c.ImageDir}} {
		if !filepath.IsAbs(d.dir) {
			return fmt.Errorf("the %s directory %q of the oci sandbox is not an absolute path", d.name, d.dir)
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("the oci sandbox mounts file systems and maps users, which takes root; run the worker as root, or use --sandbox native")
	}
	return nil
}

func (r *Runner) open(ctx context.Context) error {
	var err error
	if r.runtime, err = findRuntime(ctx, r.config.Runtime, r.statePath()); err != nil {
		return err
	}
	if r.place, err = container.TakePlace(filepath.Join(mountsDir, r.name), sandbox.IDBase); err != nil {
		return err
	}
	if err := r.sweep(ctx); err != nil {
		return fmt.Errorf("removing what an earlier worker left: %w", err)
	}
	if err := r.makeSkeleton(); err != nil {
		return err
	}
	if r.shown, err = r.place.CPUs(); err != nil {
		return err
	}
	if r.shelf, err = rootfs.OpenShelf(r.config.ImageDir, r.config.ImageBytes, rootfs.Options{Shift: sandbox.IDBase}); err != nil {
		return err
	}
	hierarchies, err := findHierarchies()
	if err != nil {
		return err
	}
	r.swap = hierarchies.limitSwap()
	r.description = sandbox.Description{
		Name: "oci", InputUID: sandbox.IDBase + sandbox.UID, InputGID: sandbox.IDBase + sandbox.UID,
		Notes: r.runtime.notes(r.swap),
	}
	return r.try(ctx)
}

// try runs a container without an image, whose only program is PID 1's.
func (r *Runner) try(ctx context.Context) error {
	empty := filepath.Join(r.config.ScratchDir, "empty")
	if err := os.MkdirAll(empty, 0o755); err != nil {
		return err
	}
	s := sandbox.Spec{Argv: []string{"/no-command"}, InputDir: empty, Limits: sandbox.Limits{TimeMillis: runtimeTimeout.Milliseconds()}}
	s.Limits = s.Limits.WithDefaults()
	res, err := r.runIn(ctx, s, "")
	switch {
	case err != nil:
		return fmt.Errorf("trying %s: %w", r.runtime.path, explain(err, unifiedControllers()))
	case res.Status != sandbox.Exited || res.ExitCode != sandbox.ExitNotFound:
		return fmt.Errorf("trying %s: a command that does not exist ended with status %d and code %d", r.runtime.path, res.Status, res.ExitCode)
	}
	return nil
}

// Roots lists the unpacked images.
func (r *Runner) Roots(context.Context) ([]string, error) { return r.shelf.Roots(), nil }

// TakeImage unpacks an image, unless it is.
func (r *Runner) TakeImage(ctx context.Context, img sandbox.Image) (string, error) {
	if err := r.enter(); err != nil {
		return "", err
	}
	defer r.running.Done()
	return r.shelf.Take(ctx, img)
}

// Describe says which owner inputs must have, and which runtime runs commands.
func (r *Runner) Describe() sandbox.Description { return r.description }

// Close waits for runs under way.
func (r *Runner) Close() error {
	r.mu.Lock()
	already := r.closed
	r.closed = true
	r.mu.Unlock()
	if already {
		return nil
	}
	r.running.Wait()
	return r.release()
}

// release gives the directories back.
func (r *Runner) release() error {
	var errs []error
	if r.shelf != nil {
		errs = append(errs, r.shelf.Close())
	}
	if r.place != nil {
		errs = append(errs, r.removeCgroups(), r.place.Remove())
	}
	return errors.Join(errs...)
}

// enter counts a call in, unless the Runner is closed.
func (r *Runner) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return container.Unavailable(errors.New("the oci sandbox has been closed"))
	}
	r.running.Add(1)
	return nil
}

// image acquires the directory of an unpacked image.
func (r *Runner) image(root string) (dir string, release func(), err error) {
	if root == sandbox.HostRoot {
		return "", nil, container.Refuse("root %q needs a worker started with --sandbox native; this one runs images: name one by its digest", root)
	}
	dir, release, err = r.shelf.Acquire(root)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, container.Refuse("image %s is not among this worker's; give it the image first", root)
	}
	return dir, release, err
}

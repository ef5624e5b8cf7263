// Package native runs commands in Linux namespaces, without an engine or a
// daemon: it owns the policy of what a sandbox shows and bounds, and a small
// spawner process that makes it (package box). It never interprets what a command
// does, never touches the network, and needs no root where the kernel lets users
// make namespaces. When Run returns, every process, mount and cgroup of it is gone,
// and after kill -9 of the worker the kernel ends the processes and the next New sweeps the rest.
package native

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/cpus"
	"gavel/sandbox/native/box"
	"gavel/sandbox/rootfs"
)

// IDBase is the machine's user that is root inside, where the worker may choose
// (Description.InputUID is then not -1); user n inside is IDBase+n. Images whose
// files were shifted by it show the owners that they name.
const IDBase = box.HostBase

// MaybeInit plays the spawner or a sandbox's first process, and never returns,
// if this process was started as one. A program that uses New without the
// embedded init must call it first thing in main, and so must its tests.
func MaybeInit() {
	if box.IsRole() {
		box.Main()
	}
}

// Config is what a Runner is made with.
type Config struct {
	// ScratchDir is an existing directory for the runner's own small files. What
	// killed runners left there is swept by New.
	ScratchDir string
	// ImageDir is the runner's shelf of unpacked images, made if it is not there;
	// empty for none. Images that a person put there, each in a directory named
	// after the 64 hex digits of its config digest, are served too.
	ImageDir string
	// ImageBytes bounds what images take of the disk; 0 is no bound.
	ImageBytes int64
}

// Runner is the native sandbox.Runner.
type Runner struct {
	config  Config
	dir     string   // of this runner, below ScratchDir
	lock    *os.File // held as long as the runner lives
	goroot  goroot
	shelf   *rootfs.Shelf // nil without Config.ImageDir
	cgroups *cgroups      // nil where the machine refuses them
	spawner *spawner
	spread  *cpus.Spread
	ranged  bool // users of sandboxes are a range of the machine's, from IDBase on
	copies  bool // inputs are copied: this kernel's tmpfs cannot be an overlay's upper layer
	notes   []string

	mu      sync.Mutex // guards closed against running.Add, and spare
	closed  bool
	running sync.WaitGroup
	spare   chan *command // delivers the box that waits for the next Run; nil when there is none
}

var _ sandbox.ImageTaker = (*Runner)(nil)

// dirPrefix names the runner's directories in ScratchDir and in the cgroup file systems.
const dirPrefix = "gavel-"

// New starts a runner and tries it once. Its errors wrap ErrUnavailable and say
// what the operator of the machine can do.
func New(ctx context.Context, c Config) (*Runner, error) {
	r := &Runner{config: c, goroot: findGoroot(os.Getenv)}
	if err := r.open(ctx, initBinary); err != nil {
		return nil, errors.Join(err, r.release())
	}
	r.makeSpare()
	return r, nil
}

func (r *Runner) open(ctx context.Context, binary []byte) error {
	users, groups, err := readIDMaps()
	if err != nil {
		return unavailable(err)
	}
	if r.ranged, err = chooseUsers(os.Getuid(), users, groups); err != nil {
		return unavailable(err)
	}
	// Before the rest, while this process is small.
	if r.spawner, err = startSpawner(binary); err != nil {
		return err
	}
	if r.spread, err = cpus.NewSpread(); err != nil {
		return unavailable(err)
	}
	if len(binary) == 0 {
		r.notes = append(r.notes, "sandboxes start slower: this gavel was built without its small init binary; build it with `make build`")
	}
	if r.copies = !tmpfsKeepsAttributes(); r.copies {
		r.notes = append(r.notes, "inputs are copied to memory for each command and count against its disk limit: before Linux 6.6 an overlay cannot lie on a tmpfs")
	}
	if err := sweep(r.config.ScratchDir); err != nil {
		r.notes = append(r.notes, "what a killed worker left could not be removed: "+err.Error())
	}
	if err := r.openImages(); err != nil {
		return unavailable(err)
	}
	if err := r.makeDir(); err != nil {
		return unavailable(err)
	}
	if r.cgroups, err = openCgroups(filepath.Base(r.dir)); err == nil {
		if err = r.try(ctx); err == nil {
			if len(r.cgroups.unbound) > 0 {
				r.notes = append(r.notes, "CPU time is not bounded: the cpu controller is not delegated to this worker (systemctl edit user@.service: Delegate=cpu memory pids)")
			}
			return nil
		}
		// It may be the cgroups that do not work, which only trying shows.
		_ = r.cgroups.close() // what cannot be removed now is swept by a later New
		r.cgroups = nil
	}
	r.notes = append(r.notes, "limits are weaker: this machine refuses cgroups ("+err.Error()+"), so memory is polled: it can be exceeded for a moment, pipes and sockets count as if they were full, and what is in files without names is not counted if a process hides its descriptors or has sent them to nobody yet; processes are bounded by a resource limit, and CPU is not bounded")
	return r.try(ctx)
}

// tmpfsKeepsAttributes says whether an overlay in a user namespace can mark
// removed directories on a tmpfs. A file in memory is of the same file system.
func tmpfsKeepsAttributes() bool {
	fd, err := unix.MemfdCreate("gavel-attributes", unix.MFD_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Fsetxattr(fd, "user.gavel", []byte("1"), 0) == nil
}

// makeDir makes and locks the runner's own directory.
func (r *Runner) makeDir() error {
	var id [6]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	r.dir = filepath.Join(r.config.ScratchDir, dirPrefix+hex.EncodeToString(id[:]))
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		return fmt.Errorf("making the runner's directory: %w", err)
	}
	lock, err := lockDir(r.dir)
	if err != nil {
		return err
	}
	r.lock = lock
	if err := writeEtc(r.etcDir(), "/etc"); err != nil {
		return fmt.Errorf("copying /etc: %w", err)
	}
	// A machine without one has no names to offer, and an empty file says so.
	if err := copyFile("/etc/"+resolvConf, filepath.Join(r.dir, resolvConf)); errors.Is(err, os.ErrNotExist) {
		err = os.WriteFile(filepath.Join(r.dir, resolvConf), nil, 0o644)
		if err != nil {
			return fmt.Errorf("copying /etc/%s: %w", resolvConf, err)
		}
	} else if err != nil {
		return err
	}
	for _, d := range []string{"empty", "cpus"} {
		if err := os.Mkdir(filepath.Join(r.dir, d), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) etcDir() string { return filepath.Join(r.dir, "etc") }

// try builds a sandbox and runs nothing in it.
func (r *Runner) try(ctx context.Context) error {
	s := sandbox.Spec{Root: sandbox.HostRoot, InputDir: filepath.Join(r.dir, "empty"), Limits: sandbox.Limits{}.WithDefaults()}
	_, err := r.run(ctx, s, "")
	return err
}

// Describe says who owns inputs and what is weak on this machine.
func (r *Runner) Describe() sandbox.Description {
	d := sandbox.Description{Name: "native", InputUID: -1, InputGID: -1, Notes: slices.Clone(r.notes)}
	if r.ranged {
		d.InputUID, d.InputGID = IDBase+sandbox.UID, IDBase+sandbox.UID
	}
	return d
}

// enter counts a call that Close waits for; leave must follow.
func (r *Runner) enter() (leave func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("%w: the runner is closed", sandbox.ErrUnavailable)
	}
	r.running.Add(1)
	return r.running.Done, nil
}

// PathTail is what the runner appends to PATH for HostRoot: GOROOT's bin, if the
// machine has Go. Which directory it is belongs to the host's fingerprint.
func (r *Runner) PathTail() []string { return r.goroot.pathTail() }

// Close waits for the commands under way and removes what the runner holds.
func (r *Runner) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.running.Wait()
	return errors.Join(r.dropSpare(), r.release())
}

func (r *Runner) release() error {
	if r.spawner != nil {
		r.spawner.close()
	}
	var failures []error
	if r.cgroups != nil {
		failures = append(failures, r.cgroups.close())
	}
	if r.shelf != nil {
		failures = append(failures, r.shelf.Close())
	}
	if r.lock != nil {
		failures = append(failures, os.RemoveAll(r.dir), r.lock.Close())
	}
	return errors.Join(failures...)
}

// lockDir takes the lock that says that dir's runner lives; the kernel drops it with the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return f, nil
}

// sweep removes what runners that were killed left in scratch and in the cgroup
// file systems. Their processes died with them.
func sweep(scratch string) error {
	dirs, err := filepath.Glob(filepath.Join(scratch, dirPrefix+"*"))
	if err != nil {
		return err
	}
	var failures []error
	for _, dir := range dirs {
		lock, err := lockDir(dir)
		if err != nil { // alive, or not a runner's
			continue
		}
		// The directory goes last: it is what names the rest.
		if err = sweepCgroups(filepath.Base(dir)); err == nil {
			err = os.RemoveAll(dir)
		}
		failures = append(failures, err, lock.Close())
	}
	return errors.Join(failures...)
}

package docker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

// The scratch directory holds a lock, PID 1's program, and runsDir with one
// directory per run, on which that run's tmpfs is mounted. Nothing else is ever
// written there, so cleaning it up takes unmounting and rmdir, never a recursive
// removal that could follow a mount into somebody's inputs.
const (
	lockName = "lock"
	runsDir  = "runs"
)

// takeScratch makes the scratch directory and locks it until this process ends.
func (r *Runner) takeScratch() error {
	dir := r.config.ScratchDir
	if err := os.MkdirAll(filepath.Join(dir, runsDir), 0o700); err != nil {
		return fmt.Errorf("making the scratch directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the scratch directory's lock: %w", err)
	}
	r.lock = lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("another worker uses the scratch directory %s; give each its own: %w", dir, err)
	}
	probe := scratch{filepath.Join(dir, runsDir, "probe")}
	if err := probe.make("/", 1<<20, 0); err != nil {
		return err
	}
	return probe.remove()
}

// sweepScratch unmounts and removes the run directories of a process that was killed.
func sweepScratch(dir string) error {
	entries, err := os.ReadDir(filepath.Join(dir, runsDir))
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, scratch{filepath.Join(dir, runsDir, e.Name())}.remove())
	}
	return errors.Join(errs...)
}

// scratch is one run's mount point: a tmpfs with the overlay's layers.
type scratch struct{ dir string }

// make mounts a tmpfs of so many bytes and prepares the overlay's layers: lower
// is a symlink to the input tree, so that no foreign path stands in mount options,
// and upper lends the overlay its root's owner, mode and times.
func (s scratch) make(inputDir string, bytes, epoch int64) error {
	if err := os.Mkdir(s.dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making a run's scratch directory: %w", err)
	}
	err := unix.Mount("gavel", s.dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=0700,size=%d", bytes))
	if errors.Is(err, unix.EPERM) {
		return errors.Join(errors.New("the docker sandbox mounts a file system for each build, which takes root; run the worker as root, or use --sandbox native"), os.Remove(s.dir))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("mounting a tmpfs on %s: %w", s.dir, err), os.Remove(s.dir))
	}
	if err := s.layers(inputDir, time.Unix(epoch, 0)); err != nil {
		return errors.Join(fmt.Errorf("preparing a run's scratch directory: %w", err), s.remove())
	}
	return nil
}

func (s scratch) layers(inputDir string, epoch time.Time) error {
	for _, name := range []string{"upper", "work", "merged"} {
		if err := os.Mkdir(s.path(name), 0o755); err != nil {
			return err
		}
	}
	upper := s.path("upper")
	return errors.Join(
		os.Symlink(inputDir, s.path("lower")),
		os.Chmod(upper, 0o755), // whatever this process's umask is
		os.Chown(upper, sandbox.UID, sandbox.UID),
		os.Chtimes(upper, epoch, epoch),
	)
}

func (s scratch) path(name string) string { return filepath.Join(s.dir, name) }

// overlayOptions are the mount options of /build.
func (s scratch) overlayOptions() string {
	return "lowerdir=" + s.path("lower") + ",upperdir=" + s.path("upper") + ",workdir=" + s.path("work")
}

// open mounts the overlay as the command left it and opens its root. The
// engine must have unmounted it; remove unmounts it again.
func (s scratch) open() (*os.File, error) {
	err := unix.Mount("gavel", s.path("merged"), "overlay", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, s.overlayOptions())
	if err != nil {
		return nil, fmt.Errorf("mounting what the command left: %w", err)
	}
	return os.Open(s.path("merged"))
}

// remove takes the directory and every mount at or in it away; the memory is
// free once the engine, too, has let go.
func (s scratch) remove() error {
	for _, dir := range []string{s.path("merged"), s.dir} {
		for {
			err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // no mount point; not there
				break
			}
			if err != nil {
				return fmt.Errorf("unmounting %s: %w", dir, err)
			}
		}
	}
	if err := os.Remove(s.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

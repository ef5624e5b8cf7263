package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"gavel/sandbox"
	"gavel/sandbox/cpus"
)

// cpusDir holds, below a Place, what shows each number of CPUs.
const cpusDir = "cpus"

// CPUs gives each run those that its command sees and may use. It is safe for
// concurrent use.
type CPUs struct {
	spread *cpus.Spread
	place  *Place
	dir    string
}

// CPUs prepares to show CPUs from files below the place.
func (p *Place) CPUs() (*CPUs, error) {
	spread, err := cpus.NewSpread()
	if err != nil {
		return nil, err
	}
	c := &CPUs{spread: spread, place: p, dir: filepath.Join(p.Dir, cpusDir)}
	// The machine may have got other CPUs since.
	if err := os.RemoveAll(c.dir); err != nil {
		return nil, fmt.Errorf("removing an earlier worker's CPUs: %w", err)
	}
	return c, c.makeDir()
}

func (c *CPUs) makeDir() error {
	if err := errors.Join(os.MkdirAll(c.dir, 0o755), os.Chmod(c.dir, 0o755)); err != nil {
		return fmt.Errorf("making the directory of CPUs: %w", err)
	}
	return nil
}

// For takes the CPUs of s, none if it may use all, and returns the directory of
// what shows them (cpus.WriteFiles). A limit is no demand: above the machine's
// number it means all, while a variation that cannot be had is an error.
func (c *CPUs) For(s sandbox.Spec) (taken []uint32, dir string, err error) {
	n := s.Surroundings().CPUs
	if s.Variation.CPUs == 0 {
		n = min(n, c.spread.Count())
	}
	if n > 0 {
		numbers, err := c.spread.Take(n)
		if err != nil {
			return nil, "", Unavailable(err)
		}
		for _, number := range numbers {
			taken = append(taken, uint32(number))
		}
	} else {
		n = c.spread.Count()
	}
	if dir, err = c.show(n); err != nil {
		return nil, "", Unavailable(fmt.Errorf("making what shows %d CPUs: %w", n, err))
	}
	return taken, dir, nil
}

// show makes what shows n CPUs, once a number.
func (c *CPUs) show(n int) (string, error) {
	dir := filepath.Join(c.dir, strconv.Itoa(n))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	making, err := os.MkdirTemp(c.dir, "new-")
	if errors.Is(err, fs.ErrNotExist) { // somebody cleaned up
		if err = errors.Join(c.place.mend(), c.makeDir()); err == nil {
			making, err = os.MkdirTemp(c.dir, "new-")
		}
	}
	if err != nil {
		return "", err
	}
	if err := cpus.WriteFiles(making, n, c.place.group); err != nil {
		return "", err
	}
	err = os.Rename(making, dir)
	if errors.Is(err, fs.ErrExist) { // another run was faster
		err = os.RemoveAll(making)
	}
	return dir, err
}

// CPUFiles are what of a directory that For returned is to be shown where, for a
// root that has a whole /proc and /sys.
var CPUFiles = map[string]string{
	cpus.InfoFile:               "/proc/cpuinfo",
	cpus.StatFile:               "/proc/stat",
	cpus.SysDir + "/" + cpuTree: "/sys/" + cpuTree,
}

const cpuTree = "devices/system/cpu"

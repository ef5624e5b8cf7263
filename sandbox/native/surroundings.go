package native

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gavel/sandbox"
	"gavel/sandbox/cpus"
	"gavel/sandbox/native/box"
)

// namedFiles are the files of /etc that tell the host name. Whoever asks for a
// name looks in all of them, so a varied name is in all.
var namedFiles = []string{"hostname", "hosts"}

// ownNames are the steps that show them under another host name than usual:
// written on the tmpfs that the inputs will cover, then shown in /etc.
type ownNames struct{ written, shown []box.Step }

func (r *Runner) names(hostname string) (n ownNames) {
	if hostname == sandbox.Hostname {
		return n // the runner's own /etc has the usual one
	}
	n.written = append(n.written, directory(etcTree))
	for _, name := range namedFiles {
		content := strings.ReplaceAll(etcWritten[name], sandbox.Hostname, hostname)
		n.written = append(n.written, box.Step{Op: box.Content, Target: etcTree + "/" + name, Options: content})
		n.shown = append(n.shown, box.Step{Op: box.Bind, Source: etcTree + "/" + name, Target: "etc/" + name, Flags: readOnly})
	}
	return n
}

// cpusFor takes as many CPUs as the command of s is to see, none if it may use
// all, and makes what shows them. A limit is no demand: above the machine's number
// it means all, while a variation that cannot be had is an error.
func (r *Runner) cpusFor(s sandbox.Spec) (taken []int, dir string, err error) {
	n := s.Surroundings().CPUs
	if s.Variation.CPUs == 0 {
		n = min(n, r.spread.Count())
	}
	if n > 0 {
		if taken, err = r.spread.Take(n); err != nil {
			return nil, "", unavailable(err)
		}
	} else {
		n = r.spread.Count()
	}
	if dir, err = r.cpuDir(n); err != nil {
		return nil, "", unavailable(fmt.Errorf("making what shows %d CPUs: %w", n, err))
	}
	return taken, dir, nil
}

// cpuSteps show what cpuDir made.
func cpuSteps(dir string) []box.Step {
	return []box.Step{
		directory(cpuTree), tree(dir, cpuTree), directory(cpus.SysDir),
		{Op: box.Bind, Source: cpuTree + "/" + cpus.SysDir, Target: cpus.SysDir, Flags: readOnly},
		{Op: box.Bind, Source: cpuTree + "/" + cpus.InfoFile, Target: cpus.InfoFile, Flags: readOnly},
		{Op: box.Bind, Source: cpuTree + "/" + cpus.StatFile, Target: cpus.StatFile, Flags: readOnly},
	}
}

// cpuDir makes what shows n CPUs, once a count.
func (r *Runner) cpuDir(n int) (string, error) {
	dir := filepath.Join(r.dir, "cpus", strconv.Itoa(n))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	making, err := os.MkdirTemp(filepath.Join(r.dir, "cpus"), "new-")
	if err != nil {
		return "", err
	}
	if err := cpus.WriteFiles(making, n); err != nil {
		return "", err
	}
	err = os.Rename(making, dir)
	if errors.Is(err, fs.ErrExist) { // another run was faster
		err = os.RemoveAll(making)
	}
	return dir, err
}

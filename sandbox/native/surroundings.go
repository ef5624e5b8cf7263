package native

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gavel/sandbox"
	"gavel/sandbox/cpus"
	"gavel/sandbox/native/box"
)

// namedFiles are the files of /etc that tell the host name. Whoever asks for a
// name looks in all of them, so a varied name is in all.
var namedFiles = []string{"hostname", "hosts"}

// writtenName is the step that writes one of them, or resolvConf, on the tmpfs
// that the inputs will cover.
func writtenName(name, hostname string) box.Step {
	content := strings.ReplaceAll(etcWritten[name], sandbox.Hostname, hostname)
	return box.Step{Op: box.Content, Target: etcTree + "/" + name, Options: content}
}

// variedNames show them in the machine's /etc under another host name than usual,
// which the runner's own has.
func variedNames(hostname string) []box.Step {
	if hostname == sandbox.Hostname {
		return nil
	}
	steps := []box.Step{directory(etcTree)}
	for _, name := range namedFiles {
		steps = append(steps, writtenName(name, hostname),
			box.Step{Op: box.Bind, Source: etcTree + "/" + name, Target: "etc/" + name, Flags: readOnly})
	}
	return steps
}

// imageNames lay them, and resolvConf, before the /etc of an image, which may lack
// them or have links in their places. With the machine's network names are asked for
// where the machine does. An /etc that is no directory stays as it is.
func (r *Runner) imageNames(dir, hostname string, network bool) ([]box.Step, error) {
	info, err := os.Lstat(filepath.Join(dir, "etc"))
	if err == nil && !info.IsDir() {
		return nil, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	steps := []box.Step{directory(etcTree)}
	for _, name := range append(slices.Clone(namedFiles), resolvConf) {
		steps = append(steps, writtenName(name, hostname))
	}
	if err == nil {
		// Mounted over what already shows the image's: an overlay takes its source from there.
		steps = append(steps, box.Step{Op: box.Alike, Source: "etc", Target: etcTree},
			box.Step{Op: box.Layers, Source: "etc", Target: "etc", Options: etcTree})
	} else {
		steps = append(steps, directory("etc"), box.Step{Op: box.Bind, Source: etcTree, Target: "etc", Flags: readOnly})
	}
	if network {
		steps = append(steps, tree(filepath.Join(r.dir, resolvConf), "etc/"+resolvConf))
	}
	return steps, nil
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
	owner := -1
	if r.ranged {
		owner = IDBase
	}
	if err := cpus.WriteFiles(making, n, owner); err != nil {
		return "", err
	}
	err = os.Rename(making, dir)
	if errors.Is(err, fs.ErrExist) { // another run was faster
		err = os.RemoveAll(making)
	}
	return dir, err
}

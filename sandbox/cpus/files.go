package cpus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// bootSeconds is what /proc/stat tells as the time of the last boot: no machine's.
const bootSeconds = 946684800 // the year 2000

// kept are the lines of /proc/cpuinfo that are facts of the model: programs choose
// instructions and tuning by them.
var kept = []string{
	// x86
	"vendor_id", "cpu family", "model", "model name", "stepping", "cache size", "fpu", "fpu_exception", "cpuid level", "wp",
	"flags", "clflush size", "cache_alignment", "address sizes", "power management",
	// arm64
	"Features", "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision",
}

// counted are those that number and count; cpu is a CPU's own number of n.
var counted = map[string]func(cpu, n int) string{
	"processor":      func(cpu, _ int) string { return strconv.Itoa(cpu) },
	"physical id":    func(int, int) string { return "0" },
	"siblings":       func(_, n int) string { return strconv.Itoa(n) },
	"core id":        func(cpu, _ int) string { return strconv.Itoa(cpu) },
	"cpu cores":      func(_, n int) string { return strconv.Itoa(n) },
	"apicid":         func(cpu, _ int) string { return strconv.Itoa(cpu) },
	"initial apicid": func(cpu, _ int) string { return strconv.Itoa(cpu) },
	"cpu MHz":        func(int, int) string { return "1000.000" }, // it changes from moment to moment
	"bogomips":       func(int, int) string { return "2000.00" },  // and this from boot to boot
	"BogoMIPS":       func(int, int) string { return "2000.00" },
}

// info is /proc/cpuinfo of n CPUs like the machine's first. What is neither kept
// nor counted (microcode, bugs, their mitigations) is the machine's affair.
func info(n int, machine string) string {
	first, _, _ := strings.Cut(machine, "\n\n")
	var b strings.Builder
	for cpu := range n {
		for line := range strings.Lines(first) {
			name, _, _ := strings.Cut(line, ":")
			title := strings.TrimSpace(name)
			if value, ok := counted[title]; ok {
				fmt.Fprintf(&b, "%s: %s\n", name, value(cpu, n))
			} else if slices.Contains(kept, title) {
				b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// stat is /proc/stat of a machine that never did anything.
func stat(n int) string {
	var b strings.Builder
	idle := " 0 0 0 0 0 0 0 0 0 0\n"
	b.WriteString("cpu " + idle)
	for cpu := range n {
		b.WriteString("cpu" + strconv.Itoa(cpu) + idle)
	}
	fmt.Fprintf(&b, "intr 0\nctxt 0\nbtime %d\nprocesses 0\nprocs_running 1\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n", bootSeconds)
	return b.String()
}

// Where a command sees what, and where WriteFiles puts it below its directory.
const (
	InfoFile = "proc/cpuinfo"
	StatFile = "proc/stat"
	SysDir   = "sys" // all of /sys: devices/system/cpu, and nothing else
)

// WriteFiles makes, in the new directory dir, what a command that sees n CPUs
// shall see of them: files for everybody to read, to be shown read-only. They
// belong to a user and group of the machine, or this process's for -1.
func WriteFiles(dir string, n, owner int) error {
	if err := write(dir, n); err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, owner, owner))
	})
}

func write(dir string, n int) error {
	machine, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return fmt.Errorf("reading the machine's CPUs: %w", err)
	}
	return writeFiles(dir, n, string(machine))
}

func writeFiles(dir string, n int, machine string) error {
	numbers := "0\n"
	if n > 1 {
		numbers = "0-" + strconv.Itoa(n-1) + "\n"
	}
	const system = SysDir + "/devices/system/cpu"
	files := map[string]string{
		InfoFile: info(n, machine), StatFile: stat(n),
		system + "/online": numbers, system + "/possible": numbers, system + "/present": numbers,
		system + "/offline": "\n", system + "/kernel_max": strconv.Itoa(n-1) + "\n",
	}
	dirs := []string{"proc"}
	for cpu := range n { // old C libraries count these
		dirs = append(dirs, system+"/cpu"+strconv.Itoa(cpu))
	}
	for _, d := range dirs {
		if err := makeDirs(dir, d); err != nil {
			return fmt.Errorf("writing what shows %d CPUs: %w", n, err)
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o444); err != nil {
			return fmt.Errorf("writing what shows %d CPUs: %w", n, err)
		}
		// Whatever the worker's umask.
		if err := os.Chmod(filepath.Join(dir, name), 0o444); err != nil {
			return fmt.Errorf("writing what shows %d CPUs: %w", n, err)
		}
	}
	return nil
}

// makeDirs makes a path below dir, open to everybody whatever the worker's umask.
func makeDirs(dir, path string) error {
	if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
		return err
	}
	for ; path != "."; path = filepath.Dir(path) {
		if err := os.Chmod(filepath.Join(dir, path), 0o755); err != nil {
			return err
		}
	}
	return os.Chmod(dir, 0o755)
}

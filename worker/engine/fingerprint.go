package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

// Fingerprint is the class that a worker declares: slash-separated components,
// coarse before fine, of which a pool admits a prefix.
//
//	linux/amd64/v3/cpu-1f00ab34/6.1/native[/host-5e1f0c22]
//
// are the system, the architecture, the highest level of its instruction set
// that the CPU has all of (x86-64 psABI; "v0" elsewhere), a digest of the CPU's
// sorted feature flags, the kernel's major and minor version, the sandbox, and,
// where the machine's own root is offered, a digest of what a build sees of it:
// distribution, libc and toolchain.
func Fingerprint(ctx context.Context, sandboxName string, host bool) (string, error) {
	flags, err := cpuFlags()
	if err != nil {
		return "", fmt.Errorf("reading the CPU's features: %w", err)
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", fmt.Errorf("asking for the kernel's version: %w", err)
	}
	parts := []string{
		runtime.GOOS, runtime.GOARCH, cpuLevel(flags), "cpu-" + digest8(strings.Join(flags, " ")),
		kernelVersion(unix.ByteSliceToString(uts.Release[:])), sandboxName,
	}
	if host {
		root, err := hostRoot(ctx)
		if err != nil {
			return "", err
		}
		parts = append(parts, "host-"+digest8(root))
	}
	return strings.Join(parts, "/"), nil
}

func digest8(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

// cpuFlags are the features of the first CPU, sorted.
func cpuFlags() ([]string, error) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return nil, err
	}
	return parseFlags(string(info)), nil
}

func parseFlags(cpuinfo string) []string {
	for line := range strings.Lines(cpuinfo) {
		name, value, ok := strings.Cut(line, ":")
		switch strings.TrimSpace(name) {
		case "flags", "Features":
			if ok {
				flags := strings.Fields(value)
				slices.Sort(flags)
				return slices.Compact(flags)
			}
		}
	}
	return nil
}

// cpuLevels are the features that each level adds, in Linux' names for them
// (x86-64 psABI, "Micro-Architecture Levels").
var cpuLevels = []struct {
	level string
	needs []string
}{
	{"v2", []string{"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}},
	{"v3", []string{"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}},
	{"v4", []string{"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}},
}

func cpuLevel(sortedFlags []string) string {
	if runtime.GOARCH != "amd64" {
		return "v0"
	}
	level := "v1"
	for _, l := range cpuLevels {
		for _, f := range l.needs {
			if _, ok := slices.BinarySearch(sortedFlags, f); !ok {
				return level
			}
		}
		level = l.level
	}
	return level
}

// kernelVersion is "6.1" of "6.1.0-18-amd64".
func kernelVersion(release string) string {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return release
	}
	minor, _, _ := strings.Cut(parts[1], "-")
	return parts[0] + "." + minor
}

// toolchain is asked for its versions: what turns sources into bytes on the
// machine's own root.
var toolchain = [][]string{
	{"ldd", "--version"}, {"cc", "--version"}, {"ld", "--version"}, {"make", "--version"}, {"go", "version"}, {"python3", "--version"},
}

// toolPath is where tools are looked for: the sandbox's PATH and the usual homes
// of Go, whatever PATH this process was started with.
const toolPath = sandbox.SearchPath + ":/usr/local/go/bin:/usr/lib/go/bin"

// hostRoot describes the machine's own root. A tool that is not there is part of
// the description.
func hostRoot(ctx context.Context) (string, error) {
	var b strings.Builder
	release, err := os.ReadFile("/etc/os-release")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the distribution's name: %w", err)
	}
	fmt.Fprintf(&b, "os-release: %s\n", release)
	for _, tool := range toolchain {
		fmt.Fprintf(&b, "%s: %s\n", tool[0], version(ctx, tool))
	}
	return b.String(), nil
}

// version is the first line that a tool prints of itself, "none" without it.
func version(ctx context.Context, tool []string) string {
	ctx, cancel := context.WithTimeout(ctx, toolPatience)
	defer cancel()
	for dir := range strings.SplitSeq(toolPath, ":") {
		path := filepath.Join(dir, tool[0])
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			continue
		}
		cmd := exec.CommandContext(ctx, path, tool[1:]...)
		// GOTOOLCHAIN keeps go from answering for another version than its own.
		cmd.Env = []string{"PATH=" + toolPath, "LC_ALL=C", "HOME=/nonexistent", "GOTOOLCHAIN=local"}
		out, err := cmd.Output()
		if err != nil {
			return "broken"
		}
		line, _, _ := strings.Cut(string(out), "\n")
		return strings.TrimSpace(line)
	}
	return "none"
}

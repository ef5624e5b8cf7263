package native

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// hostDirs are what HostRoot shows of the machine besides /etc and GOROOT; what
// is a symlink there (a merged /usr) is one inside too.
var hostDirs = []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// etcKept are the entries of the machine's /etc that builds need and that name
// nobody: the dynamic linker, alternatives, certificates, and the settings of
// interpreters that keep them there. Patterns of filepath.Match.
var etcKept = []string{
	"alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ssl", "pki", "ca-certificates", "ca-certificates.conf",
	"protocols", "services", "perl", "python3*", "java-*", "fonts", "debian_version", "os-release", "mime.types", "magic",
}

// etcBound are public directories of hundreds of entries: showing them costs a
// mount a command, copying them a part of a second a runner.
var etcBound = []string{"alternatives", "fonts", "ssl/certs"}

// etcWritten are the files of /etc that are the same on every machine.
var etcWritten = map[string]string{
	"passwd":        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n",
	"group":         "root:x:0:\nnogroup:x:65534:\n",
	"hosts":         "127.0.0.1 localhost gavel\n::1 localhost ip6-localhost ip6-loopback\n",
	"hostname":      "gavel\n",
	"nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n",
	"host.conf":     "multi on\n",
	resolvConf:      "",
}

// maxEtcBytes bounds one copied file of /etc; the linker's cache is the largest, below 1 MB.
const maxEtcBytes = 64 << 20

// resolvConf is empty in a sandbox; one with the machine's network gets a copy of the machine's.
const resolvConf = "resolv.conf"

// writeEtc makes the filtered /etc in dir, with empty directories for what is bound.
func writeEtc(dir, machineEtc string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(machineEtc)
	if err != nil {
		return err
	}
	for _, e := range entries {
		keep := slices.ContainsFunc(etcKept, func(pattern string) bool {
			ok, _ := filepath.Match(pattern, e.Name()) // the patterns are constants and well-formed
			return ok
		})
		if keep {
			if err := copyPublic(machineEtc, dir, e.Name()); err != nil {
				return err
			}
		}
	}
	for name, content := range etcWritten {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// copyPublic copies what everybody may read of one entry of etc; the rest (private
// keys beside certificates) stays outside. Links are kept as they are, and find what the sandbox shows there.
func copyPublic(machineEtc, dir, name string) error {
	return filepath.WalkDir(filepath.Join(machineEtc, name), func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(machineEtc, p)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, rel)
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(target, to)
		case info.IsDir() && info.Mode()&0o005 != 0o005:
			return fs.SkipDir
		case info.IsDir():
			if err := os.Mkdir(to, 0o755); err != nil || !slices.Contains(etcBound, rel) {
				return err
			}
			return fs.SkipDir
		case info.Mode().IsRegular() && info.Mode()&0o004 != 0 && info.Size() <= maxEtcBytes:
			return copyFile(p, to)
		}
		return nil
	})
}

func copyFile(src, dst string) error {
	from, err := os.Open(src)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		return fmt.Errorf("copying %s: %w", src, err)
	}
	return to.Close()
}

// goroot is where the machine keeps Go, and where the sandbox shows it.
type goroot struct {
	outside string // on the machine; empty when there is none
	inside  string
}

// shownGoroot is where a GOROOT outside /usr is shown, the same on every machine
// because compilers write paths into what they make.
const shownGoroot = "/opt/go"

// findGoroot looks for Go where people put it: $GOROOT, the go in PATH, and the
// places of go.dev's archive and of distributions, newest version first.
func findGoroot(getenv func(string) string) goroot {
	candidates := []string{getenv("GOROOT")}
	if p, err := exec.LookPath("go"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			candidates = append(candidates, filepath.Dir(filepath.Dir(p)))
		}
	}
	candidates = append(candidates, "/usr/local/go", "/usr/lib/go")
	distributed, _ := filepath.Glob("/usr/lib/go-*") // the pattern is constant and well-formed
	slices.Reverse(distributed)
	for _, c := range append(candidates, distributed...) {
		if c == "" {
			continue
		}
		dir, err := filepath.EvalSymlinks(c)
		if err != nil {
			continue
		}
		if info, err := os.Stat(filepath.Join(dir, "bin", "go")); err != nil || info.IsDir() {
			continue
		}
		if strings.HasPrefix(dir, "/usr/") {
			return goroot{outside: dir, inside: dir}
		}
		return goroot{outside: dir, inside: shownGoroot}
	}
	return goroot{}
}

// pathTail is what HostRoot appends to PATH: Go's directory, unless a fixed one has it.
func (g goroot) pathTail() []string {
	if g.outside == "" {
		return nil
	}
	return []string{g.inside + "/bin"}
}

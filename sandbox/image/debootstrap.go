package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"gavel/sandbox/rootfs"
)

// bootstrap is a wish for a fresh root file system.
type bootstrap struct {
	suite, variant, mirror string
	include                []string
}

var (
	suiteName   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*(:[a-z0-9]+)?$`)
)

// parseBootstrap reads SUITE?include=a,b&variant=V&mirror=URL.
func parseBootstrap(rest string) (bootstrap, error) {
	suite, query, _ := strings.Cut(rest, "?")
	b := bootstrap{suite: suite, variant: "minbase"}
	if !suiteName.MatchString(suite) {
		return b, refuse("%q is no name of a suite; write one such as bookworm", suite)
	}
	values, err := url.ParseQuery(strings.ReplaceAll(query, "+", "%2B")) // g++ is a package, not a space
	if err != nil {
		return b, refuse("what follows the ? is not KEY=VALUE&KEY=VALUE: %v", err)
	}
	for key, list := range values {
		if len(list) != 1 {
			return b, refuse("%s is given %d times; give it once", key, len(list))
		}
		switch value := list[0]; key {
		case "include":
			for p := range strings.SplitSeq(value, ",") {
				if !packageName.MatchString(p) {
					return b, refuse("%q is no name of a package", p)
				}
				b.include = append(b.include, p)
			}
		case "variant":
			if value != "minbase" && value != "buildd" {
				return b, refuse("the variant %q is not known; write minbase, or buildd for compilers too", value)
			}
			b.variant = value
		case "mirror":
			u, err := url.Parse(value)
			if err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file" {
				return b, refuse("%q is no mirror; write a URL such as http://deb.debian.org/debian", value)
			}
			b.mirror = value
		default:
			return b, refuse("%q is not known; write include, variant or mirror", key)
		}
	}
	return b, nil
}

func (b bootstrap) args(dir string) []string {
	args := []string{"--variant=" + b.variant}
	if len(b.include) > 0 {
		args = append(args, "--include="+strings.Join(b.include, ","))
	}
	args = append(args, b.suite, dir)
	if b.mirror != "" {
		args = append(args, b.mirror)
	}
	return args
}

// openDebootstrap makes an image of a fresh root file system.
func openDebootstrap(ctx context.Context, r *reader, rest string) error {
	b, err := parseBootstrap(rest)
	if err != nil {
		return err
	}
	tool, err := exec.LookPath("debootstrap")
	if err != nil {
		return errors.New("debootstrap is not installed: apt-get install debootstrap, or make the image elsewhere and give it as an archive")
	}
	if os.Geteuid() != 0 {
		return errors.New("debootstrap makes files of other users: run this as root, or make the image elsewhere and give it as an archive")
	}
	dir := filepath.Join(r.source.temp, "bootstrap")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever this process's umask is
		return err
	}
	if err := runBootstrap(ctx, tool, b.args(dir), r.progress); err != nil {
		return err
	}
	if err := forgetMachine(dir); err != nil {
		return fmt.Errorf("cleaning the fresh root file system: %w", err)
	}
	return errors.Join(openDir(ctx, r, dir), rootfs.Remove(dir))
}

// runBootstrap runs the tool in a mount namespace of its own, so that what it
// mounts is gone when it is, however it ends.
func runBootstrap(ctx context.Context, tool string, args []string, progress func(string)) error {
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC", "HOME=/root"}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	// The kernel kills the child when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	var last []string
	told := make(chan struct{})
	go func() {
		defer close(told)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			progress("debootstrap: " + lines.Text())
			if last = append(last, lines.Text()); len(last) > 10 {
				last = last[1:]
			}
		}
		_, _ = io.Copy(io.Discard, out) // after a line too long to tell
	}()
	err := cmd.Run()
	in.Close()
	<-told
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("debootstrap failed (%w); its last words:\n%s", err, strings.Join(last, "\n"))
	}
	return nil
}

// machineOwn are what tells of this machine and this hour, relative to a root.
// Directories are emptied, files of emptied are emptied, the rest is removed.
var machineOwn = struct{ emptiedDirs, emptiedFiles, removed []string }{
	emptiedDirs:  []string{"var/cache/apt", "var/lib/apt/lists", "var/log", "tmp", "var/tmp", "run", "dev"},
	emptiedFiles: []string{"etc/machine-id"},
	removed: []string{
		"etc/hostname", "etc/resolv.conf", "var/lib/dbus/machine-id", "var/cache/ldconfig/aux-cache", "var/cache/debconf/*-old", "var/lib/dpkg/*-old",
		"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "debootstrap", "var/lib/systemd/random-seed", "root/.bash_history",
	},
}

// forgetMachine removes from a fresh root what would differ on another machine.
func forgetMachine(dir string) error {
	root, err := os.OpenRoot(dir) // links in it lead nowhere else
	if err != nil {
		return err
	}
	defer root.Close()
	removed := machineOwn.removed
	for _, d := range machineOwn.emptiedDirs {
		removed = append(removed, d+"/*", d+"/.[^.]*")
	}
	for _, pattern := range removed {
		names, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := root.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	for _, name := range machineOwn.emptiedFiles {
		if err := root.WriteFile(name, nil, 0o444); err != nil {
			return err
		}
	}
	return nil
}

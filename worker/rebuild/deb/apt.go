package deb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Apt is the machine's apt with a state of its own.
type Apt struct {
	dir      string
	progress func(string)
}

// Open prepares apt's state in dir, which must exist, and fetches the archive's
// lists of packages and sources, checked against its signatures. The machine's own
// configuration is read and not touched.
func Open(ctx context.Context, dir string, progress func(string)) (*Apt, error) {
	for _, tool := range []string{"apt-get", "apt-cache"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("rebuilding a Debian package needs apt: %w", err)
		}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	a := &Apt{dir: abs, progress: progress}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "source"} {
		if err := os.MkdirAll(filepath.Join(abs, d), 0o755); err != nil {
			return nil, fmt.Errorf("preparing apt's state: %w", err)
		}
	}
	// No package is installed in this state, so that build dependencies come out complete.
	if err := os.WriteFile(filepath.Join(abs, "status"), nil, 0o644); err != nil {
		return nil, fmt.Errorf("preparing apt's state: %w", err)
	}
	if err := copySources("/", abs); err != nil {
		return nil, fmt.Errorf("reading the machine's apt sources: %w", err)
	}
	progress("fetching the archive's lists of packages and sources")
	if _, err := a.run(ctx, "", "apt-get", "update", "--error-on=any"); err != nil {
		return nil, err
	}
	return a, nil
}

// options keep apt to its own state, and to what is signed.
func (a *Apt) options() []string {
	var out []string
	for _, o := range []string{
		"Dir::Etc::sourcelist=" + filepath.Join(a.dir, "sources.list"), "Dir::Etc::sourceparts=" + filepath.Join(a.dir, "sources.list.d"),
		"Dir::State=" + filepath.Join(a.dir, "state"), "Dir::State::status=" + filepath.Join(a.dir, "status"), "Dir::Cache=" + filepath.Join(a.dir, "cache"),
		"APT::Sandbox::User=", "Acquire::Languages=none", "APT::Get::AllowUnauthenticated=false", "Acquire::AllowInsecureRepositories=false",
		"APT::Update::Post-Invoke::=true", "Dpkg::Use-Pty=false", "APT::Get::Assume-Yes=true",
	} {
		out = append(out, "-o", o)
	}
	return out
}

// run runs a tool in dir and returns what it printed.
func (a *Apt) run(ctx context.Context, dir, tool string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, tool, append(a.options(), args...)...)
	c.Dir, c.Env = dir, append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = stopGrace
	var out, failed bytes.Buffer
	c.Stdout, c.Stderr = &bounded{w: &out, left: maxIndexBytes}, &bounded{w: &failed, left: maxIndexBytes}
	err := c.Run()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", tool, strings.Join(args, " "), err, lastLines(failed.String()+out.String()))
	}
	return out.String(), nil
}

// bounded takes so many bytes and refuses more.
type bounded struct {
	w    io.Writer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errors.New("it printed too much")
	}
	return b.w.Write(p)
}

// lastLines are the words of a tool that failed, in one line.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-shownErrorLines):], "; ")
}

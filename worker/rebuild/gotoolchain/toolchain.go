package gotoolchain

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/dirhash"

	"gavel/api/action"
	"gavel/raftfsm/build"
	"gavel/verify/attest"
)

// versionForm is a version of Go as its module has it, such as 1.26.8 or 1.27rc1. Since
// Go 1.21 the first of a line is 1.N.0, and releases are made so that anyone can make them.
var versionForm = regexp.MustCompile(`^1\.(2[1-9]|[3-9][0-9]|[1-9][0-9]{2})(\.[0-9]{1,3}|rc[0-9]{1,2}|beta[0-9]{1,2})$`)

// ErrToolchain is wrapped where there is no such toolchain, or it is not as toolchains are.
var ErrToolchain = errors.New("no toolchain that can be rebuilt")

// Toolchain is a published toolchain for one platform.
type Toolchain struct {
	Version      string // without the go before it
	OS, Arch     string
	Sum          string // h1: of the module, as the go command checked it
	Vouched      bool   // that check was against the checksum database
	zip          string // the module's file
	Files, Bytes int64  // of the module
}

// Fetch has the go command fetch a toolchain's module, from the proxy that it is
// told to use, and check it against the checksum database. The module lands in the go command's own cache.
func Fetch(ctx context.Context, version, goos, goarch string) (*Toolchain, error) {
	version = strings.TrimPrefix(version, "go")
	if !versionForm.MatchString(version) {
		return nil, fmt.Errorf("%w: %q is no whole version of Go: want one such as 1.26.8, not before 1.21, whose releases are the first that can be rebuilt", ErrToolchain, version)
	}
	t := &Toolchain{Version: version, OS: goos, Arch: goarch}
	dir, err := os.MkdirTemp("", "gavel-toolchain-") // no module's directory, so that none has a say
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	database, err := run(ctx, dir, "env", "GOSUMDB")
	if err != nil {
		return nil, err
	}
	t.Vouched = strings.TrimSpace(database) != "off"
	out, err := run(ctx, dir, "mod", "download", "-json", t.module())
	var m struct{ Zip, Sum, Error string }
	broken := json.Unmarshal([]byte(out), &m)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && broken == nil && m.Error != "":
		return nil, fmt.Errorf("%w: the go command says %s", ErrToolchain, lastLines(m.Error))
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrToolchain, err)
	case broken != nil || m.Zip == "" || m.Sum == "":
		return nil, fmt.Errorf("%w: the go command says %s", ErrToolchain, lastLines(out))
	}
	t.zip, t.Sum = m.Zip, m.Sum
	// The go command checked it when it fetched it, perhaps long ago.
	sum, err := dirhash.HashZip(t.zip, dirhash.Hash1)
	if err != nil {
		return nil, fmt.Errorf("%w: reading its module: %w", ErrToolchain, err)
	}
	if sum != t.Sum {
		return nil, fmt.Errorf("%w: %s has the sum %s, not %s: go clean -modcache, and try again", ErrToolchain, t.zip, sum, t.Sum)
	}
	return t, nil
}

func (t *Toolchain) module() string {
	return "golang.org/toolchain@v0.0.1-go" + t.Version + "." + t.OS + "-" + t.Arch
}

// run runs the go command of this machine, and none that it might switch to. What
// it printed is returned of a failure too.
func run(ctx context.Context, dir string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir, c.Env = dir, append(os.Environ(), "GOTOOLCHAIN=local", "GOFLAGS=-mod=mod", "GOWORK=off")
	var out, failed bytes.Buffer
	c.Stdout, c.Stderr = &out, &failed
	err := c.Run()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err == nil && out.Len() > maxAnswerBytes {
		err = errors.New("it says too much")
	}
	if err != nil {
		return out.String(), fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, lastLines(failed.String()+out.String()))
	}
	return out.String(), nil
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-shownErrorLines):], "; ")
}

// treeDir is the directory that a toolchain is unpacked to, of the input tree.
const treeDir = "go"

// program says whether a file of the module is one that building makes.
func program(name string) bool {
	return strings.HasPrefix(name, "bin/") || strings.HasPrefix(name, "pkg/tool/")
}

// Unpack writes everything that a toolchain is built from below dir, and returns
// the digests of its published programs, sorted by path as a build of Action names them.
func (t *Toolchain) Unpack(ctx context.Context, dir string) ([]build.Expected, error) {
	r, err := zip.OpenReader(t.zip)
	if err != nil {
		return nil, fmt.Errorf("%w: reading its module: %w", ErrToolchain, err)
	}
	defer r.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var published []build.Expected
	if len(r.File) > maxFiles {
		return nil, fmt.Errorf("%w: its module has %d files, at most %d", ErrToolchain, len(r.File), maxFiles)
	}
	for _, f := range r.File {
		name, ok := strings.CutPrefix(f.Name, t.module()+"/")
		if !ok || !build.CleanPath(name) || ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), fmt.Errorf("%w: its module has the file %q", ErrToolchain, f.Name))
		}
		t.Files++
		if program(name) {
			e := build.Expected{Path: path.Join(treeDir, name)}
			if e.Digest, err = t.digest(f); err != nil {
				return nil, err
			}
			published = append(published, e)
			continue
		}
		if err := t.unpack(root, f, path.Join(treeDir, source(name))); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(published, func(a, b build.Expected) int { return strings.Compare(a.Path, b.Path) })
	if len(published) == 0 || len(published) > build.MaxExpected {
		return nil, fmt.Errorf("%w: its module has %d programs, want 1 to %d", ErrToolchain, len(published), build.MaxExpected)
	}
	return published, nil
}

// source is a file's name in a source tree. Modules hold no other module's go.mod,
// so that toolchains have them renamed.
func source(name string) string {
	if dir, base := path.Split(name); base == "_go.mod" {
		return dir + "go.mod"
	}
	return name
}

// content opens a file of the module, within what is left of its bytes.
func (t *Toolchain) content(f *zip.File) (io.ReadCloser, error) {
	if t.Bytes += int64(f.UncompressedSize64); f.UncompressedSize64 > maxBytes || t.Bytes > maxBytes {
		return nil, fmt.Errorf("%w: its module has more than %d bytes", ErrToolchain, int64(maxBytes))
	}
	return f.Open() // which yields no more than it says, and checks the sum
}

func (t *Toolchain) digest(f *zip.File) (sum [32]byte, err error) {
	r, err := t.content(f)
	if err != nil {
		return sum, err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return sum, fmt.Errorf("%w: reading %s: %w", ErrToolchain, f.Name, err)
	}
	return [32]byte(h.Sum(nil)), nil
}

func (t *Toolchain) unpack(root *os.Root, f *zip.File, name string) error {
	r, err := t.content(f)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := root.MkdirAll(filepath.FromSlash(path.Dir(name)), 0o755); err != nil {
		return err
	}
	out, err := root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, r)
	return errors.Join(err, out.Close())
}

// script builds the toolchain with the one that is in the sandbox. CGO_ENABLED must
// not be set: what it is set to becomes the new toolchain's default and part of its
// build ids. Programs of a release are built without cgo all the same (cmd/dist, toolenv).
const script = `set -e
export GOROOT_BOOTSTRAP="$(env GOTOOLCHAIN=local go env GOROOT)"
export GOTOOLCHAIN=local GOOS="$1" GOARCH="$2" GOPROXY=off GOFLAGS=
unset CGO_ENABLED
cd go/src
exec bash make.bash
`

// Action is the build of what Unpack unpacked, in a root that has bash and a Go that
// can compile this one; its input root is the caller's to set.
func (t *Toolchain) Action(root string, published []build.Expected, env []attest.EnvVar) *action.Action {
	a := &action.Action{
		Argv: []string{"sh", "-c", script, "sh", t.OS, t.Arch}, Env: slices.Clone(env), Root: root, TimeoutMillis: timeoutMillis,
		Limits: attest.Limits{MemoryBytes: memoryBytes, DiskBytes: diskBytes, Pids: pids},
	}
	for _, e := range published {
		a.Outputs = append(a.Outputs, e.Path)
	}
	return a
}

package sandbox

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/opencontainers/go-digest"
)

// Validate says whether any runner could run s; limits are judged after
// WithDefaults. Its errors wrap ErrRefused and end in a sentence to show to
// who asked. It looks at s alone, not at the machine's directories.
func (s Spec) Validate() error {
	if !ValidRoot(s.Root) {
		return refuse("root %q is neither %q nor an image's config digest (sha256: and 64 lowercase hex digits)", s.Root, HostRoot)
	}
	if err := s.validateCommand(); err != nil {
		return err
	}
	if s.WorkDir != "" {
		if err := ValidatePath(s.WorkDir); err != nil {
			return refuse("working directory %q %s", s.WorkDir, err)
		}
	}
	if err := s.validateOutputs(); err != nil {
		return err
	}
	if err := s.Variation.validate(); err != nil {
		return err
	}
	for _, d := range []struct{ name, dir string }{{"input", s.InputDir}, {"output", s.OutputDir}} {
		if !filepath.IsAbs(d.dir) || strings.ContainsRune(d.dir, 0) {
			return refuse("the %s directory %q is not an absolute path", d.name, d.dir)
		}
	}
	return s.Limits.Validate()
}

func (s Spec) validateCommand() error {
	if len(s.Argv) == 0 || s.Argv[0] == "" {
		return refuse("there is no command; give at least its name")
	}
	total := 0
	for i, a := range s.Argv {
		if strings.ContainsRune(a, 0) {
			return refuse("argument %d holds a NUL byte", i)
		}
		if len(a) >= maxArgBytes {
			return refuse("argument %d has %d bytes; the kernel takes fewer than %d, put it in a file", i, len(a), maxArgBytes)
		}
		total += len(a) + 1
	}
	for _, kv := range s.Env {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || name == "" || strings.ContainsRune(kv, 0) {
			return refuse("environment entry %q is not NAME=value without NUL bytes", kv)
		}
		if len(kv) >= maxArgBytes {
			return refuse("environment variable %s has %d bytes; the kernel takes fewer than %d", name, len(kv), maxArgBytes)
		}
		total += len(kv) + 1
	}
	if total > maxArgTotalBytes {
		return refuse("arguments and environment have %d bytes; the kernel takes %d, put some in a file", total, maxArgTotalBytes)
	}
	return nil
}

func (s Spec) validateOutputs() error {
	if len(s.Outputs) > maxOutputs {
		return refuse("%d outputs are declared; at most %d, declare their directory", len(s.Outputs), maxOutputs)
	}
	seen := make(map[string]bool, len(s.Outputs))
	for _, o := range s.Outputs {
		if err := ValidatePath(o); err != nil {
			return refuse("output %q %s", o, err)
		}
		if seen[o] {
			return refuse("output %q is declared twice", o)
		}
		seen[o] = true
	}
	return nil
}

// ValidateInputs says whether s's working directory exists in its input tree,
// as a directory that no symlink leads to. Runners call it after Validate.
func (s Spec) ValidateInputs() error {
	dir, err := unix.Open(s.InputDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the input tree %s: %w: %w", s.InputDir, ErrUnavailable, err)
	}
	defer unix.Close(dir)
	if s.WorkDir == "" {
		return nil
	}
	work, err := openBeneath(dir, s.WorkDir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return refuse("the working directory %q is not a directory of the input tree; add it to the inputs", s.WorkDir)
	}
	return unix.Close(work)
}

// pathError completes a sentence that begins with the path.
type pathError string

func (e pathError) Error() string { return string(e) }

// ValidatePath says whether p is a clean, relative, slash-separated path that
// stays below where it starts: no "", ".", "..", "//" or NUL.
func ValidatePath(p string) error {
	switch {
	case p == "":
		return pathError("is empty; name a path below the working directory")
	case strings.ContainsRune(p, 0):
		return pathError("holds a NUL byte")
	case len(p) > maxPathBytes:
		return pathError("is longer than a path may be")
	case path.IsAbs(p):
		return pathError("is absolute; name it relative to the working directory")
	case p == "." || p == ".." || strings.HasPrefix(p, "../"):
		return pathError("does not lie below the working directory")
	case path.Clean(p) != p:
		return pathError("is not clean; write it as " + path.Clean(p))
	}
	return nil
}

// ValidRoot says whether root has the form of Spec.Root.
func ValidRoot(root string) bool {
	if root == HostRoot {
		return true
	}
	d, err := digest.Parse(root)
	return err == nil && d.Algorithm() == digest.SHA256
}

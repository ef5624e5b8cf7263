package engine

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"

	"gavel/sandbox"
	"gavel/sandbox/docker"
	"gavel/sandbox/native"
	"gavel/sandbox/oci"
)

// The kinds of sandbox.
const (
	Native = "native"
	Docker = "docker"
	OCI    = "oci"
)

// Kinds are all kinds of sandbox.
var Kinds = []string{Native, Docker, OCI}

// RunnerConfig says which sandbox is wanted.
type RunnerConfig struct {
	// Kind is one of Kinds.
	Kind string
	// Runtime is an OCI runtime: one that the Docker engine knows, or, of the kind
	// oci, a program of this machine; empty leaves the choice to the engine, or to what is installed.
	Runtime string
	// Dir is a directory of its own, for what runs and for unpacked images. One
	// process uses it at a time.
	Dir string
	// ImageBytes bounds the images that are kept.
	ImageBytes int64
	// Owner tells what this runner leaves on the machine from what others do: 32 hex digits.
	Owner string
	// DropImages has the kind docker, whose engine keeps images outside Dir, let go
	// of those it took when it is closed.
	DropImages bool
	// SpareContainer has the kind docker keep one started container waiting.
	SpareContainer bool
}

// OpenRunner starts a sandbox. It comes first in a process, while that is small:
// it may start others from it. Dir must exist.
func OpenRunner(ctx context.Context, c RunnerConfig) (sandbox.Runner, error) {
	scratch, images := filepath.Join(c.Dir, "sandbox"), filepath.Join(c.Dir, "images")
	switch c.Kind {
	case Docker:
		return docker.New(ctx, docker.Config{Runtime: c.Runtime, ScratchDir: scratch, ImageBytes: c.ImageBytes, NoSpare: !c.SpareContainer, DropImages: c.DropImages, Owner: c.Owner})
	case OCI:
		return openOCI(ctx, c.Runtime, oci.Config{ScratchDir: scratch, ImageDir: images, ImageBytes: c.ImageBytes, Owner: c.Owner})
	}
	return native.New(ctx, native.Config{ScratchDir: scratch, ImageDir: images, ImageBytes: c.ImageBytes})
}

// openOCI uses the runtime that was asked for, or else the first of the usual ones
// that is installed and works here.
func openOCI(ctx context.Context, asked string, c oci.Config) (sandbox.Runner, error) {
	if asked != "" {
		c.Runtime = asked
		return oci.New(ctx, c)
	}
	var failures []error
	for _, c.Runtime = range []string{"crun", "runc", "runsc"} {
		if _, err := exec.LookPath(c.Runtime); err != nil {
			continue
		}
		r, err := oci.New(ctx, c)
		if err == nil {
			return r, nil
		}
		failures = append(failures, err)
	}
	if len(failures) == 0 {
		return nil, fmt.Errorf("%w: no OCI runtime is installed: install crun, runc or runsc, or name one by runtime", sandbox.ErrUnavailable)
	}
	return nil, errors.Join(failures...)
}

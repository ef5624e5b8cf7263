package probe

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build makes the program that runs inside, static, in dir, with the Go toolchain
// and from the source of this module, in whose directory it must be called.
func Build(ctx context.Context, dir string) (program string, err error) {
	program = filepath.Join(dir, "inside")
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "gavel/sandbox/probe/inside")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the probes' program: %w: %s", err, out)
	}
	return program, nil
}

// Attempts asks the program which attempts it knows.
func Attempts(ctx context.Context, program string) ([]string, error) {
	out, err := exec.CommandContext(ctx, program, "-list").Output()
	if err != nil {
		return nil, fmt.Errorf("asking %s for its attempts: %w", program, err)
	}
	return strings.Fields(string(out)), nil
}

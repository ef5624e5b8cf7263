package container

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gavel/sandbox/container/pid1"
)

// initPrefix begins the name of PID 1's program in its directory; the rest is
// its digest.
const initPrefix = "init-"

// InstallInit copies PID 1's program into a directory of the runner's, where an
// upgrade of gavel cannot change it under running containers, and removes older
// ones. from is a host path, or empty for the embedded program or this binary.
func InstallInit(dir, from string) (string, error) {
	program, err := initProgram(from)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(program)
	name := fmt.Sprintf("%s%x", initPrefix, sum[:8])
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("reading the directory of the init program: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), initPrefix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return "", fmt.Errorf("removing an old init program: %w", err)
			}
		}
	}
	path := filepath.Join(dir, name)
	err = os.WriteFile(path, program, 0o755)
	if err == nil {
		err = os.Chmod(path, 0o755) // whatever this process's umask is
	}
	if err != nil {
		return "", fmt.Errorf("writing the init program: %w", err)
	}
	return path, nil
}

// initProgram reads PID 1's program and checks that it runs in any image.
func initProgram(from string) ([]byte, error) {
	program := embeddedInit
	if from == "" && program == nil {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("finding this program: %w", err)
		}
		from = self
	}
	if from != "" {
		var err error
		if program, err = os.ReadFile(from); err != nil {
			return nil, fmt.Errorf("reading the init program: %w", err)
		}
	}
	if err := static(program); err != nil {
		return nil, fmt.Errorf("the first process of a container, %s, cannot run in an image without this machine's libraries (%w); build gavel with make build, or with CGO_ENABLED=0", pid1.Path, err)
	}
	return program, nil
}

// static says why a program needs more than the kernel, if it does.
func static(program []byte) error {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it is linked dynamically")
		}
	}
	return nil
}

package diff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
)

// ErrNoDiffoscope says that diffoscope was asked for and is not installed.
var ErrNoDiffoscope = errors.New("diffoscope is not installed: apt-get install diffoscope-minimal (or diffoscope, with all its tools), or do without --diffoscope")

// diffoscope writes the files that differ below a temporary directory, whatever
// store they come from, has diffoscope compare them there, and attaches its text.
func (w *treeWalk) diffoscope(ctx context.Context) (err error) {
	program, err := exec.LookPath("diffoscope")
	if err != nil {
		return ErrNoDiffoscope
	}
	dir, err := os.MkdirTemp("", "gavel-diffoscope-*")
	if err != nil {
		return fmt.Errorf("making room for diffoscope: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	left := int64(maxExportBytes)
	for i, side := range []struct {
		name string
		tree Tree
	}{{"a", w.a}, {"b", w.b}} {
		if err := os.Mkdir(filepath.Join(dir, side.name), 0o700); err != nil {
			return fmt.Errorf("making room for diffoscope: %w", err)
		}
		root, err := os.OpenRoot(filepath.Join(dir, side.name))
		if err != nil {
			return fmt.Errorf("making room for diffoscope: %w", err)
		}
		for _, f := range w.files {
			if err = export(ctx, root, side.tree, f[i], &left); err != nil {
				break
			}
		}
		if err := errors.Join(err, root.Close()); err != nil {
			return fmt.Errorf("writing what diffoscope is to compare: %w", err)
		}
	}
	w.report.Diffoscope, err = runDiffoscope(ctx, program, dir)
	return err
}

// export writes one file; the root keeps it below itself whatever its path is.
func export(ctx context.Context, root *os.Root, tree Tree, e *Entry, left *int64) (err error) {
	if *left -= e.Size; *left < 0 {
		return fmt.Errorf("%w: the files that differ have more than %d bytes", errBound, int64(maxExportBytes))
	}
	if err := root.MkdirAll(path.Dir(e.Path), 0o700); err != nil {
		return err
	}
	from, err := tree.Open(ctx, e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := root.OpenFile(e.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.NewSectionReader(from, 0, from.Size()))
	return errors.Join(err, to.Close())
}

func runDiffoscope(ctx context.Context, program, dir string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, diffoscopeTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, program, "--no-progress", "--exclude-directory-metadata=yes", "--text", "-", "a", "b")
	c.Dir = dir
	var out, complaints bounded
	c.Stdout, c.Stderr = &out, &complaints
	err := c.Run()
	var status *exec.ExitError
	switch {
	case err == nil, errors.As(err, &status) && status.ExitCode() == 1: // equal or different
		return out.String(), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("diffoscope was not done after %v: %w", diffoscopeTimeout, ctx.Err())
	}
	return "", fmt.Errorf("running diffoscope: %w: %s", err, Quote(complaints.String()))
}

// bounded keeps the beginning of what is written to it.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxDiffoscopeBytes - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"gavel/verify/tlog"
)

// ErrTarget says that an export cannot be put where it was to go: name another place.
var ErrTarget = errors.New("the export has no place")

// Export audits a log and copies into a directory all that the audit has read:
// what another audit needs, and nothing else. The directory must not exist, or be
// empty. It is filled also where something deviates: then it is evidence; where the
// audit does not end it is left as it was.
func Export(ctx context.Context, src tlog.Source, dir string, o Options) (*Report, error) {
	entries, err := os.ReadDir(dir)
	made := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !made:
		return nil, fmt.Errorf("%w: %w", ErrTarget, err)
	case len(entries) > 0:
		return nil, fmt.Errorf("%w: %s is not empty. Name another directory", ErrTarget, dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTarget, err)
	}
	o.Resume = nil // what is not read is not copied
	a, err := run(ctx, &copying{tlog.Grown(src), dir}, o)
	if err != nil {
		return nil, errors.Join(err, empty(dir, made))
	}
	if opened, err := a.signatures(a.note); a.note != nil && err == nil {
		if err := write(dir, tlog.CheckpointPath, a.own(opened)); err != nil {
			return nil, err
		}
	}
	return a.report, writeSums(dir)
}

// empty takes away what was copied, and the directory if it was made for that.
func empty(dir string, made bool) error {
	if made {
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// own is the checkpoint with the signatures of the cluster and its coordinators
// alone: those of others an audit of the copy could not account for.
func (a *auditor) own(opened *tlog.Opened) []byte {
	text, lines, _ := bytes.Cut(a.note, []byte("\n\n"))
	out := append(bytes.Clone(text), "\n\n"...)
	for line := range bytes.Lines(lines) {
		known := bytes.HasPrefix(line, []byte("— "+a.trust.Origin+" "))
		for i := range a.trust.Cosigners {
			known = known || a.trust.Cosigners[i].Verify(a.note, line) == nil
		}
		if known {
			out = append(out, line...)
		}
	}
	if again, err := a.signatures(out); err != nil || len(again.Cosigners) != len(opened.Cosigners) {
		return a.note
	}
	return out
}

// copying is a source that keeps what is read from it.
type copying struct {
	tlog.Source
	dir string
}

func (c *copying) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	content, err := c.Source.Read(ctx, path, limit)
	if err != nil {
		return nil, err
	}
	return content, write(c.dir, path, content)
}

func write(dir, path string, content []byte) error {
	name := filepath.Join(dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	return nil
}

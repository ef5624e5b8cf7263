package audit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// ListDir lists every file below a directory, by slash-separated relative path, and
// every directory with nothing in it, with a slash at its end.
func ListDir(dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if entry.IsDir() {
			if in, err := os.ReadDir(path); err != nil || len(in) > 0 {
				return err
			}
			rel += "/"
		}
		out = append(out, rel)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", dir, err)
	}
	slices.Sort(out)
	return out, nil
}

// read reads a file beside the log and accounts for it. The error is of fs.ErrNotExist
// only where nothing lies in its place.
func (a *auditor) read(ctx context.Context, path string, limit int64) ([]byte, error) {
	a.known[path] = true
	raw, err := a.src.Read(ctx, path, limit)
	if errors.Is(err, tlog.ErrTooLarge) || errors.As(err, new(*tlog.NotRegularError)) {
		return nil, &misshapen{path, limit, tlog.Lacking(err, limit)}
	}
	if err == nil && a.o.List != nil {
		a.digests[path] = sha256.Sum256(raw)
	}
	return raw, err
}

// misshapen says that what lies in a file's place cannot be the file.
type misshapen struct {
	path  string
	limit int64
	got   string
}

func (m *misshapen) Error() string { return m.path + ": " + m.got }

// absent says of a file that could not be read, because there is none that could be
// the file, what was wanted and what there is.
func absent(err error) (want, got string, ok bool) {
	bad := new(misshapen)
	switch {
	case errors.As(err, &bad):
		return fmt.Sprintf("a regular file of at most %d bytes", bad.limit), bad.got, true
	case errors.Is(err, fs.ErrNotExist):
		return "a file", "no such file", true
	}
	return "", "", false
}

// checkTrustedRoot holds the file by which other tools know the log to the genesis and
// the changes of the cluster's key in the log.
func (a *auditor) checkTrustedRoot() {
	raw := a.trustedRoot
	if want, got, ok := absent(a.noRoot); ok {
		a.report.beside(evidence.TrustedRootPath, want, got)
		return
	}
	want, err := evidence.TrustedRoot(a.genesis, a.logged())
	if err != nil {
		a.report.beside(evidence.TrustedRootPath, "what follows from genesis and the leaves about the cluster's key", err.Error())
		return
	}
	switch {
	case equal(raw, want):
	case !json.Valid(raw):
		a.report.beside(evidence.TrustedRootPath, "the JSON that follows from genesis and log", "no JSON")
	default:
		named := false
		differing(want, raw, func(field, want, got string) {
			named = true
			a.report.beside(evidence.TrustedRootPath+" "+field, want, got)
		})
		if !named {
			a.report.beside(evidence.TrustedRootPath, "canonical JSON", "another form of it")
		}
	}
}

// unaccounted reports every file that nothing called for, but for what an appender
// leaves and is right.
func (a *auditor) unaccounted(ctx context.Context) error {
	if a.o.List == nil {
		return nil
	}
	for _, path := range tlog.Paths(a.checkpoint.Size) {
		a.known[path] = true
	}
	all, err := a.o.List()
	if err != nil {
		return err
	}
	if err := a.listed(ctx, all); err != nil {
		return err
	}
	for _, path := range all {
		// Where deriving stopped, which files belong to builds is not known.
		if dir, _, _ := cutPath(path); a.known[strings.TrimSuffix(path, "/")] || a.halted && slices.Contains([]string{"transcript", "manifest", "vsa", "epoch"}, dir) {
			continue
		}
		faults, leftover, err := a.leaves.walk.Leftover(ctx, path)
		if err != nil {
			return err
		}
		a.faults(faults)
		switch {
		case leftover:
		case strings.HasSuffix(path, "/"):
			a.report.beside(path, "no such directory: nothing calls for it", "an empty one")
		case strings.HasPrefix(path, "tile/"):
			a.report.beside(path, fmt.Sprintf("no such file: %d leaves, as many as are signed, do not have it", a.checkpoint.Size), "a file")
		default:
			a.report.beside(path, "no such file: nothing calls for it", "a file")
		}
	}
	return nil
}

func cutPath(path string) (dir, rest string, ok bool) {
	for i := range path {
		if path[i] == '/' {
			return path[:i], path[i+1:], true
		}
	}
	return "", path, false
}

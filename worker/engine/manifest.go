package engine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"gavel/cas"
	"gavel/cas/tree"
	"gavel/raftfsm/build"
	"gavel/sandbox"
)

// Statuses are the sandbox's ends of a command as a result has them.
var Statuses = map[sandbox.Status]build.Status{
	sandbox.Exited: build.StatusExited, sandbox.Signaled: build.StatusSignaled, sandbox.Timeout: build.StatusTimeout,
	sandbox.OOM: build.StatusOOM, sandbox.MissingOutput: build.StatusMissingOutput,
}

// Manifest describes a result in full: how the command ended and all that lies
// in dir under its declared outputs. Outputs that a tree cannot carry (a name
// that is not UTF-8, too many files) count as not made, and note says why: that
// is the command's doing and the same on every machine. The error is about reading dir.
func Manifest(ctx context.Context, res sandbox.Result, dir string, declared []string) (m *build.Manifest, note string, err error) {
	status, ok := Statuses[res.Status]
	if !ok {
		return nil, "", fmt.Errorf("the sandbox returned the unknown status %d", res.Status)
	}
	m = &build.Manifest{Status: status}
	switch status {
	case build.StatusExited, build.StatusMissingOutput:
		m.ExitCode = uint32(res.ExitCode)
	case build.StatusSignaled:
		m.Signal = uint32(res.Signal)
	}
	if status.ResourceLimit() {
		return m, "", m.Validate()
	}
	entries, err := listOutputs(ctx, dir, declared)
	if err != nil {
		return nil, "", fmt.Errorf("reading the outputs: %w", err)
	}
	if err := carry(m, entries); err != nil {
		m.Outputs = nil
		if m.Status == build.StatusExited && m.ExitCode == 0 {
			m.Status = build.StatusMissingOutput
		}
		note = fmt.Sprintf("the outputs cannot be carried: %v", err)
	}
	return m, note, m.Validate()
}

// carry puts entries into m, if a tree and a manifest can hold them.
func carry(m *build.Manifest, entries []tree.Entry) error {
	if err := tree.CheckEntries(entries, tree.Limits{Entries: build.MaxOutputs}); err != nil {
		return err
	}
	for _, e := range entries {
		m.Outputs = append(m.Outputs, outputOf(e))
	}
	if n := len(m.Bytes()); n > maxManifestBytes {
		return fmt.Errorf("their list has %d bytes, at most %d", n, maxManifestBytes)
	}
	return nil
}

func outputOf(e tree.Entry) build.Output {
	o := build.Output{Path: e.Path, Executable: e.Executable, Target: e.Target}
	switch e.Type {
	case tree.File:
		o.Type, o.Digest, o.Size = build.OutputFile, e.Digest.Sum(), uint64(e.Digest.Size)
	case tree.Dir:
		o.Type = build.OutputDir
	case tree.Symlink:
		o.Type = build.OutputSymlink
	}
	return o
}

// Entries lists a manifest's outputs as a tree.
func Entries(m *build.Manifest) []tree.Entry {
	types := map[build.OutputType]tree.Type{build.OutputFile: tree.File, build.OutputDir: tree.Dir, build.OutputSymlink: tree.Symlink}
	es := make([]tree.Entry, 0, len(m.Outputs))
	for i := range m.Outputs {
		o := &m.Outputs[i]
		e := tree.Entry{Path: o.Path, Type: types[o.Type], Executable: o.Executable, Target: o.Target}
		if o.Type == build.OutputFile {
			e.Digest = cas.OfSum(o.Digest, int64(o.Size))
		}
		es = append(es, e)
	}
	return es
}

// listOutputs walks the declared outputs in dir, which only the sandbox has
// written to. The directories that merely lead to an output are not part of it.
func listOutputs(ctx context.Context, dir string, declared []string) ([]tree.Entry, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	l := &lister{ctx: ctx, root: root, found: make(map[string]tree.Entry)}
	for _, p := range declared {
		if err := l.add(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	entries := make([]tree.Entry, 0, len(l.found))
	for _, e := range l.found {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b tree.Entry) int {
		if a.Path < b.Path {
			return -1
		}
		return 1 // paths are the keys of a map: none is there twice
	})
	return entries, nil
}

type lister struct {
	ctx   context.Context
	root  *os.Root
	found map[string]tree.Entry // by path, for outputs may lie in each other
}

func (l *lister) add(p string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	// One more than may be: enough to be refused, and no more to hash.
	if _, done := l.found[p]; done || len(l.found) > build.MaxOutputs {
		return nil
	}
	info, err := l.root.Lstat(p)
	if err != nil {
		return err
	}
	e := tree.Entry{Path: p}
	switch {
	case info.Mode().IsRegular():
		e.Type, e.Executable = tree.File, info.Mode()&0o100 != 0
		e.Digest, err = l.digest(p)
	case info.IsDir():
		e.Type = tree.Dir
	case info.Mode()&fs.ModeSymlink != 0:
		e.Type = tree.Symlink
		e.Target, err = l.root.Readlink(p)
	default:
		err = fmt.Errorf("%q is a %v, which no sandbox hands out", p, info.Mode())
	}
	if err != nil {
		return err
	}
	l.found[p] = e
	if e.Type == tree.Dir {
		return l.below(p)
	}
	return nil
}

func (l *lister) below(p string) error {
	d, err := l.root.Open(p)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, n := range names {
		if err := l.add(path.Join(p, n)); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) digest(p string) (cas.Digest, error) {
	f, err := l.root.Open(p)
	if err != nil {
		return cas.Digest{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return cas.Digest{}, fmt.Errorf("reading %q: %w", p, err)
	}
	return cas.OfSum([sha256.Size]byte(h.Sum(nil)), n), nil
}

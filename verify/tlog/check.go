package tlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
)

// maxFaults is how many faults a check lists: one lost directory makes thousands
// that say the same.
const maxFaults = 100

// File is one file of a log's tree, checked.
type File struct {
	Path    string
	Content []byte
}

// Files yields every tile and entry bundle that the checkpoint's tree consists of,
// each checked up to the root, from the top of the tree down. A file at fault
// yields an error of type *Fault, and the rest follows, but for what only it
// vouches for.
func (r *Reader) Files(ctx context.Context) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for level := len(r.edge) - 1; level >= entriesLevel; level-- {
			for n := uint64(0); widthAt(level, n, r.at.Size) > 0; n++ {
				t := tile{level, n, widthAt(level, n, r.at.Size)}
				content, err := r.expected(ctx, t)
				if ctx.Err() != nil {
					yield(File{}, ctx.Err())
					return
				}
				if !yield(File{t.path(), content}, err) {
					return
				}
			}
		}
	}
}

// expected is the checked content of a tile or bundle that the tree has, or had
// when it was smaller.
func (r *Reader) expected(ctx context.Context, t tile) ([]byte, error) {
	now := tile{t.level, t.n, widthAt(t.level, t.n, r.at.Size)}
	if t.level != entriesLevel {
		hashes, err := r.hashes(ctx, t.level, t.n)
		if err != nil {
			return nil, err
		}
		return joinTile(hashes[:t.width]), nil
	}
	entries, err := r.readBundle(ctx, now)
	if err != nil {
		return nil, err
	}
	if err := r.checkBundle(ctx, now, entries); err != nil {
		return nil, err
	}
	var content []byte
	for _, entry := range entries[:t.width] {
		content = appendEntry(content, entry)
	}
	return content, nil
}

// CheckTiles reads every tile and every entry bundle of the log and checks them up
// to the root. The error joins a *Fault for each file at fault, up to a hundred.
func (r *Reader) CheckTiles(ctx context.Context) error {
	var faults []error
	for file, err := range r.Files(ctx) {
		var f *Fault
		if errors.As(err, &f) && f.Path != file.Path {
			continue // listed under the file that is at fault
		}
		if err != nil {
			faults = append(faults, err)
		}
		if len(faults) == maxFaults || ctx.Err() != nil {
			break
		}
	}
	return errors.Join(faults...)
}

// CheckDir checks every byte below tile/ in a log's directory against a checkpoint
// that is believed: what CheckTiles checks, and what only lies there, which is
// partial tiles of earlier sizes and nothing else. The error joins a *Fault for
// each file at fault, up to a hundred.
func CheckDir(ctx context.Context, dir string, at Checkpoint) error {
	r, err := NewReader(ctx, DirSource(dir), at)
	if err != nil {
		return err
	}
	err = r.CheckTiles(ctx)
	if ctx.Err() != nil {
		return err
	}
	faults := []error{err}
	walked := filepath.WalkDir(filepath.Join(dir, "tile"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && at.Size == 0 {
			return nil
		}
		if err != nil || d.IsDir() || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if err := r.checkStray(ctx, filepath.ToSlash(name)); err != nil {
			faults = append(faults, err)
		}
		if len(faults) > maxFaults {
			return fs.SkipAll
		}
		return nil
	})
	return errors.Join(append(faults, walked)...)
}

// checkStray checks one file that a reader of this checkpoint would not ask for.
func (r *Reader) checkStray(ctx context.Context, name string) error {
	t, err := parseTilePath(name)
	if err != nil {
		return &Fault{name, 0, err}
	}
	if t.width == widthAt(t.level, t.n, r.at.Size) {
		return nil // checked already
	}
	first := t.n << tileHeight << t.unit()
	if !t.within(r.at.Size) {
		return &Fault{name, first, fmt.Errorf("%w: it belongs to a larger log than the %d entries of the checkpoint", ErrRoot, r.at.Size)}
	}
	content, err := r.from.Read(ctx, name, t.limit())
	if err != nil {
		return &Fault{name, first, err}
	}
	want, err := r.expected(ctx, t)
	var already *Fault
	if errors.As(err, &already) {
		return nil // listed under the file that is at fault
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(content, want) {
		return &Fault{name, first, fmt.Errorf("%w: the tile is another", ErrRoot)}
	}
	return nil
}

// Faults is every *Fault that an error joins or wraps, in order.
func Faults(err error) []*Fault {
	var one *Fault
	switch joined := err.(type) {
	case nil:
		return nil
	case *Fault:
		return []*Fault{joined}
	case interface{ Unwrap() []error }:
		var all []*Fault
		for _, e := range joined.Unwrap() {
			all = slices.Concat(all, Faults(e))
		}
		return all
	}
	if errors.As(err, &one) {
		return []*Fault{one}
	}
	return nil
}

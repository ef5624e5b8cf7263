package diff

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"gavel/raftfsm/build"
	"gavel/verify/result"
)

// Opener reads a blob from its store by its SHA-256 and size; the reader fails where
// the bytes are others.
type Opener func(ctx context.Context, sum [32]byte, size uint64) (io.ReadCloser, error)

// ManifestTree is a build's result in a store. Only files that are opened are
// fetched, each into memory or an unlinked temporary file.
type ManifestTree struct {
	Manifest *build.Manifest
	Blobs    Opener
}

// Entries implements Tree; a manifest's outputs are sorted already.
func (t *ManifestTree) Entries(context.Context) ([]Entry, error) {
	kinds := map[build.OutputType]Kind{build.OutputFile: File, build.OutputDir: Dir, build.OutputSymlink: Symlink}
	out := make([]Entry, 0, len(t.Manifest.Outputs))
	for i := range t.Manifest.Outputs {
		o := &t.Manifest.Outputs[i]
		e := Entry{Path: o.Path, Kind: kinds[o.Type], Executable: o.Executable, Mode: -1, Target: o.Target}
		if o.Type == build.OutputFile {
			e.Size, e.Digest = int64(o.Size), hex.EncodeToString(o.Digest[:])
		}
		out = append(out, e)
	}
	return out, nil
}

// Open implements Tree.
func (t *ManifestTree) Open(ctx context.Context, e *Entry) (OpenFile, error) {
	sum, err := hex.DecodeString(e.Digest)
	if err != nil || len(sum) != 32 {
		return nil, fmt.Errorf("%s has no digest of 32 bytes", Quote(e.Path))
	}
	r, err := t.Blobs(ctx, [32]byte(sum), uint64(e.Size))
	if err != nil {
		return nil, err
	}
	s := newSession(ctx, Options{})
	s.bytes = e.Size // a store that sends more is refused
	content, err := s.spool(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("fetching %s: %w", Quote(e.Path), err)
	}
	return content, nil
}

// Results compares two results of a build: how their commands ended, which the first
// differences without a path tell, and their trees.
func Results(ctx context.Context, nameA, nameB string, a, b *build.Manifest, blobs Opener, o Options) (*Report, error) {
	r, err := Trees(ctx, nameA, nameB, &ManifestTree{a, blobs}, &ManifestTree{b, blobs}, o)
	if err != nil {
		return nil, err
	}
	var ends []*Difference
	for _, d := range result.Compare(a, b) {
		if d.Path == "" {
			ends = append(ends, &Difference{Name: string(d.Why), Kind: "end of the command", SizeA: -1, SizeB: -1,
				Findings: []Finding{{Cause: Unknown, A: Quote(d.A), B: Quote(d.B)}}})
		}
	}
	if len(ends) > 0 {
		r.Differences = append(ends, r.Differences...)
		r.finish()
	}
	return r, nil
}

package tlog

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// Fault is a place where a copy of a log contradicts itself or its checkpoint.
type Fault struct {
	Path  string // of the file that is at fault, or CheckpointPath
	Index uint64 // of the first entry concerned
	Field string
	Want  string // by everything else
	Got   string
}

// Walk reads every entry of a log in order, from any source, and holds every tile
// to the entries and both to the root. It keeps one tile of each level in memory.
// Which of a tile and an entry bundle that differ was changed only the root can
// say, so faults come last, from Finish.
type Walk struct {
	from  Source
	size  uint64
	edge  edge // of the entries read
	tiles edge // of the hashes that the lowest tiles hold instead
	// contradictions are lowest tiles that differ from their bundles.
	contradictions []contradiction
	faults         []Fault
	marks          map[uint64][32]byte // roots at sizes asked for
}

type contradiction struct {
	tile    tile
	bundle  string
	index   uint64 // of the first entry that differs
	entries [32]byte
	tiles   [32]byte
}

// NewWalk starts at the first of size entries. The roots of the trees of the sizes
// in marks are kept on the way (RootAt).
func NewWalk(from Source, size uint64, marks ...uint64) *Walk {
	w := &Walk{from: Grown(from), size: size, marks: map[uint64][32]byte{}}
	for _, m := range marks {
		w.marks[m] = [32]byte{}
	}
	w.mark()
	return w
}

// Position is where a walk stands between two bundles: what Resume needs.
type Position struct {
	Size   uint64       // entries read, a multiple of 256
	Hashes [][][32]byte // the open tile of each level
}

// Position is where the walk stands; ok is false in the last, partial bundle and
// after anything that may turn out to be a fault.
func (w *Walk) Position() (p Position, ok bool) {
	if w.edge.size%tileWidth != 0 || len(w.contradictions)+len(w.faults) > 0 {
		return Position{}, false
	}
	return Position{w.edge.size, slices.Clone(w.edge.hashes)}, true
}

// ResumeWalk goes on from a position, into a log of size entries. The entries
// before it are held to the root by their hashes, and not read again.
func ResumeWalk(from Source, size uint64, p Position, marks ...uint64) (*Walk, error) {
	w := NewWalk(from, size, marks...)
	if p.Size > size || p.Size%tileWidth != 0 || len(p.Hashes) != levels(p.Size) {
		return nil, fmt.Errorf("resuming at entry %d of %d: %w: no such position", p.Size, size, ErrMalformed)
	}
	for level, hashes := range p.Hashes {
		if lastTile(level, p.Size).width != len(hashes) {
			return nil, fmt.Errorf("resuming at entry %d: %w: level %d has %d hashes", p.Size, ErrMalformed, level, len(hashes))
		}
	}
	w.edge = edge{size: p.Size, hashes: slices.Clone(p.Hashes)}
	w.tiles = edge{size: p.Size, hashes: slices.Clone(p.Hashes)}
	w.mark()
	return w, nil
}

// RootAt is the root of the first size entries, if it was asked for and passed.
func (w *Walk) RootAt(size uint64) (root [32]byte, ok bool) {
	root, ok = w.marks[size]
	return root, ok && size <= w.edge.size && root != [32]byte{}
}

func (w *Walk) mark() {
	if _, wanted := w.marks[w.edge.size]; wanted {
		w.marks[w.edge.size] = w.edge.root()
	}
}

// Next returns the next bundle's entries, up to 256, and the index of the first;
// io.EOF after the last. What cannot be read comes as nil entries and is a fault;
// an error is the source's or the context's own.
func (w *Walk) Next(ctx context.Context) (first uint64, entries [][]byte, err error) {
	first = w.edge.size
	if first >= w.size {
		return first, nil, io.EOF
	}
	t := tile{entriesLevel, first >> tileHeight, widthAt(0, first>>tileHeight, w.size)}
	content, lacks, err := w.read(ctx, t)
	if err != nil {
		return first, nil, err
	}
	if lacks == "" {
		entries, err = splitBundle(content, t.width)
	}
	if entries == nil {
		w.fault(t.path(), first, "entry bundle", fmt.Sprintf("%d entries", t.width), useless(lacks, content, err))
		entries = make([][]byte, t.width)
	}
	return first, entries, w.extend(ctx, first, entries)
}

// useless says of a file that is of no use why.
func useless(lacks string, content []byte, err error) string {
	if lacks != "" {
		return lacks
	}
	return fmt.Sprintf("%d bytes: %v", len(content), err)
}

// extend adds a bundle and compares the tiles that it completes. Entries that
// could not be read count as what their tile says.
func (w *Walk) extend(ctx context.Context, first uint64, entries [][]byte) error {
	lowest := tile{0, first >> tileHeight, len(entries)}
	content, lacks, err := w.read(ctx, lowest)
	if err != nil {
		return err
	}
	hashes, err := splitTile(content, lowest.width)
	if err != nil {
		w.fault(lowest.path(), first, "tile", fmt.Sprintf("%d hashes", lowest.width), useless(lacks, content, err))
		hashes = nil
	}
	var full, above []stored
	differs := false
	for i, entry := range entries {
		hash := LeafHash(entry)
		if entry == nil && hashes != nil {
			hash = hashes[i]
		}
		claimed := hash
		if hashes != nil {
			claimed = hashes[i]
		}
		if claimed != hash && !differs {
			differs = true
			bundle := tile{entriesLevel, lowest.n, lowest.width}
			w.contradictions = append(w.contradictions, contradiction{lowest, bundle.path(), first + uint64(i), hash, claimed})
		}
		w.edge.size++
		w.tiles.size++
		full = w.edge.push(0, hash, full)
		above = w.tiles.push(0, claimed, above)
		w.mark()
	}
	for i := range full {
		if i > 0 { // the lowest is compared above
			if err := w.compare(ctx, full[i], above[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare holds a tile above the lowest level to what lies below it.
func (w *Walk) compare(ctx context.Context, entries, tiles stored) error {
	t, err := parseTilePath(entries.path)
	if err != nil {
		return err
	}
	content, lacks, err := w.read(ctx, t)
	if err != nil || bytes.Equal(content, entries.content) || bytes.Equal(content, tiles.content) {
		return err
	}
	field, want, got := "tile", fmt.Sprintf("%d bytes", len(entries.content)), useless(lacks, content, errors.New("of another length"))
	index := t.n << tileHeight << t.unit()
	if len(content) == len(entries.content) {
		for i := 0; i < len(content); i += hashBytes {
			if !bytes.Equal(content[i:i+hashBytes], entries.content[i:i+hashBytes]) {
				field, index = fmt.Sprintf("hash %d", i/hashBytes), index+uint64(i/hashBytes)<<t.unit()
				want, got = hex.EncodeToString(entries.content[i:i+hashBytes]), hex.EncodeToString(content[i:i+hashBytes])
				break
			}
		}
	}
	w.fault(entries.path, index, field, want, got)
	return nil
}

// read is a tile's or bundle's content, or why there is none.
func (w *Walk) read(ctx context.Context, t tile) (content []byte, lacks string, err error) {
	content, err = w.from.Read(ctx, t.path(), t.limit())
	if lacks = Lacking(err, t.limit()); lacks != "" {
		return nil, lacks, nil
	}
	return content, "", err
}

// Grown reads a log that may have grown since its checkpoint: where a partial tile
// or bundle is gone, it takes the part of the full one.
func Grown(from Source) Source { return grown{from} }

type grown struct{ Source }

func (g grown) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	content, err := g.Source.Read(ctx, path, limit)
	t, unknown := parseTilePath(path)
	if !errors.Is(err, fs.ErrNotExist) || unknown != nil || t.width == tileWidth {
		return content, err
	}
	full := tile{t.level, t.n, tileWidth}
	whole, missing := g.Source.Read(ctx, full.path(), full.limit())
	if missing != nil {
		return nil, err
	}
	part, malformed := t.cut(whole, tileWidth)
	if malformed != nil {
		return nil, err
	}
	return part, nil
}

// cut is the part of a wider tile or bundle, of width hashes or entries, that t is.
func (t tile) cut(wider []byte, width int) ([]byte, error) {
	if t.level != entriesLevel {
		return wider[:min(len(wider), t.width*hashBytes)], nil
	}
	entries, err := splitBundle(wider, width)
	if err != nil {
		return nil, err
	}
	n := 0
	for _, entry := range entries[:t.width] {
		n += 2 + len(entry)
	}
	return wider[:n], nil
}

func (w *Walk) fault(path string, index uint64, field, want, got string) {
	w.faults = append(w.faults, Fault{path, index, field, want, got})
}

// Finish compares the tiles at the right edge and the root, once Next has said
// io.EOF, and returns every fault.
func (w *Walk) Finish(ctx context.Context, root [32]byte) ([]Fault, error) {
	for level := 1; level < len(w.edge.hashes); level++ {
		t := lastTile(level, w.size)
		if t.width == 0 {
			continue
		}
		entries, tiles := stored{t.path(), joinTile(w.edge.hashes[level])}, stored{t.path(), joinTile(w.tiles.hashes[level])}
		if err := w.compare(ctx, entries, tiles); err != nil {
			return nil, err
		}
	}
	byEntries, byTiles := w.edge.root(), w.tiles.root()
	for _, c := range w.contradictions {
		if byEntries != root && byTiles == root {
			w.fault(c.bundle, c.index, "entry", hex.EncodeToString(c.tiles[:]), hex.EncodeToString(c.entries[:]))
			continue
		}
		w.fault(c.tile.path(), c.index, fmt.Sprintf("hash %d", c.index%tileWidth), hex.EncodeToString(c.entries[:]), hex.EncodeToString(c.tiles[:]))
	}
	if byEntries != root && byTiles != root {
		w.fault(CheckpointPath, w.size, "root", hex.EncodeToString(byEntries[:]), hex.EncodeToString(root[:]))
	}
	return w.faults, nil
}

// Leftover holds one of the files that an appender leaves and no reader needs to
// what was read, after Finish: a partial tile or bundle beside a wider one
// (tlog-tiles, "Partial Tiles") must be that one's first part, and what is sealed
// what the checkpoint says. Empty directories, with a slash at the end, are those of
// files that had no name yet and of partial tiles that are gone. Any other file is not known. Of a tile that is at fault
// itself nothing follows for narrower ones.
func (w *Walk) Leftover(ctx context.Context, path string) (faults []Fault, known bool, err error) {
	before := len(w.faults)
	if path == sealedPath {
		err = w.compareSealed(ctx)
		return w.faults[before:], true, err
	}
	if dir, empty := strings.CutSuffix(path, "/"); empty {
		t, err := parseTilePath(strings.TrimSuffix(dir, ".p"))
		return nil, dir == incoming || strings.HasSuffix(dir, ".p") && err == nil && widthAt(t.level, t.n, w.size) == tileWidth, nil
	}
	t, err := parseTilePath(path)
	wider := tile{t.level, t.n, widthAt(t.level, t.n, w.size)}
	if err != nil || t.width >= wider.width {
		return nil, false, nil
	}
	if slices.ContainsFunc(w.faults, func(f Fault) bool { return f.Path == wider.path() }) {
		return nil, true, nil
	}
	whole, _, err := w.read(ctx, wider)
	if err != nil {
		return nil, true, err
	}
	want, err := t.cut(whole, wider.width)
	if err != nil {
		return nil, true, fmt.Errorf("reading %s again: %w", wider.path(), err)
	}
	if t.level == entriesLevel {
		err = w.compareBundle(ctx, t, want)
	} else {
		err = w.compare(ctx, stored{path, want}, stored{path, want})
	}
	return w.faults[before:], true, err
}

// compareBundle holds a partial bundle to the part of the wider one that it is.
func (w *Walk) compareBundle(ctx context.Context, t tile, want []byte) error {
	content, lacks, err := w.read(ctx, t)
	if err != nil || bytes.Equal(content, want) {
		return err
	}
	first := t.n << tileHeight
	entries, malformed := splitBundle(content, t.width)
	if malformed != nil {
		w.fault(t.path(), first, "entry bundle", fmt.Sprintf("%d entries", t.width), useless(lacks, content, malformed))
		return nil
	}
	good, err := splitBundle(want, t.width)
	if err != nil {
		return err
	}
	for i := range good {
		if a, b := LeafHash(good[i]), LeafHash(entries[i]); a != b {
			w.fault(t.path(), first+uint64(i), "entry", hex.EncodeToString(a[:]), hex.EncodeToString(b[:]))
			return nil
		}
	}
	return nil
}

// compareSealed holds what is sealed to the entries that were read.
func (w *Walk) compareSealed(ctx context.Context) error {
	content, err := w.from.Read(ctx, sealedPath, MaxNoteBytes)
	lacks := Lacking(err, MaxNoteBytes)
	if err != nil && lacks == "" {
		return err
	}
	want := Checkpoint{Origin: sealedOrigin, Size: w.size, Root: w.edge.root()}
	if string(content) == want.text() {
		return nil
	}
	got := useless(lacks, content, errors.New("it does not say what was sealed"))
	if c, err := parseMemory(content, sealedOrigin); err == nil {
		got = fmt.Sprintf("%d leaves, root %x", c.Size, c.Root)
	}
	w.fault(sealedPath, w.size, "checkpoint", fmt.Sprintf("%d leaves, root %x", want.Size, want.Root), got)
	return nil
}

// Paths lists the tiles and bundles that a log of size entries has.
func Paths(size uint64) (paths []string) {
	for level := entriesLevel; level < max(1, levels(size)); level++ {
		of := max(level, 0)
		for n := uint64(0); widthAt(of, n, size) > 0; n++ {
			paths = append(paths, tile{level, n, widthAt(of, n, size)}.path())
		}
	}
	return paths
}

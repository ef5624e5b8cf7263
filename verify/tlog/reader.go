package tlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
)

// FileError says that a file of a log is not what its checkpoint says: lost,
// changed, or of another log. Index is the first entry that it concerns.
type FileError struct {
	Path  string
	Index uint64
	Err   error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("%s (from entry %d): %v", e.Path, e.Index, e.Err)
}
func (e *FileError) Unwrap() error { return e.Err }

// ErrRoot says that hashes or entries do not lead to the checkpoint's root.
var ErrRoot = errors.New("does not lead to the root of the checkpoint")

// ErrRewritten says that a log no longer starts with what it held before: it has
// two histories. Keep both checkpoints as evidence.
var ErrRewritten = errors.New("log was rewritten")

// Leaf is one entry of a log.
type Leaf struct {
	Index uint64
	Entry []byte
}

// Reader reads parts of a log as a checkpoint describes it, for the cost of those
// parts (Walk reads all of it, and says of every file what is wrong). All that it returns leads to
// the checkpoint's root: a tile counts when its hashes make up a hash of the tile
// above, up to the root, and an entry when its hash is in such a tile. It is for
// one goroutine at a time.
type Reader struct {
	from  Source
	at    Checkpoint
	edge  [][][32]byte // last tile of each level, checked against the root
	cache []cached     // the full tile of each level that was read last
}

type cached struct {
	n      uint64
	hashes [][32]byte
}

// NewReader starts reading the log that a checkpoint describes, by the edge of its
// tree. The checkpoint must be one that is believed (Trust.Open). An error of type
// *FileError names the file at fault.
func NewReader(ctx context.Context, from Source, at Checkpoint) (*Reader, error) {
	if at.Size > maxSize {
		return nil, fmt.Errorf("reading log %s: %w: size %d", at.Origin, ErrMalformed, at.Size)
	}
	r := &Reader{from: from, at: at, edge: make([][][32]byte, levels(at.Size)), cache: make([]cached, levels(at.Size))}
	for level := range r.edge {
		t := lastTile(level, at.Size)
		if t.width == 0 {
			continue
		}
		var err error
		if r.edge[level], err = r.readTile(ctx, t); err != nil {
			return nil, fmt.Errorf("reading log %s: %w", at.Origin, err)
		}
	}
	if root := (edge{hashes: r.edge}).root(); root != at.Root {
		// Which of them was changed cannot be told: only together they have a root.
		return nil, fmt.Errorf("reading log %s: %w", at.Origin, &FileError{r.edgePaths(), 0, fmt.Errorf("%w: %x instead of %x", ErrRoot, root, at.Root)})
	}
	return r, nil
}

// edgePaths names the tiles that the root is made of, for an error.
func (r *Reader) edgePaths() string {
	names := ""
	for level := range r.edge {
		if t := lastTile(level, r.at.Size); t.width > 0 {
			names += " " + t.path()
		}
	}
	if names == "" {
		return CheckpointPath
	}
	return names[1:]
}

// Checkpoint is what the reader was started with.
func (r *Reader) Checkpoint() Checkpoint { return r.at }

// fileError puts an error on a file, unless it is of the reading rather than of what
// was read.
func fileError(ctx context.Context, t tile, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &FileError{t.path(), t.n << tileHeight << t.unit(), err}
}

// readFile reads a tile's or bundle's file. Once a partial one's full one exists,
// the log may have deleted it (tlog-tiles, "Partial Tiles").
func (r *Reader) readFile(ctx context.Context, t tile) (content []byte, whole bool, err error) {
	content, err = r.from.Read(ctx, t.path(), t.limit())
	if err == nil || !errors.Is(err, fs.ErrNotExist) || t.width == tileWidth {
		return content, false, err
	}
	full := tile{t.level, t.n, tileWidth}
	if content, fullErr := r.from.Read(ctx, full.path(), full.limit()); fullErr == nil {
		return content, true, nil
	}
	return nil, false, err
}

// readTile reads the hashes of a tile, unchecked.
func (r *Reader) readTile(ctx context.Context, t tile) ([][32]byte, error) {
	return readSplit(ctx, r, t, splitTile)
}

// readBundle reads the entries of a bundle, unchecked.
func (r *Reader) readBundle(ctx context.Context, t tile) ([][]byte, error) {
	return readSplit(ctx, r, t, splitBundle)
}

// readSplit reads as much of a file as its tile is wide, the full one standing in
// for a partial one that is gone.
func readSplit[T any](ctx context.Context, r *Reader, t tile, split func(content []byte, width int) ([]T, error)) ([]T, error) {
	content, whole, err := r.readFile(ctx, t)
	if err != nil {
		return nil, fileError(ctx, t, err)
	}
	width := t.width
	if whole {
		width = tileWidth
	}
	parts, err := split(content, width)
	if err != nil {
		return nil, fileError(ctx, t, err)
	}
	return parts[:t.width], nil
}

// hashes is a tile's hashes, checked up to the root.
func (r *Reader) hashes(ctx context.Context, level int, n uint64) ([][32]byte, error) {
	if t := lastTile(level, r.at.Size); t.n == n {
		return r.edge[level], nil
	}
	if c := r.cache[level]; c.hashes != nil && c.n == n {
		return c.hashes, nil
	}
	t := tile{level, n, tileWidth}
	hashes, err := r.readTile(ctx, t)
	if err != nil {
		return nil, err
	}
	want, err := r.tileRoot(ctx, level, n)
	if err != nil {
		return nil, err
	}
	if root := perfectRoot(hashes); root != want {
		return nil, fileError(ctx, t, fmt.Errorf("%w: the tile above has %x for it, it makes up %x", ErrRoot, want, root))
	}
	r.cache[level] = cached{n, hashes}
	return hashes, nil
}

// tileRoot is the root of a full tile, as the tile above it says.
func (r *Reader) tileRoot(ctx context.Context, level int, n uint64) ([32]byte, error) {
	above, err := r.hashes(ctx, level+1, n/tileWidth)
	if err != nil {
		return [32]byte{}, err
	}
	return above[n%tileWidth], nil
}

func (r *Reader) nodes(ctx context.Context) nodes {
	return tiledNodes(func(level int, n uint64) ([][32]byte, error) { return r.hashes(ctx, level, n) })
}

// RootAt is the root of the first size entries.
func (r *Reader) RootAt(ctx context.Context, size uint64) ([32]byte, error) {
	if size > r.at.Size {
		return [32]byte{}, fmt.Errorf("root of %d entries: the checkpoint has only %d", size, r.at.Size)
	}
	return r.nodes(ctx).rootAt(size)
}

// Extends checks that the log starts with what an earlier checkpoint described: its
// entries below earlier.Size are those that were read then, and reading can go on
// from there. If it does not, the error is of ErrRewritten.
func (r *Reader) Extends(ctx context.Context, earlier Checkpoint) error {
	if earlier.Size > r.at.Size {
		return fmt.Errorf("log %s: %w: an earlier checkpoint has %d entries, this one only %d", r.at.Origin, ErrRewritten, earlier.Size, r.at.Size)
	}
	root, err := r.RootAt(ctx, earlier.Size)
	if err != nil {
		return err
	}
	if root != earlier.Root {
		return fmt.Errorf("log %s: %w: its first %d entries had root %x in an earlier checkpoint, and have %x", r.at.Origin, ErrRewritten, earlier.Size, earlier.Root, root)
	}
	return nil
}

// Inclusion is the proof that the entry at index is in the checkpoint's tree.
func (r *Reader) Inclusion(ctx context.Context, index uint64) ([][32]byte, error) {
	return r.nodes(ctx).inclusion(index, r.at.Size)
}

// Consistency is the proof that the checkpoint's tree extends that of size old.
func (r *Reader) Consistency(ctx context.Context, old uint64) ([][32]byte, error) {
	return r.nodes(ctx).consistency(old, r.at.Size)
}

// Entry is the entry at an index.
func (r *Reader) Entry(ctx context.Context, index uint64) ([]byte, error) {
	if index >= r.at.Size {
		return nil, fmt.Errorf("reading entry %d: the checkpoint has only %d", index, r.at.Size)
	}
	t := r.bundle(index / tileWidth)
	entries, err := r.readBundle(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := r.checkBundle(ctx, t, entries); err != nil {
		return nil, err
	}
	return entries[index%tileWidth], nil
}

func (r *Reader) bundle(n uint64) tile {
	return tile{entriesLevel, n, widthAt(entriesLevel, n, r.at.Size)}
}

// checkBundle compares entries with the leaves of the tree. That of a full bundle
// is one hash of the tile two levels up; only when it differs is the tile of leaf
// hashes read, to name the entry.
func (r *Reader) checkBundle(ctx context.Context, t tile, entries [][]byte) error {
	got := make([][32]byte, len(entries))
	for i, entry := range entries {
		got[i] = LeafHash(entry)
	}
	if t.width == tileWidth {
		want, err := r.tileRoot(ctx, 0, t.n)
		if err != nil {
			return err
		}
		if perfectRoot(got) == want {
			return nil
		}
	}
	want, err := r.hashes(ctx, 0, t.n)
	if err != nil {
		return err
	}
	for i := range got {
		if got[i] != want[i] {
			return &FileError{t.path(), t.n<<tileHeight + uint64(i), fmt.Errorf("%w: entry %d has leaf hash %x, the log %x", ErrRoot, t.n<<tileHeight+uint64(i), got[i], want[i])}
		}
	}
	return nil
}

// readAhead is how many bundles are read before they are asked for: over a network
// the wait for each would add up.
const readAhead = 4

// Entries yields the entries from index from up to below to, in order, each
// checked before it is yielded. After an error, of type *FileError if a file is at
// fault, it ends.
func (r *Reader) Entries(ctx context.Context, from, to uint64) iter.Seq2[Leaf, error] {
	return func(yield func(Leaf, error) bool) {
		if from > to || to > r.at.Size {
			yield(Leaf{}, fmt.Errorf("reading entries %d to %d: the checkpoint has only %d", from, to, r.at.Size))
			return
		}
		for t, entries := range r.bundles(ctx, from, to) {
			if entries.err == nil {
				entries.err = r.checkBundle(ctx, t, entries.of)
			}
			if entries.err != nil {
				yield(Leaf{}, entries.err)
				return
			}
			for i, entry := range entries.of {
				index := t.n<<tileHeight + uint64(i)
				if index >= from && index < to && !yield(Leaf{index, entry}, nil) {
					return
				}
			}
		}
	}
}

type bundled struct {
	of  [][]byte
	err error
}

// bundles reads those that hold the entries from from up to below to, some ahead.
func (r *Reader) bundles(ctx context.Context, from, to uint64) iter.Seq2[tile, bundled] {
	return func(yield func(tile, bundled) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var reading []chan bundled
		next := from / tileWidth
		for n := next; n*tileWidth < to; n++ {
			for ; next*tileWidth < to && next < n+readAhead; next++ {
				done, t := make(chan bundled, 1), r.bundle(next)
				go func() {
					entries, err := r.readBundle(ctx, t)
					done <- bundled{entries, err}
				}()
				reading = append(reading, done)
			}
			entries := <-reading[0]
			reading = reading[1:]
			if !yield(r.bundle(n), entries) {
				return
			}
		}
	}
}

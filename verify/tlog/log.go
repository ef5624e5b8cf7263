package tlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
)

// ErrReopen says that an Append or Publish failed while it wrote, so that what is
// on the disk is not known: Reopen the log, which finds out, and repeat it with
// AppendAt.
var ErrReopen = errors.New("log must be opened again")

// ErrDamaged says that a log's directory does not hold what was sealed: restore it
// from a copy, or derive it anew.
var ErrDamaged = errors.New("log directory is damaged")

// sealedPath holds the size and root of what is sealed. It is written last, so a
// batch counts once this file names it. It is not served.
const (
	sealedPath   = "sealed"
	sealedOrigin = "gavel-log-sealed/v1"
)

// Log is the appender over a directory in the served layout. One process opens a
// directory at a time; within it, a Log is safe for concurrent use.
type Log struct {
	writing sync.Mutex // held by whoever writes, until the disk has it
	dir     *directory // guarded by writing, but for its paths
	broken  error      // set by a failed write; guarded by writing

	// Readers do not wait for the disk: what they take from here stays as it is, and
	// full tiles never change.
	mu        sync.RWMutex
	published Checkpoint // zero if there is none; guarded by mu, written with writing held
	edge      edge       // likewise
	root      [32]byte   // of edge; likewise
}

// edge is what the tiles of a tree do not hold in full: the hashes of the last
// tile of every level, and the last entry bundle. Copies share what they hold,
// which is only ever appended to a copy of.
type edge struct {
	size   uint64
	hashes [][][32]byte // by level; fewer than tileWidth each
	bundle []byte
}

// OpenLog opens the log in a directory, or starts one there. It recovers from a
// crash at any point: what was not sealed is forgotten and removed, and what was
// sealed is checked to have the root that was sealed with it.
func OpenLog(dir string) (*Log, error) { return openLog(dir, osFiles{}) }

func openLog(root string, files filesystem) (*Log, error) {
	dir, err := openDirectory(root, files)
	if err != nil {
		return nil, fmt.Errorf("opening log: %w", err)
	}
	l := &Log{dir: dir}
	sealed, err := l.readSealed()
	if err != nil {
		return nil, fmt.Errorf("opening log in %s: %w", root, err)
	}
	if err := l.load(sealed); err != nil {
		return nil, fmt.Errorf("opening log in %s: %w", root, err)
	}
	if err := l.loadPublished(); err != nil {
		return nil, fmt.Errorf("opening log in %s: %w", root, err)
	}
	if err := l.discardUnsealed(); err != nil {
		return nil, fmt.Errorf("opening log in %s: %w", root, err)
	}
	return l, nil
}

// Reopen reads the log anew from its directory, as OpenLog does, after an error of
// ErrReopen: what it says is then known again, and it can be appended to. Nobody
// else may open the directory meanwhile.
func (l *Log) Reopen() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	fresh, err := openLog(l.dir.root, l.dir.fs)
	if err != nil {
		return err
	}
	l.dir.durable, l.broken = fresh.dir.durable, nil
	l.mu.Lock()
	defer l.mu.Unlock()
	l.published, l.edge, l.root = fresh.published, fresh.edge, fresh.root
	return nil
}

func (l *Log) readSealed() (Checkpoint, error) {
	content, err := os.ReadFile(l.dir.at(sealedPath))
	if errors.Is(err, fs.ErrNotExist) {
		// Before the first batch was sealed nothing can have been published.
		if _, err := os.Lstat(l.dir.at(CheckpointPath)); err == nil {
			return Checkpoint{}, fmt.Errorf("%w: it has a checkpoint, but %q is missing; a copy for readers cannot be appended to", ErrDamaged, sealedPath)
		}
		return Checkpoint{Root: foldRoot(nil)}, nil
	}
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := parseMemory(content, sealedOrigin)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %q does not say what was sealed: %w", ErrDamaged, sealedPath, err)
	}
	return c, nil
}

// load reads the edge of what is sealed, and checks its root and that the last
// bundle has the last hashes. All that lies left of the edge is checked by whoever
// reads it (CheckTiles).
func (l *Log) load(sealed Checkpoint) error {
	e := edge{size: sealed.Size, hashes: make([][][32]byte, levels(sealed.Size))}
	for level := range e.hashes {
		t := lastTile(level, e.size)
		if t.width == 0 {
			continue
		}
		content, err := os.ReadFile(l.dir.at(t.path()))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if e.hashes[level], err = splitTile(content, t.width); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, t.path(), err)
		}
	}
	if root := e.root(); root != sealed.Root {
		return fmt.Errorf("%w: the last tiles of its %d entries have root %x, sealed was %x", ErrDamaged, e.size, root, sealed.Root)
	}
	if t := lastTile(entriesLevel, e.size); t.width > 0 {
		content, err := os.ReadFile(l.dir.at(t.path()))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		entries, err := splitBundle(content, t.width)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, t.path(), err)
		}
		for i, entry := range entries {
			if LeafHash(entry) != e.hashes[0][i] {
				return fmt.Errorf("%w: entry %d in %s is not the one that was sealed", ErrDamaged, t.n<<tileHeight+uint64(i), t.path())
			}
		}
		e.bundle = content
	}
	l.edge, l.root = e, sealed.Root
	return nil
}

// lastTile is the tile of a level that a tree of size entries ends in; of width 0
// if it ends where a tile does.
func lastTile(level int, size uint64) tile {
	unit := tile{level: level}.unit()
	return tile{level, size >> unit >> tileHeight, int(size >> unit % tileWidth)}
}

// root is the root of the tree that the edge is the edge of.
func (e edge) root() [32]byte {
	var subtrees [][32]byte
	for _, hashes := range slices.Backward(e.hashes) {
		subtrees = append(subtrees, perfectParts(hashes)...)
	}
	return foldRoot(subtrees)
}

func (l *Log) loadPublished() error {
	content, err := os.ReadFile(l.dir.at(CheckpointPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := ReadUnverified(content)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if c.Size > l.edge.size {
		return fmt.Errorf("%w: published are %d entries and sealed only %d", ErrDamaged, c.Size, l.edge.size)
	}
	root, err := l.RootAt(c.Size)
	if err == nil && root != c.Root {
		err = fmt.Errorf("%w: the published checkpoint of %d entries has root %x, the log %x", ErrDamaged, c.Size, c.Root, root)
	}
	if err != nil {
		return err
	}
	l.published = c
	return nil
}

// discardUnsealed removes what a crash left beyond the sealed size. A later batch
// need not overwrite it: its tiles can have other widths.
func (l *Log) discardUnsealed() error {
	for level := entriesLevel; level < levels(l.edge.size+MaxBatchEntries); level++ {
		last := lastTile(level, l.edge.size)
		// How many tiles further one batch can have reached.
		reach := uint64(MaxBatchEntries)>>tile{level: level}.unit()>>tileHeight + 1
		for thousand := last.n / 1000; thousand <= (last.n+reach)/1000; thousand++ {
			if err := l.discardIn(path.Dir(tile{level, thousand * 1000, tileWidth}.path()), last); err != nil {
				return err
			}
		}
	}
	return nil
}

// discardIn removes from a directory of up to a thousand tiles, and their partial
// ones, those that come after last.
func (l *Log) discardIn(dir string, last tile) error {
	names, err := l.list(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		full, partial := strings.CutSuffix(dir+"/"+name, ".p")
		t, err := parseTilePath(full)
		if err != nil || t.n < last.n {
			continue // a directory of other tiles, or sealed
		}
		if !partial {
			if err := l.dir.fs.Remove(l.dir.at(full)); err != nil {
				return err
			}
			continue
		}
		widths, err := l.list(dir + "/" + name)
		if err != nil {
			return err
		}
		for _, width := range widths {
			p := full + ".p/" + width
			if t, err := parseTilePath(p); err == nil && t.n == last.n && t.width <= last.width {
				continue
			}
			if err := l.dir.fs.Remove(l.dir.at(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

// list is the names in a directory, none if it is not there.
func (l *Log) list(dir string) ([]string, error) {
	entries, err := os.ReadDir(l.dir.at(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

// sealed is all that is sealed, of one moment.
func (l *Log) sealed() (e edge, root [32]byte) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.edge, l.root
}

// Size is how many entries are sealed.
func (l *Log) Size() uint64 {
	size, _ := l.Sealed()
	return size
}

// Root is the root of all that is sealed.
func (l *Log) Root() [32]byte {
	_, root := l.Sealed()
	return root
}

// Sealed is the size and the root of all that is sealed, of one moment.
func (l *Log) Sealed() (size uint64, root [32]byte) {
	e, root := l.sealed()
	return e.size, root
}

// Published is the size and root of the checkpoint that readers see, zero before
// the first.
func (l *Log) Published() Checkpoint {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.published
}

// RootAt is the root of the first size entries.
func (l *Log) RootAt(size uint64) ([32]byte, error) {
	e, _ := l.sealed()
	if size > e.size {
		return [32]byte{}, fmt.Errorf("root of %d entries: the log has only %d", size, e.size)
	}
	return l.nodes(e).rootAt(size)
}

// Inclusion is the proof that the entry at index is in the tree of the first size
// entries (see VerifyInclusion).
func (l *Log) Inclusion(index, size uint64) ([][32]byte, error) {
	e, _ := l.sealed()
	if size > e.size {
		return nil, fmt.Errorf("proving entry %d of %d: the log has only %d", index, size, e.size)
	}
	return l.nodes(e).inclusion(index, size)
}

// Consistency is the proof that the first size entries start with the first old
// (see VerifyConsistency).
func (l *Log) Consistency(old, size uint64) ([][32]byte, error) {
	e, _ := l.sealed()
	if size > e.size {
		return nil, fmt.Errorf("proving that size %d extends %d: the log has only %d", size, old, e.size)
	}
	return l.nodes(e).consistency(old, size)
}

// nodes reads from full tiles on the disk and from the edge.
func (l *Log) nodes(e edge) nodes {
	return tiledNodes(func(level int, n uint64) ([][32]byte, error) {
		if t := lastTile(level, e.size); t.n == n {
			return e.hashes[level], nil
		}
		t := tile{level, n, tileWidth}
		content, err := os.ReadFile(l.dir.at(t.path()))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		hashes, err := splitTile(content, tileWidth)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, t.path(), err)
		}
		return hashes, nil
	})
}

// tiledNodes reads nodes from tiles, of each as many hashes as there are.
func tiledNodes(read func(level int, n uint64) ([][32]byte, error)) nodes {
	return func(level uint, index uint64) ([32]byte, error) {
		within := level % tileHeight
		first := index << within // of the hashes below the node, in its tile's level
		hashes, err := read(int(level/tileHeight), first/tileWidth)
		if err != nil {
			return [32]byte{}, err
		}
		from, to := first%tileWidth, first%tileWidth+1<<within
		if uint64(len(hashes)) < to {
			return [32]byte{}, fmt.Errorf("%w: tile %d of level %d has %d hashes, %d are wanted", ErrDamaged, first/tileWidth, level/tileHeight, len(hashes), to)
		}
		return perfectRoot(hashes[from:to]), nil
	}
}

// Entry is the entry at an index.
func (l *Log) Entry(index uint64) ([]byte, error) {
	e, _ := l.sealed()
	if index >= e.size {
		return nil, fmt.Errorf("reading entry %d: the log has only %d", index, e.size)
	}
	entries, err := l.bundle(e, index/tileWidth)
	if err != nil {
		return nil, fmt.Errorf("reading entry %d: %w", index, err)
	}
	return bytes.Clone(entries[index%tileWidth]), nil
}

// bundle is the entries of a bundle that e has; they are only to be read.
func (l *Log) bundle(e edge, n uint64) ([][]byte, error) {
	content, t := e.bundle, lastTile(entriesLevel, e.size)
	if n != t.n {
		t = tile{entriesLevel, n, tileWidth}
		var err error
		if content, err = os.ReadFile(l.dir.at(t.path())); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	entries, err := splitBundle(content, t.width)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, t.path(), err)
	}
	return entries, nil
}

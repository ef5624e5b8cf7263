package tlog

import (
	"bytes"
	"fmt"
	"slices"
)

// Append adds a sealed batch: on return all of it is on the disk, or none counts.
// First is the index of its first entry. After an error of ErrReopen nothing is
// known until the log was opened again; then AppendAt repeats the batch safely.
func (l *Log) Append(entries [][]byte) (first uint64, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	first = l.edge.size
	if err := l.append(entries); err != nil {
		return 0, fmt.Errorf("appending %d entries at %d: %w", len(entries), first, err)
	}
	return first, nil
}

// AppendAt adds a batch whose first entry has the index first, once: entries that
// are there already must be equal, and the rest is appended. A gap is refused.
func (l *Log) AppendAt(first uint64, entries [][]byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	size := l.edge.size
	if first > size {
		return fmt.Errorf("appending %d entries at %d: the log has only %d; append those between first", len(entries), first, size)
	}
	there := int(min(size-first, uint64(len(entries))))
	if err := l.compare(first, entries[:there]); err != nil {
		return fmt.Errorf("appending %d entries at %d: %w", len(entries), first, err)
	}
	if err := l.append(entries[there:]); err != nil {
		return fmt.Errorf("appending %d entries at %d: %w", len(entries)-there, size, err)
	}
	return nil
}

// compare says whether entries are those that are sealed from first on.
func (l *Log) compare(first uint64, entries [][]byte) error {
	var sealed [][]byte
	for i, entry := range entries {
		index := first + uint64(i)
		if sealed == nil || index%tileWidth == 0 {
			var err error
			if sealed, err = l.bundle(l.edge, index/tileWidth); err != nil {
				return err
			}
		}
		if old := sealed[index%tileWidth]; !bytes.Equal(old, entry) {
			return fmt.Errorf("entry %d is there already and differs (%x, offered %x)", index, LeafHash(old), LeafHash(entry))
		}
	}
	return nil
}

func (l *Log) append(entries [][]byte) error {
	if l.broken != nil {
		return l.broken
	}
	if err := checkBatch(entries, l.edge.size); err != nil || len(entries) == 0 {
		return err
	}
	next, files := l.edge.extend(entries)
	root := next.root()
	// A crash here, or in the middle, leaves tiles beyond what is sealed, which
	// nobody reads (Handler) and opening removes. None of a sealed tile's names is
	// written: a tile of another width is another file, and full ones are past.
	if err := l.dir.write(files); err != nil {
		return l.breaks(err)
	}
	// Everything is on the disk under its name. A crash during this either leaves
	// the old size, or the new one.
	sealed := Checkpoint{Origin: sealedOrigin, Size: next.size, Root: root}
	if err := l.dir.write([]stored{{sealedPath, []byte(sealed.text())}}); err != nil {
		return l.breaks(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.edge, l.root = next, root
	return nil
}

// breaks keeps a log from going on after a failed write: after a failed fsync the
// kernel may call the same pages clean, so only reading anew tells.
func (l *Log) breaks(err error) error {
	l.broken = fmt.Errorf("%w: an earlier write failed: %w", ErrReopen, err)
	return l.broken
}

func checkBatch(entries [][]byte, size uint64) error {
	if len(entries) > MaxBatchEntries {
		return fmt.Errorf("a batch has at most %d entries; split it", MaxBatchEntries)
	}
	if size+uint64(len(entries)) > maxSize {
		return fmt.Errorf("a log has at most %d entries", uint64(maxSize))
	}
	total := 0
	for i, entry := range entries {
		if len(entry) > MaxEntryBytes {
			return fmt.Errorf("entry %d of the batch has %d bytes; the 16-bit length of a tlog-tiles entry bundle allows %d: put the rest in a file beside the log and its digest in the entry",
				i, len(entry), MaxEntryBytes)
		}
		total += len(entry)
	}
	if total > MaxBatchBytes {
		return fmt.Errorf("a batch of %d bytes, at most %d; split it", total, MaxBatchBytes)
	}
	return nil
}

// extend is the edge after entries were added, and the files that have to be
// written for it: every tile that got full, and what is left at the edge.
func (e edge) extend(entries [][]byte) (edge, []stored) {
	next := edge{size: e.size, hashes: make([][][32]byte, len(e.hashes)), bundle: slices.Clone(e.bundle)}
	for level, hashes := range e.hashes {
		next.hashes[level] = slices.Clone(hashes)
	}
	var files []stored
	for _, entry := range entries {
		next.bundle = appendEntry(next.bundle, entry)
		next.size++
		if next.size%tileWidth == 0 {
			full := tile{entriesLevel, next.size/tileWidth - 1, tileWidth}
			files = append(files, stored{full.path(), next.bundle})
			next.bundle = nil
		}
		files = next.push(0, LeafHash(entry), files)
	}
	if t := lastTile(entriesLevel, next.size); t.width > 0 {
		files = append(files, stored{t.path(), next.bundle})
	}
	for level, hashes := range next.hashes {
		// A level that did not grow has its tile already.
		t := lastTile(level, next.size)
		if t.width > 0 && t != lastTile(level, e.size) {
			files = append(files, stored{t.path(), joinTile(hashes)})
		}
	}
	return next, files
}

// push adds one hash to a level, and the roots of tiles that become full to those
// above.
func (e *edge) push(level int, hash [32]byte, files []stored) []stored {
	if level == len(e.hashes) {
		e.hashes = append(e.hashes, nil)
	}
	e.hashes[level] = append(e.hashes[level], hash)
	if len(e.hashes[level]) < tileWidth {
		return files
	}
	full := tile{level, e.size>>tile{level: level}.unit()>>tileHeight - 1, tileWidth}
	files = append(files, stored{full.path(), joinTile(e.hashes[level])})
	root := perfectRoot(e.hashes[level])
	e.hashes[level] = nil
	return e.push(level+1, root, files)
}

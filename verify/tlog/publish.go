package tlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
)

// ErrExists says that a file beside the log is there with another content.
var ErrExists = errors.New("file exists with another content")

// Publish replaces the checkpoint that readers see. It refuses a note of another
// log, one older than what is published, one larger than what is sealed, and one
// of another root. Whether enough have signed is the caller's to check first
// (Trust.Open). The same checkpoint with more signatures may follow.
func (l *Log) Publish(signed []byte) error {
	c, err := ReadUnverified(signed)
	if err != nil {
		return fmt.Errorf("publishing checkpoint: %w", err)
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	switch {
	case l.broken != nil:
		return fmt.Errorf("publishing checkpoint: %w", l.broken)
	case l.published.Origin != "" && c.Origin != l.published.Origin:
		return fmt.Errorf("publishing checkpoint: it is one of log %q, this is %q", c.Origin, l.published.Origin)
	case c.Size < l.published.Size:
		return fmt.Errorf("publishing checkpoint of size %d: size %d is published already", c.Size, l.published.Size)
	case c.Size > l.edge.size:
		return fmt.Errorf("publishing checkpoint of size %d: only %d entries are sealed", c.Size, l.edge.size)
	}
	root, err := l.RootAt(c.Size)
	if err != nil {
		return fmt.Errorf("publishing checkpoint of size %d: %w", c.Size, err)
	}
	if root != c.Root {
		return fmt.Errorf("publishing checkpoint of size %d: its root is %x, the log's %x", c.Size, c.Root, root)
	}
	if err := l.dir.write([]stored{{CheckpointPath, signed}}); err != nil {
		return fmt.Errorf("publishing checkpoint of size %d: %w", c.Size, l.breaks(err))
	}
	before := l.published.Size
	l.mu.Lock()
	l.published = c
	l.mu.Unlock()
	l.prune(before, c.Size)
	return nil
}

// prune removes partial tiles whose full tile every reader may fetch from now on.
// What a failure or crash leaves of them does no harm.
func (l *Log) prune(before, size uint64) {
	for level := entriesLevel; level < levels(size); level++ {
		for n := lastTile(level, before).n; n < lastTile(level, size).n; n++ {
			dir := tile{level, n, tileWidth}.path() + ".p"
			partial, err := os.ReadDir(l.dir.at(dir))
			if err != nil {
				continue
			}
			for _, entry := range partial {
				_ = l.dir.fs.Remove(l.dir.at(dir + "/" + entry.Name()))
			}
			_ = l.dir.fs.Remove(l.dir.at(dir))
		}
	}
}

// File is a file of a log's directory.
type File struct {
	Path    string
	Content []byte
}

// PutFile puts one file beside the log (see PutFiles).
func (l *Log) PutFile(p string, content []byte) error { return l.PutFiles([]File{{p, content}}) }

// PutFiles puts files beside the log (genesis, transcript/…, epoch/…, manifest/…,
// vsa/…, trusted_root.json, status.json): on return all are on the disk; a crash
// before leaves each whole or not at all. Many at once cost little more than one.
// What is there with the same content stays; another content is refused with
// ErrExists, but for the two JSON files of the top, which change.
func (l *Log) PutFiles(files []File) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	var missing []stored
	var sync []string
	seen := map[string][]byte{}
	for _, f := range files {
		if twice, ok := seen[f.Path]; ok && bytes.Equal(twice, f.Content) {
			continue
		} else if ok {
			return fmt.Errorf("putting file %q twice: %w", f.Path, ErrExists)
		}
		seen[f.Path] = f.Content
		there, err := l.hasFile(f)
		if err != nil {
			return fmt.Errorf("putting file %q: %w", f.Path, err)
		}
		if there && l.dir.durable[path.Dir(f.Path)] {
			// It may be there by a try that failed before its name was durable.
			sync = append(sync, l.dir.at(path.Dir(f.Path)))
			continue
		}
		missing = append(missing, stored{f.Path, f.Content})
	}
	if err := l.dir.write(missing); err != nil {
		return fmt.Errorf("putting %d files beside the log: %w", len(missing), err)
	}
	slices.Sort(sync)
	if err := l.dir.fs.SyncDirs(slices.Compact(sync)); err != nil {
		return fmt.Errorf("putting files beside the log: %w", err)
	}
	return nil
}

// hasFile tells whether a file is there with this content, and whether it may be
// put.
func (l *Log) hasFile(f File) (bool, error) {
	if !isBeside(f.Path) {
		return false, fmt.Errorf("%w: files beside the log are %v", ErrMalformed, beside)
	}
	if len(f.Content) > MaxFileBytes {
		return false, fmt.Errorf("%d bytes, at most %d", len(f.Content), MaxFileBytes)
	}
	old, err := os.ReadFile(l.dir.at(f.Path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case bytes.Equal(old, f.Content):
		return true, nil
	case !slices.Contains(replaceable, f.Path):
		return false, ErrExists
	}
	return false, nil
}

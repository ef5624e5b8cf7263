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

// PutFile puts a file beside the log (genesis, transcript/…, epoch/…, manifest/…,
// vsa/…, trusted_root.json, status.json), durably and at once. What is there with
// the same content stays; another content is refused with ErrExists, but for the
// two JSON files of the top, which change.
func (l *Log) PutFile(p string, content []byte) error {
	if !isBeside(p) {
		return fmt.Errorf("putting file %q: %w: files beside the log are %v", p, ErrMalformed, beside)
	}
	if len(content) > MaxFileBytes {
		return fmt.Errorf("putting file %q: %d bytes, at most %d", p, len(content), MaxFileBytes)
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	old, err := os.ReadFile(l.dir.at(p))
	switch {
	case err == nil && bytes.Equal(old, content):
		// A crash may have come after its name was seen and before it was durable.
		if l.dir.durable[path.Dir(p)] {
			return l.dir.fs.SyncDirs([]string{l.dir.at(path.Dir(p))})
		}
	case err == nil && !slices.Contains(replaceable, p):
		return fmt.Errorf("putting file %q: %w", p, ErrExists)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("putting file %q: %w", p, err)
	}
	if err := l.dir.write([]stored{{p, content}}); err != nil {
		return fmt.Errorf("putting file %q: %w", p, err)
	}
	return nil
}

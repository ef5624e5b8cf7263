package inputs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gavel/cas"
)

// Materialise lays out the tree under root, or finds it laid out, and holds it
// until Release. Directories are 0755, files 0644 or 0755, and times and owner
// those of o, links included. Blobs come through the cache's own store, so that
// each is fetched once. Concurrent calls for one tree share the work.
func (c *Cache) Materialise(ctx context.Context, root cas.Digest, from cas.Fetcher, o Options) (*Checkout, error) {
	if err := root.Validate(); err != nil {
		return nil, fmt.Errorf("laying out input tree: %w", err)
	}
	// Every negative id means the same.
	k := key{root, Options{UID: max(o.UID, -1), GID: max(o.GID, -1), Epoch: o.Epoch}}
	for {
		t, mine := c.join(k)
		if mine {
			c.finish(t, c.layOut(ctx, t, from))
		}
		select {
		case <-t.ready:
		case <-ctx.Done():
			c.leave(t)
			return nil, ctx.Err()
		}
		if t.err == nil {
			return &Checkout{Dir: filepath.Join(t.dir, "root"), done: func() { c.leave(t) }}, nil
		}
		c.leave(t)
		// Who laid it out was called off; that is no answer to the others.
		calledOff := errors.Is(t.err, context.Canceled) || errors.Is(t.err, context.DeadlineExceeded)
		if mine || !calledOff || ctx.Err() != nil {
			return nil, fmt.Errorf("laying out input tree %s: %w", root, t.err)
		}
	}
}

// join adds a user to the tree k, which is the caller's to lay out if mine.
func (c *Cache) join(k key) (t *laidOut, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, found := c.trees[k]
	if !found {
		t = &laidOut{key: k, ready: make(chan struct{})}
		c.trees[k] = t
	}
	t.users++
	return t, !found
}

func (c *Cache) leave(t *laidOut) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t.users--
	t.last = time.Now()
	if t.err == nil && t.dir != "" {
		// For the eviction order after a restart; imprecision is harmless.
		_ = os.Chtimes(t.dir, t.last, t.last)
	}
}

func (c *Cache) finish(t *laidOut, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		t.err = err
		c.used -= t.bytes
		delete(c.trees, t.key)
	}
	close(t.ready)
}

// reserve makes room for bytes more, on behalf of t, by evicting the least
// recently used trees that nobody uses.
func (c *Cache) reserve(t *laidOut, bytes int64) error {
	c.mu.Lock()
	var gone []string
	err := c.evict(bytes, &gone)
	if err == nil {
		t.bytes = bytes
		c.used += bytes
	}
	c.mu.Unlock()
	for _, dir := range gone {
		if rerr := os.RemoveAll(dir); rerr != nil && err == nil {
			err = fmt.Errorf("evicting: %w", rerr)
		}
	}
	return err
}

func (c *Cache) evict(bytes int64, gone *[]string) error {
	if bytes > c.config.TreeBytes {
		return fmt.Errorf("%w: it needs %d bytes and the whole cache has %d; give the worker a larger one", cas.ErrTooLarge, bytes, c.config.TreeBytes)
	}
	for c.used+bytes > c.config.TreeBytes {
		var oldest *laidOut
		for _, t := range c.trees {
			if t.users == 0 && (oldest == nil || t.last.Before(oldest.last)) {
				oldest = t
			}
		}
		if oldest == nil {
			return fmt.Errorf("%w: it needs %d bytes and trees in use leave %d of %d; run fewer builds at once or give the worker a larger cache",
				cas.ErrTooLarge, bytes, c.config.TreeBytes-c.used, c.config.TreeBytes)
		}
		// Renamed first: removing takes time, and a crash meanwhile must not leave
		// half a tree under its name.
		away := c.newPath()
		if err := os.Rename(oldest.dir, away); err != nil {
			return fmt.Errorf("evicting: %w", err)
		}
		*gone = append(*gone, away)
		c.used -= oldest.bytes
		delete(c.trees, oldest.key)
	}
	return nil
}

func (c *Cache) newPath() string {
	return filepath.Join(c.dir, "building", fmt.Sprint(c.next.Add(1)))
}

package tlog

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"
)

const (
	// Tiles never change under their names; browsers and caches may keep them.
	cacheForever = "public, max-age=31536000, immutable"
	cacheNever   = "no-cache"
)

// Handler serves the directory of a log as tlog-tiles wants it, at the root of the
// path (put http.StripPrefix around it elsewhere): the checkpoint, which is never
// cached, tiles and bundles, which are forever, and the files beside them. It
// serves no other name, no listing, and no tile beyond the published checkpoint,
// because a batch that a crash undoes can have left some.
func Handler(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "a log is only read", http.StatusMethodNotAllowed)
			return
		}
		path := strings.TrimPrefix(r.URL.Path, "/")
		content, caching, err := describe(dir, path)
		if err == nil {
			err = serve(w, r, dir, path, content, caching)
		}
		switch {
		case err == nil:
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrMalformed):
			http.Error(w, "no such file in the log", http.StatusNotFound)
		default:
			// The cause names paths of this machine, which are nobody's business.
			http.Error(w, "the log cannot be read at the moment", http.StatusInternalServerError)
		}
	})
}

// describe is the content type and caching of a path that may be served now.
func describe(dir, path string) (content, caching string, err error) {
	if err := checkPath(path); err != nil {
		return "", "", err
	}
	switch {
	case path == CheckpointPath:
		return "text/plain; charset=utf-8", cacheNever, nil
	case strings.HasPrefix(path, "tile/"):
		t, err := parseTilePath(path)
		if err != nil {
			return "", "", err
		}
		published, err := publishedSize(dir)
		if err != nil {
			return "", "", err
		}
		if !t.within(published) {
			return "", "", fmt.Errorf("%s of %d published entries: %w", path, published, fs.ErrNotExist)
		}
		return "application/octet-stream", cacheForever, nil
	case !isBeside(path):
		return "", "", fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	case strings.HasSuffix(path, ".json"):
		return "application/json", cacheNever, nil
	case strings.Contains(path, "/"):
		return "application/octet-stream", cacheForever, nil // named by digest or number
	}
	return "application/octet-stream", cacheNever, nil
}

func publishedSize(dir string) (uint64, error) {
	f, err := openInside(dir, CheckpointPath)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	content, err := readBounded(f, MaxNoteBytes)
	if err != nil {
		return 0, err
	}
	c, err := ReadUnverified(content)
	return c.Size, err
}

func serve(w http.ResponseWriter, r *http.Request, dir, path, content, caching string) error {
	f, err := openInside(dir, path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	header := w.Header()
	header.Set("Content-Type", content)
	header.Set("Cache-Control", caching)
	header.Set("X-Content-Type-Options", "nosniff")
	// Public evidence: a page of anybody's may read it.
	header.Set("Access-Control-Allow-Origin", "*")
	// No modification time: two coordinators serve the same bytes written at
	// different times, and what changes is small.
	http.ServeContent(w, r, "", time.Time{}, f)
	return nil
}

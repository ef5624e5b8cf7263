package tlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	slashpath "path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrTooLarge says that a file is longer than what was asked for can be.
var ErrTooLarge = errors.New("larger than it may be")

// NotRegularError says what lies in a file's place: who only wants the file has
// none, by fs.ErrNotExist.
type NotRegularError struct{ What string }

func (e *NotRegularError) Error() string { return e.What }

// Is says that there is no file.
func (e *NotRegularError) Is(target error) bool { return target == fs.ErrNotExist }

// Lacking says in few words why Read, asked for limit bytes, has no content: the file
// is missing, too large or not regular. It is empty for any other error, and for none.
func Lacking(err error, limit int64) string {
	odd := new(NotRegularError)
	switch {
	case errors.As(err, &odd):
		return odd.Error()
	case errors.Is(err, ErrTooLarge):
		return fmt.Sprintf("more than %d bytes", limit)
	case errors.Is(err, fs.ErrNotExist):
		return "no such file"
	}
	return ""
}

// Source reads files of a log's directory, wherever it lies. Read returns a file's
// whole content, fs.ErrNotExist if there is none, of NotRegularError if something else
// lies there, and ErrTooLarge if it has more than limit bytes. Nothing that it returns
// is believed.
type Source interface {
	Read(ctx context.Context, path string, limit int64) ([]byte, error)
}

// DirSource reads a log from a directory. Links that lead out of it are not
// followed.
func DirSource(dir string) Source { return dirSource(dir) }

type dirSource string

func (d dirSource) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	if err := errors.Join(ctx.Err(), checkPath(path)); err != nil {
		return nil, fmt.Errorf("reading from the log in %s: %w", string(d), err)
	}
	f, err := openInside(string(d), path)
	if err != nil {
		return nil, fmt.Errorf("reading from the log in %s: %w", string(d), err)
	}
	defer func() { _ = f.Close() }()
	content, err := readBounded(f, limit)
	if err != nil {
		return nil, fmt.Errorf("reading %s of the log in %s: %w", path, string(d), err)
	}
	return content, nil
}

// openInside opens a regular file below dir.
func openInside(dir, path string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	f, err := root.OpenFile(filepath.FromSlash(path), os.O_RDONLY|syscall.O_NONBLOCK, 0) // a fifo would never open
	if err != nil {
		return nil, whyClosed(root, path, err)
	}
	info, err := f.Stat()
	if err == nil {
		err = regular(path, info)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// regular is an error for all but a regular file.
func regular(path string, info fs.FileInfo) error {
	switch {
	case info.Mode().IsRegular():
		return nil
	case info.IsDir():
		return fmt.Errorf("%s is %w", path, &NotRegularError{"a directory"})
	}
	return fmt.Errorf("%s is %w", path, &NotRegularError{"a pipe, a socket or a device"})
}

// whyClosed is the error of a file that did not open, or what is in its place: a link
// that cannot be followed, on the way to it too, or a socket.
func whyClosed(root *os.Root, path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	for on := path; on != "."; on = slashpath.Dir(on) {
		if info, not := root.Lstat(filepath.FromSlash(on)); not == nil && info.Mode()&fs.ModeSymlink != 0 {
			return fmt.Errorf("%s is %w", on, &NotRegularError{"a link that leads out of the log, or nowhere"})
		}
	}
	if errors.Is(err, syscall.ENXIO) {
		return fmt.Errorf("%s is %w", path, &NotRegularError{"a pipe, a socket or a device"})
	}
	return err
}

func readBounded(r io.Reader, limit int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return content, nil
}

// HTTPSource reads a log from its URL, as https://farm.example/log. With a nil
// client it uses one that gives a request a minute.
func HTTPSource(base string, client *http.Client) Source {
	if client == nil {
		client = &http.Client{Timeout: time.Minute}
	}
	return &httpSource{strings.TrimSuffix(base, "/"), client}
}

type httpSource struct {
	base   string
	client *http.Client
}

func (h *httpSource) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	if err := checkPath(path); err != nil {
		return nil, fmt.Errorf("reading from log %s: %w", h.base, err)
	}
	u, err := url.Parse(h.base + "/" + path)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("reading from log %q: not an http or https URL", h.base)
	}
	// A whole log is thousands of files: one hiccup must not end its audit.
	for try := 1; ; try++ {
		content, again, err := h.get(ctx, u.String(), limit)
		if err == nil || !again || try == httpTries || ctx.Err() != nil {
			return content, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(try) * httpPause):
		}
	}
}

// get asks once. Again says that the same question may have another answer soon.
func (h *httpSource) get(ctx context.Context, u string, limit int64) (content []byte, again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, false, fmt.Errorf("reading from log %s: %w", h.base, err)
	}
	response, err := h.client.Do(request)
	if err != nil {
		return nil, true, fmt.Errorf("reading from log: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	switch status := response.StatusCode; {
	case status == http.StatusNotFound:
		return nil, false, fmt.Errorf("reading %s: %w", u, fs.ErrNotExist)
	case status != http.StatusOK:
		return nil, status == http.StatusTooManyRequests || status >= http.StatusInternalServerError, fmt.Errorf("reading %s: the server answered %s", u, response.Status)
	}
	if content, err = readBounded(response.Body, limit); err != nil {
		return nil, !errors.Is(err, ErrTooLarge), fmt.Errorf("reading %s: %w", u, err)
	}
	return content, false, nil
}

// ReadCheckpoint reads the published checkpoint of a log, still unverified (see
// Trust.Open).
func ReadCheckpoint(ctx context.Context, from Source) ([]byte, error) {
	return from.Read(ctx, CheckpointPath, MaxNoteBytes)
}

package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"gavel/sandbox"
	"gavel/sandbox/rootfs"
)

// Forms are the ways to name an image, as a person may write them, with their meanings.
const Forms = `  docker-archive:FILE     an archive of docker save, also compressed
  oci:PATH[@sha256:...]   an OCI layout, directory or archive
  dir:PATH                a directory that is a root file system
  debootstrap:SUITE[?include=a,b&variant=minbase|buildd&mirror=URL]
                          a fresh Debian or Ubuntu
  docker://HOST/NAME:TAG  an image in a registry
A path or a registry's NAME:TAG alone is recognised if it can be.`

// Options say how sources are opened.
type Options struct {
	// TempDir is an existing directory for what must be decompressed or copied;
	// empty is the system's. It needs room for the uncompressed image.
	TempDir string
	// Progress, if set, is told in a sentence what takes time, and what of a
	// directory was left out.
	Progress func(string)
}

// Source is an image that was found, with the files that hold it.
type Source struct {
	// Image has its layers uncompressed. They can be opened, any number of times
	// and at once, until Close.
	Image sandbox.Image

	temp  string // directory of this source's own
	close []func() error
}

// Size is the bytes of the image's layers, uncompressed.
func (s *Source) Size() int64 {
	var total int64
	for _, l := range s.Image.Layers {
		total += l.Size
	}
	return total
}

// Close removes the temporary files.
func (s *Source) Close() error {
	var failed []error
	for _, c := range s.close {
		failed = append(failed, c())
	}
	s.close = nil
	return errors.Join(append(failed, rootfs.Remove(s.temp))...)
}

// Open finds the image that source names, in one of Forms, and reads as much of
// it as is needed to know its layers. The image is for this machine.
func Open(ctx context.Context, source string, opts Options) (*Source, error) {
	open, err := opener(source)
	if err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(opts.TempDir, "gavel-image-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the image's temporary files: %w", err)
	}
	s := &Source{temp: temp}
	r := &reader{source: s, progress: opts.Progress, left: sandbox.MaxImageBytes}
	if r.progress == nil {
		r.progress = func(string) {}
	}
	err = open(ctx, r)
	if err == nil {
		err = s.Image.Validate(runtime.GOARCH)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading image %s: %w", source, err), s.Close())
	}
	return s, nil
}

// add adds a layer to the image, within the bytes that an image may have.
func (r *reader) add(l sandbox.Layer) error {
	if l.Size > r.left {
		return refuse("its layers have more than %d bytes; build it without what no build needs", int64(sandbox.MaxImageBytes))
	}
	r.left -= l.Size
	r.source.Image.Layers = append(r.source.Image.Layers, l)
	return nil
}

// reader is a source while it is opened.
type reader struct {
	source   *Source
	progress func(string)
	left     int64 // bytes that further layers may have
}

// opener parses source and looks, without an explicit form, at what it is.
func opener(source string) (func(context.Context, *reader) error, error) {
	if source == "" {
		return nil, unknown(source, "it is empty")
	}
	for _, form := range []struct {
		prefix string
		open   func(ctx context.Context, r *reader, rest string) error
	}{
		{"docker-archive:", openDockerArchive},
		{"oci:", openOCI},
		{"dir:", openDir},
		{"debootstrap:", openDebootstrap},
		{"docker://", openRegistry},
	} {
		if rest, ok := strings.CutPrefix(source, form.prefix); ok {
			if rest == "" {
				return nil, unknown(source, "nothing follows the "+form.prefix)
			}
			return func(ctx context.Context, r *reader) error { return form.open(ctx, r, rest) }, nil
		}
	}
	info, err := os.Stat(source)
	switch {
	case err == nil && info.IsDir():
		return openerOfDirectory(source)
	case err == nil && info.Mode().IsRegular():
		return func(ctx context.Context, r *reader) error { return openArchive(ctx, r, source) }, nil
	case err == nil:
		return nil, unknown(source, "it is neither file nor directory")
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid):
		return nil, fmt.Errorf("reading image %s: %w", source, err)
	case looksLikePath(source):
		return nil, unknown(source, "there is no such file")
	case !isReference(source):
		return nil, unknown(source, "there is no such file, and it is no name of a registry (docker:// before it makes it one)")
	}
	return func(ctx context.Context, r *reader) error { return openRegistry(ctx, r, source) }, nil
}

func unknown(source, why string) error {
	return fmt.Errorf("%w: %q names no image: %s; write one of\n%s", sandbox.ErrRefused, source, why, Forms)
}

func looksLikePath(source string) bool {
	for _, prefix := range []string{"/", "./", "../", "~"} {
		if strings.HasPrefix(source, prefix) {
			return true
		}
	}
	for _, suffix := range []string{".tar", ".tar.gz", ".tgz", ".tar.zst"} {
		if strings.HasSuffix(source, suffix) {
			return true
		}
	}
	return false
}

// openerOfDirectory tells a layout from a root file system. A directory that is
// neither is refused: a slip of a word must not make an image of a home.
func openerOfDirectory(dir string) (func(context.Context, *reader) error, error) {
	has := func(name string) bool {
		_, err := os.Lstat(dir + "/" + name)
		return err == nil
	}
	switch {
	case has(ociIndex):
		return func(ctx context.Context, r *reader) error { return openOCI(ctx, r, dir) }, nil
	case has("bin") && (has("etc") || has("usr") || has("lib")):
		return func(ctx context.Context, r *reader) error { return openDir(ctx, r, dir) }, nil
	}
	return nil, unknown(dir, "the directory has neither an index.json nor a bin beside etc, usr or lib (dir: takes it whatever it holds)")
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", sandbox.ErrRefused, fmt.Sprintf(format, args...))
}

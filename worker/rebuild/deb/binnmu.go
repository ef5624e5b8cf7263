package deb

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// binNMUForm ends the version of what the archive built again from an unchanged source.
var binNMUForm = regexp.MustCompile(`\+b[0-9]+$`)

// changelogForm is where a package has its changelog. That of a rebuild lies apart, under the architecture's name (dh_installchangelogs).
var changelogForm = regexp.MustCompile(`^usr/share/doc/[^/]+/changelog[^/]*\.gz$`)

// entryFile is the changelog entry of a rebuild, beside the source.
const entryFile = "binary-only-changelog"

// binNMU is the suffix such as +b1 of a version that the archive built again from
// an unchanged source, "" of others.
func (p *Package) binNMU() string {
	if suffix := binNMUForm.FindString(p.Version); !strings.HasSuffix(p.SourceVersion, suffix) {
		return suffix
	}
	return ""
}

// fetchEntry writes the changelog entry that the archive put before the source's
// when it built it again. The build has version and time from it. No source has
// it: it is read from the archive's own package, and nothing else of that is used.
func (a *Apt) fetchEntry(ctx context.Context, p *Package, dir string) error {
	a.progress(fmt.Sprintf("%s is the archive's rebuild of %s: fetching its changelog entry", p.Version, p.SourceVersion))
	published := filepath.Join(a.dir, "published")
	if err := a.FetchBinary(ctx, p, published); err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", filepath.Join(published, p.File))
	var failed bytes.Buffer
	c.Stderr = &bounded{w: &failed, left: maxIndexBytes}
	content, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return fmt.Errorf("reading the archive's %s: %w", p.File, err)
	}
	entry, err := findEntry(content, p.Source+" ("+p.SourceVersion+p.binNMU()+") ")
	_, drained := io.Copy(io.Discard, content)
	if broken := errors.Join(drained, c.Wait()); broken != nil {
		return fmt.Errorf("reading the archive's %s: %w: %s", p.File, broken, lastLines(failed.String()))
	}
	if err != nil {
		return fmt.Errorf("%w: %s is a rebuild of %s by the archive, made with a changelog entry that no source has: %w in the archive's %s. Name a version that is a source's own, or another package of the source %s",
			ErrPackage, p.Version, p.SourceVersion, err, p.File, p.Source)
	}
	return os.WriteFile(filepath.Join(dir, entryFile), entry, 0o644)
}

// findEntry reads from a package's files, as a tar, the changelog entry that begins
// with head and is of a rebuild.
func findEntry(files io.Reader, head string) ([]byte, error) {
	r := tar.NewReader(files)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("there is none")
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg || !changelogForm.MatchString(path.Clean(h.Name)) {
			continue
		}
		text, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
		if entry := firstEntry(text); bytes.HasPrefix(entry, []byte(head)) && strings.Contains(firstLine(entry), "binary-only=yes") {
			return entry, nil
		}
	}
}

// firstEntry is the newest entry of a changelog (deb-changelog(5)) with the empty
// line after it, nil where it has no end within maxEntryBytes.
func firstEntry(changelog io.Reader) []byte {
	var entry []byte
	lines := bufio.NewScanner(io.LimitReader(changelog, maxEntryBytes))
	for lines.Scan() {
		entry = append(append(entry, lines.Bytes()...), '\n')
		if bytes.HasPrefix(lines.Bytes(), []byte(" -- ")) {
			return append(entry, '\n')
		}
	}
	return nil
}

func firstLine(text []byte) string {
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	return string(line)
}

package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sumsName is the file in an export that lists all others with their SHA-256, as
// sha256sum writes and checks it. It is nobody's word: it only tells a file that
// was lost from one that never was.
const sumsName = "SHA256SUMS"

// maxSumsBytes bounds a list that is read: a hundred bytes for each file.
const maxSumsBytes = 256 << 20

// writeSums lists what an export holds.
func writeSums(dir string) error {
	paths, err := ListDir(dir)
	if err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	var out bytes.Buffer
	for _, path := range paths {
		raw, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
		if err != nil {
			return fmt.Errorf("exporting: %w", err)
		}
		fmt.Fprintf(&out, "%x  %s\n", sha256.Sum256(raw), path)
	}
	return write(dir, sumsName, out.Bytes())
}

// readSumsFile reads an export's list.
func readSumsFile(dir string) ([]byte, error) {
	name := filepath.Join(dir, sumsName)
	info, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is no file", ErrUnusable, name)
	}
	return readFile(name, maxSumsBytes)
}

// readSums decodes a list, refusing all but what writeSums writes.
func readSums(raw []byte) (map[string][32]byte, error) {
	out := map[string][32]byte{}
	last := ""
	for line := range strings.Lines(string(raw)) {
		sum, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		digest, err := hex.DecodeString(sum)
		if !ok || err != nil || len(digest) != 32 || hex.EncodeToString(digest) != sum || path <= last || !strings.HasSuffix(line, "\n") {
			return nil, fmt.Errorf("line %q is none that an export writes", line)
		}
		out[path], last = [32]byte(digest), path
	}
	return out, nil
}

// listed holds the files of a copy to its list.
func (a *auditor) listed(ctx context.Context, all []string) error {
	if a.o.Sums == nil {
		return nil
	}
	raw, err := a.o.Sums()
	if errors.Is(err, fs.ErrNotExist) {
		a.report.warn("the copy has no %s: whether files at the log's end were taken out of it cannot be told", sumsName)
		return nil
	}
	if err != nil {
		return err
	}
	a.known[sumsName] = true
	sums, err := readSums(raw)
	if err != nil {
		a.report.beside(sumsName, "a list of the copy's files", err.Error())
		return nil
	}
	clean := a.report.Clean() // what a changed file contradicts has been said otherwise
	for _, path := range all {
		want, ok := sums[path]
		switch got, read := a.digests[path]; {
		case path == sumsName, strings.HasSuffix(path, "/"):
		case !ok:
			a.report.beside(path, "no such file: "+sumsName+" does not list it", "a file")
		case !clean:
		case !read:
			raw, err := a.src.Read(ctx, path, maxFileBytes)
			if err != nil {
				a.report.beside(path, "SHA-256 "+hexOf(want), err.Error())
			} else if got = sha256.Sum256(raw); got != want {
				a.report.beside(path, "SHA-256 "+hexOf(want), hexOf(got))
			}
		case got != want:
			a.report.beside(path, "SHA-256 "+hexOf(want), hexOf(got))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(sums)) {
		if _, found := slices.BinarySearch(all, path); !found && clean {
			a.report.beside(path, "the file that "+sumsName+" lists", "no such file")
		}
	}
	return nil
}

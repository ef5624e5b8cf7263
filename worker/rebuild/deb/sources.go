package deb

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The machine's own sources, relative to its root.
const (
	sourcesFile = "etc/apt/sources.list"
	sourcesDir  = "etc/apt/sources.list.d"
)

// copySources copies the machine's sources to dir/sources.list and
// dir/sources.list.d, and has each name sources beside binary packages.
func copySources(root, dir string) error {
	parts := filepath.Join(dir, "sources.list.d")
	if err := os.MkdirAll(parts, 0o755); err != nil {
		return err
	}
	list, err := os.ReadFile(filepath.Join(root, sourcesFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "sources.list"), []byte(oneLine(string(list))), 0o644); err != nil {
		return err
	}
	names, err := os.ReadDir(filepath.Join(root, sourcesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range names {
		convert := map[string]func(string) string{".list": oneLine, ".sources": stanzas}[filepath.Ext(e.Name())]
		if convert == nil { // as apt ignores it
			continue
		}
		path := filepath.Join(root, sourcesDir, e.Name())
		info, err := os.Stat(path)
		if err == nil && info.Size() > maxSourcesBytes {
			err = fmt.Errorf("%s has %d bytes, at most %d", path, info.Size(), maxSourcesBytes)
		}
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(parts, e.Name()), []byte(convert(string(text))), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// oneLine adds a deb-src line for each deb line (sources.list(5), one-line style).
// A deb-src line that was there already comes out once.
func oneLine(text string) string {
	var out strings.Builder
	seen := make(map[string]bool)
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "deb" && words[0] != "deb-src" {
			continue
		}
		rest := strings.Join(words[1:], " ")
		if seen[rest] {
			continue
		}
		seen[rest] = true
		fmt.Fprintf(&out, "deb %s\ndeb-src %s\n", rest, rest)
	}
	return out.String()
}

// stanzas sets the Types of each stanza (sources.list(5), deb822 style).
func stanzas(text string) string {
	var out strings.Builder
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if key, _, ok := strings.Cut(line, ":"); ok && strings.EqualFold(strings.TrimSpace(key), "Types") {
			line = "Types: deb deb-src"
		}
		out.WriteString(line + "\n")
	}
	return out.String()
}

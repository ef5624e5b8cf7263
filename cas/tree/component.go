package tree

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Component is one name of a path. It cannot hold "", ".", "..", a slash, a NUL,
// more than MaxNameBytes bytes or anything but UTF-8; the zero Component is no name.
type Component struct{ name string }

// NewComponent checks a name that came from outside.
func NewComponent(name string) (Component, error) {
	switch {
	case name == "":
		return Component{}, fmt.Errorf("a name is empty")
	case name == "." || name == "..":
		return Component{}, fmt.Errorf("%q is not a name", name)
	case len(name) > MaxNameBytes:
		return Component{}, fmt.Errorf("name %q… has %d bytes, more than the %d a file system takes", name[:32], len(name), MaxNameBytes)
	case strings.ContainsAny(name, "/\x00"):
		return Component{}, fmt.Errorf("name %q holds a slash or a NUL", name)
	case !utf8.ValidString(name):
		return Component{}, fmt.Errorf("name %q is not UTF-8", name)
	}
	return Component{name}, nil
}

// String is the name.
func (c Component) String() string { return c.name }

// checkPath says what keeps p from being a clean relative path, and how many
// components it has.
func checkPath(p string) (depth int, err error) {
	if len(p) > MaxPathBytes {
		return 0, fmt.Errorf("path %q… has %d bytes, more than %d", p[:64], len(p), MaxPathBytes)
	}
	for name := range strings.SplitSeq(p, "/") {
		if _, err := NewComponent(name); err != nil {
			return 0, fmt.Errorf("path %q: %w", p, err)
		}
		depth++
	}
	if depth > MaxDepth {
		return 0, fmt.Errorf("path %q… is nested deeper than %d", p[:min(len(p), 64)], MaxDepth)
	}
	return depth, nil
}

// climb returns by how many directories a symlink's target leads upwards from
// the directory the link is in. A target may climb only at its start: climbing
// a real directory's parents is exact, and whatever follows leads downwards,
// possibly through other links that obey the same rule. So a link that does not
// climb above the root cannot lead out of it, which "link/../.." could.
func climb(target string) (int, error) {
	switch {
	case target == "":
		return 0, fmt.Errorf("its target is empty")
	case len(target) > MaxTargetBytes:
		return 0, fmt.Errorf("its target has %d bytes, more than %d", len(target), MaxTargetBytes)
	case strings.HasPrefix(target, "/"):
		return 0, fmt.Errorf("its target %q is absolute; make it relative", target)
	case strings.ContainsRune(target, 0) || !utf8.ValidString(target):
		return 0, fmt.Errorf("its target %q is not NUL-free UTF-8", target)
	}
	ups, down := 0, false
	for name := range strings.SplitSeq(target, "/") {
		switch {
		case name == "" || name == ".":
		case name == ".." && down:
			return 0, fmt.Errorf("its target %q holds .. behind a name; write it without", target)
		case name == "..":
			ups++
		case len(name) > MaxNameBytes:
			return 0, fmt.Errorf("its target holds a name of %d bytes, more than %d", len(name), MaxNameBytes)
		default:
			down = true
		}
	}
	return ups, nil
}

func checkTarget(target string, depth int) error {
	ups, err := climb(target)
	if err != nil {
		return err
	}
	if ups > depth {
		return fmt.Errorf("its target %q leads out of the tree", target)
	}
	return nil
}

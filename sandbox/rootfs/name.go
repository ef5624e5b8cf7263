package rootfs

import (
	"fmt"
	"strings"

	"gavel/sandbox"
)

// The names that OCI gives a meaning of their own.
const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
)

// refuseEntry is an error about an entry of a layer, by its name there.
func refuseEntry(name, format string, args ...any) error {
	if len(name) > 200 {
		name = name[:200] + "..."
	}
	return fmt.Errorf("%w: the image's entry %q %s", sandbox.ErrRefused, name, fmt.Sprintf(format, args...))
}

// split returns the elements of an entry's name; none is the root itself. A
// leading slash, which some builders of images write, a doubled one, "./" and
// trailing slashes say nothing; what would leave the root is refused, not repaired.
func split(name string) ([]string, error) {
	switch {
	case name == "":
		return nil, refuseEntry(name, "has no name")
	case len(name) > maxPath:
		return nil, refuseEntry(name, "has a longer path than %d bytes", maxPath)
	case strings.ContainsRune(name, 0):
		return nil, refuseEntry(name, "holds a NUL byte")
	}
	var elements []string
	for e := range strings.SplitSeq(name, "/") {
		switch {
		case e == "" || e == ".":
			continue
		case e == "..":
			return nil, refuseEntry(name, "climbs out of a directory")
		case len(e) > maxName:
			return nil, refuseEntry(name, "has a longer name than %d bytes", maxName)
		}
		elements = append(elements, e)
	}
	if len(elements) > maxDepth {
		return nil, refuseEntry(name, "is nested deeper than %d directories", maxDepth)
	}
	return elements, nil
}

// hiding is what an entry's name hides of lower layers.
type hiding uint8

const (
	hidesNothing hiding = iota
	hidesName           // the name that follows the prefix
	hidesContent        // all of the directory it lies in
)

// whiteout says what elements mean, and of hidesName the name that is hidden.
func whiteout(name string, elements []string) (hiding, string, error) {
	for i, e := range elements {
		rest, special := strings.CutPrefix(e, whiteoutPrefix)
		if !special {
			continue
		}
		switch {
		case i != len(elements)-1:
			return 0, "", refuseEntry(name, "lies below a whiteout")
		case e == opaqueMarker:
			return hidesContent, "", nil
		case rest == "" || rest == "." || rest == ".." || strings.HasPrefix(rest, whiteoutPrefix):
			return 0, "", refuseEntry(name, "is a whiteout of no name a file can have")
		}
		return hidesName, rest, nil
	}
	return hidesNothing, "", nil
}

package diff

import (
	"bytes"
	"path"
	"slices"
	"strings"
)

// roots are the pairs of directories in which two sides were built, as far as they
// showed: what lies below one of the first side lies below its counterpart of the
// second. One goroutine owns them.
type roots []root

// root is a directory of each side, without a slash at its end.
type root struct{ a, b string }

// same tells whether two strings are equal, or one path below a pair of roots. A pair
// of paths that end in the same name shows its roots; another one does only where it
// names directories that something was built in.
func (r *roots) same(a, b string, directories bool) bool {
	if a == b {
		return true
	}
	for _, known := range *r {
		if known.leads(a, b) {
			return true
		}
	}
	if !strings.HasPrefix(a, "/") || !strings.HasPrefix(b, "/") || otherPath(a, b) != BuildPath {
		return false
	}
	return (directories || path.Base(a) == path.Base(b)) && r.add(rootOf(a, b))
}

// leads tells whether b is where a is, below the roots.
func (r *root) leads(a, b string) bool {
	restA, okA := strings.CutPrefix(a, r.a)
	restB, okB := strings.CutPrefix(b, r.b)
	return okA && okB && restA == restB && (restA == "" || restA[0] == '/')
}

// add notes a pair. It refuses those that contradict what is known: no directory is
// moved to two places, and none into another that is moved as well.
func (r *roots) add(p root) bool {
	if len(*r) >= maxRoots {
		return false
	}
	for _, known := range *r {
		if below(p.a, known.a) || below(known.a, p.a) || below(p.b, known.b) || below(known.b, p.b) {
			return false
		}
	}
	*r = append(*r, p)
	return true
}

func below(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// rootOf takes off two paths the elements that both end with, up to the first one.
func rootOf(a, b string) root {
	for path.Base(a) == path.Base(b) {
		i, j := strings.LastIndexByte(a, '/'), strings.LastIndexByte(b, '/')
		if i <= 0 || j <= 0 {
			break
		}
		a, b = a[:i], b[:j]
	}
	return root{a, b}
}

// sameStrings reads two tables of strings that end with NUL: the same ones, in whatever
// order, but for paths below the roots.
func (r *roots) sameStrings(x, y []byte) error {
	p, q, err := tables(x, y)
	if err != nil {
		return err
	}
	onlyA, onlyB := apartStrings(p, q), apartStrings(q, p)
	if len(onlyA) != len(onlyB) || len(onlyA) > maxPairs {
		return errOther
	}
	for _, a := range onlyA {
		i := slices.IndexFunc(onlyB, func(b string) bool {
			return slices.ContainsFunc(*r, func(known root) bool { return known.leads(a, b) })
		})
		if i < 0 {
			return errOther
		}
		onlyB = slices.Delete(onlyB, i, i+1)
	}
	return nil
}

// sameInOrder is sameStrings where what refers to the strings is not read here.
func (r *roots) sameInOrder(x, y []byte) error {
	p, q, err := tables(x, y)
	if err != nil {
		return err
	}
	if len(p) != len(q) {
		return errOther
	}
	for i := range p {
		if !r.same(p[i], q[i], false) {
			return errOther
		}
	}
	return nil
}

// tables lists the strings of two tables.
func tables(x, y []byte) (p, q []string, err error) {
	end := []byte{0}
	switch {
	case bytes.Count(x, end) > maxTableStrings:
		return nil, nil, errUnread
	case bytes.Count(y, end) > maxTableStrings:
		return nil, nil, errOther
	}
	return strings.Split(string(x), "\x00"), strings.Split(string(y), "\x00"), nil
}

package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

// node is one path of the model.
type node struct {
	kind  byte // of the tar entry that made it: directory, file or symlink
	text  string
	mode  int64
	mtime int64
	layer int // that put it there
}

// model is what layers mean, told with a map of clean paths and no regard for
// cost. It knows nothing of descriptors, inodes or order of directories.
type model struct {
	nodes   map[string]node
	leftOut map[string]bool
	layer   int
}

var errModel = errors.New("the model refuses it")

// resolve follows symlinks inside the root. It returns fs.ErrNotExist where a
// name is missing.
func (m *model) resolve(p string) (string, error) {
	at, rest, hops := "", strings.Split(p, "/"), 0
	for len(rest) > 0 {
		e := rest[0]
		rest = rest[1:]
		if e == "" || e == "." {
			continue
		}
		if e == ".." {
			if at = path.Dir(at); at == "." {
				at = ""
			}
			continue
		}
		next := path.Join(at, e)
		n, ok := m.nodes[next]
		switch {
		case !ok:
			return "", os.ErrNotExist
		case n.kind == tar.TypeReg:
			return "", errModel
		case n.kind == tar.TypeSymlink:
			if hops++; hops > 40 {
				return "", errModel
			}
			if strings.HasPrefix(n.text, "/") {
				at = ""
			}
			rest = append(strings.Split(n.text, "/"), rest...)
		default:
			at = next
		}
	}
	return at, nil
}

func (m *model) parent(p string) (string, error) {
	at, err := m.resolve(p)
	if !errors.Is(err, os.ErrNotExist) {
		return at, err
	}
	above := path.Dir(p)
	if above == "." {
		above = ""
	}
	if at, err = m.parent(above); err != nil {
		return "", err
	}
	at = path.Join(at, path.Base(p))
	if _, there := m.nodes[at]; there {
		return "", errModel // a symlink to nowhere
	}
	m.nodes[at] = node{tar.TypeDir, "", 0o755, 0, m.layer}
	return at, nil
}

func below(p, dir string) bool { return dir == "" || strings.HasPrefix(p, dir+"/") }

func (m *model) drop(p string) {
	maps.DeleteFunc(m.nodes, func(q string, _ node) bool { return q == p || below(q, p) })
}

// hide drops what lower layers put at the paths that match, and keeps what
// stands below them of this layer, in directories that nothing else tells of.
func (m *model) hide(matches func(string) bool) {
	maps.DeleteFunc(m.nodes, func(q string, n node) bool { return matches(q) && n.layer < m.layer })
	for _, q := range slices.Collect(maps.Keys(m.nodes)) {
		for a := path.Dir(q); a != "."; a = path.Dir(a) {
			if _, there := m.nodes[a]; !there {
				m.nodes[a] = node{tar.TypeDir, "", 0o755, 0, m.layer}
			}
		}
	}
}

func (m *model) whiteout(h tar.Header) error {
	if m.layer == 0 {
		return nil
	}
	dir, base := path.Split(h.Name)
	at, err := m.resolve(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if base == opaqueMarker {
		m.hide(func(q string) bool { return below(q, at) })
		return nil
	}
	p := path.Join(at, strings.TrimPrefix(base, whiteoutPrefix))
	m.hide(func(q string) bool { return q == p || below(q, p) })
	return nil
}

func (m *model) apply(e entry) error {
	h := e.Header
	dir, base := path.Split(h.Name)
	if strings.HasPrefix(base, whiteoutPrefix) {
		return m.whiteout(h)
	}
	at, err := m.parent(path.Clean("/" + dir)[1:])
	if err != nil {
		return err
	}
	p := path.Join(at, base)
	switch h.Typeflag {
	case tar.TypeDir:
		if m.nodes[p].kind != tar.TypeDir {
			m.drop(p)
		}
		m.nodes[p] = node{tar.TypeDir, "", h.Mode, h.ModTime.Unix(), m.layer}
	case tar.TypeReg:
		m.drop(p)
		m.nodes[p] = node{tar.TypeReg, e.Content, h.Mode, h.ModTime.Unix(), m.layer}
	case tar.TypeSymlink:
		m.drop(p)
		m.nodes[p] = node{tar.TypeSymlink, h.Linkname, 0o777, h.ModTime.Unix(), m.layer}
	case tar.TypeFifo:
		m.drop(p)
		m.leftOut[h.Name] = true
	case tar.TypeLink:
		return m.link(h, p)
	}
	return nil
}

func (m *model) link(h tar.Header, p string) error {
	for a := path.Dir(h.Linkname); a != "."; a = path.Dir(a) {
		if m.nodes[a].kind != tar.TypeDir {
			return errModel
		}
	}
	n, there := m.nodes[h.Linkname]
	switch {
	case h.Linkname == p:
		return errModel
	case !there && m.leftOut[h.Linkname]:
		m.drop(p)
		m.leftOut[h.Name] = true
		return nil
	case !there || n.kind == tar.TypeDir || below(h.Linkname, p):
		return errModel
	}
	m.drop(p)
	n.layer = m.layer
	m.nodes[p] = n
	return nil
}

// lines describes the model as describe does a directory.
func (m *model) lines() []string {
	var lines []string
	for p, n := range m.nodes {
		lines = append(lines, fmt.Sprintf("%s %c %04o %d %q", p, n.kind, n.mode, n.mtime, n.text))
	}
	slices.Sort(lines)
	return lines
}

func describe(tb testing.TB, root string) []string {
	tb.Helper()
	var lines []string
	err := filepath.WalkDir(root, func(p string, _ os.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		kind, text := byte(tar.TypeReg), ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			kind = tar.TypeDir
		case unix.S_IFLNK:
			kind = tar.TypeSymlink
			if text, err = os.Readlink(p); err != nil {
				return err
			}
		case unix.S_IFREG:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			text = string(b)
		default:
			return fmt.Errorf("%s has mode %o", p, st.Mode)
		}
		lines = append(lines, fmt.Sprintf("%s %c %04o %d %q", p[len(root)+1:], kind, st.Mode&0o7777, st.Mtim.Sec, text))
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

func drawPath(t *rapid.T, label string) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3).Draw(t, label), "/")
}

// drawEntry leaves the owner all permissions that it needs without root.
func drawEntry(t *rapid.T) entry {
	h := tar.Header{Name: drawPath(t, "name"), ModTime: time.Unix(rapid.Int64Range(1, 1<<31).Draw(t, "time"), 0)}
	switch rapid.SampledFrom([]string{"dir", "dir", "file", "file", "symlink", "link", "fifo", "whiteout", "whiteout", "opaque"}).Draw(t, "kind") {
	case "dir":
		h.Typeflag, h.Mode = tar.TypeDir, rapid.SampledFrom([]int64{0o700, 0o755, 0o1777}).Draw(t, "mode")
	case "file":
		h.Typeflag, h.Mode = tar.TypeReg, rapid.SampledFrom([]int64{0o400, 0o644, 0o4755}).Draw(t, "mode")
		return entry{Header: h, Content: rapid.StringN(0, 3, 9).Draw(t, "content")}
	case "symlink":
		h.Typeflag = tar.TypeSymlink
		h.Linkname = rapid.SampledFrom([]string{"", "/", "../", "../../../"}).Draw(t, "from") + drawPath(t, "target")
	case "link":
		h.Typeflag, h.Linkname = tar.TypeLink, drawPath(t, "target")
	case "fifo":
		h.Typeflag = tar.TypeFifo
	case "whiteout":
		dir, base := path.Split(h.Name)
		h.Name = dir + whiteoutPrefix + base
	case "opaque":
		dir, _ := path.Split(h.Name)
		h.Name = dir + opaqueMarker
	}
	return entry{Header: h}
}

func TestLayersMeanWhatTheModelSays(t *testing.T) {
	parent := t.TempDir()
	refused, taken := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		layers := rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(drawEntry), 0, 8), 1, 4).Draw(rt, "layers")
		m := &model{nodes: map[string]node{}, leftOut: map[string]bool{}}
		var want error
		var archives [][]byte
		for n, l := range layers {
			archives = append(archives, sandboxtest.Archive(t, l...))
			m.layer = n
			for _, e := range l {
				if want == nil {
					want = m.apply(e)
				}
			}
		}
		st, err := stage(parent)
		if err != nil {
			rt.Fatal(err)
		}
		defer st.discard()
		err = unpackStaged(t.Context(), sandboxtest.Image(t, archives...), st, Options{})
		if want != nil {
			if refused++; !errors.Is(err, sandbox.ErrRefused) {
				rt.Fatalf("unpacked with %v; the model refuses it", err)
			}
			return
		}
		if taken++; err != nil {
			rt.Fatalf("refused: %v", err)
		}
		if got, want := describe(t, st.root()), m.lines(); !slices.Equal(got, want) {
			rt.Fatalf("unpacked\n%s\nthe model has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
	t.Logf("%d images refused, %d taken", refused, taken)
	if refused == 0 || taken == 0 {
		t.Errorf("%d images were refused and %d taken: the test shows only half", refused, taken)
	}
}

package tree

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"gavel/cas"
)

// Directory is one directory's content. Each list is sorted by name, and no name
// appears twice, across the three either.
type Directory struct {
	Files       []FileNode
	Directories []DirectoryNode
	Symlinks    []SymlinkNode
}

// FileNode is a file in a Directory.
type FileNode struct {
	Name       Component
	Digest     cas.Digest
	Executable bool
}

// DirectoryNode is a directory in a Directory.
type DirectoryNode struct {
	Name   Component
	Digest cas.Digest // of the encoded Directory
}

// SymlinkNode is a symbolic link in a Directory.
type SymlinkNode struct {
	Name   Component
	Target string // see climb
}

// ParseDirectory decodes and checks a REAPI Directory. It refuses what the
// canonical form forbids (order, repeats), fields it does not know, and node
// properties, which nothing here would honour.
func ParseDirectory(raw []byte) (*Directory, error) {
	if len(raw) > MaxDirectoryBytes {
		return nil, fmt.Errorf("directory of %d bytes: %w: at most %d", len(raw), cas.ErrTooLarge, MaxDirectoryBytes)
	}
	var m repb.Directory
	if err := proto.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("not a REAPI directory: %w", err)
	}
	if m.NodeProperties != nil || len(m.ProtoReflect().GetUnknown()) > 0 {
		return nil, errors.New("directory has properties or fields that this farm does not honour")
	}
	d := &Directory{}
	for i, n := range m.Files {
		if err := d.addFile(i, n); err != nil {
			return nil, err
		}
	}
	for i, n := range m.Directories {
		if err := d.addDirectory(i, n); err != nil {
			return nil, err
		}
	}
	for i, n := range m.Symlinks {
		if err := d.addSymlink(i, n); err != nil {
			return nil, err
		}
	}
	return d, d.checkNames()
}

func (d *Directory) addFile(i int, n *repb.FileNode) error {
	name, err := NewComponent(n.GetName())
	if err != nil {
		return fmt.Errorf("file %d of the directory: %w", i+1, err) // it has no name to be called by
	}
	if n.NodeProperties != nil || len(n.ProtoReflect().GetUnknown()) > 0 || len(n.GetDigest().ProtoReflect().GetUnknown()) > 0 {
		return fmt.Errorf("file %q has properties or fields that this farm does not honour", name)
	}
	digest, err := cas.FromProto(n.Digest)
	if err != nil {
		return fmt.Errorf("file %q: %w", name, err)
	}
	d.Files = append(d.Files, FileNode{name, digest, n.IsExecutable})
	return nil
}

func (d *Directory) addDirectory(i int, n *repb.DirectoryNode) error {
	name, err := NewComponent(n.GetName())
	if err != nil {
		return fmt.Errorf("directory %d of the directory: %w", i+1, err) // it has no name to be called by
	}
	if len(n.ProtoReflect().GetUnknown()) > 0 || len(n.GetDigest().ProtoReflect().GetUnknown()) > 0 {
		return fmt.Errorf("directory %q has fields that this farm does not honour", name)
	}
	digest, err := cas.FromProto(n.Digest)
	if err != nil {
		return fmt.Errorf("directory %q: %w", name, err)
	}
	if !fits(digest) {
		return fmt.Errorf("directory %q: %w: its listing has %d bytes, at most %d", name, cas.ErrTooLarge, digest.Size, MaxDirectoryBytes)
	}
	d.Directories = append(d.Directories, DirectoryNode{name, digest})
	return nil
}

func (d *Directory) addSymlink(i int, n *repb.SymlinkNode) error {
	name, err := NewComponent(n.GetName())
	if err != nil {
		return fmt.Errorf("symlink %d of the directory: %w", i+1, err) // it has no name to be called by
	}
	if n.NodeProperties != nil || len(n.ProtoReflect().GetUnknown()) > 0 {
		return fmt.Errorf("symlink %q has properties or fields that this farm does not honour", name)
	}
	if _, err := climb(n.Target); err != nil {
		return fmt.Errorf("symlink %q: %w", name, err)
	}
	d.Symlinks = append(d.Symlinks, SymlinkNode{name, n.Target})
	return nil
}

func (n FileNode) name() string      { return n.Name.name }
func (n DirectoryNode) name() string { return n.Name.name }
func (n SymlinkNode) name() string   { return n.Name.name }

// checkNames finds names out of order within a list, or in two lists.
func (d *Directory) checkNames() error {
	seen := make(map[string]struct{}, len(d.Files)+len(d.Directories)+len(d.Symlinks))
	if err := errors.Join(checkList(d.Files, seen), checkList(d.Directories, seen), checkList(d.Symlinks, seen)); err != nil {
		return err
	}
	return nil
}

func checkList[N interface{ name() string }](list []N, seen map[string]struct{}) error {
	for i, n := range list {
		if _, dup := seen[n.name()]; dup {
			return fmt.Errorf("name %q appears twice in one directory", n.name())
		}
		if i > 0 && list[i-1].name() > n.name() {
			return fmt.Errorf("name %q is out of order in its directory", n.name())
		}
		seen[n.name()] = struct{}{}
	}
	return nil
}

// Encode returns the canonical encoding: lists sorted by name, fields in order
// of their numbers, defaults left out.
func (d *Directory) Encode() ([]byte, error) {
	sortNodes(d.Files)
	sortNodes(d.Directories)
	sortNodes(d.Symlinks)
	if err := d.checkNames(); err != nil {
		return nil, err
	}
	m := &repb.Directory{}
	for _, n := range d.Files {
		m.Files = append(m.Files, &repb.FileNode{Name: n.Name.name, Digest: n.Digest.Proto(), IsExecutable: n.Executable})
	}
	for _, n := range d.Directories {
		m.Directories = append(m.Directories, &repb.DirectoryNode{Name: n.Name.name, Digest: n.Digest.Proto()})
	}
	for _, n := range d.Symlinks {
		m.Symlinks = append(m.Symlinks, &repb.SymlinkNode{Name: n.Name.name, Target: n.Target})
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err == nil && len(raw) > MaxDirectoryBytes {
		err = fmt.Errorf("directory: %w: its listing has %d bytes, at most %d", cas.ErrTooLarge, len(raw), MaxDirectoryBytes)
	}
	return raw, err
}

func sortNodes[N interface{ name() string }](list []N) {
	slices.SortFunc(list, func(a, b N) int { return cmp.Compare(a.name(), b.name()) })
}

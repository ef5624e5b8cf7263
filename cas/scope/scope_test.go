package scope

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"gavel/cas"
	"gavel/cas/disk"
	"gavel/cas/tree"
)

var alice, bob = [32]byte{1}, [32]byte{2}

type farm struct {
	*testing.T
	store    cas.Store
	accounts *Accounts
	dir      string
}

func newFarm(t *testing.T) farm {
	t.Helper()
	s, err := disk.Open(t.TempDir(), disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	dir := t.TempDir()
	a, err := OpenAccounts(dir)
	if err != nil {
		t.Fatal(err)
	}
	return farm{t, s, a, dir}
}

func (f farm) view(account [32]byte) View { return NewView(f.store, f.accounts, account) }

func (f farm) put(v cas.Store, b []byte) cas.Digest {
	f.Helper()
	if err := v.Put(f.Context(), cas.Of(b), bytes.NewReader(b)); err != nil {
		f.Fatal(err)
	}
	return cas.Of(b)
}

func (f farm) message(v cas.Store, m proto.Message) cas.Digest {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	return f.put(v, raw)
}

// sees says what v knows of d, and checks that Missing and Open agree.
func (f farm) sees(v cas.Store, d cas.Digest) bool {
	f.Helper()
	missing, err := v.Missing(f.Context(), []cas.Digest{d})
	if err != nil {
		f.Fatal(err)
	}
	r, err := v.Open(f.Context(), d)
	if err == nil {
		_, err = io.ReadAll(r)
		r.Close()
	} else if err.Error() != cas.NotFound(d).Error() {
		f.Errorf("an error that tells: %v", err)
	}
	if (err == nil) != (len(missing) == 0) {
		f.Errorf("%s: missing %v, but reading says %v", d, missing, err)
	}
	return err == nil
}

func TestAccountsAreSeparate(t *testing.T) {
	f := newFarm(t)
	a, b := f.view(alice), f.view(bob)
	secret := []byte("alice's secret")
	d := f.put(a, secret)
	if !f.sees(a, d) || f.sees(b, d) {
		t.Error("alice must see her blob and bob must not")
	}
	// Knowing the name is not having the bytes.
	for _, lie := range []string{"", "alice's secreT", "alice's secret and more"} {
		if err := b.Put(t.Context(), d, strings.NewReader(lie)); !errors.Is(err, cas.ErrDigestMismatch) {
			t.Errorf("bob uploaded %q for it: %v", lie, err)
		}
		if f.sees(b, d) {
			t.Fatalf("bob sees the blob after uploading %q", lie)
		}
	}
	f.put(b, secret)
	if !f.sees(b, d) {
		t.Error("bob has shown the bytes and does not see the blob")
	}
	if !f.sees(b, cas.Empty) {
		t.Error("the empty blob is missing")
	}
	// Another process over the same directory.
	other, err := OpenAccounts(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	if !f.sees(NewView(f.store, other, alice), d) {
		t.Error("another process does not know the grant")
	}
	if f.sees(NewView(f.store, other, [32]byte{3}), d) {
		t.Error("an account that never did anything sees the blob")
	}
}

func TestGrant(t *testing.T) {
	f := newFarm(t)
	d := f.put(f.view(alice), []byte("output"))
	gone := cas.Of([]byte("never uploaded"))
	for range 2 {
		if err := f.accounts.Grant(t.Context(), bob, []cas.Digest{d, gone}); err != nil {
			t.Fatal(err)
		}
	}
	if !f.sees(f.view(bob), d) {
		t.Error("granted and not seen")
	}
	if f.sees(f.view(bob), gone) {
		t.Error("a grant made a blob")
	}
	lie := cas.Digest{Hash: d.Hash, Size: d.Size + 1}
	if f.sees(f.view(bob), lie) {
		t.Error("seen under a false size")
	}
	if err := f.accounts.Grant(t.Context(), bob, []cas.Digest{{Hash: "../../x", Size: 1}}); err == nil {
		t.Error("granted a path")
	}
}

func TestLeases(t *testing.T) {
	f := newFarm(t)
	leased, other := f.put(f.view(alice), []byte("input")), f.put(f.view(alice), []byte("other"))
	wanted := []byte("output")
	access := WithLeases(f.accounts,
		func(_ context.Context, account [32]byte, d cas.Digest) (bool, error) {
			return account == bob && d == leased, nil
		},
		func(_ context.Context, account [32]byte, d cas.Digest) error {
			if account == bob && d != cas.Of(wanted) {
				return fmt.Errorf("no lease asks for %s: %w", d, ErrDenied)
			}
			return nil
		})
	b := NewView(f.store, access, bob)
	if !f.sees(b, leased) || f.sees(b, other) {
		t.Error("the worker must see its lease's blobs and no others")
	}
	if f.sees(NewView(f.store, access, [32]byte{9}), leased) {
		t.Error("another worker sees the lease's blobs")
	}
	f.put(b, wanted)
	if err := b.Put(t.Context(), cas.Of([]byte("junk")), strings.NewReader("junk")); !errors.Is(err, ErrDenied) {
		t.Errorf("junk: %v", err)
	}
	if f.sees(f.view(bob), leased) {
		t.Error("a lease left a grant behind")
	}
}

// action uploads an action with the tree under v and returns it.
func (f farm) action(v cas.Store, root cas.Digest, salt string) cas.Digest {
	command := f.message(v, &repb.Command{Arguments: []string{"make"}})
	return f.message(v, &repb.Action{CommandDigest: command.Proto(), InputRootDigest: root.Proto(), Salt: []byte(salt)})
}

func (f farm) directory(v cas.Store, d *repb.Directory) cas.Digest { return f.message(v, d) }

func TestReach(t *testing.T) {
	f := newFarm(t)
	a := f.view(alice)
	file, deep, unrelated := f.put(a, []byte("main.c")), f.put(a, []byte("deep.c")), f.put(a, []byte("unrelated"))
	sub := f.directory(a, &repb.Directory{Files: []*repb.FileNode{{Name: "deep.c", Digest: deep.Proto()}}})
	root := f.directory(a, &repb.Directory{
		Files:       []*repb.FileNode{{Name: "main.c", Digest: file.Proto()}},
		Directories: []*repb.DirectoryNode{{Name: "s", Digest: sub.Proto()}, {Name: "t", Digest: sub.Proto()}},
	})
	action := f.action(a, root, "")
	sets := NewReaches(f.store, f.accounts, tree.Limits{})
	for range 2 { // computed, then remembered
		s, err := sets.Of(t.Context(), alice, action)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []cas.Digest{action, cas.Of(mustMarshal(&repb.Command{Arguments: []string{"make"}})), root, sub, file, deep} {
			if !s.Has(d) {
				t.Errorf("%s is not reached", d)
			}
		}
		if s.Has(unrelated) || s.Has(cas.Digest{Hash: file.Hash, Size: 1}) || s.Has(cas.Digest{}) || s.Len() != 6 {
			t.Errorf("reaches too much: %d blobs", s.Len())
		}
		if s.Totals != (tree.Totals{Entries: 5, Bytes: file.Size + 2*deep.Size}) {
			t.Errorf("totals %+v", s.Totals)
		}
	}
	// That alice's set is remembered must not open it to bob.
	var missing *MissingError
	if _, err := sets.Of(t.Context(), bob, action); !errors.As(err, &missing) || missing.Digests[0] != action {
		t.Errorf("bob's view of alice's action: %v", err)
	}
}

func mustMarshal(m proto.Message) []byte {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return raw
}

// Bob knows the digest of alice's secret and puts it into a tree of his own, to
// have a worker read it for him.
func TestReachOpensNoStrangersBlob(t *testing.T) {
	f := newFarm(t)
	secret := f.put(f.view(alice), []byte("alice's secret"))
	secretDir := f.directory(f.view(alice), &repb.Directory{Files: []*repb.FileNode{{Name: "s", Digest: secret.Proto()}}})
	b := f.view(bob)
	for name, root := range map[string]cas.Digest{
		"file":      f.directory(b, &repb.Directory{Files: []*repb.FileNode{{Name: "s", Digest: secret.Proto()}}}),
		"directory": f.directory(b, &repb.Directory{Directories: []*repb.DirectoryNode{{Name: "s", Digest: secretDir.Proto()}}}),
		"root":      secretDir,
	} {
		_, err := Reach(t.Context(), b, f.action(b, root, name), tree.Limits{})
		if !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
		nobody := f.action(b, cas.Of([]byte("what nobody has")), name)
		if _, other := Reach(t.Context(), b, nobody, tree.Limits{}); !errors.Is(other, cas.ErrNotFound) {
			t.Errorf("%s: a blob that nobody has: %v", name, other)
		}
	}
}

func TestReachRefuses(t *testing.T) {
	f := newFarm(t)
	a := f.view(alice)
	command := f.message(a, &repb.Command{})
	bomb := &repb.Directory{Files: []*repb.FileNode{{Name: "f", Digest: f.put(a, []byte("x")).Proto()}}}
	for range 40 {
		d := f.directory(a, bomb).Proto()
		bomb = &repb.Directory{Directories: []*repb.DirectoryNode{{Name: "a", Digest: d}, {Name: "b", Digest: d}}}
	}
	for name, c := range map[string]struct {
		action cas.Digest
		want   string
	}{
		"no action":       {cas.Of([]byte("none")), "missing"},
		"not an action":   {f.put(a, []byte("\xff\xff\xff")), "not the message"},
		"no command":      {f.message(a, &repb.Action{InputRootDigest: cas.Empty.Proto()}), "command: digest is missing"},
		"no root":         {f.message(a, &repb.Action{CommandDigest: command.Proto()}), "input root: digest is missing"},
		"command missing": {f.message(a, &repb.Action{CommandDigest: cas.Of([]byte("none")).Proto(), InputRootDigest: cas.Empty.Proto()}), "command: 1 blobs are missing"},
		"root missing":    {f.action(a, cas.Of([]byte("none")), ""), "not found"},
		"bomb":            {f.action(a, f.directory(a, bomb), ""), "entries when expanded"},
		"huge action":     {cas.Digest{Hash: command.Hash[:63] + "a", Size: maxActionBytes + 1}, "too large"},
	} {
		if _, err := Reach(t.Context(), a, c.action, tree.Limits{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

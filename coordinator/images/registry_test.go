package images

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"gavel/cas"
)

var alice, bob = [32]byte{1}, [32]byte{2}

func open(t *testing.T) *Registry {
	t.Helper()
	r, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// image is made of named blobs, the first its config.
func image(by [32]byte, blobs ...string) *Image {
	img := &Image{Config: cas.Of([]byte(blobs[0])), Platform: "linux/amd64", AddedBy: by}
	for _, b := range blobs[1:] {
		img.Layers = append(img.Layers, cas.Of([]byte(b)))
	}
	return img
}

func isStored() error { return nil }

func put(t *testing.T, r *Registry, name string, img *Image, by [32]byte) {
	t.Helper()
	if err := r.Put(name, img, by, false, isStored); err != nil {
		t.Fatal(err)
	}
}

func TestNamesMoveByTheirOwners(t *testing.T) {
	r := open(t)
	first, second := image(alice, "c1", "base"), image(bob, "c2", "base", "more")
	put(t, r, "debian:12", first, alice)
	if err := r.Put("debian:12", second, bob, false, isStored); !errors.Is(err, ErrTaken) {
		t.Errorf("a stranger takes a name: %v", err)
	}
	if _, err := r.Find(second.Root()); !errors.Is(err, ErrNotFound) {
		t.Errorf("and leaves a record: %v", err)
	}
	put(t, r, "deb", second, bob)
	put(t, r, "debian:12", second, alice) // of the same image, another's names
	for _, ref := range []string{"debian:12", "deb", second.Root()} {
		if got, err := r.Find(ref); err != nil || !reflect.DeepEqual(got, second) {
			t.Errorf("%s is %+v, %v", ref, got, err)
		}
	}
	if got, err := r.Find(first.Root()); err != nil || !reflect.DeepEqual(got, first) {
		t.Errorf("the image without a name any more: %+v, %v", got, err)
	}
	all, err := r.List()
	if err != nil {
		t.Fatal(err)
	}
	if want := []Named{{*second, []string{"deb", "debian:12"}}, {*first, nil}}; !reflect.DeepEqual(all, want) {
		t.Errorf("listed %+v, want %+v", all, want)
	}
	if _, err := r.Unname("deb", alice, false); !errors.Is(err, ErrTaken) {
		t.Errorf("a stranger removes a name: %v", err)
	}
	if img, err := r.Unname("deb", alice, true); err != nil || img.Root() != second.Root() {
		t.Errorf("an admin removes a name: %+v, %v", img, err)
	}
	if _, err := r.Unname("deb", bob, false); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

// Another process has the same directory open.
func TestWhatOneProcessWritesAnotherReads(t *testing.T) {
	r := open(t)
	other, err := Open(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	img := image(alice, "c", "l")
	put(t, r, "x", img, alice)
	if got, err := other.Find("x"); err != nil || got.Root() != img.Root() {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := r.Unname("x", alice, false); err != nil {
		t.Fatal(err)
	}
	if err := r.Collect(func(*Image) bool { return true }, false, func(*Image, []cas.Digest) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if got, err := other.Find(img.Root()); !errors.Is(err, ErrNotFound) {
		t.Errorf("collected, and still found as %+v, %v", got, err)
	}
	var all sync.WaitGroup
	for i := range 20 {
		at := []*Registry{r, other}[i%2]
		all.Go(func() {
			if err := at.Put(fmt.Sprintf("n%d", i), image(alice, fmt.Sprint(i), "shared"), alice, false, isStored); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if list, err := r.List(); err != nil || len(list) != 20 {
		t.Errorf("%d of 20 images, %v", len(list), err)
	}
}

func TestCollectKeepsWhatIsNeeded(t *testing.T) {
	r := open(t)
	named, live, loose, looser := image(alice, "c1", "base", "named"), image(alice, "c2", "base", "live"), image(alice, "c3", "base", "loose"), image(alice, "c4", "loose", "looser", "looser")
	for _, img := range []*Image{named, live, loose, looser} {
		put(t, r, "x", img, alice) // the name moves on
	}
	put(t, r, "x", named, alice)
	unwanted := func(img *Image) bool { return img.Root() != live.Root() }
	collect := func(dry bool, fail error) map[string][]cas.Digest {
		t.Helper()
		got := map[string][]cas.Digest{}
		err := r.Collect(unwanted, dry, func(img *Image, blobs []cas.Digest) error {
			got[img.Root()] = blobs
			return fail
		})
		if !errors.Is(err, fail) {
			t.Fatal(err)
		}
		return got
	}
	free := func(got map[string][]cas.Digest) map[cas.Digest]bool {
		out := map[cas.Digest]bool{}
		for _, list := range got {
			for _, d := range list {
				if out[d] {
					t.Errorf("%v is given to be removed twice", d)
				}
				out[d] = true
			}
		}
		return out
	}
	want := map[cas.Digest]bool{}
	for _, blob := range []string{"c3", "c4", "loose", "looser"} {
		want[cas.Of([]byte(blob))] = true
	}
	if got := collect(true, nil); len(got) != 2 || !reflect.DeepEqual(free(got), want) {
		t.Errorf("a dry run collects %v", got)
	}
	broken := errors.New("the disk is gone")
	collect(false, broken)
	if list, err := r.List(); err != nil || len(list) != 4 {
		t.Errorf("after a failure %d records are left, %v", len(list), err)
	}
	if got := collect(false, nil); len(got) != 2 || !reflect.DeepEqual(free(got), want) {
		t.Errorf("collected %v", got)
	}
	if list, err := r.List(); err != nil || len(list) != 2 {
		t.Errorf("%d records are left, %v", len(list), err)
	}
}

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "debian:12", "team/go-1.26_x", strings.Repeat("a", maxNameBytes)} {
		if err := CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "A", "a b", "a//b", "/a", "a/", "../a", "a/../b", "host", "images", "sha256:aa", "a\x00", "ä", strings.Repeat("a", maxNameBytes+1)} {
		if err := CheckName(bad); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	r := open(t)
	for _, ref := range []string{"", "..", "sha256:", "sha256:../../etc/passwd", "sha256:" + strings.Repeat("A", 64), "sha256:" + strings.Repeat("a", 63)} {
		if _, err := r.Find(ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("finding %q: %v", ref, err)
		}
	}
	gone := errors.New("not stored")
	if err := r.Put("x", image(alice, "c"), alice, false, func() error { return gone }); !errors.Is(err, gone) {
		t.Errorf("an image that is not stored: %v", err)
	}
	if _, err := r.Find("x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("it has a name: %v", err)
	}
}

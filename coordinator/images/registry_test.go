package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

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
	if err := r.Put(t.Context(), name, img, by, false, isStored); err != nil {
		t.Fatal(err)
	}
}

func TestNamesMoveByTheirOwners(t *testing.T) {
	r := open(t)
	first, second := image(alice, "c1", "base"), image(bob, "c2", "base", "more")
	put(t, r, "debian:12", first, alice)
	if err := r.Put(t.Context(), "debian:12", second, bob, false, isStored); !errors.Is(err, ErrTaken) {
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
	if _, err := r.Unname(t.Context(), "deb", alice, false); !errors.Is(err, ErrTaken) {
		t.Errorf("a stranger removes a name: %v", err)
	}
	if root, err := r.Unname(t.Context(), "deb", alice, true); err != nil || root != second.Root() {
		t.Errorf("an admin removes a name: %s, %v", root, err)
	}
	if _, err := r.Unname(t.Context(), "deb", bob, false); !errors.Is(err, ErrNotFound) {
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
	if _, err := r.Unname(t.Context(), "x", alice, false); err != nil {
		t.Fatal(err)
	}
	if gone, err := r.Collect(t.Context(), Collection{Unwanted: all(true), Sweep: func(_, _ map[string]bool) error { return nil }}); err != nil || len(gone) != 1 {
		t.Fatal(gone, err)
	}
	if got, err := other.Find(img.Root()); !errors.Is(err, ErrNotFound) {
		t.Errorf("collected, and still found as %+v, %v", got, err)
	}
	var all sync.WaitGroup
	for i := range 20 {
		at := []*Registry{r, other}[i%2]
		all.Go(func() {
			if err := at.Put(t.Context(), fmt.Sprintf("n%d", i), image(alice, fmt.Sprint(i), "shared"), alice, false, isStored); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if list, err := r.List(); err != nil || len(list) != 20 {
		t.Errorf("%d of 20 images, %v", len(list), err)
	}
}

// all wants everything, or nothing.
func all(unwanted bool) func() (func(*Image) bool, error) {
	return func() (func(*Image) bool, error) { return func(*Image) bool { return unwanted }, nil }
}

func TestCollectKeepsWhatIsNeeded(t *testing.T) {
	r := open(t)
	named, live, loose, looser := image(alice, "c1", "base", "named"), image(alice, "c2", "base", "live"), image(alice, "c3", "base", "loose"), image(alice, "c4", "loose", "looser", "looser")
	for _, img := range []*Image{live, loose, looser, named} {
		put(t, r, "x", img, alice) // the name moves on
	}
	hashes := func(blobs ...string) map[string]bool {
		out := map[string]bool{}
		for _, b := range blobs {
			out[cas.Of([]byte(b)).Hash] = true
		}
		return out
	}
	wantNeeded, wantGone := hashes("c1", "c2", "base", "named", "live"), hashes("c3", "c4", "base", "loose", "looser")
	broken := errors.New("the disk is gone")
	collect := func(dry bool, fail error) []*Image {
		t.Helper()
		swept := false
		gone, err := r.Collect(t.Context(), Collection{
			Dry: dry,
			Unwanted: func() (func(*Image) bool, error) {
				return func(img *Image) bool { return img.Root() != live.Root() }, nil
			},
			Sweep: func(needed, gone map[string]bool) error {
				swept = true
				if fail == nil && (!reflect.DeepEqual(needed, wantNeeded) || len(gone) > 0 && !reflect.DeepEqual(gone, wantGone)) {
					t.Errorf("needed %v and gone %v", needed, gone)
				}
				return fail
			},
		})
		if !errors.Is(err, fail) || !swept {
			t.Fatal(err, swept)
		}
		return gone
	}
	if gone := collect(true, nil); len(gone) != 2 {
		t.Errorf("a dry run collects %v", gone)
	}
	if list, err := r.List(); err != nil || len(list) != 4 {
		t.Errorf("after a dry run %d records are left, %v", len(list), err)
	}
	// A record goes before its blobs: nobody finds an image that is half gone.
	collect(false, broken)
	for _, img := range []*Image{loose, looser} {
		if found, err := r.Find(img.Root()); !errors.Is(err, ErrNotFound) {
			t.Errorf("half collected and found: %+v, %v", found, err)
		}
	}
	if gone := collect(false, nil); len(gone) != 0 {
		t.Errorf("collected again: %v", gone)
	}
	for _, img := range []*Image{named, live} {
		if _, err := r.Find(img.Root()); err != nil {
			t.Error(err)
		}
	}
}

// Between being asked for and being part of the state a build's image is safe.
func TestAnImageInUseIsNotCollected(t *testing.T) {
	r := open(t)
	img := image(alice, "c", "l")
	put(t, r, "x", img, alice)
	if _, err := r.Unname(t.Context(), "x", alice, false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Use(t.Context(), img.Root()); err != nil {
		t.Fatal(err)
	}
	everything := Collection{Unwanted: all(true), Sweep: func(_, _ map[string]bool) error { return nil }}
	if gone, err := r.Collect(t.Context(), everything); err != nil || len(gone) != 0 {
		t.Errorf("collected %v, %v", gone, err)
	}
	long := time.Now().Add(-admission)
	if err := os.Chtimes(r.recordFile(img.Config.Hash), long, long); err != nil {
		t.Fatal(err)
	}
	if gone, err := r.Collect(t.Context(), everything); err != nil || len(gone) != 1 {
		t.Errorf("collected %v, %v", gone, err)
	}
	if _, err := r.Use(t.Context(), img.Root()); !errors.Is(err, ErrNotFound) {
		t.Errorf("used after that: %v", err)
	}
}

// Whoever waits for another process's change gives up with its context.
func TestWaitingEndsWithItsContext(t *testing.T) {
	r := open(t)
	other, err := Open(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = r.change(t.Context(), func() error { return other.Put(ctx, "x", image(alice, "c"), alice, false, isStored) })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestAccountsHaveTheirShare(t *testing.T) {
	taken := make([]name, maxAccountNames)
	for i := range taken {
		taken[i] = name{Name: fmt.Sprint(i), Owner: alice}
	}
	if err := mayTake(taken, "more", alice, false); !errors.Is(err, ErrFull) {
		t.Errorf("one name more: %v", err)
	}
	if err := mayTake(taken, "more", bob, false); err != nil {
		t.Errorf("another account's first: %v", err)
	}
	if got := printable("a\x1b[31mb\n\xff" + strings.Repeat("x", 2*maxSourceBytes)); len(got) > maxSourceBytes || strings.ContainsAny(got, "\x1b\n") {
		t.Errorf("%q", got)
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
	if err := r.Put(t.Context(), "x", image(alice, "c"), alice, false, func() error { return gone }); !errors.Is(err, gone) {
		t.Errorf("an image that is not stored: %v", err)
	}
	if _, err := r.Find("x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("it has a name: %v", err)
	}
}

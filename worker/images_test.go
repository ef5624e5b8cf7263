package worker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/cas/disk"
	"gavel/sandbox"
)

// imageTaker is a sandbox that takes images and runs nothing.
type imageTaker struct {
	sandbox.Runner
	roots []string
	took  []string // the layers' contents, joined, of each image
	fails error
	calls string // what it says an image is called, if not what it is
}

func (s *imageTaker) Roots(context.Context) ([]string, error) { return s.roots, nil }

func (s *imageTaker) TakeImage(ctx context.Context, img sandbox.Image) (string, error) {
	if s.fails != nil {
		return "", s.fails
	}
	var all strings.Builder
	for n := range img.Layers {
		r, err := img.Read(ctx, n)
		if err != nil {
			return "", err
		}
		if _, err := io.Copy(&all, r); err != nil {
			return "", err
		}
		r.Close()
	}
	s.took = append(s.took, all.String())
	if s.calls != "" {
		return s.calls, nil
	}
	s.roots = append(s.roots, img.Root())
	return img.Root(), nil
}

// imageFarm is a farm with one image of two layers.
func imageFarm(t *testing.T, to *imageTaker) (f *imageFetcher, root string, found *gavelv1.Image) {
	t.Helper()
	store, err := disk.Open(t.TempDir(), disk.Options{Cache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	found = &gavelv1.Image{}
	for _, blob := range []string{"config", "one", "two"} {
		d := cas.Of([]byte(blob))
		if err := store.Put(t.Context(), d, strings.NewReader(blob)); err != nil {
			t.Fatal(err)
		}
		if blob == "config" {
			root, found.ConfigBytes = "sha256:"+d.Hash, uint64(d.Size)
			continue
		}
		sum := d.Sum()
		found.Layers = append(found.Layers, &gavelv1.ImageLayer{Digest: sum[:], Bytes: uint64(d.Size)})
	}
	f = &imageFetcher{store: store, taker: to, log: slog.New(slog.DiscardHandler), find: func(_ context.Context, asked string) (*gavelv1.Image, error) {
		if asked != root {
			return nil, errors.New("no such image")
		}
		return found, nil
	}}
	return f, root, found
}

func TestAnImageIsFetchedOnce(t *testing.T) {
	to := &imageTaker{roots: []string{"host"}}
	f, root, _ := imageFarm(t, to)
	for range 3 {
		for _, platform := range []string{root, "host"} {
			if err := f.ensure(t.Context(), platform); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(to.took) != 1 || to.took[0] != "onetwo" {
		t.Errorf("took %q", to.took)
	}
	var none *imageFetcher // a sandbox that takes none
	if err := none.ensure(t.Context(), root); err != nil {
		t.Error(err)
	}
}

// What the farm says of an image is believed as far as digests bear it out, and
// whose fault a failure is decides whether the lease is given up at once.
func TestImagesThatCannotBeHad(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*imageTaker, *gavelv1.Image)
		unfit  bool
	}{
		"refused by the sandbox": {func(s *imageTaker, _ *gavelv1.Image) { s.fails = sandbox.ErrRefused }, true},
		"no room":                {func(s *imageTaker, _ *gavelv1.Image) { s.fails = sandbox.ErrUnavailable }, false},
		"another image":          {func(s *imageTaker, _ *gavelv1.Image) { s.calls = "sha256:" + strings.Repeat("0", 64) }, true},
		"another config":         {func(_ *imageTaker, i *gavelv1.Image) { i.ConfigBytes++ }, false},
		"a huge config":          {func(_ *imageTaker, i *gavelv1.Image) { i.ConfigBytes = 1 << 40 }, true},
		"a layer without digest": {func(_ *imageTaker, i *gavelv1.Image) { i.Layers[0].Digest = nil }, false},
		"a layer that is gone":   {func(_ *imageTaker, i *gavelv1.Image) { i.Layers[0].Digest[0]++ }, false},
	} {
		to := &imageTaker{}
		f, root, found := imageFarm(t, to)
		c.change(to, found)
		if err := f.ensure(t.Context(), root); err == nil || errors.Is(err, errUnfit) != c.unfit {
			t.Errorf("%s: %v", name, err)
		}
	}
	f, _, _ := imageFarm(t, &imageTaker{})
	if err := f.ensure(t.Context(), "sha256:"+strings.Repeat("1", 64)); err == nil {
		t.Error("an image that the farm does not know")
	}
}

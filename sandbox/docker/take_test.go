//go:build itest

package docker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	cerrdefs "github.com/containerd/errdefs"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/container/containertest"
	"gavel/sandbox/rootfs"
	"gavel/sandbox/sandboxtest"
)

// unique is an image that no engine has yet.
func unique(t *testing.T, word string) sandbox.Image {
	t.Helper()
	e := sandboxtest.Entry{Content: word + "\n"}
	e.Name = "of-this-test"
	f := sandboxtest.Entry{Content: container.NewRunID()}
	f.Name = "only-here"
	return containertest.Busybox(t, e, f)
}

// take takes an image and lets it go when the test ends.
func take(t *testing.T, r *Runner, img sandbox.Image) string {
	t.Helper()
	root, err := r.TakeImage(context.Background(), img)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.dropSpare()
		r.removals.Wait() // a container keeps its image
		if err := r.untag(context.Background(), r.tag(root)); err != nil {
			t.Error(err)
		}
	})
	return root
}

// tags are those of an image that the engine has.
func tags(t *testing.T, r *Runner, root string) []string {
	t.Helper()
	found, err := r.engine.ImageInspect(context.Background(), root)
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return found.RepoTags
}

// once is an image whose layers can be read one time only.
func once(t *testing.T, img sandbox.Image) sandbox.Image {
	for i, l := range img.Layers {
		opened := false
		img.Layers[i].Open = func(ctx context.Context) (io.ReadCloser, error) {
			if opened {
				t.Error("the image was loaded again")
			}
			opened = true
			return l.Open(ctx)
		}
	}
	return img
}

func TestTakeImage(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	img := once(t, unique(t, "hello"))
	root := take(t, r, img)
	if again, err := r.TakeImage(context.Background(), img); again != root || root != img.Root() || err != nil {
		t.Errorf("took %s as %s and %s, %v", img.Root(), root, again, err)
	}
	if roots, err := r.Roots(context.Background()); !slices.Contains(roots, root) || err != nil {
		t.Errorf("%s is not among %q, %v", root, roots, err)
	}
	// One tag of this owner's, so that a prune finds no leftover and others know whose it is.
	if got := tags(t, r, root); !slices.Equal(got, []string{r.tag(root)}) {
		t.Errorf("tags %q", got)
	}
	s, log := shell(t, root, "cat /of-this-test; ls /")
	if res := mustRun(t, r, s); res.ExitCode != 0 || !strings.HasPrefix(log.String(), "hello\n") {
		t.Errorf("%+v, log %q", res, log)
	}
}

// Two owners hold one image: it is there until both have let it go.
func TestTwoOwnersTakeOneImage(t *testing.T) {
	a, b := newRunner(t), newRunner(t)
	closing(t, a)
	closing(t, b)
	img := once(t, unique(t, "shared"))
	root := take(t, a, img)
	take(t, b, img)
	if err := a.untag(context.Background(), a.tag(root)); err != nil {
		t.Fatal(err)
	}
	if got := tags(t, b, root); !slices.Equal(got, []string{b.tag(root)}) {
		t.Errorf("tags %q", got)
	}
	// An image that a person loaded is served, and is nobody's to let go.
	if _, err := a.TakeImage(context.Background(), sandbox.Image{Config: []byte("{}")}); !errors.Is(err, sandbox.ErrRefused) {
		t.Errorf("error %v of an image without a platform", err)
	}
}

func TestImagesMakeRoom(t *testing.T) {
	probe := newRunner(t)
	closing(t, probe)
	theirs := take(t, probe, unique(t, "another owner's"))
	size, err := probe.engine.ImageInspect(context.Background(), theirs)
	if err != nil {
		t.Fatal(err)
	}
	r := newRunner(t, func(c *Config) { c.ImageBytes = 3*size.Size + size.Size/2 })
	closing(t, r)
	first, second, third := take(t, r, unique(t, "1")), take(t, r, unique(t, "2")), take(t, r, unique(t, "3"))
	s, log := shell(t, first, "echo ready; while :; do sleep 1; done")
	seen := newSignal("ready")
	s.Log = seen
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := r.Run(ctx, s)
		ended <- err
	}()
	<-seen.seen
	fourth := take(t, r, unique(t, "4"))
	fifth := take(t, r, unique(t, "5"))
	for root, stays := range map[string]bool{first: true, second: false, third: false, fourth: true, fifth: true, theirs: true} {
		if has := tags(t, r, root) != nil; has != stays {
			t.Errorf("%s is there: %v, want %v", root, has, stays)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v\n%s", err, log)
	}
	s, _ = shell(t, second, "true")
	if _, err := r.Run(context.Background(), s); !errors.Is(err, sandbox.ErrRefused) {
		t.Errorf("error %v of an image that was let go", err)
	}
	small := newRunner(t, func(c *Config) { c.ImageBytes = 1000 })
	closing(t, small)
	if _, err := small.TakeImage(context.Background(), unique(t, "large")); !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), "keeps 1000") {
		t.Errorf("error %v", err)
	}
}

// A layer that is not what its name says must leave nothing in the engine.
func TestTakenImageLies(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	img := unique(t, "x")
	img.Layers[0].Open = func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(make([]byte, img.Layers[0].Size))), nil
	}
	if _, err := r.TakeImage(context.Background(), img); !errors.Is(err, sandbox.ErrRefused) {
		t.Errorf("error %v, want a refusal", err)
	}
	if got := tags(t, r, img.Root()); got != nil {
		t.Errorf("it is there, with tags %q", got)
	}
	broken := errors.New("the store is gone")
	img.Layers[0].Open = func(context.Context) (io.ReadCloser, error) { return nil, broken }
	if _, err := r.TakeImage(context.Background(), img); errors.Is(err, sandbox.ErrRefused) || !errors.Is(err, broken) {
		t.Errorf("error %v, want the store's", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	img.Layers[0].Open = func(context.Context) (io.ReadCloser, error) { cancel(); return nil, ctx.Err() }
	if _, err := r.TakeImage(ctx, img); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
}

// A worker that was killed between loading and tagging leaves an image that
// nobody would ever remove; the next one takes it as its own.
func TestLoadedImageIsAdopted(t *testing.T) {
	before := newRunner(t)
	closing(t, before)
	img := unique(t, "orphan")
	if err := before.load(context.Background(), img); err != nil {
		t.Fatal(err)
	}
	if got := tags(t, before, img.Root()); !slices.Equal(got, []string{rootfs.DockerTag(img.Root())}) {
		t.Fatalf("tags %q", got)
	}
	next := newRunner(t)
	closing(t, next)
	take(t, next, img)
	if got := tags(t, next, img.Root()); !slices.Equal(got, []string{next.tag(img.Root())}) {
		t.Errorf("tags %q", got)
	}
}

// A build on one's own machine left its image, hundreds of megabytes, in the engine
// under an owner that never came again.
func TestImagesAreDroppedWhenAskedFor(t *testing.T) {
	other := newRunner(t)
	closing(t, other)
	r := newRunner(t, func(c *Config) { c.DropImages = true })
	alone, shared := unique(t, "alone"), unique(t, "shared too")
	take(t, other, shared)
	for _, img := range []sandbox.Image{alone, shared} {
		if _, err := r.TakeImage(context.Background(), img); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got := tags(t, other, alone.Root()); got != nil {
		t.Errorf("an image is left, as %q", got)
	}
	if got := tags(t, other, shared.Root()); !slices.Equal(got, []string{other.tag(shared.Root())}) {
		t.Errorf("another owner's image has the tags %q", got)
	}
}

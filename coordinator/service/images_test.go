package service

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
)

// imageRequest uploads an image's blobs for a party and asks to name it.
func imageRequest(t *testing.T, p *party, name string, layers ...string) *gavelv1.PutImageRequest {
	t.Helper()
	q := &gavelv1.PutImageRequest{Name: name, Source: "the test"}
	var ids []string
	for _, l := range layers {
		d := cas.Of([]byte(l))
		check(t, p.pictures.Put(t.Context(), d, strings.NewReader(l)))
		sum := d.Sum()
		q.Layers = append(q.Layers, &gavelv1.ImageLayer{Digest: sum[:], Bytes: uint64(d.Size)})
		ids = append(ids, fmt.Sprintf("%q", "sha256:"+d.Hash))
	}
	config := fmt.Appendf(nil, `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[%s]}}`, strings.Join(ids, ","))
	d := cas.Of(config)
	check(t, p.pictures.Put(t.Context(), d, bytes.NewReader(config)))
	q.Digest, q.ConfigBytes = "sha256:"+d.Hash, uint64(d.Size)
	return q
}

func wantCode(t *testing.T, err error, code codes.Code, says string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(fmt.Sprint(err), says) {
		t.Errorf("got %v, want %v and %q", err, code, says)
	}
}

func TestImagesAreNamedReadAndCollected(t *testing.T) {
	f := newFarm(t)
	ctx := t.Context()
	q := imageRequest(t, f.requester, "base", "layer one", "layer two")
	img, err := f.requester.Farm().PutImage(ctx, q)
	check(t, err)
	if img.Digest != q.Digest || img.Names[0] != "base" || img.Platform != "linux/amd64" || img.AddedByName != "requester" || img.Bytes != q.ConfigBytes+18 {
		t.Errorf("named as %v", img)
	}
	// Anybody with an account finds it; nobody reads its layers for that.
	found, err := f.workers[0].Farm().Images(ctx, &gavelv1.ImagesRequest{Image: "base"})
	check(t, err)
	if len(found.Images) != 1 || found.Images[0].Digest != q.Digest || len(found.Images[0].Layers) != 2 {
		t.Errorf("found %v", found)
	}
	layer := cas.Of([]byte("layer one"))
	if missing, err := f.workers[0].pictures.Missing(ctx, []cas.Digest{layer}); err != nil || len(missing) != 1 {
		t.Errorf("a worker without a lease sees a layer: %v, %v", missing, err)
	}
	_, err = f.workers[0].Farm().PutImage(ctx, q)
	wantCode(t, err, codes.PermissionDenied, "requesters and admins")

	_, err = f.requester.Farm().RemoveImage(ctx, &gavelv1.RemoveImageRequest{Name: "base"})
	check(t, err)
	for _, dry := range []bool{true, false} {
		gone, err := f.requester.Farm().CollectImages(ctx, &gavelv1.CollectImagesRequest{DryRun: dry})
		check(t, err)
		if len(gone.Images) != 1 || gone.Images[0].Digest != q.Digest || gone.Blobs != 3 || gone.Bytes != img.Bytes {
			t.Errorf("collected %v", gone)
		}
	}
	if missing, err := f.requester.pictures.Missing(ctx, []cas.Digest{layer}); err != nil || len(missing) != 1 {
		t.Errorf("collected, and a layer is there: %v, %v", missing, err)
	}
	_, err = f.requester.Farm().Images(ctx, &gavelv1.ImagesRequest{Image: q.Digest})
	wantCode(t, err, codes.NotFound, "gavel image list")
}

// A lease for an image opens that image to its holder, and no other. A build that
// is under way keeps its image from being collected.
func TestLeaseOpensItsImage(t *testing.T) {
	f := newFarm(t)
	ctx := t.Context()
	q, other := imageRequest(t, f.requester, "base", "leased layer"), imageRequest(t, f.requester, "other", "other layer")
	for _, x := range []*gavelv1.PutImageRequest{q, other} {
		_, err := f.requester.Farm().PutImage(ctx, x)
		check(t, err)
	}
	for _, w := range f.workers {
		_, err := w.Do(ctx, build.TypeUpdate, &build.Update{Platforms: []string{"host", build.PlatformImages}})
		check(t, err)
	}
	p := newProject(t, "int main;")
	p.in(t, q.Digest, q.ConfigBytes+q.Layers[0].Bytes)
	id := f.submit(p, "house")
	f.draw()
	holders, _ := f.leases(id)
	if len(holders) == 0 {
		t.Fatal("nobody builds it")
	}
	reads := func(p *party, content string) bool {
		t.Helper()
		missing, err := p.pictures.Missing(ctx, []cas.Digest{cas.Of([]byte(content))})
		check(t, err)
		return len(missing) == 0
	}
	for _, w := range f.workers {
		holds := slices.Contains(holders, w)
		if reads(w, "leased layer") != holds || reads(w, "other layer") {
			t.Errorf("a worker that holds a lease (%v) reads its image (%v) and another (%v)", holds, reads(w, "leased layer"), reads(w, "other layer"))
		}
	}
	for _, name := range []string{"base", "other"} {
		_, err := f.requester.Farm().RemoveImage(ctx, &gavelv1.RemoveImageRequest{Name: name})
		check(t, err)
	}
	f.forgetUses()
	gone, err := f.requester.Farm().CollectImages(ctx, &gavelv1.CollectImagesRequest{})
	check(t, err)
	if len(gone.Images) != 1 || gone.Images[0].Digest != other.Digest {
		t.Errorf("beside a build in one of two images was collected: %v", gone)
	}
}

// forgetUses makes every image one that nobody has asked for of late.
func (f *farm) forgetUses() {
	f.t.Helper()
	records, err := filepath.Glob(filepath.Join(f.imageDir, "records", "*.json"))
	check(f.t, err)
	for _, path := range records {
		check(f.t, os.Chtimes(path, time.Unix(0, 0), time.Unix(0, 0)))
	}
}

// One account collects what it added; an upload that is under way is left alone.
func TestCollectionIsItsAccountsOwn(t *testing.T) {
	f := newFarm(t)
	ctx := t.Context()
	q := imageRequest(t, f.requester, "base", "layer")
	_, err := f.requester.Farm().PutImage(ctx, q)
	check(t, err)
	_, err = f.requester.Farm().RemoveImage(ctx, &gavelv1.RemoveImageRequest{Name: "base"})
	check(t, err)
	loose := cas.Of([]byte("on its way"))
	check(t, f.requester.pictures.Put(ctx, loose, strings.NewReader("on its way")))
	second := f.dial("second")
	_, err = second.Do(ctx, build.TypeOpen, &build.Open{Key: second.PublicPKIX(), Name: "second"})
	check(t, err)
	gone, err := second.Farm().CollectImages(ctx, &gavelv1.CollectImagesRequest{})
	check(t, err)
	if len(gone.Images) != 0 || gone.Blobs != 0 {
		t.Errorf("another account collected %v", gone)
	}
	gone, err = f.requester.Farm().CollectImages(ctx, &gavelv1.CollectImagesRequest{})
	check(t, err)
	if len(gone.Images) != 1 || gone.Blobs != 2 {
		t.Errorf("collected %v", gone)
	}
	if missing, err := f.requester.pictures.Missing(ctx, []cas.Digest{loose}); err != nil || len(missing) != 0 {
		t.Errorf("an upload under way was collected: %v, %v", missing, err)
	}
}

func TestImagesThatAreNotWhatTheySay(t *testing.T) {
	f := newFarm(t)
	ctx := t.Context()
	good := func() *gavelv1.PutImageRequest { return imageRequest(t, f.requester, "x", "a", "b") }
	for name, c := range map[string]struct {
		change func(*gavelv1.PutImageRequest)
		code   codes.Code
		says   string
	}{
		"name":            {func(q *gavelv1.PutImageRequest) { q.Name = "../x" }, codes.InvalidArgument, "not a name"},
		"digest":          {func(q *gavelv1.PutImageRequest) { q.Digest = "x" }, codes.InvalidArgument, "no image's digest"},
		"size":            {func(q *gavelv1.PutImageRequest) { q.ConfigBytes++ }, codes.FailedPrecondition, "not uploaded"},
		"layers' order":   {func(q *gavelv1.PutImageRequest) { q.Layers[0], q.Layers[1] = q.Layers[1], q.Layers[0] }, codes.InvalidArgument, "other layers"},
		"a layer missing": {func(q *gavelv1.PutImageRequest) { q.Layers = q.Layers[:1] }, codes.InvalidArgument, "other layers"},
		"layer's digest":  {func(q *gavelv1.PutImageRequest) { q.Layers[0].Digest = nil }, codes.InvalidArgument, "layer 1"},
		"layer's size":    {func(q *gavelv1.PutImageRequest) { q.Layers[0].Bytes = 1 << 60 }, codes.InvalidArgument, "layer 1"},
		"not uploaded":    {func(q *gavelv1.PutImageRequest) { q.Layers[0].Digest[0]++ }, codes.FailedPrecondition, "not uploaded"},
		"too many layers": {func(q *gavelv1.PutImageRequest) { q.Layers = make([]*gavelv1.ImageLayer, 128) }, codes.InvalidArgument, "layers"},
	} {
		t.Run(name, func(t *testing.T) {
			q := good()
			c.change(q)
			_, err := f.requester.Farm().PutImage(ctx, q)
			wantCode(t, err, c.code, c.says)
		})
	}
	for _, config := range []string{"{", `{"rootfs":{"diff_ids":[]}}`} {
		d := cas.Of([]byte(config))
		check(t, f.requester.pictures.Put(ctx, d, strings.NewReader(config)))
		_, err := f.requester.Farm().PutImage(ctx, &gavelv1.PutImageRequest{Name: "x", Digest: "sha256:" + d.Hash, ConfigBytes: uint64(d.Size)})
		wantCode(t, err, codes.InvalidArgument, "config")
	}
}

// What workers would fetch from the store must be there, whole, and for their
// machines, before anything is owed.
func TestImagesNobodyCouldRunAreRefused(t *testing.T) {
	f := newFarm(t)
	ctx := t.Context()
	terms := func(root string) *build.Terms {
		var pool string
		f.fsm.Read(func(st *raftfsm.State) {
			w, _ := st.Worker(f.workers[0].id())
			pool = w.Pool
		})
		return &build.Terms{Pool: pool, Platform: root}
	}
	says := func(root, want string) {
		t.Helper()
		_, out, err := f.server.runnable(ctx, terms(root))
		check(t, err)
		if want == "" && out.Code != build.Done || want != "" && (out.Code != build.CodePlatform || !strings.Contains(out.Detail, want)) {
			t.Errorf("%s: got %+v, want %q", root, out, want)
		}
	}
	unknown := "sha256:" + strings.Repeat("5", 64)
	says(unknown, "") // every worker that offers it has it
	_, err := f.workers[0].Do(ctx, build.TypeUpdate, &build.Update{Platforms: []string{"host", build.PlatformImages}})
	check(t, err)
	says("host", "")
	says(unknown, "gavel image add")
	q := imageRequest(t, f.requester, "base", "layer")
	_, err = f.requester.Farm().PutImage(ctx, q)
	check(t, err)
	says(q.Digest, "")
	config := []byte(`{"os":"linux","architecture":"arm64","rootfs":{"type":"layers","diff_ids":[]}}`)
	foreign := cas.Of(config)
	check(t, f.requester.pictures.Put(ctx, foreign, bytes.NewReader(config)))
	_, err = f.requester.Farm().PutImage(ctx, &gavelv1.PutImageRequest{Name: "arm", Digest: "sha256:" + foreign.Hash, ConfigBytes: uint64(foreign.Size)})
	check(t, err)
	says("sha256:"+foreign.Hash, "is for linux/arm64")
	// A blob that is gone: whoever won would pay for it.
	layer := cas.Of([]byte("layer"))
	check(t, os.Remove(filepath.Join(filepath.Dir(f.imageDir), "pictures", "blobs", layer.Hash[:2], layer.Hash)))
	says(q.Digest, "gavel image add")
}

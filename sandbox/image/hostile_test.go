package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

func refuses(t *testing.T, source, want string) {
	t.Helper()
	temp := t.TempDir()
	_, err := Open(context.Background(), source, Options{TempDir: temp})
	if !errors.Is(err, sandbox.ErrRefused) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestHostileDockerArchives(t *testing.T) {
	img, layers := twoLayers(t)
	config := string(img.Config)
	manifest := func(config string, layers ...string) string {
		return string(asJSON(t, []any{map[string]any{"Config": config, "Layers": layers}}))
	}
	with := func(manifest string, more ...sandboxtest.Entry) []byte {
		return sandboxtest.Archive(t, append([]sandboxtest.Entry{
			file("c.json", config), file("1.tar", string(layers[0])), file("2.tar", string(layers[1])), file("manifest.json", manifest),
		}, more...)...)
	}
	of := func(config, first, second []byte) []byte {
		return sandboxtest.Archive(t, file("c.json", string(config)), file("1.tar", string(first)), file("2.tar", string(second)),
			file("manifest.json", manifest("c.json", "1.tar", "2.tar")))
	}
	link := func(name, target string) sandboxtest.Entry {
		return sandboxtest.Entry{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}}
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, layers[0], 0o600); err != nil {
		t.Fatal(err)
	}
	whole := with(manifest("c.json", "1.tar", "2.tar"))
	for name, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"no JSON":               {with("{"), "not as docker save writes it"},
		"no images":             {with("[]"), "holds 0 images"},
		"two images":            {with(`[{"Config":"a.json","RepoTags":["one:1"]},{"Config":"b.json","RepoTags":["two:2"]}]`), `"one:1 (a.json)" "two:2 (b.json)"`},
		"a huge manifest":       {with(strings.Repeat(" ", maxManifestBytes+1)), "at most 4194304"},
		"config outside":        {with(manifest("../../etc/passwd")), "outside itself"},
		"config absolute":       {with(manifest("/etc/passwd")), "outside itself"},
		"no config":             {with(manifest("")), "outside itself"},
		"config is missing":     {with(manifest("d.json")), "config d.json is not in it"},
		"layer outside":         {with(manifest("c.json", "1.tar", "../2.tar")), "outside itself"},
		"layer on this machine": {with(manifest("c.json", "1.tar", secret)), "outside itself"},
		"layer linked outside":  {with(manifest("c.json", "1.tar", "x"), link("x", "../../../"+secret)), "outside itself"},
		"layer linked absolute": {with(manifest("c.json", "1.tar", "x"), link("x", secret)), "not in it"},
		"layers in a circle":    {with(manifest("c.json", "1.tar", "x"), link("x", "y"), link("y", "x")), "in a circle"},
		"layer is missing":      {with(manifest("c.json", "1.tar", "3.tar")), "layer 3.tar is not in it"},
		"a layer too few":       {with(manifest("c.json", "1.tar")), "names 2 layers and its manifest 1"},
		"two hundred layers":    {with(manifest("c.json", strings.Fields(strings.Repeat("1.tar ", 200))...)), "200 layers; at most 127"},
		"another's config":      {with(manifest("1.tar", "1.tar", "2.tar")), "not JSON"},
		"another machine's":     {of(foreignConfig(t, img), layers[0], layers[1]), "this machine runs linux/" + runtime.GOARCH},
		"packed layers swapped": {of(img.Config, gzipped(t, layers[1]), layers[1]), "its config names"},
		"a damaged layer":       {of(img.Config, gzipped(t, layers[0])[:40], layers[1]), "damaged"},
		"cut off":               {whole[:2000], "cut off"},
		"a bad name":            {with(manifest("c.json", "1.tar", "2.tar"), file("../x", "")), "outside itself"},
		"a damaged archive":     {gzipped(t, whole)[:200], "damaged"},
	} {
		t.Run(name, func(t *testing.T) { refuses(t, "docker-archive:"+tempFile(t, c.archive), c.want) })
	}
	// Layers that lie uncompressed are judged by whoever reads them.
	s, err := Open(context.Background(), tempFile(t, with(manifest("c.json", "1.tar", "1.tar"))), Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := s.Image.Read(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, sandbox.ErrRefused) {
		t.Errorf("a lie about a layer: %v", err)
	}
}

func TestHostileLayouts(t *testing.T) {
	img, layers := twoLayers(t)
	first, second := "blobs/sha256/"+img.Layers[0].DiffID.Encoded(), "blobs/sha256/"+img.Layers[1].DiffID.Encoded()
	// one is an index of one image whose manifest was changed.
	one := func(change func(m *imagespec.Manifest)) func(f tree) []imagespec.Descriptor {
		return func(f tree) []imagespec.Descriptor {
			m := imagespec.Manifest{Config: f.blob(imagespec.MediaTypeImageConfig, img.Config)}
			for _, l := range layers {
				m.Layers = append(m.Layers, f.blob(imagespec.MediaTypeImageLayer, l))
			}
			if change != nil {
				change(&m)
			}
			return []imagespec.Descriptor{f.blob(imagespec.MediaTypeImageManifest, asJSON(t, m))}
		}
	}
	// then is one with blobs that do not match their names.
	then := func(change func(f tree, manifest string)) func(f tree) []imagespec.Descriptor {
		return func(f tree) []imagespec.Descriptor {
			list := one(nil)(f)
			change(f, "blobs/sha256/"+list[0].Digest.Encoded())
			return list
		}
	}
	for name, c := range map[string]struct {
		layout func(f tree) []imagespec.Descriptor
		want   string
	}{
		"nothing": {func(tree) []imagespec.Descriptor { return nil }, "It has: nothing"},
		"for another platform": {func(f tree) []imagespec.Descriptor {
			return []imagespec.Descriptor{f.image(t, foreignConfig(t, img), imagespec.MediaTypeImageLayer, layers...)}
		}, "linux/" + otherArchitecture()},
		"for Windows": {func(f tree) []imagespec.Descriptor {
			return []imagespec.Descriptor{on(f.image(t, img.Config, imagespec.MediaTypeImageLayer, layers...), "windows", runtime.GOARCH)}
		}, "windows/"},
		"two": {func(f tree) []imagespec.Descriptor {
			return []imagespec.Descriptor{
				f.image(t, img.Config, imagespec.MediaTypeImageLayer, layers...), f.image(t, img.Config, imagespec.MediaTypeImageLayerGzip, gzipped(t, layers[0]), layers[1]),
			}
		}, "2 images for linux/" + runtime.GOARCH + "; write oci:PATH@DIGEST"},
		"no image": {func(f tree) []imagespec.Descriptor {
			return []imagespec.Descriptor{f.blob("application/vnd.helm", []byte("x"))}
		}, "of the type application/vnd.helm"},
		"an artifact": {one(func(m *imagespec.Manifest) { m.Config.MediaType = imagespec.MediaTypeEmptyJSON }), "no image"},
		"an artifact that claims a platform": {func(f tree) []imagespec.Descriptor {
			list := one(func(m *imagespec.Manifest) { m.Config.MediaType = imagespec.MediaTypeEmptyJSON })(f)
			return []imagespec.Descriptor{on(list[0], "linux", runtime.GOARCH)}
		}, "some other artifact"},
		"a foreign layer": {one(func(m *imagespec.Manifest) {
			m.Layers[0].MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
		}), "is foreign"},
		"a layer by URL":      {one(func(m *imagespec.Manifest) { m.Layers[0].URLs = []string{"http://169.254.169.254/"} }), "is foreign"},
		"a layer of no type":  {one(func(m *imagespec.Manifest) { m.Layers[0].MediaType = "text/plain" }), "no file system"},
		"a traversing digest": {one(func(m *imagespec.Manifest) { m.Layers[0].Digest = "sha256:../../../../etc/passwd" }), "no SHA-256 digest"},
		"another hash":        {one(func(m *imagespec.Manifest) { m.Layers[0].Digest = digest.SHA512.FromString("x") }), "no SHA-256 digest"},
		"a size that lies":    {one(func(m *imagespec.Manifest) { m.Layers[0].Size-- }), "other bytes"},
		"a huge size":         {one(func(m *imagespec.Manifest) { m.Layers[0].Size = 1 << 62 }), "are left of those"},
		"a huge config":       {one(func(m *imagespec.Manifest) { m.Config.Size = 5 << 20 }), "at most 4194304"},
		"a missing layer":     {then(func(f tree, _ string) { delete(f, second) }), "is not in it"},
		"a missing manifest":  {then(func(f tree, manifest string) { delete(f, manifest) }), "is not in it"},
		"a forged layer":      {then(func(f tree, _ string) { f[first] = bytes.Repeat([]byte("z"), len(layers[0])) }), "damaged or forged"},
		"a forged config": {then(func(f tree, _ string) {
			f["blobs/sha256/"+digest.FromBytes(img.Config).Encoded()] = []byte("{}")
		}), "damaged or forged"},
		"a forged manifest": {then(func(f tree, manifest string) { f[manifest] = []byte("{}") }), "damaged or forged"},
		"an endless index": {func(f tree) []imagespec.Descriptor {
			list := one(nil)(f)
			for range 5 {
				list = []imagespec.Descriptor{f.blob(imagespec.MediaTypeImageIndex, asJSON(t, imagespec.Index{Manifests: list}))}
			}
			return list
		}, "nested deeper"},
		"a wide index": {func(tree) []imagespec.Descriptor {
			var all []imagespec.Descriptor
			for i := range maxDescriptors + 1 {
				all = append(all, imagespec.Descriptor{MediaType: "x", Digest: digest.FromString(fmt.Sprint(i))})
			}
			return all
		}, "more than 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			f := tree{}
			refuses(t, "oci:"+tempFile(t, f.index(t, c.layout(f)...).archive(t)), c.want)
		})
	}
	f := tree{}
	f.index(t, f.image(t, img.Config, imagespec.MediaTypeImageLayer, layers...))
	refuses(t, "oci:"+f.write(t, t.TempDir())+"@"+digest.FromString("x").String(), "holds no sha256:")

	// A link in a layout's directory must not lead out of it.
	dir := f.write(t, t.TempDir())
	outside := tempFile(t, layers[0])
	if err := errors.Join(os.Remove(filepath.Join(dir, first)), os.Symlink(outside, filepath.Join(dir, first))); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(context.Background(), dir, Options{TempDir: t.TempDir()}); err == nil {
		s.Close()
		t.Error("a file outside the layout was read")
	}
}

func TestBombs(t *testing.T) {
	zeros := make([]byte, 1<<20)
	img := sandboxtest.Image(t, zeros)
	for name, packed := range map[string][]byte{"gzip": gzipped(t, zeros), "zstd": zstandard(t, zeros), "none": zeros} {
		f := tree{}
		f.index(t, f.image(t, img.Config, imagespec.MediaTypeImageLayerGzip, packed))
		dir := f.write(t, t.TempDir())
		open := func(left int64) error {
			s := &Source{temp: t.TempDir()}
			defer s.Close()
			return openOCI(context.Background(), &reader{source: s, left: left, progress: func(string) {}}, dir)
		}
		if err := open(1 << 20); err != nil {
			t.Errorf("%s: as large as it may be: %v", name, err)
		}
		if err := open(1<<20 - 1); !errors.Is(err, sandbox.ErrRefused) {
			t.Errorf("%s: one byte more: %v", name, err)
		}
	}
}

// Whatever the bytes, the reader answers with an image or a refusal, and reads
// no file but the archive.
func FuzzArchive(f *testing.F) {
	img, layers := twoLayers(f)
	f.Add(legacy(f, img, layers))
	f.Add(gzipped(f, legacy(f, img, layers)))
	packed := tree{}
	packed.index(f, packed.image(f, img.Config, imagespec.MediaTypeImageLayerZstd, zstandard(f, layers[0]), gzipped(f, layers[1])))
	f.Add(packed.archive(f))
	f.Add(sandboxtest.Archive(f, file("manifest.json", `[{"Config":"c","Layers":["/etc/passwd"]}]`), file("c", "{}")))
	f.Fuzz(func(t *testing.T, archive []byte) {
		s, err := Open(context.Background(), tempFile(t, archive), Options{TempDir: t.TempDir()})
		if err != nil {
			if !errors.Is(err, sandbox.ErrRefused) {
				t.Errorf("neither image nor refusal: %v", err)
			}
			return
		}
		defer s.Close()
		for n := range s.Image.Layers {
			r, err := s.Image.Read(context.Background(), n)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); err != nil && !errors.Is(err, sandbox.ErrRefused) {
				t.Errorf("layer %d: %v", n, err)
			}
			r.Close()
		}
	})
}

// Manifests are where names and numbers are, so they are fuzzed alone, too.
func FuzzManifest(f *testing.F) {
	img, layers := twoLayers(f)
	f.Add([]byte(`[{"Config":"c.json","Layers":["1.tar","2.tar"]}]`), []byte(`{"manifests":[]}`))
	f.Fuzz(func(t *testing.T, manifest, index []byte) {
		all := tree{"c.json": img.Config, "1.tar": layers[0], "2.tar": layers[1], dockerManifest: manifest, ociIndex: index}
		all.image(t, img.Config, imagespec.MediaTypeImageLayer, layers...)
		p := tempFile(t, all.archive(t))
		for _, form := range []string{"docker-archive:", "oci:"} {
			s, err := Open(context.Background(), form+p, Options{TempDir: t.TempDir()})
			if err == nil {
				err = s.Close()
			} else if errors.Is(err, sandbox.ErrRefused) {
				err = nil
			}
			if err != nil {
				t.Errorf("%s neither image nor refusal: %v", form, err)
			}
		}
	})
}

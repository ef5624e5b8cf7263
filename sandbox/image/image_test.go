package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"gavel/sandbox"
	"gavel/sandbox/rootfs"
	"gavel/sandbox/sandboxtest"
)

func file(name, content string) sandboxtest.Entry {
	return sandboxtest.Entry{Header: tar.Header{Name: name}, Content: content}
}

// twoLayers is the image that most tests find again.
func twoLayers(t testing.TB) (img sandbox.Image, layers [][]byte) {
	layers = [][]byte{sandboxtest.Archive(t, file("etc/lower", "x")), sandboxtest.Archive(t, file("etc/upper", strings.Repeat("y", 1000)))}
	return sandboxtest.Image(t, layers...), layers
}

func gzipped(t testing.TB, p []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(p); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t testing.TB, p []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(p, nil)
}

// tree is files by name.
type tree map[string][]byte

// archive is a tar of the tree.
func (f tree) archive(t testing.TB) []byte {
	var entries []sandboxtest.Entry
	for _, name := range slices.Sorted(maps.Keys(f)) {
		entries = append(entries, file(name, string(f[name])))
	}
	return sandboxtest.Archive(t, entries...)
}

// write puts the tree below dir.
func (f tree) write(t testing.TB, dir string) string {
	for name, content := range f {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func asJSON(t testing.TB, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// blob adds content as a blob and describes it.
func (f tree) blob(mediaType string, content []byte) imagespec.Descriptor {
	d := digest.FromBytes(content)
	f["blobs/sha256/"+d.Encoded()] = content
	return imagespec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

// image adds an image of stored layers and describes its manifest.
func (f tree) image(t testing.TB, config []byte, mediaType string, stored ...[]byte) imagespec.Descriptor {
	m := imagespec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageManifest, Config: f.blob(imagespec.MediaTypeImageConfig, config)}
	for _, s := range stored {
		m.Layers = append(m.Layers, f.blob(mediaType, s))
	}
	return f.blob(imagespec.MediaTypeImageManifest, asJSON(t, m))
}

// index makes the tree a layout of the given images.
func (f tree) index(t testing.TB, list ...imagespec.Descriptor) tree {
	f["oci-layout"] = []byte(`{"imageLayoutVersion":"1.0.0"}`)
	f[ociIndex] = asJSON(t, imagespec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageIndex, Manifests: list})
	return f
}

func on(d imagespec.Descriptor, os, architecture string) imagespec.Descriptor {
	d.Platform = &imagespec.Platform{OS: os, Architecture: architecture}
	return d
}

// otherArchitecture is one that this machine does not have.
func otherArchitecture() string {
	if runtime.GOARCH == "s390x" {
		return "amd64"
	}
	return "s390x"
}

func foreignConfig(t testing.TB, img sandbox.Image) []byte {
	return bytes.Replace(img.Config, []byte(`"`+runtime.GOARCH+`"`), []byte(`"`+otherArchitecture()+`"`), 1)
}

func tempFile(t testing.TB, content []byte) string {
	p := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(p, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// wants opens source and compares what it holds with img, to the byte, twice.
func wants(t *testing.T, source string, img sandbox.Image, layers [][]byte) {
	t.Helper()
	temp := t.TempDir()
	s, err := Open(context.Background(), source, Options{TempDir: temp})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.Image.Config, img.Config) || s.Image.Root() != img.Root() || len(s.Image.Layers) != len(layers) {
		t.Fatalf("the image is %s with %d layers, want %s\n%s", s.Image.Root(), len(s.Image.Layers), img.Root(), s.Image.Config)
	}
	var size int64
	for range 2 {
		for n, want := range layers {
			r, err := s.Image.Read(context.Background(), n)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, want) {
				t.Errorf("layer %d: %d bytes, want %d (%v)", n, len(got), len(want), err)
			}
			size += int64(len(want))
		}
	}
	if s.Size()*2 != size {
		t.Errorf("size %d", s.Size())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// legacy is what docker save wrote until Docker 25.
func legacy(t testing.TB, img sandbox.Image, layers [][]byte) []byte {
	config := strings.TrimPrefix(img.Root(), "sha256:") + ".json"
	manifest := asJSON(t, []any{map[string]any{"Config": config, "RepoTags": []string{"x:y"}, "Layers": []string{"1/layer.tar", "2/layer.tar"}}})
	return sandboxtest.Archive(t,
		sandboxtest.Entry{Header: tar.Header{Name: "1/", Typeflag: tar.TypeDir}}, file("1/VERSION", "1.0"), file("1/layer.tar", string(layers[0])),
		file("2/layer.tar", string(layers[1])), file(config, string(img.Config)), file("manifest.json", string(manifest)))
}

func TestSources(t *testing.T) {
	img, layers := twoLayers(t)
	var ours bytes.Buffer
	if err := rootfs.WriteDockerArchive(context.Background(), &ours, img); err != nil {
		t.Fatal(err)
	}
	old := legacy(t, img, layers)

	// Since Docker 25: an OCI layout whose manifest.json names blobs.
	modern := tree{}
	described := modern.image(t, img.Config, imagespec.MediaTypeImageLayer, layers...)
	modern.index(t, described)["manifest.json"] = asJSON(t, []any{map[string]any{
		"Config": "blobs/sha256/" + digest.FromBytes(img.Config).Encoded(), "RepoTags": nil,
		"Layers": []string{"blobs/sha256/" + img.Layers[0].DiffID.Encoded(), "blobs/sha256/" + img.Layers[1].DiffID.Encoded()},
	}})

	packed, mixed, nested := tree{}, tree{}, tree{}
	packed.index(t, packed.image(t, img.Config, imagespec.MediaTypeImageLayerGzip, gzipped(t, layers[0]), gzipped(t, layers[1])))
	mixed.index(t, mixed.image(t, img.Config, imagespec.MediaTypeImageLayerZstd, zstandard(t, layers[0]), layers[1]))
	evidence := on(nested.image(t, img.Config, imagespec.MediaTypeImageLayer, layers...), "unknown", "unknown")
	evidence.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	inner := nested.blob(imagespec.MediaTypeImageIndex, asJSON(t, imagespec.Index{Manifests: []imagespec.Descriptor{
		on(nested.image(t, foreignConfig(t, img), imagespec.MediaTypeImageLayer, layers...), "linux", otherArchitecture()),
		on(nested.image(t, img.Config, imagespec.MediaTypeImageLayerGzip, gzipped(t, layers[0]), gzipped(t, layers[1])), "linux", runtime.GOARCH),
		evidence,
	}}))
	nested.index(t, inner)

	for name, source := range map[string]string{
		"our own archive":        tempFile(t, ours.Bytes()),
		"legacy":                 tempFile(t, old),
		"legacy, named":          "docker-archive:" + tempFile(t, old),
		"legacy, gzipped":        tempFile(t, gzipped(t, old)),
		"legacy, zstd":           "docker-archive:" + tempFile(t, zstandard(t, old)),
		"modern":                 tempFile(t, modern.archive(t)),
		"modern, as OCI":         "oci:" + tempFile(t, modern.archive(t)),
		"an OCI directory":       packed.write(t, t.TempDir()),
		"an OCI directory named": "oci:" + packed.write(t, t.TempDir()),
		"an OCI archive":         tempFile(t, mixed.archive(t)),
		"nested indexes":         "oci:" + nested.write(t, t.TempDir()),
		"one chosen":             "oci:" + modern.write(t, t.TempDir()) + "@" + described.Digest.String(),
		"an index chosen":        "oci:" + nested.write(t, t.TempDir()) + "@" + inner.Digest.String(),
	} {
		t.Run(name, func(t *testing.T) { wants(t, source, img, layers) })
	}
}

// Old archives link equal layers to each other.
func TestLinkedLayers(t *testing.T) {
	layer := sandboxtest.Archive(t, file("f", "x"))
	img := sandboxtest.Image(t, layer, layer)
	archive := sandboxtest.Archive(t, file("a/layer.tar", string(layer)),
		sandboxtest.Entry{Header: tar.Header{Name: "b/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../a/layer.tar"}},
		file("c.json", string(img.Config)), file("manifest.json", `[{"Config":"c.json","Layers":["a/layer.tar","b/layer.tar"]}]`))
	wants(t, tempFile(t, archive), img, [][]byte{layer, layer})
}

func TestUnknownSources(t *testing.T) {
	home := tree{"notes.txt": []byte("x"), "bin/tool": nil}.write(t, t.TempDir())
	for name, c := range map[string]struct{ source, want string }{
		"nothing":              {"", "it is empty"},
		"a bare prefix":        {"dir:", "nothing follows"},
		"no such file":         {"./no-such.tar", "no such file"},
		"no such archive":      {"no-such.tar.gz", "no such file"},
		"no reference":         {"What is this?", "no name of a registry"},
		"a home":               {home, "neither an index.json nor a bin"},
		"a device":             {"/dev/null", "neither file nor directory"},
		"some other archive":   {tempFile(t, tree{"README": nil}.archive(t)), "holds no image"},
		"no archive":           {tempFile(t, []byte("text")), "not a whole tar archive"},
		"no Docker archive":    {"docker-archive:" + tempFile(t, tree{ociIndex: []byte("{}")}.archive(t)), "docker save did not write it"},
		"no layout":            {"oci:" + home, "no OCI layout"},
		"a registry's nothing": {"docker://", "nothing follows"},
		"a suite":              {"debootstrap:../x", "no name of a suite"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(context.Background(), c.source, Options{TempDir: t.TempDir()})
			if !errors.Is(err, sandbox.ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if strings.Contains(c.want, "no such file") && !strings.Contains(err.Error(), "docker-archive:FILE") {
				t.Errorf("the forms are not listed: %v", err)
			}
		})
	}
	if _, err := Open(context.Background(), "oci:/no/such", Options{TempDir: t.TempDir()}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a named path that is not there: %v", err)
	}
}

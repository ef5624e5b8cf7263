package image

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	registryserver "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"gavel/sandbox"
)

// served is a registry of this process. wrap may change its answers.
func served(t *testing.T, wrap func(http.Handler) http.Handler) (host string) {
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // nobody's credentials
	handler := registryserver.New(registryserver.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// manifest is bytes that a registry takes as one.
type manifest struct {
	content   []byte
	mediaType types.MediaType
}

func (m manifest) RawManifest() ([]byte, error)        { return m.content, nil }
func (m manifest) MediaType() (types.MediaType, error) { return m.mediaType, nil }

// push puts all blobs of f into the repository, and the manifest d under ref.
func (f tree) push(t *testing.T, ref string, d imagespec.Descriptor) {
	t.Helper()
	to, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range f {
		if strings.HasPrefix(file, "blobs/") {
			if err := remote.WriteLayer(to.Context(), static.NewLayer(content, types.OCILayer)); err != nil {
				t.Fatal(err)
			}
		}
	}
	content := f["blobs/sha256/"+d.Digest.Encoded()]
	if err := remote.Put(to, manifest{content, types.MediaType(d.MediaType)}); err != nil {
		t.Fatal(err)
	}
}

func TestRegistry(t *testing.T) {
	host := served(t, nil)
	img, layers := twoLayers(t)
	f := tree{}
	ours := f.image(t, img.Config, imagespec.MediaTypeImageLayerGzip, gzipped(t, layers[0]), gzipped(t, layers[1]))
	f.push(t, host+"/a/tool:one", ours)
	theirs := f.image(t, foreignConfig(t, img), imagespec.MediaTypeImageLayer, layers...)
	f.push(t, host+"/a/tool:theirs", theirs)
	again := f.image(t, img.Config, imagespec.MediaTypeImageLayer, layers...)
	f.push(t, host+"/a/tool:again", again)
	index := func(list ...imagespec.Descriptor) imagespec.Descriptor {
		return f.blob(imagespec.MediaTypeImageIndex, asJSON(t, imagespec.Index{MediaType: imagespec.MediaTypeImageIndex, Manifests: list}))
	}
	f.push(t, host+"/a/tool:many", index(on(ours, "linux", runtime.GOARCH), on(theirs, "linux", otherArchitecture())))
	f.push(t, host+"/a/tool:others", index(on(theirs, "linux", otherArchitecture())))
	f.push(t, host+"/a/tool:both", index(on(ours, "linux", runtime.GOARCH), on(again, "linux", runtime.GOARCH)))

	for _, source := range []string{
		"docker://" + host + "/a/tool:one", host + "/a/tool:one", host + "/a/tool:many", "docker://" + host + "/a/tool@" + ours.Digest.String(),
	} {
		t.Run(source[strings.Index(source, "tool"):], func(t *testing.T) { wants(t, source, img, layers) })
	}
	refuses(t, host+"/a/tool:theirs", "this machine runs linux/")
	refuses(t, host+"/a/tool:others", "linux/"+otherArchitecture())
	refuses(t, host+"/a/tool:both", "write HOST/NAME@DIGEST")
	refuses(t, "docker://Not A Name", "write HOST/NAME:TAG")
	if _, err := Open(context.Background(), host+"/a/tool:none", Options{TempDir: t.TempDir()}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such tag: %v", err)
	}
}

// A registry is trusted with nothing: what it sends is what the name says.
func TestRegistryThatLies(t *testing.T) {
	img, layers := twoLayers(t)
	lie := ""
	host := served(t, func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if lie != "" && r.Method == http.MethodGet && strings.Contains(r.URL.Path, lie) {
				answer := httptest.NewRecorder()
				inner.ServeHTTP(answer, r)
				b := answer.Body.Bytes()
				b[len(b)/2] ^= 1
				_, _ = w.Write(b)
				return
			}
			inner.ServeHTTP(w, r)
		})
	})
	f := tree{}
	d := f.image(t, img.Config, imagespec.MediaTypeImageLayer, layers...)
	f.push(t, host+"/a/tool:one", d)
	for what, part := range map[string]string{"config": img.Root(), "layer": img.Layers[1].DiffID.String()} {
		lie = "blobs/" + part
		t.Run(what, func(t *testing.T) { refuses(t, host+"/a/tool:one", "damaged or forged") })
	}
	lie = "manifests/" + d.Digest.String()
	if s, err := Open(context.Background(), host+"/a/tool@"+d.Digest.String(), Options{TempDir: t.TempDir()}); err == nil {
		s.Close()
		t.Error("a forged manifest was taken")
	}
	lie = ""
	wants(t, host+"/a/tool:one", img, layers)
}

func TestRegistryAsksWhoIsThere(t *testing.T) {
	open := true
	host := served(t, func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); !open && (user != "me" || password != "secret") {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			inner.ServeHTTP(w, r)
		})
	})
	img, layers := twoLayers(t)
	f := tree{}
	f.push(t, host+"/a/tool:one", f.image(t, img.Config, imagespec.MediaTypeImageLayer, layers...))
	open = false
	_, err := Open(context.Background(), host+"/a/tool:one", Options{TempDir: t.TempDir()})
	if err == nil || errors.Is(err, sandbox.ErrRefused) || !strings.Contains(err.Error(), "docker login") {
		t.Errorf("as nobody: %v", err)
	}
	login := asJSON(t, map[string]any{"auths": map[string]any{host: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte("me:secret"))}}})
	if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), login, 0o600); err != nil {
		t.Fatal(err)
	}
	wants(t, host+"/a/tool:one", img, layers)
}

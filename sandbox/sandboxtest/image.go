package sandboxtest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"runtime"
	"testing"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"gavel/sandbox"
)

// Entry is one entry of a layer. Its size follows from Content; a mode of 0 is
// 0755 for directories and 0644 for the rest.
type Entry struct {
	tar.Header
	Content string
}

// Archive is a layer's tar archive of entries, in their order.
func Archive(tb testing.TB, entries ...Entry) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		h.Size = int64(len(e.Content))
		if err := w.WriteHeader(&h); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(w, e.Content); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// Image is an image for this machine of the given layers.
func Image(tb testing.TB, layers ...[]byte) sandbox.Image {
	tb.Helper()
	config := imagespec.Image{Platform: imagespec.Platform{OS: "linux", Architecture: runtime.GOARCH}}
	config.RootFS.Type = "layers"
	config.RootFS.DiffIDs = []digest.Digest{}
	var img sandbox.Image
	for _, l := range layers {
		d := digest.FromBytes(l)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d)
		img.Layers = append(img.Layers, sandbox.Layer{DiffID: d, Size: int64(len(l)), Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(l)), nil
		}})
	}
	var err error
	if img.Config, err = json.Marshal(config); err != nil {
		tb.Fatal(err)
	}
	return img
}

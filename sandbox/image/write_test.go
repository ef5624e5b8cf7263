package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"gavel/sandbox"
)

func TestWrittenLayoutIsReadBack(t *testing.T) {
	img, layers := twoLayers(t)
	dir := filepath.Join(t.TempDir(), "out")
	other := filepath.Join(dir, "blobs", "sha256", "other")
	for range 2 { // again changes nothing
		if err := WriteLayout(t.Context(), dir, img); err != nil {
			t.Fatal(err)
		}
		wants(t, "oci:"+dir, img, layers)
		wants(t, dir, img, layers)
		if err := os.WriteFile(other, []byte("x"), 0o600); err != nil { // an input of a build, say
			t.Fatal(err)
		}
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if list, err := os.ReadDir(filepath.Dir(other)); err != nil || len(list) != 4 {
		t.Errorf("blobs: %v, %v", list, err)
	}
}

func TestForgedLayerIsNotWritten(t *testing.T) {
	img, _ := twoLayers(t)
	img.Layers[1].Open = func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(make([]byte, img.Layers[1].Size))), nil
	}
	dir := t.TempDir()
	if err := WriteLayout(t.Context(), dir, img); !errors.Is(err, sandbox.ErrRefused) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, ociIndex)); err == nil {
		t.Error("an index names what was refused")
	}
	if list, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256")); err != nil || len(list) != 1 {
		t.Errorf("left behind: %v, %v", list, err)
	}
}

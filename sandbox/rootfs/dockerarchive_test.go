package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

func TestDockerArchive(t *testing.T) {
	layer := sandboxtest.Archive(t, file("f", "x"))
	img := sandboxtest.Image(t, layer, layer, sandboxtest.Archive(t, file("g", "y")))
	var b bytes.Buffer
	if err := WriteDockerArchive(context.Background(), &b, img); err != nil {
		t.Fatal(err)
	}
	again := b.String()
	members := map[string][]byte{}
	for tr := tar.NewReader(&b); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if members[h.Name] != nil {
			t.Errorf("%s is there twice", h.Name)
		}
		if members[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
	id := strings.TrimPrefix(img.Root(), "sha256:")
	first, third := img.Layers[0].DiffID.Encoded(), img.Layers[2].DiffID.Encoded()
	want := `[{"Config":"` + id + `.json","RepoTags":["gavel:` + id + `"],"Layers":["` + first + `.tar","` + first + `.tar","` + third + `.tar"]}]`
	if got := string(members["manifest.json"]); got != want || len(members) != 4 {
		t.Errorf("%d members, manifest %s\nwant %s", len(members), got, want)
	}
	if digest.FromBytes(members[id+".json"]).Encoded() != id || !bytes.Equal(members[first+".tar"], layer) {
		t.Error("the config or a layer has other bytes")
	}
	if err := WriteDockerArchive(context.Background(), &b, img); err != nil || b.String() != again {
		t.Errorf("written again it differs (%v)", err)
	}
}

func TestDockerArchiveOfALie(t *testing.T) {
	img := sandboxtest.Image(t, sandboxtest.Archive(t, file("f", "x")))
	img.Layers[0].Open = sandboxtest.Image(t, sandboxtest.Archive(t, file("f", "y"))).Layers[0].Open
	var b bytes.Buffer
	err := WriteDockerArchive(context.Background(), &b, img)
	if !errors.Is(err, sandbox.ErrRefused) || bytes.Contains(b.Bytes(), []byte("manifest.json")) {
		t.Errorf("error %v", err)
	}
}

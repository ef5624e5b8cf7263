package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"gavel/sandbox"
)

// busybox is an image of this machine's static busybox, in which programs that
// others look for first are set-user-ID root.
func busybox() (sandbox.Image, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return sandbox.Image{}, fmt.Errorf("finding what to make an image of (apt-get install busybox-static): %w", err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return sandbox.Image{}, err
	}
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		return sandbox.Image{}, fmt.Errorf("asking busybox for its applets: %w", err)
	}
	l := layer{claims: []string{"su", "passwd", "mount"}}
	l.fill(program, strings.Fields(string(applets)))
	if err := l.tar.Close(); err != nil {
		return sandbox.Image{}, fmt.Errorf("packing an image: %w", err)
	}
	return l.image()
}

// layer is an image's only layer as it is packed.
type layer struct {
	claims []string // programs that are set-user-ID root
	b      bytes.Buffer
	tar    *tar.Writer
}

// add packs one entry; what fails shows when the archive is closed.
func (l *layer) add(h tar.Header, content []byte) {
	h.Size = int64(len(content))
	if l.tar.WriteHeader(&h) == nil {
		_, _ = l.tar.Write(content)
	}
}

func (l *layer) fill(program []byte, applets []string) {
	l.tar = tar.NewWriter(&l.b)
	for _, dir := range []string{"bin", "dev", "etc", "proc", "root", "sys", "usr", "usr/bin", "var", "opt", "run"} {
		l.add(tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	l.add(tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil)
	l.add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, program)
	claimed := " " + strings.Join(l.claims, " ") + " "
	for _, a := range applets {
		if a != "busybox" && !strings.Contains(claimed, " "+a+" ") {
			l.add(tar.Header{Name: "bin/" + a, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
		}
	}
	for _, a := range l.claims {
		l.add(tar.Header{Name: "bin/" + a, Typeflag: tar.TypeReg, Mode: 0o4755}, program)
	}
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", "group": "root:x:0:\nnogroup:x:65534:\n", "hosts": "", "resolv.conf": "",
	} {
		l.add(tar.Header{Name: "etc/" + name, Typeflag: tar.TypeReg, Mode: 0o644}, []byte(text))
	}
}

func (l *layer) image() (sandbox.Image, error) {
	raw := l.b.Bytes()
	id := digest.FromBytes(raw)
	config, err := json.Marshal(imagespec.Image{
		Platform: imagespec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		RootFS:   imagespec.RootFS{Type: "layers", DiffIDs: []digest.Digest{id}},
	})
	if err != nil {
		return sandbox.Image{}, err
	}
	return sandbox.Image{Config: config, Layers: []sandbox.Layer{{
		DiffID: id, Size: int64(len(raw)),
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil },
	}}}, nil
}

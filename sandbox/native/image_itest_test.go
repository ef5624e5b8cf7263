//go:build itest

package native

import (
	"archive/tar"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

// busyboxImage is the smallest image in which the contract's commands run.
func busyboxImage(t testing.TB) sandbox.Image {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal("a static busybox is needed: apt install busybox-static")
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	entries := []sandboxtest.Entry{
		{Header: tar.Header{Name: "bin/busybox", Mode: 0o755}, Content: string(program)},
		{Header: tar.Header{Name: "etc/passwd"}, Content: etcWritten["passwd"]},
		{Header: tar.Header{Name: "etc/hosts"}, Content: "127.0.0.1 localhost\n"},
		{Header: tar.Header{Name: "usr/bin", Typeflag: tar.TypeDir}},
		{Header: tar.Header{Name: "usr/bin/env", Typeflag: tar.TypeSymlink, Linkname: "../../bin/busybox"}},
	}
	for _, name := range strings.Fields(string(applets)) {
		if name != "busybox" {
			entries = append(entries, sandboxtest.Entry{Header: tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox"}})
		}
	}
	return sandboxtest.Image(t, sandboxtest.Archive(t, entries...))
}

// In an image the contract holds as it does among the machine's own programs.
func TestContractInAnImage(t *testing.T) {
	img := busyboxImage(t)
	var r *Runner
	sandboxtest.Contract(t, sandboxtest.Config{
		New: func(t testing.TB) sandbox.Runner {
			r = openRunner(t, Config{ScratchDir: t.TempDir(), ImageDir: t.TempDir()})
			if _, err := r.TakeImage(context.Background(), img); err != nil {
				t.Fatal(err)
			}
			return r
		},
		Root:            img.Root(),
		ForeignRoot:     "sha256:" + strings.Repeat("0", 64),
		ForeignRootSays: "give it the image first",
		Leftovers:       func(t testing.TB) []string { return held(t, r) },
	})
}

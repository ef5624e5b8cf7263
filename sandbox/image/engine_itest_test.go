//go:build itest

package image

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gavel/sandbox/rootfs"
)

// The engine, our archive of an image, and the engine's archive of the same
// must agree on its name and its layers.
func TestWhatDockerSaves(t *testing.T) {
	script := exec.Command("../../testdata/images/busybox.sh")
	script.Stderr = os.Stderr
	out, err := script.Output()
	if err != nil {
		t.Fatal(err)
	}
	id := strings.TrimSpace(string(out))
	saved := filepath.Join(t.TempDir(), "saved.tar")
	if out, err := exec.Command("docker", "save", "-o", saved, id).CombinedOutput(); err != nil {
		t.Fatalf("docker save: %v\n%s", err, out)
	}
	for _, form := range []string{"", "docker-archive:"} {
		s, err := Open(context.Background(), form+saved, Options{TempDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if s.Image.Root() != id {
			t.Errorf("the image is %s here and %s in the engine", s.Image.Root(), id)
		}
		root := filepath.Join(t.TempDir(), "root")
		if err := rootfs.Unpack(context.Background(), s.Image, root, rootfs.Options{}); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(root, "bin/busybox")); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("its busybox: %v %v", info, err)
		}
		if target, err := os.Readlink(filepath.Join(root, "bin/sh")); err != nil || target != "busybox" {
			t.Errorf("its sh leads to %q %v", target, err)
		}
	}
}

// What is made here and loaded there has the same name there, and comes back.
func TestADirectoryThroughTheEngine(t *testing.T) {
	dir := tree{"bin/tool": []byte(t.Name()), "etc/of-this-test": []byte(t.TempDir())}.write(t, t.TempDir())
	made, err := Open(context.Background(), dir, Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	var archive bytes.Buffer
	if err := rootfs.WriteDockerArchive(context.Background(), &archive, made.Image); err != nil {
		t.Fatal(err)
	}
	load := exec.Command("docker", "load")
	load.Stdin = &archive
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("docker load: %v\n%s", err, out)
	}
	tag := rootfs.DockerTag(made.Image.Root())
	t.Cleanup(func() {
		if out, err := exec.Command("docker", "image", "rm", tag).CombinedOutput(); err != nil {
			t.Errorf("docker image rm: %v\n%s", err, out)
		}
	})
	out, err := exec.Command("docker", "image", "inspect", "-f", "{{.Id}}", tag).Output()
	if id := strings.TrimSpace(string(out)); err != nil || id != made.Image.Root() {
		t.Errorf("the engine's id is %s (%v), ours %s", id, err, made.Image.Root())
	}
	saved := filepath.Join(t.TempDir(), "saved.tar")
	if out, err := exec.Command("docker", "save", "-o", saved, tag).CombinedOutput(); err != nil {
		t.Fatalf("docker save: %v\n%s", err, out)
	}
	back, err := Open(context.Background(), saved, Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if back.Image.Root() != made.Image.Root() || !bytes.Equal(back.Image.Config, made.Image.Config) {
		t.Errorf("it came back as %s with the config\n%s\nwant\n%s", back.Image.Root(), back.Image.Config, made.Image.Config)
	}
}

// Golden names: a later Go or gavel must not rename everybody's directories.
func TestTheNameOfADirectoryIsForEver(t *testing.T) {
	dir := t.TempDir()
	tree{"bin/tool": []byte("tool"), "etc/conf": []byte("conf"), strings.Repeat("long/", 30) + "name": nil}.write(t, dir)
	for name, mode := range map[string]os.FileMode{".": 0o755, "bin/tool": os.ModeSetuid | 0o755} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Lchown(filepath.Join(dir, "etc/conf"), 1, 65535), unix.Setxattr(filepath.Join(dir, "etc/conf"), "user.x", []byte("y"), 0)); err != nil {
		t.Fatal(err)
	}
	s, err := Open(context.Background(), dir, Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Image.Layers[0].DiffID.String(); got != goldenLayer {
		t.Errorf("the layer is %s, was %s", got, goldenLayer)
	}
}

const goldenLayer = "sha256:b506dfdf059de250b5bf9c82f36d0fa2d966de2b556b0d0368286e163b637c69"

// Two roots of one hour are one image, and it is a Debian that runs.
func TestDebootstrap(t *testing.T) {
	var roots []string
	for range 2 {
		temp := t.TempDir()
		var told []string
		s, err := Open(context.Background(), "debootstrap:bookworm?include=make", Options{TempDir: temp, Progress: func(line string) { told = append(told, line) }})
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, s.Image.Root())
		if len(told) < 10 {
			t.Errorf("told %q of a long work", told)
		}
		if len(roots) == 2 {
			root := filepath.Join(t.TempDir(), "root")
			if err := rootfs.Unpack(context.Background(), s.Image, root, rootfs.Options{}); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("chroot", root, "/usr/bin/make", "--version").Output()
			if err != nil || !bytes.HasPrefix(out, []byte("GNU Make")) {
				t.Errorf("its make says %q %v", out, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	}
	if roots[0] != roots[1] {
		t.Errorf("the same suite is %s and %s", roots[0], roots[1])
	}
}

func TestDebootstrapThatFails(t *testing.T) {
	temp := t.TempDir()
	_, err := Open(context.Background(), "debootstrap:bookworm?mirror=file:///no/such/mirror", Options{TempDir: temp})
	if err == nil || !strings.Contains(err.Error(), "its last words") {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

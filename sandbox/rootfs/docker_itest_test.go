//go:build itest

package rootfs

import (
	"bytes"
	"context"
	"io"
	"os/exec"
	"strings"
	"testing"

	"gavel/sandbox/sandboxtest"
)

func docker(t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	cmd := exec.Command("docker", args...)
	cmd.Stdin = stdin
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// The engine must know the image by the name that gavel knows it by, and have its files.
func TestDockerLoadsTheArchive(t *testing.T) {
	layer := sandboxtest.Archive(t, dir("etc"), file("etc/of-this-test", t.TempDir()))
	img := sandboxtest.Image(t, layer, sandboxtest.Archive(t, file("etc/upper", "x\n")))
	var b bytes.Buffer
	if err := WriteDockerArchive(context.Background(), &b, img); err != nil {
		t.Fatal(err)
	}
	docker(t, &b, "load")
	t.Cleanup(func() { docker(t, nil, "image", "rm", DockerTag(img.Root())) })
	if id := docker(t, nil, "image", "inspect", "-f", "{{.Id}} {{.RepoTags}}", img.Root()); id != img.Root()+" ["+DockerTag(img.Root())+"]" {
		t.Errorf("the engine's id is %s, want %s", id, img.Root())
	}
	container := docker(t, nil, "create", img.Root(), "/nothing")
	t.Cleanup(func() { docker(t, nil, "rm", container) })
	if archive := docker(t, nil, "cp", container+":/etc/upper", "-"); !strings.Contains(archive, "x\n") {
		t.Errorf("the file is not there: %q", archive)
	}
}

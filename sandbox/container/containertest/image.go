package containertest

import (
	"archive/tar"
	"os"
	"os/exec"
	"strings"
	"testing"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

// Busybox is an image of this machine's static busybox, and nothing else: not
// one of the directories on which a runner mounts. more are further entries.
func Busybox(tb testing.TB, more ...sandboxtest.Entry) sandbox.Image {
	tb.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		tb.Fatalf("%v; apt-get install busybox-static", err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		tb.Fatal(err)
	}
	entries := []sandboxtest.Entry{
		directory("bin"), directory("root"), directory("usr"), directory("usr/bin"), directory("var"),
		{Header: tar.Header{Name: "bin/busybox", Mode: 0o755}, Content: string(program)},
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet != "busybox" {
			entries = append(entries, Symlink("bin/"+applet, "busybox"))
		}
	}
	return sandboxtest.Image(tb, sandboxtest.Archive(tb, append(entries, more...)...))
}

// Hostile is Busybox with everything in the way that can stand where a runner
// mounts: links out of the root, files, and files of its own there.
func Hostile(tb testing.TB) sandbox.Image {
	tb.Helper()
	return Busybox(tb, Symlink("proc", "/etc"), Symlink("tmp", "../../../tmp"), Symlink("build", "/root"),
		sandboxtest.Entry{Header: tar.Header{Name: "dev", Mode: 0o644}, Content: "a file\n"},
		directory("sys"), sandboxtest.Entry{Header: tar.Header{Name: "sys/of-the-image"}, Content: "x"},
		directory("etc"), Symlink("etc/resolv.conf", "/root/nowhere"), Symlink(".gavel-init", "/bin/false"))
}

func directory(name string) sandboxtest.Entry {
	return sandboxtest.Entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name + "/"}}
}

// Symlink is a link of an image.
func Symlink(name, target string) sandboxtest.Entry {
	return sandboxtest.Entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}}
}

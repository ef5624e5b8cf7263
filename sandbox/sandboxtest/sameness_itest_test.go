//go:build itest

package sandboxtest_test

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/docker"
	"gavel/sandbox/native"
	"gavel/sandbox/oci"
	"gavel/sandbox/sandboxtest"
)

// everything prints all that a build could write into its outputs and that
// should not tell one kind of sandbox from another.
const everything = `
exec > out/seen 2>&1
section() { echo "== $*"; "$@"; }
section pwd
section id
section env
section umask
section uname -n
section sh -c 'ulimit -a'
section nproc
section cat /proc/cpuinfo
section ls -la /dev
section ls -la /dev/shm /dev/pts
section ls -ld / /tmp /build /proc /sys /dev /bin /etc /root /var
section ls -lan --full-time /etc /var /srv
section ls -lan --full-time .
section stat -c '%n %u %g %a %h %s %Y' /bin/busybox /etc/secret /var/owned /var/suid in/data
section cat /etc/hosts /etc/hostname /etc/resolv.conf
section cat /etc/secret
section sh -c 'echo x > /etc/new'
section sh -c 'echo x > /new'
section sh -c 'echo x > /var/owned/new'
section sh -c 'echo x > in/data; cat in/data'
section sh -c 'touch new; mkdir newdir; ln -s new link; ls -la --full-time new newdir link | cut -c1-30'
section sh -c 'ls -d /sys/devices/system/cpu/online; cat /sys/devices/system/cpu/online /sys/devices/system/cpu/possible /sys/devices/system/cpu/present'
section sh -c 'grep -E "^(Uid|Gid|Groups|NoNewPrivs|Seccomp|CapInh|CapPrm|CapEff|CapBnd|CapAmb|SigIgn|SigBlk|Umask|NSpid|Cpus_allowed):?" /proc/self/status | grep -v -e Cpus_allowed'
section sh -c 'grep -c . /proc/net/dev; cut -d: -f1 /proc/net/dev'
section sh -c 'cat /proc/self/cgroup | cut -d: -f3 | sort -u'
section sh -c 'echo $$ $PPID'
section cat /proc/1/comm
section sh -c 'cat /proc/self/personality'
section ls -l /proc/self/fd
section sh -c 'mknod /tmp/null c 1 3; mount -t tmpfs none /tmp; chroot / true; echo $?'
section sh -c 'ping -c1 127.0.0.1 | grep -c ttl'
section sh -c 'chown 0:0 new; su root -c id; echo $?'
section date -d @0
section sh -c 'echo $((1<<3)); printf "%s\n" b A a B | sort'
section sh -c 'trap "echo got term" TERM; kill -TERM $$'
section df -P /tmp
exit 0
`

// kinds are all runners that this machine can have.
func kinds(t *testing.T) map[string]sandbox.ImageTaker {
	t.Helper()
	out := map[string]sandbox.ImageTaker{}
	add := func(name string, r sandbox.ImageTaker, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Errorf("closing %s: %v", name, err)
			}
		})
		out[name] = r
	}
	dir := t.TempDir()
	scratch := func(name string) string {
		t.Helper()
		d := filepath.Join(dir, name)
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		return d
	}
	n, err := native.New(t.Context(), native.Config{ScratchDir: scratch("native"), ImageDir: scratch("native-images")})
	add("native", n, err)
	d, err := docker.New(t.Context(), docker.Config{ScratchDir: scratch("docker"), Owner: "itest-" + container.NewRunID()})
	add("docker", d, err)
	for _, runtime := range []string{"crun", "runc"} {
		o, err := oci.New(t.Context(), oci.Config{Runtime: runtime, ScratchDir: scratch(runtime), ImageDir: scratch(runtime + "-images"), Owner: "itest-" + container.NewRunID()})
		add(runtime, o, err)
	}
	return out
}

// busyboxImage has an owner for every kind of file, and no /build, /proc or /sys.
func busyboxImage(t *testing.T) sandbox.Image {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("needs busybox-static: %v", err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1_600_000_000, 0)
	entry := func(name string, kind byte, mode int64, uid int, content string) sandboxtest.Entry {
		return sandboxtest.Entry{Header: tar.Header{Name: name, Typeflag: kind, Mode: mode, Uid: uid, Gid: uid, ModTime: when}, Content: content}
	}
	entries := []sandboxtest.Entry{
		entry("bin/", tar.TypeDir, 0o755, 0, ""), entry("bin/busybox", tar.TypeReg, 0o755, 0, string(content)),
		entry("etc/", tar.TypeDir, 0o755, 0, ""), entry("etc/hosts", tar.TypeReg, 0o644, 0, "127.0.0.1 image\n"), entry("etc/resolv.conf", tar.TypeReg, 0o644, 0, "nameserver 192.0.2.1\n"),
		entry("etc/passwd", tar.TypeReg, 0o644, 0, "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"),
		entry("etc/secret", tar.TypeReg, 0o600, 0, "secret"), entry("etc/group", tar.TypeReg, 0o644, 0, "root:x:0:\nnogroup:x:65534:\n"),
		entry("root/", tar.TypeDir, 0o700, 0, ""), entry("var/", tar.TypeDir, 0o755, 0, ""), entry("srv/", tar.TypeDir, 0o755, 33, ""),
		entry("var/owned/", tar.TypeDir, 0o755, 65534, ""), entry("var/suid", tar.TypeReg, 0o4755, 0, "x"), entry("var/other", tar.TypeReg, 0o640, 1000, "x"),
	}
	for _, a := range strings.Fields(string(applets)) {
		if a != "busybox" {
			entries = append(entries, sandboxtest.Entry{Header: tar.Header{Name: "bin/" + a, Typeflag: tar.TypeSymlink, Linkname: "busybox", ModTime: when}})
		}
	}
	return sandboxtest.Image(t, sandboxtest.Archive(t, entries...))
}

// One action in one image gives one digest, whatever carries it out. It tries to
// tell where it is by everything that a shell can see.
func TestAllRunnersShowTheSame(t *testing.T) {
	img := busyboxImage(t)
	seen := map[string]string{}
	for name, r := range kinds(t) {
		root, err := r.TakeImage(t.Context(), img)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if root != img.Root() {
			t.Errorf("%s calls the image %s, it is %s", name, root, img.Root())
		}
		seen[name] = look(t, name, r, root)
		t.Logf("%-7s %x", name, sha256.Sum256([]byte(seen[name])))
	}
	for name, text := range seen {
		if name != "native" && text != seen["native"] {
			t.Errorf("native and %s differ:\n%s", name, difference(seen["native"], text))
		}
	}
}

// look runs the action and returns what it saw.
func look(t *testing.T, name string, r sandbox.Runner, root string) string {
	t.Helper()
	input, output := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(input, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(input, "in", "data"), []byte("data\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(input, "out"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := r.Describe()
	when := time.Unix(1_500_000_000, 0)
	for _, p := range []string{"in/data", "in", "out", "."} {
		path := filepath.Join(input, p)
		if err := os.Chown(path, d.InputUID, d.InputGID); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	res, err := r.Run(t.Context(), sandbox.Spec{
		Root: root, Argv: []string{"sh", "-c", everything}, InputDir: input, OutputDir: output, Outputs: []string{"out"}, SourceDateEpoch: 1_500_000_000,
		Log: &log, Limits: sandbox.Limits{CPUMillis: 1000, DiskBytes: 64 << 20, MemoryBytes: 256 << 20},
	})
	if err != nil || res.Status != sandbox.Exited || res.ExitCode != 0 {
		t.Fatalf("%s: %+v, %v: %s", name, res, err, &log)
	}
	text, err := os.ReadFile(filepath.Join(output, "out", "seen"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// difference lists the lines that one text has and the other has not.
func difference(a, b string) string {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err.Error()
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{"a": a, "b": b} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err.Error()
		}
	}
	out, _ := exec.Command("diff", filepath.Join(dir, "a"), filepath.Join(dir, "b")).CombinedOutput() // status 1 says that they differ
	return fmt.Sprint(string(out))
}

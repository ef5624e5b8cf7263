//go:build itest

package sandboxtest_test

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
// should not tell one kind of sandbox from another. What it leaves out:
//   - the size and number of links of directories, which are the file system's
//   - the time and size of /, where engines and runtimes make mount points, and
//     of /etc, where Docker writes on the image's first use; Docker's /etc/mtab
//   - owner and times of devices: no user namespace can make any, so all but Docker
//     show the machine's, which belong to nobody inside
//   - /dev/core, which crun makes, and whose the directory of message queues is: it is made
//     before there are users inside, by all in their own way
//   - /proc's number of processes and its owner, who is the machine's root, as is that of
//     Docker's /sys; and what lies in /sys besides CPUs, where Docker's is the machine's
//   - numbers of processes: the first process's threads take some of them before
const everything = `
exec > out/seen 2>&1
section() { echo "== $*"; "$@"; }
section pwd
section id
section env
section umask
section uname -n
section sh -c 'ulimit -a'
section sh -c 'ulimit -Ha'
section nproc
section cat /proc/cpuinfo
section sh -c 'ls -a /dev | grep -vx core'
section stat -c '%n %F %a %t:%T' /dev/full /dev/null /dev/random /dev/tty /dev/urandom /dev/zero /dev/pts/ptmx
section stat -c '%N %F %a %u %g' /dev /dev/fd /dev/ptmx /dev/pts /dev/shm /dev/stderr /dev/stdin /dev/stdout
section stat -c '%n %F %a' /dev/mqueue /proc
section ls -a /dev/shm /dev/pts /dev/mqueue
section stat -c '%n %F %a %u %g' / /tmp /build /etc /sys/devices/system/cpu
section stat -c '%N %F %a %u %g %Y' /bin /bin/sh /root /var /srv /var/owned
section sh -c 'ls -a /etc | grep -vx mtab'
section stat -c '%n %F %a %u %g %h %s %Y' /etc/group /etc/hostname /etc/hosts /etc/passwd /etc/resolv.conf /etc/secret
section stat -c '%n %F %a %u %g %h %s %Y' /bin/busybox /var/suid /var/other in/data
section stat -c '%n %F %a %u %g %Y' . in
section ls -a . in
section cat /etc/hosts /etc/hostname /etc/resolv.conf
section cat /etc/secret
section sh -c 'echo x > /etc/new'
section sh -c 'echo x > /etc/hosts'
section sh -c 'echo x > /new'
section sh -c 'echo x > /dev/new'
section sh -c 'echo x > /var/owned/new'
section sh -c 'echo x > in/data; cat in/data'
section sh -c 'touch new; mkdir newdir; ln -s new link; stat -c "%N %F %a %u %g" new newdir link'
section sh -c 'ls -d /sys/devices/system/cpu/online; cat /sys/devices/system/cpu/online /sys/devices/system/cpu/possible /sys/devices/system/cpu/present'
section sh -c 'grep -E "^(Uid|Gid|Groups|NoNewPrivs|Seccomp|CapInh|CapPrm|CapEff|CapBnd|CapAmb|SigIgn|SigBlk|Umask|Cpus_allowed):?" /proc/self/status | grep -v -e Cpus_allowed'
section sh -c 'grep -c . /proc/net/dev; cut -d: -f1 /proc/net/dev'
section sh -c 'cat /proc/self/cgroup | cut -d: -f3 | sort -u'
section cat /proc/1/comm
section sh -c 'cat /proc/self/personality'
section sh -c 'ls /proc/self/fd; readlink /proc/self/fd/0'
section sh -c 'mknod /tmp/null c 1 3; mount -t tmpfs none /tmp; chroot / true; echo $?'
section sh -c 'ping -c1 127.0.0.1 | grep -c ttl'
section sh -c 'chown 0:0 new; su root -c id; echo $?'
section sh -c 'echo typed > /dev/tty'
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

// busyboxImage has an owner for every kind of file, and no /build, /proc or /sys;
// bare, it has no /etc either.
func busyboxImage(t *testing.T, bare bool) sandbox.Image {
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
	if bare {
		entries = slices.DeleteFunc(entries, func(e sandboxtest.Entry) bool { return strings.HasPrefix(e.Header.Name, "etc/") })
	}
	return sandboxtest.Image(t, sandboxtest.Archive(t, entries...))
}

// One action in one image gives one digest, whatever carries it out. It tries to
// tell where it is by everything that a shell can see.
func TestAllRunnersShowTheSame(t *testing.T) {
	runners := kinds(t)
	varied := sandbox.Variation{
		WorkRoot: "/build/v7/tree", Hostname: "v7", UID: 4321, Umask: 0o077, Locale: "C", TimeZone: "Asia/Tokyo", CPUs: 1, ReverseOrder: true, FixedAddresses: true,
	}
	for name, c := range map[string]struct {
		bare bool
		vary sandbox.Variation
	}{"fixed": {}, "image without /etc": {bare: true}, "varied": {vary: varied}} {
		t.Run(name, func(t *testing.T) {
			img := busyboxImage(t, c.bare)
			seen := map[string]string{}
			for name, r := range runners {
				root, err := r.TakeImage(t.Context(), img)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if root != img.Root() {
					t.Errorf("%s calls the image %s, it is %s", name, root, img.Root())
				}
				seen[name] = look(t, name, r, root, c.vary)
				t.Logf("%-7s %x", name, sha256.Sum256([]byte(seen[name])))
			}
			for name, text := range seen {
				if name != "native" && text != seen["native"] {
					t.Errorf("native and %s differ:\n%s", name, difference(seen["native"], text))
				}
			}
		})
	}
}

// look runs the action and returns what it saw.
func look(t *testing.T, name string, r sandbox.Runner, root string, v sandbox.Variation) string {
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
		Root: root, Argv: []string{"sh", "-c", everything}, Variation: v, InputDir: input, OutputDir: output, Outputs: []string{"out"}, SourceDateEpoch: 1_500_000_000,
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

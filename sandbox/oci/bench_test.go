//go:build itest

package oci

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/container/containertest"
)

// BenchmarkStart compares a whole Run of an empty command with the runtime's own
// run of the same image with namespaces and nothing else asked for, in turns, and
// prints the ratio.
func BenchmarkStart(b *testing.B) {
	img := containertest.Busybox(b)
	for _, runtime := range runtimes {
		b.Run(runtime, func(b *testing.B) {
			r := newRunner(b, runtime)
			defer r.Close()
			root, err := r.TakeImage(context.Background(), img)
			if err != nil {
				b.Fatal(err)
			}
			bundle := bareBundle(b, r, root)
			s := sandbox.Spec{Root: root, Argv: []string{"/bin/true"}, InputDir: b.TempDir(), OutputDir: b.TempDir()}
			var ours, bare time.Duration
			for b.Loop() {
				begin := time.Now()
				if res, err := r.Run(context.Background(), s); err != nil || res.Status != sandbox.Exited || res.ExitCode != 0 {
					b.Fatalf("%+v %v", res, err)
				}
				ours += time.Since(begin)

				begin = time.Now()
				if out, err := exec.Command(r.runtime.path, "--root", r.runtime.state, "run", "--bundle", bundle, "bare-"+container.NewRunID()).CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				bare += time.Since(begin)
			}
			b.ReportMetric(float64(ours.Microseconds())/1000/float64(b.N), "ms/run")
			b.ReportMetric(float64(bare.Microseconds())/1000/float64(b.N), "ms/bare")
			b.ReportMetric(float64(ours)/float64(bare), "x-bare-runtime")
		})
	}
}

// bareBundle is the least that a runtime takes.
func bareBundle(b *testing.B, r *Runner, root string) string {
	b.Helper()
	dir := b.TempDir()
	image, release, err := r.image(root)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(release)
	copied := filepath.Join(dir, "rootfs")
	if out, err := exec.Command("cp", "-a", image, copied).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for _, point := range []string{"dev", "proc"} {
		if err := os.MkdirAll(filepath.Join(copied, point), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	text, err := json.Marshal(&specs.Spec{
		Version: "1.0.2",
		Process: &specs.Process{Args: []string{"/bin/true"}, Cwd: "/"},
		Root:    &specs.Root{Path: copied},
		Mounts:  []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace},
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600); err != nil {
		b.Fatal(err)
	}
	return dir
}

//go:build itest

package docker

import (
	"context"
	"os/exec"
	"testing"
	"time"

	engine "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/strslice"

	"gavel/sandbox"
)

// BenchmarkStart compares a whole Run of an empty command, but for the removal
// that happens behind it, with the engine's own create, start and wait for the
// same image without any isolation asked for, and with `docker run --rm` of its
// client, in turns, and prints the ratios.
func BenchmarkStart(b *testing.B) {
	r := newRunner(b)
	defer r.Close()
	s := sandbox.Spec{Root: busybox, Argv: []string{"/bin/true"}, InputDir: b.TempDir(), OutputDir: b.TempDir()}
	ctx := context.Background()
	var ours, bare, client time.Duration
	for b.Loop() {
		begin := time.Now()
		if res, err := r.Run(ctx, s); err != nil || res.Status != sandbox.Exited || res.ExitCode != 0 {
			b.Fatalf("%+v %v", res, err)
		}
		ours += time.Since(begin)
		r.removals.Wait()

		begin = time.Now()
		remove := bareRun(b, r, ctx)
		bare += time.Since(begin)
		remove()

		begin = time.Now()
		if out, err := exec.Command("docker", "run", "--rm", "--network", "none", busybox, "/bin/true").CombinedOutput(); err != nil {
			b.Fatalf("docker run: %v\n%s", err, out)
		}
		client += time.Since(begin)
	}
	b.ReportMetric(float64(ours.Milliseconds())/float64(b.N), "ms/run")
	b.ReportMetric(float64(bare.Milliseconds())/float64(b.N), "ms/bare")
	b.ReportMetric(float64(client.Milliseconds())/float64(b.N), "ms/docker-run")
	b.ReportMetric(float64(ours)/float64(bare), "x-bare-engine")
	b.ReportMetric(float64(ours)/float64(client), "x-docker-run")
}

func bareRun(b *testing.B, r *Runner, ctx context.Context) (remove func()) {
	made, err := r.engine.ContainerCreate(ctx,
		&engine.Config{Image: busybox, Cmd: strslice.StrSlice{"/bin/true"}, Labels: r.labels("bare")},
		&engine.HostConfig{NetworkMode: "none"}, nil, nil, "")
	if err != nil {
		b.Fatal(err)
	}
	exited, lost := r.engine.ContainerWait(ctx, made.ID, engine.WaitConditionNextExit)
	if err := r.engine.ContainerStart(ctx, made.ID, engine.StartOptions{}); err != nil {
		b.Fatal(err)
	}
	select {
	case <-exited:
	case err := <-lost:
		b.Fatal(err)
	}
	return func() {
		if err := r.remove(ctx, made.ID); err != nil {
			b.Fatal(err)
		}
	}
}

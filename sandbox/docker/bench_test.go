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

// BenchmarkStart compares a whole Run of an empty command, but for what happens
// behind it, the removal and the start of the next spare, with the engine's own
// create, start and wait for the same image without any isolation asked for, and
// with `docker run --rm` of its client, in turns, and prints the ratios. A first
// run finds no spare.
func BenchmarkStart(b *testing.B) {
	r := newRunner(b)
	defer r.Close()
	s := sandbox.Spec{Root: busybox, Argv: []string{"/bin/true"}, InputDir: b.TempDir(), OutputDir: b.TempDir()}
	ctx := context.Background()
	var first, ours, bare, client time.Duration
	for b.Loop() {
		r.dropSpare()
		r.removals.Wait()
		begin := time.Now()
		mustRunEmpty(b, r, s)
		first += time.Since(begin)
		settle(r)

		begin = time.Now()
		mustRunEmpty(b, r, s)
		ours += time.Since(begin)
		settle(r)

		begin = time.Now()
		remove := bareRun(b, r, ctx)
		bare += time.Since(begin)
		remove()

		begin = time.Now()
		clientRun(b)
		client += time.Since(begin)
	}
	b.ReportMetric(float64(first.Milliseconds())/float64(b.N), "ms/first-run")
	b.ReportMetric(float64(ours.Milliseconds())/float64(b.N), "ms/run")
	b.ReportMetric(float64(bare.Milliseconds())/float64(b.N), "ms/bare")
	b.ReportMetric(float64(client.Milliseconds())/float64(b.N), "ms/docker-run")
	b.ReportMetric(float64(ours)/float64(bare), "x-bare-engine")
	b.ReportMetric(float64(first)/float64(client), "x-docker-run-first")
	b.ReportMetric(float64(ours)/float64(client), "x-docker-run")
}

// BenchmarkStartsInARow is about empty commands without a pause between them, each
// of which waits for what the one before left to be done behind it: for its spare
// to be started, and for the engine, which still removes its container.
func BenchmarkStartsInARow(b *testing.B) {
	r := newRunner(b)
	defer r.Close()
	s := sandbox.Spec{Root: busybox, Argv: []string{"/bin/true"}, InputDir: b.TempDir(), OutputDir: b.TempDir()}
	begin := time.Now()
	for range b.N {
		mustRunEmpty(b, r, s)
	}
	ours := time.Since(begin)
	settle(r)
	begin = time.Now()
	for range b.N {
		clientRun(b)
	}
	client := time.Since(begin)
	b.ReportMetric(float64(ours.Milliseconds())/float64(b.N), "ms/run")
	b.ReportMetric(float64(client.Milliseconds())/float64(b.N), "ms/docker-run")
	b.ReportMetric(float64(ours)/float64(client), "x-docker-run")
}

func mustRunEmpty(b *testing.B, r *Runner, s sandbox.Spec) {
	if res, err := r.Run(context.Background(), s); err != nil || res.Status != sandbox.Exited || res.ExitCode != 0 {
		b.Fatalf("%+v %v", res, err)
	}
}

// settle waits for all that a Run leaves to be done behind it.
func settle(r *Runner) {
	r.removals.Wait()
	r.mu.Lock()
	s := r.spare
	r.mu.Unlock()
	if s != nil {
		<-s.made
	}
}

func clientRun(b *testing.B) {
	if out, err := exec.Command("docker", "run", "--rm", "--network", "none", busybox, "/bin/true").CombinedOutput(); err != nil {
		b.Fatalf("docker run: %v\n%s", err, out)
	}
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

//go:build itest

package docker

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	engine "github.com/docker/docker/api/types/container"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

// waiting is the spare, once it is made.
func waiting(t testing.TB, r *Runner) *spare {
	t.Helper()
	r.mu.Lock()
	s := r.spare
	r.mu.Unlock()
	if s == nil {
		t.Fatal("there is no spare")
	}
	<-s.made
	if s.process == nil {
		t.Fatal("the spare could not be made")
	}
	return s
}

// spared is a Runner that has a spare for every Run that can take one.
type spared struct {
	*Runner
	mu     sync.Mutex
	spares []*spare
}

func (r *spared) Run(ctx context.Context, s sandbox.Spec) (sandbox.Result, error) {
	r.ahead(ctx, s)
	return r.Runner.Run(ctx, s)
}

func (r *spared) ahead(ctx context.Context, s sandbox.Spec) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.Root == sandbox.HostRoot || s.Validate() != nil || ctx.Err() != nil {
		return
	}
	s.Limits = s.Limits.WithDefaults()
	facts, err := r.image(ctx, s.Root)
	if err != nil {
		return
	}
	_, shown, err := r.shown.For(s)
	if err != nil {
		return
	}
	k, ok := kindOf(s, shown)
	if !ok {
		return
	}
	r.makeSpare(k, facts)
	r.makeSpare(k, facts) // in the place of another kind's
	r.Runner.mu.Lock()
	sp := r.spare
	r.Runner.mu.Unlock()
	if sp != nil {
		<-sp.made
		r.spares = append(r.spares, sp)
	}
}

// A command in a spare must not be able to tell, nor must the rest of the machine.
func TestContractWithSpares(t *testing.T) {
	for name, root := range map[string]string{"plain image": busybox, "stubborn image": stubborn} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &spared{Runner: newRunner(t)}
			sandboxtest.Contract(t, sandboxtest.Config{
				New:             func(t testing.TB) sandbox.Runner { return r },
				Root:            root,
				ForeignRoot:     sandbox.HostRoot,
				ForeignRootSays: "--sandbox native",
				Leftovers:       func(t testing.TB) []string { return leftovers(t, r.Runner) },
			})
			served := 0
			for _, sp := range r.spares {
				if sp.process != nil && sp.process.course != nil {
					served++
				}
			}
			t.Logf("%d of %d spares served", served, len(r.spares))
			if served < 30 || served < len(r.spares)*3/4 { // some Runs are cancelled at once, or run beside each other
				t.Errorf("%d of %d spares served", served, len(r.spares))
			}
		})
	}
}

// Each spare serves once, and those that come at the same time get one of their own.
func TestSpareIsHandedOutOnce(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	s, _ := shell(t, busybox, "true")
	mustRun(t, r, s)
	first := waiting(t, r)
	const script = "ls; echo x > made; hostname; sleep 1"
	var together sync.WaitGroup
	for range 3 {
		s, log := shell(t, busybox, script)
		together.Go(func() {
			if res, err := r.Run(context.Background(), s); err != nil || res.ExitCode != 0 || log.String() != "gavel\n" {
				t.Errorf("%+v, %v, log %q", res, err, log)
			}
		})
	}
	together.Wait()
	if first.process.course == nil {
		t.Error("the spare served nobody")
	}
	if next := waiting(t, r); next == first || next.process.run == first.process.run {
		t.Error("the spare is still there after it served")
	}
	noLeftovers(t, r)
}

func TestSpareIsOfTheUsualKind(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	one, _ := shell(t, busybox, "true")
	other, _ := shell(t, busybox, "true")
	other.Limits.MemoryBytes = 64 << 20
	kindNow := func() int64 { return waiting(t, r).kind.limits.MemoryBytes }
	mustRun(t, r, one)
	usual := kindNow()
	mustRun(t, r, other)
	if got := kindNow(); got != usual {
		t.Errorf("one Run of another kind took the spare away: %d", got)
	}
	mustRun(t, r, other)
	if got := kindNow(); got != 64<<20 {
		t.Errorf("the spare is of %d bytes after two Runs in a row of %d", got, 64<<20)
	}
	network, _ := shell(t, busybox, "true")
	network.Network = true
	before := waiting(t, r)
	mustRun(t, r, network)
	mustRun(t, r, network)
	if waiting(t, r) != before {
		t.Error("commands that take no spare changed it")
	}
	noLeftovers(t, r)
}

// Whatever happens to a spare, the Run that would have taken it goes on.
func TestSpareIsLost(t *testing.T) {
	p := newProxy(t)
	ctx := context.Background()
	for name, lose := range map[string]func(t *testing.T, r *Runner, sp *process){
		"removed": func(t *testing.T, r *Runner, sp *process) {
			if err := r.remove(ctx, sp.container); err != nil {
				t.Fatal(err)
			}
		},
		"killed": func(t *testing.T, r *Runner, sp *process) {
			if err := r.engine.ContainerKill(ctx, sp.container, "KILL"); err != nil {
				t.Fatal(err)
			}
		},
		"stopped": func(t *testing.T, r *Runner, sp *process) {
			if err := r.engine.ContainerStop(ctx, sp.container, engine.StopOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"connection lost": func(*testing.T, *Runner, *process) { p.lose(0) },
		"engine away":     func(*testing.T, *Runner, *process) { p.lose(2) },
		"mounts not passed on": func(t *testing.T, r *Runner, sp *process) {
			sp.pid = os.Getpid() // which sees no build directory
		},
		"scratch unmounted": func(t *testing.T, r *Runner, sp *process) {
			if err := sp.scratch.Remove(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t, func(c *Config) { c.Host = p.host })
			closing(t, r)
			s, _ := shell(t, busybox, "true")
			mustRun(t, r, s)
			sp := waiting(t, r)
			lose(t, r, sp.process)
			s, log := shell(t, busybox, "cat in; echo made > out")
			if err := os.WriteFile(s.InputDir+"/in", []byte("input\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			s.Outputs = []string{"out"}
			if res := mustRun(t, r, s); res.Status != sandbox.Exited || res.ExitCode != 0 || log.String() != "input\n" {
				t.Errorf("%+v, log %q", res, log)
			}
			if text, err := os.ReadFile(s.OutputDir + "/out"); string(text) != "made\n" {
				t.Errorf("output %q, %v", text, err)
			}
			if sp.process.course != nil {
				t.Error("the lost spare got the order")
			}
			noLeftovers(t, r)
		})
	}
}

// A runtime that passes no mounts on costs a few containers, not one a Run for ever.
func TestSparesAreGivenUp(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	for range maxSpoilt {
		s, _ := shell(t, busybox, "true")
		mustRun(t, r, s)
		waiting(t, r).process.pid = os.Getpid()
	}
	s, _ := shell(t, busybox, "true")
	mustRun(t, r, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.spare != nil {
		t.Errorf("there is a spare after %d that did not serve", r.spoilt)
	}
}

// A spare keeps no image that the worker lets go.
func TestSpareLetsItsImageGo(t *testing.T) {
	probe := newRunner(t)
	closing(t, probe)
	size, err := probe.engine.ImageInspect(context.Background(), take(t, probe, unique(t, "size")))
	if err != nil {
		t.Fatal(err)
	}
	r := newRunner(t, func(c *Config) { c.ImageBytes = size.Size + size.Size/2 })
	closing(t, r)
	first := take(t, r, unique(t, "1"))
	s, _ := shell(t, first, "true")
	mustRun(t, r, s)
	waiting(t, r)
	r.removals.Wait()
	take(t, r, unique(t, "2"))
	if tags(t, r, first) != nil {
		t.Error("the first image is still there")
	}
	noLeftovers(t, r)
}

// Cancelling a Run that waits for its spare to be made loses neither.
func TestCancelledWhileTheSpareIsMade(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	s, _ := shell(t, busybox, "true")
	mustRun(t, r, s)
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := r.Run(ctx, s); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
	var log bytes.Buffer
	s.Log = &log
	s.Argv = []string{"/bin/sh", "-c", "echo ran"}
	if mustRun(t, r, s); log.String() != "ran\n" {
		t.Errorf("log %q", log.String())
	}
	noLeftovers(t, r)
}

package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gavel/sandbox"
)

// inputs checks that the tree is the command's own, and only a copy.
func inputs(t *testing.T, h *harness) {
	tree := map[string]input{
		"f": {content: "old"}, "x": {content: "#!/bin/sh\necho ran\n", mode: 0o755},
		"d/e/g": {content: "deep"}, "l": {link: "d/e/g"}, "gone": {content: "x"}, "empty/": {},
	}
	t.Run("seen", func(t *testing.T) {
		o := h.run(t, h.spec(t, "stat -c '%n %u %g %a %Y' . f x d d/e d/e/g empty; cat l; ./x", tree))
		o.want(t, sandbox.Exited, 0)
		o.wantLog(t, `. 65534 65534 755 1700000000
f 65534 65534 644 1700000000
x 65534 65534 755 1700000000
d 65534 65534 755 1700000000
d/e 65534 65534 755 1700000000
d/e/g 65534 65534 644 1700000000
empty 65534 65534 755 1700000000
deepran
`)
	})
	t.Run("written", func(t *testing.T) {
		s := h.spec(t, `set -e; echo new > f; chmod 600 x; echo more >> d/e/g; rm gone; touch d/e/new; rm -r empty; mkdir empty; touch empty/now
			mv d moved; mkdir d; echo fresh > d/e; chmod 700 .; cat f moved/e/g d/e; ls empty`, tree)
		before := listing(t, s.InputDir)
		o := h.run(t, s)
		o.want(t, sandbox.Exited, 0)
		o.wantLog(t, "new\ndeepmore\nfresh\nnow\n")
		if after := listing(t, s.InputDir); after != before {
			t.Errorf("the input tree was\n%sand is\n%s", before, after)
		}
	})
	t.Run("as outputs", func(t *testing.T) {
		s := h.spec(t, "echo y > d/y", tree)
		s.Outputs = []string{"d", "f"}
		o := h.run(t, s)
		o.want(t, sandbox.Exited, 0)
		want := "drwxr-xr-x d\ndrwxr-xr-x d/e\n-rw-r--r-- d/e/g \"deep\"\n-rw-r--r-- d/y \"y\\n\"\n-rw-r--r-- f \"old\"\n"
		if got := listing(t, o.out); got != want {
			t.Errorf("outputs are\n%swant\n%s", got, want)
		}
	})
	t.Run("not shared between runs", func(t *testing.T) {
		s := h.spec(t, "ls; ls /tmp /dev/shm; touch new /tmp/new /dev/shm/new", map[string]input{"f": {}})
		first := h.run(t, s)
		s.OutputDir = t.TempDir()
		h.run(t, s).wantLog(t, first.log)
	})
}

// lifetime checks that commands end when they must and leave nothing.
func lifetime(t *testing.T, h *harness) {
	t.Run("orphans", func(t *testing.T) {
		m := marker(t)
		start := time.Now()
		o := h.script(t, "setsid sleep "+m+" >/dev/null 2>&1 & sleep "+m+" & (sleep "+m+" &) ; echo started")
		o.want(t, sandbox.Exited, 0)
		o.wantLog(t, "started\n")
		if took := time.Since(start); took > patience/2 {
			t.Errorf("waited %v for orphans", took)
		}
		if left := alive(t, m); len(left) > 0 {
			t.Errorf("still alive: %v", left)
		}
	})
	t.Run("zombies", func(t *testing.T) {
		o := h.script(t, "i=0; while [ $i -lt 50 ]; do (true & exit) ; i=$((i+1)); done; sleep 1; grep -l '^State:.Z' /proc/[0-9]*/status; true")
		o.wantLog(t, "")
	})
	t.Run("cancel", func(t *testing.T) {
		m := marker(t)
		s := h.spec(t, "trap '' TERM; sleep "+m+" & echo ready; wait", nil)
		ready := make(chan struct{})
		s.Log = &syncBuffer{text: "ready", seen: ready}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := h.r.Run(ctx, s)
			ended <- err
		}()
		select {
		case <-ready:
		case err := <-ended:
			t.Fatalf("ended before it was ready: %v", err)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want the context's", err)
		}
		if left := alive(t, m); len(left) > 0 {
			t.Errorf("still alive: %v", left)
		}
		if left := h.Leftovers(t); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	t.Run("cancelled before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := h.r.Run(ctx, h.spec(t, "true", nil)); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want the context's", err)
		}
	})
	t.Run("concurrent", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 8 {
			s := h.spec(t, fmt.Sprintf("echo %d > f; echo %d > /tmp/f; sleep 1; cat f /tmp/f; exit %d", i, i, i), nil)
			s.Outputs = []string{"f"}
			wg.Go(func() {
				log := &syncBuffer{}
				s.Log = log
				res, err := h.r.Run(context.Background(), s)
				if want := fmt.Sprintf("%d\n%d\n", i, i); err != nil || res.ExitCode != i || log.String() != want {
					t.Errorf("run %d: %+v %v, log %q", i, res, err, log)
				}
			})
		}
		wg.Wait()
		if left := h.Leftovers(t); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	t.Run("roots", func(t *testing.T) {
		roots, err := h.r.Roots(context.Background())
		if err != nil || !strings.Contains(strings.Join(roots, "\n"), h.Root) {
			t.Errorf("roots %q %v, want %q among them", roots, err, h.Root)
		}
	})
}

// refusals checks that a Spec nobody can run is refused, not tried.
func refusals(t *testing.T, h *harness) {
	for name, change := range map[string]func(*sandbox.Spec){
		"no command":        func(s *sandbox.Spec) { s.Argv = nil },
		"escaping output":   func(s *sandbox.Spec) { s.Outputs = []string{"../x"} },
		"absolute output":   func(s *sandbox.Spec) { s.Outputs = []string{"/x"} },
		"bad environment":   func(s *sandbox.Spec) { s.Env = []string{"X"} },
		"escaping work dir": func(s *sandbox.Spec) { s.WorkDir = "a/../.." },
		"absent work dir":   func(s *sandbox.Spec) { s.WorkDir = "absent" },
		"linked work dir":   func(s *sandbox.Spec) { s.WorkDir = "link" },
		"unknown root":      func(s *sandbox.Spec) { s.Root = "nonsense" },
		"negative limit":    func(s *sandbox.Spec) { s.Limits.MemoryBytes = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			s := h.spec(t, "true", map[string]input{"link": {link: "/tmp"}})
			change(&s)
			if _, err := h.r.Run(context.Background(), s); !errors.Is(err, sandbox.ErrRefused) {
				t.Errorf("error %v, want a refusal", err)
			}
		})
	}
	t.Run("another runner's root", func(t *testing.T) {
		s := h.spec(t, "true", nil)
		s.Root = h.ForeignRoot
		_, err := h.r.Run(context.Background(), s)
		if !errors.Is(err, sandbox.ErrRefused) || !strings.Contains(err.Error(), h.ForeignRootSays) {
			t.Errorf("error %v, want a refusal that says %q", err, h.ForeignRootSays)
		}
	})
}

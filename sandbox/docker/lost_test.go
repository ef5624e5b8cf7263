//go:build itest

package docker

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gavel/sandbox"
)

// proxy stands between a runner and the engine, and can lose the engine.
type proxy struct {
	listener net.Listener
	host     string // for Config.Host
	engine   string // path of the engine's socket

	mu    sync.Mutex
	conns map[net.Conn]bool
	// refuse is how many connections are still to be cut at once; negative: all.
	refuse  int
	refused chan struct{} // gets one value for each that was, as far as it has room
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	path := filepath.Join(t.TempDir(), "engine.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	direct, err := connect("")
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	p := &proxy{listener: l, host: "unix://" + path, engine: strings.TrimPrefix(direct.DaemonHost(), "unix://"), conns: map[net.Conn]bool{}, refused: make(chan struct{}, 100)}
	t.Cleanup(func() {
		l.Close()
		p.lose(0)
	})
	go p.serve()
	return p
}

func (p *proxy) serve() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.turnAway() {
			c.Close()
			select {
			case p.refused <- struct{}{}:
			default:
			}
			continue
		}
		engine, err := net.Dial("unix", p.engine)
		if err != nil {
			c.Close()
			continue
		}
		p.mu.Lock()
		p.conns[c], p.conns[engine] = true, true
		p.mu.Unlock()
		go pass(engine, c)
		go pass(c, engine)
	}
}

// pass copies one direction and passes the end on, not more: a half-closed
// stream still has the other half.
func pass(to, from net.Conn) {
	io.Copy(to, from)
	to.(*net.UnixConn).CloseWrite()
}

func (p *proxy) turnAway() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse > 0 {
		p.refuse--
		return true
	}
	return p.refuse < 0
}

// lose cuts every connection and the next n, or all further ones if n is negative.
func (p *proxy) lose(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = n
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

func TestEngineLostDuringTheCommand(t *testing.T) {
	p := newProxy(t)
	r := newRunner(t, func(c *Config) { c.Host = p.host })
	closing(t, r)
	s, _ := shell(t, busybox, "echo ready; sleep 1000000")
	log := newSignal("ready")
	s.Log = log
	go func() {
		<-log.seen
		p.lose(3) // as long as an engine that restarts: the removal is tried again
	}()
	res, err := r.Run(context.Background(), s)
	if !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), "lost while the command ran") || res.Status != 0 {
		t.Errorf("%+v, %v, want ErrUnavailable", res, err)
	}
	noLeftovers(t, r)
	s, _ = shell(t, busybox, "exit 5")
	if res := mustRun(t, r, s); res.ExitCode != 5 {
		t.Errorf("after the engine came back: %+v", res)
	}
}

func TestEngineRestartsBeforeTheCommand(t *testing.T) {
	p := newProxy(t)
	r := newRunner(t, func(c *Config) { c.Host = p.host })
	closing(t, r)
	p.lose(3)
	s, log := shell(t, busybox, "echo ran")
	if res := mustRun(t, r, s); res.Status != sandbox.Exited || log.String() != "ran\n" {
		t.Errorf("%+v, log %q", res, log)
	}
	if len(p.refused) != 3 {
		t.Errorf("%d connections were cut, want 3", len(p.refused))
	}
	noLeftovers(t, r)
}

func TestCancelWhileTheEngineIsAway(t *testing.T) {
	p := newProxy(t)
	r := newRunner(t, func(c *Config) { c.Host = p.host })
	closing(t, r)
	p.lose(-1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-p.refused
		cancel()
	}()
	s, _ := shell(t, busybox, "true")
	if _, err := r.Run(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	p.lose(0)
	noLeftovers(t, r)
}

package consensus

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestRestartFromDisk(t *testing.T) {
	c := newCluster(t, 3)
	c.start()
	ctx := testContext(t)
	leader, _ := c.leader(ctx)
	var sent [][16]byte
	for range 20 {
		m := command()
		if err := insist(ctx, func() *Node { return leader }, m); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, m.Request)
	}
	for _, p := range c.peers {
		c.stop(p.Name)
	}
	// The whole cluster comes back on other addresses: names are what counts.
	for i, addr := range freeAddrs(t, 3) {
		c.peers[i].RaftAddr = addr
	}
	c.start()
	for name, f := range c.fsms {
		if err := f.wait(ctx, func(s fakeState) bool { return len(s.Requests) == len(sent) }); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(f.requests(), sent) {
			t.Errorf("%s came back with something else", name)
		}
	}
}

// A follower that was away while the log was cut gets the snapshot; a node that
// starts on a snapshot restores it and replays what lies behind.
func TestSnapshotAndRestore(t *testing.T) {
	c := newCluster(t, 3)
	c.start()
	ctx := testContext(t)
	leader, followers := c.leader(ctx)
	away := followers[0].config.Name
	c.stop(away)
	propose := func(n int) {
		t.Helper()
		for range n {
			if err := insist(ctx, func() *Node { return leader }, command()); err != nil {
				t.Fatal(err)
			}
		}
	}
	propose(30)
	rc := leader.raft.ReloadableConfig()
	rc.TrailingLogs = 1
	if err := leader.raft.ReloadConfig(rc); err != nil {
		t.Fatal(err)
	}
	if err := leader.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	propose(5)
	c.start(away)
	behind := c.fsms[away]
	if err := behind.wait(ctx, func(s fakeState) bool { return len(s.Requests) == 35 }); err != nil {
		t.Fatal(err)
	}
	if behind.restores == 0 {
		t.Error("no snapshot was sent: the test shows nothing")
	}
	name := leader.config.Name
	c.stop(name)
	c.start(name)
	if err := c.fsms[name].wait(ctx, func(s fakeState) bool { return len(s.Requests) == 35 }); err != nil {
		t.Fatal(err)
	}
	if c.fsms[name].restores == 0 {
		t.Error("no snapshot was read: the test shows nothing")
	}
	if !slices.Equal(c.fsms[name].requests(), behind.requests()) {
		t.Error("the restored nodes differ")
	}
}

const (
	childDirVariable  = "GAVEL_TEST_CHILD_DIR"
	childAddrVariable = "GAVEL_TEST_CHILD_ADDR"
)

// child is a cluster of one in a process of its own, which prints each request
// once it is acknowledged, until it is killed.
func child(dir, addr string) {
	n, err := Open(childConfig(dir, addr, newFakeFSM()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		m := command()
		if err := insist(context.Background(), func() *Node { return n }, m); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("%x\n", m.Request)
	}
}

func childConfig(dir, addr string, fsm *fakeFSM) Config {
	return Config{
		Dir: dir, Name: "only", Peers: []Peer{{Name: "only", RaftAddr: addr}}, FSM: fsm, Pending: fsm.isPending,
		Forwarder: &fakeWires{}, Tick: time.Second, Timing: fast,
	}
}

func TestKilledProcessForgetsNothing(t *testing.T) {
	dir, addr := filepath.Join(t.TempDir(), "node"), freeAddrs(t, 1)[0]
	var acknowledged [][16]byte
	for range 2 {
		cmd := exec.CommandContext(testContext(t), os.Args[0])
		cmd.Env = append(os.Environ(), childDirVariable+"="+dir, childAddrVariable+"="+addr)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for i := 0; lines.Scan(); i++ {
			raw, err := hex.DecodeString(strings.TrimSpace(lines.Text()))
			if err != nil || len(raw) != 16 {
				break // cut off by the kill: not acknowledged
			}
			acknowledged = append(acknowledged, [16]byte(raw))
			if i == 25 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
	}
	if len(acknowledged) < 50 {
		t.Fatalf("only %d commands acknowledged", len(acknowledged))
	}
	fsm := newFakeFSM()
	n, err := Open(childConfig(dir, addr, fsm))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	last := command()
	if err := insist(testContext(t), func() *Node { return n }, last); err != nil {
		t.Fatal(err)
	}
	got := fsm.requests()
	for _, r := range acknowledged {
		if !slices.Contains(got, r) {
			t.Fatalf("%x was acknowledged and is missing", r)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	c := newCluster(t, 1)
	c.fsms[c.peers[0].Name] = newFakeFSM()
	good := c.config(c.peers[0].Name)
	for name, change := range map[string]func(*Config){
		"not a member": func(c *Config) { c.Name = "stranger" },
		"twice":        func(c *Config) { c.Peers = append(c.Peers, c.Peers[0]) },
		"bad address":  func(c *Config) { c.Peers = []Peer{{Name: c.Name, RaftAddr: "nowhere"}} },
		"no FSM":       func(c *Config) { c.FSM = nil },
		"no tick":      func(c *Config) { c.Tick = 0 },
		"taken port":   func(c *Config) { c.Bind = taken(t) },
		"bad dir":      func(c *Config) { c.Dir = "/dev/null/x" },
		"bad lease":    func(c *Config) { c.Timing = Timing{Election: time.Second, Lease: time.Hour} },
	} {
		bad := good
		bad.Peers = slices.Clone(good.Peers)
		change(&bad)
		if n, err := Open(bad); err == nil {
			n.Close()
			t.Errorf("%s: started", name)
		}
	}
	n, err := Open(good) // what was refused left nothing behind that is in the way
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatalf("closing twice: %v", err)
	}
}

func taken(t *testing.T) string {
	tr, err := raft.NewTCPTransport("127.0.0.1:0", nil, 1, time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return string(tr.LocalAddr())
}

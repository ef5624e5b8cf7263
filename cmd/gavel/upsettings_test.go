package main

import (
	"net"
	"slices"
	"strings"
	"testing"

	"gavel/worker"
)

func settings() *upSettings {
	return &upSettings{Coordinators: 3, Workers: 8, Sandbox: worker.SandboxNative, Listen: "127.0.0.1:7300", Misbehave: map[int]string{8: "forge"}}
}

func TestPorts(t *testing.T) {
	s := settings()
	if err := s.choosePorts(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.GRPCPorts, []int{7300, 7301, 7302}) || !slices.Equal(s.RaftPorts, []int{7401, 7402, 7403}) {
		t.Errorf("ports %v and %v", s.GRPCPorts, s.RaftPorts)
	}
	s = settings()
	s.Listen = "127.0.0.1:0"
	if err := s.choosePorts(); err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(s.GRPCPorts, s.RaftPorts)
	slices.Sort(all)
	if len(slices.Compact(all)) != 6 || all[0] < pickFrom || all[5] >= pickTo {
		t.Errorf("ports %v and %v", s.GRPCPorts, s.RaftPorts)
	}
	kept := slices.Clone(s.GRPCPorts)
	if err := s.choosePorts(); err != nil || !slices.Equal(kept, s.GRPCPorts) {
		t.Errorf("chosen again: %v, %v", s.GRPCPorts, err)
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := settings()
	s.Host, s.GRPCPorts = "127.0.0.1", []int{l.Addr().(*net.TCPAddr).Port}
	if err := s.checkPorts(0); err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("got %v", err)
	}
}

// What a farm was made with stays; what may change does.
func TestResume(t *testing.T) {
	flags := func(names ...string) func(string) bool {
		return func(name string) bool { return slices.Contains(names, name) }
	}
	for name, change := range map[string]func(*upSettings){
		"coordinators": func(s *upSettings) { s.Coordinators = 5 }, "workers": func(s *upSettings) { s.Workers = 9 },
		"private": func(s *upSettings) { s.Private = true }, "sandbox": func(s *upSettings) { s.Sandbox = worker.SandboxDocker },
		"runtime": func(s *upSettings) { s.Runtime = "runsc" },
	} {
		want := settings()
		if err := settings().resume("d", want, flags(name)); err != nil {
			t.Errorf("the same --%s: %v", name, err)
		}
		change(want)
		if err := settings().resume("d", want, flags(name)); err == nil || !strings.Contains(err.Error(), "--"+name) {
			t.Errorf("another --%s: %v", name, err)
		}
		if err := settings().resume("d", want, flags()); err != nil {
			t.Errorf("a default of --%s that nobody asked for: %v", name, err)
		}
	}
	s, want := settings(), settings()
	s.GRPCPorts, s.RaftPorts, s.Host = []int{1}, []int{2}, "127.0.0.1"
	want.Misbehave, want.Listen = map[int]string{1: "lazy"}, "127.0.0.1:7300"
	if err := s.resume("d", want, flags("listen")); err != nil || s.Misbehave[8] != "forge" || len(s.GRPCPorts) != 1 {
		t.Errorf("got %+v, %v", s, err)
	}
	want.Listen = "127.0.0.1:7500"
	if err := s.resume("d", want, flags("listen", "misbehave")); err != nil || s.Misbehave[1] != "lazy" || s.Misbehave[8] != "" || len(s.GRPCPorts) != 0 {
		t.Errorf("got %+v, %v", s, err)
	}
	want.Misbehave = map[int]string{9: "lazy"}
	if err := s.resume("d", want, flags("misbehave")); err == nil {
		t.Error("a worker that does not exist misbehaves")
	}
}

func TestWorkerConfig(t *testing.T) {
	s := settings()
	s.Host, s.GRPCPorts, s.Stake = "127.0.0.1", []int{1, 2, 3}, map[int]worker.Amount{8: 22_000_000}
	c := workerConfig("/d", s, 8)
	if *c.Price != 1_800_000 || c.Stake != 22_000_000 || c.Misbehave != "forge" || c.Operator != "operator-8" || c.Machine != "machine-8" || len(c.Endpoints) != 3 {
		t.Errorf("got %+v", c)
	}
	if c := workerConfig("/d", s, 1); *c.Price != 1_100_000 || c.Misbehave != "" || c.Stake != worker.Amount(defaultStake) {
		t.Errorf("got %+v", c)
	}
	s.Private = true
	if c := workerConfig("/d", s, 1); c.Price != nil || c.Stake != 0 {
		t.Errorf("a house pool's worker has a price: %+v", c)
	}
}

func TestSandboxesTakeTurns(t *testing.T) {
	s := settings()
	s.Sandbox, s.Runtime = "native,docker,oci", "sh" // a program that is there
	if err := s.validate(); err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int][2]string{1: {"native", ""}, 2: {"docker", "sh"}, 3: {"oci", "sh"}, 4: {"native", ""}} {
		if kind, runtime := s.sandbox(i); kind != want[0] || runtime != want[1] {
			t.Errorf("worker %d runs %s with %q, want %v", i, kind, runtime, want)
		}
	}
	for _, bad := range [][2]string{{"native,", ""}, {"chroot", ""}, {"native", "crun"}, {"oci", "no-such-program"}} {
		s.Sandbox, s.Runtime = bad[0], bad[1]
		if err := s.validate(); err == nil {
			t.Errorf("--sandbox %q --runtime %q is taken", bad[0], bad[1])
		}
	}
}

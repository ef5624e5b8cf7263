package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"gavel/coordinator/retention"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/worker"
)

// upSettings is up.json: what a farm's directory was made with. Written last
// when a farm is made, it is what makes the directory a farm.
type upSettings struct {
	Coordinators int  `json:"coordinators"`
	Workers      int  `json:"workers"`
	Private      bool `json:"private"`
	// Sandbox is a kind, or several with commas between, which workers take in turn.
	Sandbox string `json:"sandbox"`
	// Runtime is an OCI runtime for those of them that use one.
	Runtime string `json:"runtime,omitempty"`
	// Treasury says what becomes of the treasury's income; empty: keep.
	Treasury string `json:"treasury,omitempty"`
	// FinishedPrice is what every worker asks for a result that it has already;
	// nil: they bid for their slots alone.
	FinishedPrice *worker.Amount `json:"finished_price,omitempty"`
	// Retain is how long the store keeps what nobody uses; empty: the default.
	Retain string `json:"retain,omitempty"`
	// Listen is HOST:PORT as asked for; Host and the ports are what came of it.
	Listen    string `json:"listen"`
	Host      string `json:"host"`
	GRPCPorts []int  `json:"grpc_ports"`
	RaftPorts []int  `json:"raft_ports"`
	LogPorts  []int  `json:"log_ports"`
	// Misbehave and Stake are by worker, numbered from 1.
	Misbehave map[int]string        `json:"misbehave,omitempty"`
	Stake     map[int]worker.Amount `json:"stake,omitempty"`
}

// maxUpWorkers bounds the processes that one machine is asked to run.
const maxUpWorkers = 64

var misbehaviours = []string{worker.MisbehaveForge, worker.MisbehaveCopy, worker.MisbehaveWithhold, worker.MisbehaveLazy, worker.MisbehaveCrash, worker.MisbehaveGarble}

func (s *upSettings) validate() error {
	switch {
	case s.Coordinators < 1 || s.Coordinators > raftfsm.MaxCoordinators:
		return usage("%d coordinators: want 1 to %d", s.Coordinators, raftfsm.MaxCoordinators)
	case s.Workers < 1 || s.Workers > maxUpWorkers:
		return usage("%d workers: want 1 to %d", s.Workers, maxUpWorkers)
	}
	for _, kind := range s.sandboxes() {
		if !slices.Contains(worker.Sandboxes, kind) {
			return usage("--sandbox %q: the kinds are %s", kind, strings.Join(worker.Sandboxes, ", "))
		}
	}
	if s.Runtime != "" && !slices.ContainsFunc(s.sandboxes(), func(kind string) bool { return kind != worker.SandboxNative }) {
		return usage("--runtime %s: only the sandboxes docker and oci use one", s.Runtime)
	}
	if s.Runtime != "" && slices.Contains(s.sandboxes(), worker.SandboxOCI) {
		if _, err := exec.LookPath(s.Runtime); err != nil {
			return usage("--runtime %s: there is no such program (%v): install it, or name crun, runc or runsc", s.Runtime, err)
		}
	}
	if _, _, err := s.parseListen(); err != nil {
		return err
	}
	if _, err := s.treasury(); err != nil {
		return usage("--treasury: %v", err)
	}
	if _, err := retention.Parse(s.Retain); err != nil {
		return usage("--retain: %v", err)
	}
	if s.Private && s.FinishedPrice != nil {
		return usage("--finished-price means nothing in a private farm, which knows no prices")
	}
	for n, kind := range s.Misbehave {
		if n < 1 || n > s.Workers {
			return usage("--misbehave %d=%s: the workers are numbered 1 to %d", n, kind, s.Workers)
		}
		if !slices.Contains(misbehaviours, kind) {
			return usage("--misbehave %d=%s: the kinds are %s", n, kind, strings.Join(misbehaviours, ", "))
		}
	}
	return nil
}

// sandboxes are the kinds that workers take in turn.
func (s *upSettings) sandboxes() []string { return strings.Split(s.Sandbox, ",") }

// sandbox is worker i's kind and OCI runtime.
func (s *upSettings) sandbox(i int) (kind, runtime string) {
	kinds := s.sandboxes()
	if kind = kinds[(i-1)%len(kinds)]; kind != worker.SandboxNative {
		runtime = s.Runtime
	}
	return kind, runtime
}

// treasury is the rule for the treasury's income.
func (s *upSettings) treasury() (build.TreasuryRule, error) {
	if s.Treasury == "" {
		return build.TreasuryKeep, nil
	}
	return build.ParseTreasuryRule(s.Treasury)
}

// readSettings returns nil where dir holds no farm.
func readSettings(dir farmDir) (*upSettings, error) {
	raw, err := readSmall(dir.settings(), maxFarmFileBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the farm's settings: %w", err)
	}
	s := new(upSettings)
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("reading %s: %w", dir.settings(), err)
	}
	return s, nil
}

// resume takes from want what may change between two starts and refuses what may
// not. given tells whether a flag was.
func (s *upSettings) resume(dir farmDir, want *upSettings, given func(flag string) bool) error {
	for _, f := range []struct {
		name      string
		was, want any
	}{
		{"coordinators", s.Coordinators, want.Coordinators}, {"workers", s.Workers, want.Workers},
		{"private", s.Private, want.Private}, {"sandbox", s.Sandbox, want.Sandbox}, {"runtime", s.Runtime, want.Runtime},
		{"treasury", cmp.Or(s.Treasury, build.TreasuryKeep.String()), want.Treasury},
	} {
		if given(f.name) && f.was != f.want {
			return refused(fmt.Errorf("the farm in %s was made with --%s=%v, which cannot change to %v: nothing was done. Leave the flag out, or make another farm with --dir", dir, f.name, f.was, f.want))
		}
	}
	if given("misbehave") {
		s.Misbehave = want.Misbehave
	}
	if given("finished-price") {
		s.FinishedPrice = want.FinishedPrice
	}
	if given("retain") {
		s.Retain = want.Retain
	}
	if given("listen") && want.Listen != s.Listen {
		s.Listen, s.Host, s.GRPCPorts, s.RaftPorts, s.LogPorts = want.Listen, "", nil, nil, nil
	}
	return s.validate()
}

// choosePorts settles the addresses, unless they are.
func (s *upSettings) choosePorts() error {
	if len(s.GRPCPorts) > 0 && len(s.LogPorts) > 0 {
		return nil
	}
	host, port, err := s.parseListen()
	if err != nil {
		return err
	}
	s.Host = host
	if port == 0 {
		return s.pickPorts()
	}
	s.GRPCPorts, s.RaftPorts, s.LogPorts = nil, nil, nil
	for i := range s.Coordinators {
		s.GRPCPorts = append(s.GRPCPorts, port+i)
		s.RaftPorts = append(s.RaftPorts, port+100+i+1)
		s.LogPorts = append(s.LogPorts, port+200+i+1)
	}
	return nil
}

// parseListen reads --listen.
func (s *upSettings) parseListen() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(s.Listen)
	port, convErr := strconv.Atoi(text)
	if err != nil || convErr != nil || port < 0 || port+200+s.Coordinators > 65535 {
		return "", 0, usage("--listen %q: want HOST:PORT, with room for those of Raft and the log above it", s.Listen)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return host, port, nil
}

// Free ports are looked for below the range from which Linux takes those of
// outgoing connections, so that a farm finds its ports free again after a restart.
const (
	pickFrom = 15_000
	pickTo   = 32_000
)

func (s *upSettings) pickPorts() error {
	s.GRPCPorts, s.RaftPorts, s.LogPorts = nil, nil, nil
	start := rand.IntN(pickTo - pickFrom)
	for i := range pickTo - pickFrom {
		port := pickFrom + (start+i)%(pickTo-pickFrom)
		if isFree(s.Host, port) != nil {
			continue
		}
		switch {
		case len(s.GRPCPorts) < s.Coordinators:
			s.GRPCPorts = append(s.GRPCPorts, port)
		case len(s.RaftPorts) < s.Coordinators:
			s.RaftPorts = append(s.RaftPorts, port)
		default:
			if s.LogPorts = append(s.LogPorts, port); len(s.LogPorts) == s.Coordinators {
				return nil
			}
		}
	}
	return fmt.Errorf("no %d ports are free on %s", 3*s.Coordinators, s.Host)
}

func isFree(host string, port int) error {
	l, err := net.Listen("tcp", address(host, port))
	if err != nil {
		return err
	}
	return l.Close()
}

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// portPatience is how long a port may stay taken: the system lets go of one a
// moment after its process has ended.
const portPatience = 3 * time.Second

// checkPorts fails while somebody else listens on a port of ours.
func (s *upSettings) checkPorts(patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for _, port := range slices.Concat(s.GRPCPorts, s.RaftPorts) {
		for {
			err := isFree(s.Host, port)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return refused(fmt.Errorf("cannot listen on %s: %w. Nothing was started. Stop what uses it, or choose others with --listen HOST:PORT (port 0 picks free ones)", address(s.Host, port), rootCause(err)))
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}

// rootCause is the system's own words: "address already in use".
func rootCause(err error) error {
	var call *os.SyscallError
	if errors.As(err, &call) {
		return call.Err
	}
	return err
}

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/verify/keys"
)

// upFarm is a farm whose nodes are children of this process.
type upFarm struct {
	dir       farmDir
	settings  *upSettings
	made      bool         // there was a farm in dir already
	gone      atomic.Int32 // workers that ended while it was starting
	say       func(format string, args ...any)
	lock      *os.File // held: nobody else runs `up` on dir
	nodesLock *os.File // shared with the nodes: held until the last of them is gone
	leash     *os.File // write end of the nodes' standard input
	nodes     []*nodeProcess
	deaths    chan *nodeProcess // one message for each node
	stopOnce  sync.Once
}

// nodeProcess is one child.
type nodeProcess struct {
	farmNode
	command *exec.Cmd
	ended   chan struct{} // closed once it has
	err     error         // how it ended; read after ended
}

const (
	lockName      = "lock"
	nodesLockName = "nodes.lock"
	// orphanPatience is how long nodes of an `up` that was killed may take to stop.
	orphanPatience = 20 * time.Second
	// stopPatience is how long a node may take to stop before it is killed.
	stopPatience = 5 * time.Second
)

// openFarm makes the farm in dir, or readies the one that is there; it starts nothing.
func openFarm(dir farmDir, want *upSettings, given func(flag string) bool, say func(format string, args ...any)) (_ *upFarm, err error) {
	if there, err := readSettings(dir); err == nil && there == nil {
		if err := want.validate(); err != nil { // before anything is made
			return nil, err
		}
	}
	if err := os.MkdirAll(string(dir), 0o700); err != nil {
		return nil, refused(fmt.Errorf("making the farm's directory: %w. Nothing was started. Name another with --dir", err))
	}
	f := &upFarm{dir: dir, say: say}
	defer func() {
		if err != nil {
			f.unlock()
		}
	}()
	if err := f.takeLocks(); err != nil {
		return nil, err
	}
	if f.settings, err = readSettings(dir); err != nil {
		return nil, err
	}
	f.made = f.settings != nil
	if f.made {
		err = f.settings.resume(dir, want, given)
	} else {
		f.settings = want
		err = checkNew(dir)
	}
	if err == nil {
		err = f.settings.choosePorts()
	}
	if err != nil {
		return nil, err
	}
	if err := f.settings.checkPorts(portPatience); err != nil {
		return nil, err
	}
	if !f.made {
		if err := createFarm(dir, f.settings); err != nil {
			return nil, err
		}
	}
	return f, errors.Join(writeJSON(dir.settings(), f.settings), writeConfigs(dir, f.settings))
}

// takeLocks makes this process the farm's only `up`, and waits for nodes that an
// earlier one left behind.
func (f *upFarm) takeLocks() (err error) {
	if f.lock, err = os.OpenFile(filepath.Join(string(f.dir), lockName), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return refused(fmt.Errorf("locking the farm's directory: %w. Nothing was started", err))
	}
	if err := unix.Flock(int(f.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return refused(fmt.Errorf("the farm in %s is up already: nothing was started. Use it with --farm %s, or stop its `gavel up` first", f.dir, f.dir))
	}
	if f.nodesLock, err = os.OpenFile(filepath.Join(string(f.dir), nodesLockName), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("locking the farm's nodes: %w", err)
	}
	for deadline := time.Now().Add(orphanPatience); ; time.Sleep(50 * time.Millisecond) {
		if unix.Flock(int(f.nodesLock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return refused(fmt.Errorf("nodes of an earlier `gavel up` in %s still run: nothing was started. Their pids are in %s; stop them and try again", f.dir, f.dir.file()))
		}
	}
}

func (f *upFarm) unlock() {
	for _, lock := range []*os.File{f.nodesLock, f.lock} {
		if lock != nil {
			_ = lock.Close() // nothing was written to it
		}
	}
}

func (f *upFarm) endpoints() (out []string) {
	for _, port := range f.settings.GRPCPorts {
		out = append(out, address(f.settings.Host, port))
	}
	return out
}

// start starts all nodes and says in farm.json where they are.
func (f *upFarm) start() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	stdin, leash, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting the nodes: %w", err)
	}
	defer stdin.Close()
	f.leash = leash
	f.deaths = make(chan *nodeProcess, f.settings.Coordinators+f.settings.Workers)
	for i, endpoint := range f.endpoints() {
		if err := f.startNode(self, stdin, farmNode{Name: coordinatorName(i + 1), Role: "coordinator", Address: endpoint}); err != nil {
			return err
		}
	}
	for i := 1; i <= f.settings.Workers; i++ {
		if err := f.startNode(self, stdin, farmNode{Name: workerName(i), Role: "worker"}); err != nil {
			return err
		}
	}
	return f.writeFarmFile()
}

func (f *upFarm) startNode(self string, stdin *os.File, n farmNode) error {
	dir := f.dir.node(n.Name)
	output, err := os.OpenFile(filepath.Join(dir, "output"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("starting %s: %w", n.Name, err)
	}
	defer output.Close()
	c := exec.Command(self, n.Role, "--tethered", "--config", filepath.Join(dir, configName(n.Name)))
	c.Stdin, c.Stdout, c.Stderr = stdin, output, output
	c.ExtraFiles = []*os.File{f.nodesLock}
	// A group of its own: a Ctrl-C at the terminal is `up`'s to pass on.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", n.Name, err)
	}
	n.PID = c.Process.Pid
	p := &nodeProcess{farmNode: n, command: c, ended: make(chan struct{})}
	f.nodes = append(f.nodes, p)
	go func() {
		p.err = c.Wait()
		close(p.ended)
		f.deaths <- p
	}()
	return nil
}

func (f *upFarm) writeFarmFile() error {
	abs, err := filepath.Abs(string(f.dir))
	if err != nil {
		return fmt.Errorf("finding %s: %w", f.dir, err)
	}
	d := farmDir(abs)
	requester, err := keys.Load(context.Background(), d.key(keyRequester))
	if err != nil {
		return err
	}
	file := farmFile{
		Endpoints: f.endpoints(), ClusterKey: d.key(keyCluster) + keys.PublicSuffix,
		Requester: farmRequester{Name: requesterName, Account: hex.EncodeToString(requester.ID[:]), Key: d.key(keyRequester), LogKey: d.key(keyRequesterLog)},
	}
	for _, n := range f.nodes {
		file.Nodes = append(file.Nodes, n.farmNode)
	}
	return writeJSON(d.file(), &file)
}

// waitReady returns once key generation is done and every worker is registered.
func (f *upFarm) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		for {
			select {
			case p := <-f.deaths:
				if !f.doesWithout(p) {
					cancel(fmt.Errorf("%s ended while the farm was starting (%s). What was there before is safe in %s. Its last words:\n%s", p.Name, p.how(), f.dir, f.lastWords(p)))
					return
				}
				f.say("%s ended (%s): the farm starts without it. Its last words:\n%s", p.Name, p.how(), f.lastWords(p))
			case <-ctx.Done():
				return
			}
		}
	}()
	err := f.pollReady(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// doesWithout says whether a farm that was there before starts without a node that
// ended: one whose key was revoked must not keep away the farm that gives it another.
func (f *upFarm) doesWithout(p *nodeProcess) bool {
	return f.made && p.Role == "worker" && int(f.gone.Add(1)) < f.settings.Workers
}

func (f *upFarm) pollReady(ctx context.Context) error {
	key, err := keys.Load(ctx, f.dir.key(keyRequester))
	if err != nil {
		return err
	}
	o := api.Options{Endpoints: f.endpoints(), Signer: signer{key}}
	if err := f.dir.trust(&o); err != nil {
		return err
	}
	var c *api.Client
	for c == nil {
		if c, err = api.Dial(ctx, o); err != nil && !errors.Is(err, api.ErrNoCluster) || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	defer c.Close()
	for {
		info, err := c.Info(ctx)
		if err == nil && info.Ready && f.allIn(info.Pools) {
			return nil
		}
		t := time.NewTimer(50 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// allIn says whether every worker that lives is in the pool that the farm was made
// with. The admin may have made others since.
func (f *upFarm) allIn(pools []*gavelv1.Pool) bool {
	return slices.ContainsFunc(pools, func(p *gavelv1.Pool) bool {
		return p.Name == poolName && int(p.Workers) >= f.settings.Workers-int(f.gone.Load())
	})
}

// watch tells of each node that dies, until ctx ends.
func (f *upFarm) watch(ctx context.Context) {
	for {
		select {
		case p := <-f.deaths:
			f.say("%s (pid %d) ended: %s. It is not started again; see %s", p.Name, p.PID, p.how(), filepath.Join(f.dir.node(p.Name), "log"))
		case <-ctx.Done():
			return
		}
	}
}

func (p *nodeProcess) how() string {
	if p.err == nil {
		return "exit status 0"
	}
	return p.err.Error()
}

// lastWords is the end of what a node wrote.
func (f *upFarm) lastWords(p *nodeProcess) string {
	for _, name := range []string{"output", "log"} {
		raw, err := os.ReadFile(filepath.Join(f.dir.node(p.Name), name))
		if raw = bytes.TrimSpace(raw); err == nil && len(raw) > 0 {
			lines := strings.Split(string(raw), "\n")
			return "  " + strings.Join(lines[max(0, len(lines)-5):], "\n  ")
		}
	}
	return "  (none)"
}

// stop ends every node, by its pid, and lets go of the directory.
func (f *upFarm) stop() {
	f.stopOnce.Do(func() {
		for _, p := range f.nodes {
			_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended already
		}
		patience := time.After(stopPatience)
		for _, p := range f.nodes {
			select {
			case <-p.ended:
				continue
			case <-patience:
				patience = closedTime
			}
			_ = p.command.Process.Kill()
			<-p.ended
		}
		if f.leash != nil {
			_ = f.leash.Close()
		}
		f.unlock()
	})
}

// closedTime is a patience that is at an end.
var closedTime = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/api/seal"
	"gavel/cas/server"
	"gavel/coordinator/consensus"
	"gavel/coordinator/duty"
	"gavel/coordinator/publish"
	"gavel/coordinator/service"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/verify/keys"
)

// Run is a node's whole life. It returns nil when ctx has ended and everything
// is closed, or what kept the node from starting or going on.
func Run(ctx context.Context, c Config) error {
	if err := c.validate(); err != nil {
		return fmt.Errorf("starting coordinator: %w", err)
	}
	n, err := start(ctx, c)
	if err != nil {
		return fmt.Errorf("starting coordinator %s: %w", c.Name, err)
	}
	n.log.Info("serving", "address", n.listener.Addr().String(), "cluster", fmt.Sprintf("%x", n.cluster[:6]))
	go n.watchReadiness(ctx)
	select {
	case <-ctx.Done():
		err = nil
	case err = <-n.failed:
		err = fmt.Errorf("coordinator %s: serving: %w", c.Name, err)
	}
	n.log.Info("stopping")
	return errors.Join(err, n.stop())
}

// node is a running coordinator. closers undo, last first, what start did.
type node struct {
	config   Config
	cluster  build.ID
	log      *slog.Logger
	listener net.Listener
	service  *service.Server
	evidence *publish.Publisher
	fsm      *raftfsm.FSM
	health   *health.Server
	currency currency
	failed   chan error // what ended serving
	closers  []func() error
}

func (n *node) onStop(f func() error) { n.closers = append(n.closers, f) }

// stop closes everything in reverse order and returns what went wrong.
func (n *node) stop() error {
	var errs []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		errs = append(errs, n.closers[i]())
	}
	return errors.Join(errs...)
}

// commandKey is a signing key as package api uses it.
type commandKey struct{ *keys.Signer }

// PublicPKIX implements api.Signer.
func (k commandKey) PublicPKIX() []byte { return k.Public }

// start brings a node up; what was begun is undone where it fails.
func start(ctx context.Context, c Config) (_ *node, err error) {
	n := &node{config: c, failed: make(chan error, 2)}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.stop())
		}
	}()
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the node's directory: %w", err)
	}
	raftLog, err := n.openLog()
	if err != nil {
		return nil, err
	}
	g, err := LoadGenesis(c.Genesis)
	if err != nil {
		return nil, err
	}
	n.cluster = g.Digest()
	signer, err := keys.Load(ctx, c.Key)
	if err != nil {
		return nil, fmt.Errorf("loading the signing key: %w", err)
	}
	if err := isMember(g, c.Name, signer.ID); err != nil {
		return nil, err
	}
	if n.fsm, err = raftfsm.New(g); err != nil {
		return nil, err
	}
	if n.listener, err = net.Listen("tcp", firstOf(c.Listen, c.self().Address)); err != nil {
		return nil, fmt.Errorf("listening for gRPC: %w; is another farm running on this port?", err)
	}
	n.onStop(func() error { return ignoreClosed(n.listener.Close()) })
	links, err := connect(&c, g, commandKey{signer})
	if err != nil {
		return nil, err
	}
	n.onStop(links.close)
	files, err := n.openStores()
	if err != nil {
		return nil, err
	}
	if err := n.openEvidence(ctx, g, signer, links, files); err != nil {
		return nil, err
	}
	raft, err := n.openConsensus(g, links, raftLog)
	if err != nil {
		return nil, err
	}
	n.onStop(raft.Close)
	return n, n.openService(g, signer, links, files, raft)
}

// isMember holds a node's name and key to the genesis.
func isMember(g *raftfsm.Genesis, name string, id build.ID) error {
	for i := range g.Coordinators {
		if m := &g.Coordinators[i]; m.Name == name {
			if m.ID != id {
				return fmt.Errorf("the signing key is not the one that the genesis names for %s", name)
			}
			return nil
		}
	}
	return fmt.Errorf("the genesis names no coordinator %q", name)
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// openLog opens the log file for this node's lines and for Raft's.
func (n *node) openLog() (hclog.Logger, error) {
	path := firstOf(n.config.LogFile, filepath.Join(n.config.Dir, "node.log"))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log file: %w", err)
	}
	n.onStop(f.Close)
	n.log = slog.New(slog.NewTextHandler(f, nil)).With("node", n.config.Name)
	return hclog.New(&hclog.LoggerOptions{Name: n.config.Name, Level: hclog.Info, Output: f}), nil
}

func (n *node) openConsensus(g *raftfsm.Genesis, links *peers, log hclog.Logger) (*consensus.Node, error) {
	c := &n.config
	config := consensus.Config{
		Dir: filepath.Join(c.Dir, "raft"), Name: c.Name, Bind: c.RaftListen, FSM: machine{n.fsm, n.evidence.Durable}, Forwarder: links, Log: log,
		Tick: time.Duration(g.Params.TickMillis) * time.Millisecond,
		Pending: func() (pending bool) {
			n.fsm.Read(func(s *raftfsm.State) { _, pending = s.NextDeadline() })
			return pending
		},
	}
	for _, p := range c.Peers {
		config.Peers = append(config.Peers, consensus.Peer{Name: p.Name, RaftAddr: p.RaftAddress, GRPCAddr: p.Address})
	}
	return consensus.Open(config)
}

// openService begins the duties and serves.
func (n *node) openService(g *raftfsm.Genesis, signer *keys.Signer, links *peers, files *stores, raft *consensus.Node) error {
	c := &n.config
	logs, err := service.OpenLogs(filepath.Join(c.Store, "logs"))
	if err != nil {
		return err
	}
	archive, err := duty.OpenArchive(filepath.Join(c.Dir, "archive.db"))
	if err != nil {
		return err
	}
	n.onStop(archive.Close)
	sealKey, err := seal.ReadKey(c.SealKey)
	if err != nil {
		return fmt.Errorf("loading the seal key: %w", err)
	}
	duties, err := duty.New(duty.Config{
		Genesis: g, Self: signer.ID, Dir: c.Dir, SealKey: sealKey, Source: duty.NewSource(n.fsm, signer.ID),
		Propose: raft, Peers: links, Sign: signer, Store: files.access, Archive: archive, Log: n.log,
	})
	if err != nil {
		return err
	}
	n.service = service.New(service.Config{
		Name: c.Name, Address: c.self().Address, Signer: commandKey{signer}, FSM: n.fsm, Consensus: raft, Duties: duties,
		Archive: archive, Peers: links.list, Blobs: files.access, Evidence: n.evidence, LogURL: c.logURL(), Logs: logs, Log: n.log,
	})
	n.begin(func(ctx context.Context) { n.currency.await(ctx, raft) })
	n.begin(duties.Run)
	n.begin(n.evidence.Run)
	if err := n.beginSweeping(files, raft); err != nil {
		return err
	}
	n.serve(server.New(server.Config{
		Instance: server.Instance{Store: files.served, Access: files.access.Access()}, AccountFrom: n.service.Caller, Log: n.log,
		Instances: map[string]server.Instance{api.ImagesInstance: {Store: files.pictures, Access: files.access.ImageAccess()}},
	}))
	return nil
}

// begin runs a loop until the node stops.
func (n *node) begin(loop func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { loop(ctx) })
	n.onStop(func() error {
		cancel()
		running.Wait()
		return nil
	})
}

// serve mounts everything and takes calls until the node stops.
func (n *node) serve(storage *server.Server) {
	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(api.MaxMessageBytes), grpc.MaxSendMsgSize(api.MaxAnswerBytes),
		grpc.MaxConcurrentStreams(maxStreamsPerConnection),
		grpc.UnaryInterceptor(n.currency.unary), grpc.StreamInterceptor(n.currency.stream),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: idlePing, Timeout: pingTimeout}))
	n.health = health.NewServer()
	n.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(g, n.health)
	n.service.Register(g)
	storage.Register(g)
	go func() { n.failed <- g.Serve(n.listener) }()
	n.onStop(func() error {
		n.health.Shutdown()
		ended := make(chan struct{})
		go func() {
			g.GracefulStop()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(stopGrace):
			g.Stop()
			<-ended
		}
		storage.Close()
		return nil
	})
}

// watchReadiness keeps the health service true: ready is a known leader, a
// finished key generation, and a state that is not of the past.
func (n *node) watchReadiness(ctx context.Context) {
	ready := false
	look := time.NewTicker(readinessEvery)
	defer look.Stop()
	for {
		changed := n.fsm.Changed()
		info, err := n.service.Info(ctx, &gavelv1.InfoRequest{})
		if now := err == nil && info.Ready && n.currency.reached.Load(); now != ready {
			ready = now
			serving := grpc_health_v1.HealthCheckResponse_NOT_SERVING
			if ready {
				serving = grpc_health_v1.HealthCheckResponse_SERVING
			}
			n.health.SetServingStatus("", serving)
			n.log.Info("readiness changed", "ready", ready)
		}
		if ready {
			changed = nil // only losing the leader could end it
		}
		select {
		case <-changed:
		case <-look.C: // a leader comes and goes without a change of state
		case <-ctx.Done():
			return
		}
	}
}

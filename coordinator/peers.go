package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/coordinator/consensus"
	"gavel/coordinator/publish"
	"gavel/coordinator/service"
	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// peers are this node's connections to the other coordinators. Each call carries
// a token for that coordinator alone.
type peers struct {
	list  []service.Peer
	conns []*grpc.ClientConn
}

// connect prepares a connection to each other coordinator; none needs to be
// there yet.
func connect(c *Config, g *raftfsm.Genesis, signer api.Signer) (*peers, error) {
	if len(c.Peers) != len(g.Coordinators) {
		return nil, fmt.Errorf("%d peers are configured, the genesis names %d coordinators", len(c.Peers), len(g.Coordinators))
	}
	cluster := g.Digest()
	p := &peers{}
	for i := range g.Coordinators {
		m := &g.Coordinators[i]
		at, err := addressOf(c, m.Name)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		if m.Name == c.Name {
			continue
		}
		conn, err := grpc.NewClient(at.Address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithPerRPCCredentials(api.NewCredentials(cluster, api.AudienceNode(m.ID), signer)),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingTimeout, Timeout: pingTimeout / 2}),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: reconnectMax}, MinConnectTimeout: pingTimeout}),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(api.MaxAnswerBytes), grpc.MaxCallSendMsgSize(api.MaxMessageBytes)))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("connecting to coordinator %s: %w", m.Name, err), p.close())
		}
		p.conns = append(p.conns, conn)
		p.list = append(p.list, service.Peer{ID: m.ID, Name: m.Name, Address: at.Address, Node: gavelv1.NewNodeClient(conn)})
	}
	return p, nil
}

func addressOf(c *Config, name string) (Peer, error) {
	for _, p := range c.Peers {
		if p.Name == name {
			return p, nil
		}
	}
	return Peer{}, fmt.Errorf("coordinator %q of the genesis is not among the peers", name)
}

func (p *peers) close() error {
	var errs []error
	for _, conn := range p.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

func (p *peers) node(match func(service.Peer) bool) (gavelv1.NodeClient, error) {
	for _, peer := range p.list {
		if match(peer) {
			return peer.Node, nil
		}
	}
	return nil, errors.New("no such coordinator")
}

// Forward implements consensus.Forwarder.
func (p *peers) Forward(ctx context.Context, leader consensus.Peer, commands []build.Command) ([]build.Outcome, uint64, error) {
	node, err := p.node(func(peer service.Peer) bool { return peer.Name == leader.Name })
	if err != nil {
		return nil, 0, fmt.Errorf("%w: leader %q: %w", consensus.ErrNoLeader, leader.Name, err)
	}
	in := &gavelv1.ProposeRequest{}
	for i := range commands {
		in.Commands = append(in.Commands, wire.Encode(&commands[i]))
	}
	answer, err := node.Propose(ctx, in)
	if err != nil {
		return nil, 0, service.PeerError(err)
	}
	outcomes := make([]build.Outcome, len(answer.Outcomes))
	for i, o := range answer.Outcomes {
		if len(o.Subject) != 32 {
			return nil, 0, fmt.Errorf("%w: the leader's answer is malformed", consensus.ErrOutcomeUnknown)
		}
		outcomes[i] = build.Outcome{Code: build.Code(o.Code), Detail: o.Detail, Subject: build.ID(o.Subject)}
	}
	return outcomes, answer.Index, nil
}

// Partial implements duty.Peers.
func (p *peers) Partial(ctx context.Context, to build.ID, d raftfsm.Demand, part beacon.Partial) error {
	node, err := p.node(func(peer service.Peer) bool { return peer.ID == to })
	if err != nil {
		return err
	}
	_, err = node.Partial(ctx, &gavelv1.PartialRequest{Purpose: d.Purpose, Subject: d.Build[:], Round: d.Round, Share: part.Index, Signature: part.Sig[:]})
	return err
}

// Vouch implements duty.Peers.
func (p *peers) Vouch(ctx context.Context, to build.ID, kind build.Type, buildID, lease build.ID) ([]byte, error) {
	node, err := p.node(func(peer service.Peer) bool { return peer.ID == to })
	if err != nil {
		return nil, err
	}
	in := &gavelv1.VouchRequest{Kind: gavelv1.VouchRequest_KIND_STORED, Build: buildID[:], Lease: lease[:]}
	if kind == build.TypeMismatch {
		in.Kind = gavelv1.VouchRequest_KIND_MISMATCH
	}
	answer, err := node.Vouch(ctx, in)
	if err != nil {
		return nil, err
	}
	if len(answer.Signature) == 0 {
		return nil, errors.New(answer.Reason)
	}
	return answer.Signature, nil
}

// Cosign implements publish.Peers.
func (p *peers) Cosign(ctx context.Context, at build.ID, checkpoint []byte) ([]byte, error) {
	node, err := p.node(func(peer service.Peer) bool { return peer.ID == at })
	if err != nil {
		return nil, err
	}
	answer, err := node.Cosign(ctx, &gavelv1.CosignRequest{Checkpoint: checkpoint})
	if err != nil {
		return nil, err
	}
	return answer.Line, nil
}

// ReadLog implements publish.Peers.
func (p *peers) ReadLog(ctx context.Context, at build.ID, path string, limit int64) ([]byte, error) {
	node, err := p.node(func(peer service.Peer) bool { return peer.ID == at })
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts, err := node.ReadLogFile(ctx, &gavelv1.ReadLogFileRequest{Path: path})
	if err != nil {
		return nil, err
	}
	var raw []byte
	for {
		part, err := parts.Recv()
		if errors.Is(err, io.EOF) {
			return raw, nil
		}
		if status.Code(err) == codes.NotFound {
			return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
		if err != nil {
			return nil, err
		}
		if raw = append(raw, part.Data...); int64(len(raw)) > limit {
			return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
		}
	}
}

// LoggedBuilds implements publish.Peers.
func (p *peers) LoggedBuilds(ctx context.Context, at build.ID, from, to uint64) ([]publish.LoggedBuild, error) {
	node, err := p.node(func(peer service.Peer) bool { return peer.ID == at })
	if err != nil {
		return nil, err
	}
	answer, err := node.LoggedBuilds(ctx, &gavelv1.LoggedBuildsRequest{From: from, To: to})
	if err != nil {
		return nil, err
	}
	out := make([]publish.LoggedBuild, len(answer.Builds))
	for i, b := range answer.Builds {
		if len(b.Build) != 32 {
			return nil, errors.New("the peer's answer is malformed: a build id is not of 32 bytes")
		}
		out[i].Item, out[i].Build = b.Item, build.ID(b.Build)
		if err := wire.Decode(b.Place, &out[i].Place); err != nil {
			return nil, fmt.Errorf("the peer's answer is malformed: %w", err)
		}
	}
	return out, nil
}

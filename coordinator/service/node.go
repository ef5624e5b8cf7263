package service

import (
	"context"
	"errors"
	"io/fs"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/coordinator/consensus"
	"gavel/coordinator/duty"
	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// node is the Node service: what only coordinators of this cluster may call,
// with tokens for this one alone.
type node struct {
	gavelv1.UnimplementedNodeServer
	*Server
}

// peer returns which coordinator calls.
func (n *node) peer(ctx context.Context) (build.ID, error) {
	id, err := api.Authenticate(ctx, n.cluster, api.AudienceNode(n.id), n.now())
	if err != nil {
		return id, err
	}
	if id, err = accountOf(n.FSM, id); err != nil {
		return id, err
	}
	member := false
	n.FSM.Read(func(st *raftfsm.State) { member = st.ShareIndex(id) != 0 })
	if !member {
		return id, status.Error(codes.PermissionDenied, "only coordinators of this cluster may call this")
	}
	return id, nil
}

// Propose has forwarded commands decided, if this node leads. The statuses tell
// the forwarding node apart what consensus' errors do; see PeerError.
func (n *node) Propose(ctx context.Context, in *gavelv1.ProposeRequest) (*gavelv1.ProposeResponse, error) {
	if _, err := n.peer(ctx); err != nil {
		return nil, err
	}
	if len(in.Commands) > maxForwarded {
		return nil, status.Errorf(codes.InvalidArgument, "%d commands, at most %d", len(in.Commands), maxForwarded)
	}
	commands := make([]build.Command, len(in.Commands))
	for i, raw := range in.Commands {
		if err := wire.Decode(raw, &commands[i]); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	outcomes, index, err := n.Consensus.ProposeHere(ctx, commands)
	if err != nil {
		return nil, peerStatus(err)
	}
	out := &gavelv1.ProposeResponse{Index: index}
	for _, o := range outcomes {
		out.Outcomes = append(out.Outcomes, &gavelv1.Outcome{Code: uint32(o.Code), Detail: o.Detail, Subject: raw(o.Subject), Index: index})
	}
	return out, nil
}

// peerStatus and PeerError carry consensus' errors between nodes.
func peerStatus(err error) error {
	code := codes.Aborted // the outcome is unknown
	switch {
	case errors.Is(err, consensus.ErrNoLeader):
		code = codes.FailedPrecondition
	case errors.Is(err, consensus.ErrBusy):
		code = codes.ResourceExhausted
	case errors.Is(err, consensus.ErrRefused):
		code = codes.InvalidArgument
	}
	return status.Error(code, err.Error())
}

// PeerError turns the status that a peer's Propose ended with back into what
// consensus says. Anything unclear, a broken connection above all, leaves the
// outcome unknown.
func PeerError(err error) error {
	kind := consensus.ErrOutcomeUnknown
	switch status.Code(err) {
	case codes.FailedPrecondition:
		kind = consensus.ErrNoLeader
	case codes.ResourceExhausted:
		kind = consensus.ErrBusy
	case codes.InvalidArgument:
		kind = consensus.ErrRefused
	}
	return &peerError{kind: kind, cause: err}
}

type peerError struct{ kind, cause error }

func (e *peerError) Error() string   { return status.Convert(e.cause).Message() }
func (e *peerError) Unwrap() []error { return []error{e.kind, e.cause} }

// Partial takes a partial beacon signature.
func (n *node) Partial(ctx context.Context, in *gavelv1.PartialRequest) (*gavelv1.PartialResponse, error) {
	from, err := n.peer(ctx)
	if err != nil {
		return nil, err
	}
	subject, err := id32("subject", in.Subject)
	if err != nil {
		return nil, err
	}
	p := beacon.Partial{Index: in.Share}
	if len(in.Signature) != len(p.Sig) || len(in.Purpose) > maxPurposeBytes {
		return nil, status.Error(codes.InvalidArgument, "malformed partial signature")
	}
	copy(p.Sig[:], in.Signature)
	if err := n.Duties.TakePartial(from, raftfsm.Demand{Purpose: in.Purpose, Build: subject, Round: in.Round}, p); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &gavelv1.PartialResponse{}, nil
}

// Vouch signs what a peer asks this node to, if this node finds it so itself.
func (n *node) Vouch(ctx context.Context, in *gavelv1.VouchRequest) (*gavelv1.VouchResponse, error) {
	if _, err := n.peer(ctx); err != nil {
		return nil, err
	}
	id, err := id32("build", in.Build)
	if err != nil {
		return nil, err
	}
	lease, err := id32("lease", in.Lease)
	if err != nil {
		return nil, err
	}
	vouch := n.Duties.VouchStored
	switch in.Kind {
	case gavelv1.VouchRequest_KIND_STORED:
	case gavelv1.VouchRequest_KIND_MISMATCH:
		vouch = n.Duties.VouchMismatch
	default:
		return nil, status.Errorf(codes.InvalidArgument, "unknown kind of vouch %d", in.Kind)
	}
	out := &gavelv1.VouchResponse{Coordinator: raw(n.id)}
	if out.Signature, err = vouch(ctx, id, lease); err != nil {
		out.Signature, out.Reason = nil, err.Error()
	}
	return out, nil
}

// Status is this node's own view.
func (n *node) Status(ctx context.Context, _ *gavelv1.StatusRequest) (*gavelv1.NodeStatus, error) {
	if _, err := n.peer(ctx); err != nil {
		return nil, err
	}
	return n.ownStatus(), nil
}

// Archived returns a settled build of this node's archive.
func (n *node) Archived(ctx context.Context, in *gavelv1.GetBuildRequest) (*gavelv1.ArchivedResponse, error) {
	if _, err := n.peer(ctx); err != nil {
		return nil, err
	}
	id, err := id32("build", in.Build)
	if err != nil {
		return nil, err
	}
	b, err := n.Archive.Get(id)
	if errors.Is(err, duty.ErrNotArchived) {
		return &gavelv1.ArchivedResponse{}, nil
	}
	if err != nil {
		return nil, status.Errorf(codes.Internal, "reading the archive: %v", err)
	}
	return &gavelv1.ArchivedResponse{Record: wire.Encode(b)}, nil
}

// Cosign signs a checkpoint of the cluster's log, if it is consistent with this node's.
func (n *node) Cosign(ctx context.Context, in *gavelv1.CosignRequest) (*gavelv1.CosignResponse, error) {
	if _, err := n.peer(ctx); err != nil {
		return nil, err
	}
	line, err := n.Evidence.Cosign(ctx, in.Checkpoint)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &gavelv1.CosignResponse{Line: line}, nil
}

// LoggedBuilds lists builds that this node's log has.
func (n *node) LoggedBuilds(ctx context.Context, in *gavelv1.LoggedBuildsRequest) (*gavelv1.LoggedBuildsResponse, error) {
	if _, err := n.peer(ctx); err != nil {
		return nil, err
	}
	builds, err := n.Evidence.LoggedBuilds(in.From, in.To)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	out := &gavelv1.LoggedBuildsResponse{}
	for i := range builds {
		b := &builds[i]
		out.Builds = append(out.Builds, &gavelv1.LoggedBuild{Item: b.Item, Build: raw(b.Build), Place: wire.Encode(&b.Place)})
	}
	return out, nil
}

// ReadLogFile sends a file of this node's log.
func (n *node) ReadLogFile(in *gavelv1.ReadLogFileRequest, out grpc.ServerStreamingServer[gavelv1.LogFilePart]) error {
	if _, err := n.peer(out.Context()); err != nil {
		return err
	}
	raw, err := n.Evidence.ReadFile(in.Path, maxLogFileBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return status.Error(codes.NotFound, err.Error())
	}
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	for len(raw) > 0 {
		part := raw[:min(len(raw), logFilePartBytes)]
		if err := out.Send(&gavelv1.LogFilePart{Data: part}); err != nil {
			return err
		}
		raw = raw[len(part):]
	}
	return nil
}

package coordinator

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/coordinator/consensus"
)

// currency says whether this node has caught up since it started. Raft gives a
// restarted node its state back entry by entry; what it would answer meanwhile
// is true of a moment long past, and could deny what was acknowledged. So until
// then it sends clients on to others. Peers it serves at once: they are how it
// catches up.
type currency struct{ reached atomic.Bool }

// await returns once this node has applied all that was committed when it was
// called, or ctx has ended.
func (c *currency) await(ctx context.Context, raft *consensus.Node) {
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, barrierTimeout)
		_, _, err := raft.Propose(bounded, nil)
		cancel()
		if err == nil {
			c.reached.Store(true)
			return
		}
		t := time.NewTimer(barrierPause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// errBehind sends a client on.
var errBehind = status.Error(codes.Unavailable, "this coordinator has just started and is catching up: ask another, or again")

// refuses says whether a method must wait. Info does not: it is how a client
// finds out who is there.
func (c *currency) refuses(method string) bool {
	if c.reached.Load() || method == gavelv1.Farm_Info_FullMethodName {
		return false
	}
	service := strings.TrimPrefix(method, "/")
	return !strings.HasPrefix(service, gavelv1.Node_ServiceDesc.ServiceName+"/") && !strings.HasPrefix(service, "grpc.health.")
}

// unary is the interceptor for plain calls.
func (c *currency) unary(ctx context.Context, in any, call *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if c.refuses(call.FullMethod) {
		return nil, errBehind
	}
	out, err := next(ctx, in)
	if info, ok := out.(*gavelv1.InfoResponse); ok && info != nil && !c.reached.Load() {
		info.Ready = false
	}
	return out, err
}

// stream is the interceptor for streams.
func (c *currency) stream(server any, s grpc.ServerStream, call *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if c.refuses(call.FullMethod) {
		return errBehind
	}
	return next(server, s)
}

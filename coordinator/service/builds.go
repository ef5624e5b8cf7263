package service

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// GetBuild returns a build as it stands.
func (s *Server) GetBuild(ctx context.Context, in *gavelv1.GetBuildRequest) (*gavelv1.Build, error) {
	caller, b, leave, err := s.ask(ctx, s.pending, in.Build)
	if err != nil {
		return nil, err
	}
	defer leave()
	return s.show(caller, b), nil
}

// show makes the view of a build that is this goroutine's own.
func (s *Server) show(caller build.ID, b *build.Build) *gavelv1.Build {
	var v *gavelv1.Build
	index, _ := s.FSM.Applied()
	s.FSM.Read(func(st *raftfsm.State) { v = view(b, st, s.insight(caller, b, st)) })
	v.RaftIndex = index
	return v
}

// WatchBuild sends a build at once and after every change that the caller may
// see, until it has settled. States that pass faster than the caller reads are
// left out.
func (s *Server) WatchBuild(in *gavelv1.GetBuildRequest, stream grpc.ServerStreamingServer[gavelv1.Build]) error {
	ctx := stream.Context()
	caller, b, leave, err := s.ask(ctx, s.streams, in.Build)
	if err != nil {
		return err
	}
	defer leave()
	var last *gavelv1.Build
	for {
		changed := s.FSM.Changed()
		now, err := s.changedView(caller, b.ID, last)
		if err != nil {
			return err
		}
		if now == nil && last == nil {
			now = s.show(caller, b) // it has left the state, or did a moment ago
		}
		if now != nil {
			if err := stream.Send(now); err != nil {
				return err
			}
			if now.State == build.Settled.String() {
				return nil
			}
			last = now
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

// changedView returns the view of a build in the state if it differs from last, else nil.
func (s *Server) changedView(caller, id build.ID, last *gavelv1.Build) (now *gavelv1.Build, err error) {
	s.FSM.Read(func(st *raftfsm.State) {
		b, ok := st.Build(id)
		if !ok {
			if last != nil {
				err = status.Error(codes.Aborted, "the build has moved to the archive: ask again")
			}
			return
		}
		if last != nil && last.Version != 0 && last.Version == b.Version {
			return
		}
		now = view(b, st, s.insight(caller, b, st))
	})
	if now == nil {
		return nil, err
	}
	if last != nil {
		// What an outsider may not see must not wake it either.
		now.RaftIndex = last.RaftIndex
		if proto.Equal(now, last) {
			return nil, nil
		}
	}
	now.RaftIndex, _ = s.FSM.Applied()
	return now, nil
}

// ListBuilds returns the newest builds of the replicated state, newest first.
func (s *Server) ListBuilds(ctx context.Context, in *gavelv1.ListBuildsRequest) (*gavelv1.ListBuildsResponse, error) {
	caller, err := s.Caller(ctx)
	if err != nil {
		return nil, err
	}
	limit := int(in.Limit)
	if limit == 0 {
		limit = defaultListed
	}
	limit = min(limit, maxListed)
	out := &gavelv1.ListBuildsResponse{}
	index, _ := s.FSM.Applied()
	s.FSM.Read(func(st *raftfsm.State) {
		for _, b := range st.Builds() {
			if len(out.Builds) == limit {
				break
			}
			v := view(b, st, s.insight(caller, b, st))
			v.RaftIndex = index
			out.Builds = append(out.Builds, v)
		}
	})
	return out, nil
}

// askArchive asks a peer for a build that has left the state; nil where it has
// none, or does not answer.
func (s *Server) askArchive(ctx context.Context, p Peer, id build.ID) *build.Build {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	answer, err := p.Node.Archived(ctx, &gavelv1.GetBuildRequest{Build: id[:]})
	if err != nil || len(answer.Record) == 0 {
		return nil
	}
	var b build.Build
	if err := wire.Decode(answer.Record, &b); err != nil || b.ID != id {
		s.Log.Warn("archived build does not decode", "peer", p.Name, "build", shortID(id))
		return nil
	}
	return &b
}

package service

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
)

// Work sends a worker all that is asked of it, at once and after every change.
// What changes while a message is on its way is in the next.
func (s *Server) Work(_ *gavelv1.WorkRequest, stream grpc.ServerStreamingServer[gavelv1.Assignments]) error {
	ctx := stream.Context()
	worker, err := s.Caller(ctx)
	if err != nil {
		return err
	}
	leave, err := s.enter(s.streams, worker)
	if err != nil {
		return err
	}
	defer leave()
	var last *gavelv1.Assignments
	for {
		changed := s.FSM.Changed()
		var now *gavelv1.Assignments
		var revoked bool
		s.FSM.Read(func(st *raftfsm.State) { now, revoked = assignments(st, worker), st.KeyRevoked(worker) })
		if revoked {
			return status.Error(codes.Unauthenticated, "the key of this worker was revoked")
		}
		if last == nil || !sameWork(last, now) {
			if err := stream.Send(now); err != nil {
				return err
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

// sameWork compares all but the times that every tick and heartbeat moves.
func sameWork(a, b *gavelv1.Assignments) bool {
	return proto.Equal(timeless(a), timeless(b))
}

func timeless(a *gavelv1.Assignments) *gavelv1.Assignments {
	c := proto.CloneOf(a)
	c.FarmMillis = 0
	for _, l := range c.Leases {
		l.LeaseUntilMillis = 0
	}
	for _, u := range c.Uploads {
		u.UntilMillis = 0
	}
	return c
}

// assignments says what State.Assignments says. A lease of a seat, a recheck
// apart, looks like any other: what a worker sits for it must not know.
func assignments(st *raftfsm.State, worker build.ID) *gavelv1.Assignments {
	a := st.Assignments(worker)
	out := &gavelv1.Assignments{FarmMillis: st.Now(), Registered: a.Registered, Absent: a.Absent, Stake: int64(a.FreeStake)}
	for i := range a.Auctions {
		out.Auctions = append(out.Auctions, showAuction(&a.Auctions[i]))
	}
	for _, r := range a.Reveals {
		out.Reveals = append(out.Reveals, raw(r.Auction))
	}
	for i := range a.Leases {
		l := &a.Leases[i]
		lease := &gavelv1.Lease{
			Lease: raw(l.Lease), Build: raw(l.Build), ActionDigest: raw(l.ActionDigest), ActionBytes: l.ActionBytes, Platform: l.Platform,
			Builder: l.Builder, Started: l.Started, Again: l.Again,
			LeaseUntilMillis: l.LeaseUntil, BoundMillis: l.BoundUntil, LeaseMillis: l.LeaseMillis, Vary: uint32(l.Vary),
		}
		if l.Builder {
			lease.LogKey = raw(l.LogKey)
		}
		out.Leases = append(out.Leases, lease)
	}
	for i := range a.Uploads {
		u := &a.Uploads[i]
		out.Uploads = append(out.Uploads, &gavelv1.Upload{Build: raw(u.Build), Lease: raw(u.Lease), Result: raw(u.Result), Evidence: u.Evidence, UntilMillis: u.Until})
	}
	for i := range a.Asks {
		q := &a.Asks[i]
		out.Asks = append(out.Asks, &gavelv1.AskDuty{
			Pool: q.Pool, Epoch: q.Epoch, Reserve: int64(q.Reserve), Metered: q.Metered, Sealed: q.Sealed, Opens: q.Opens, Bond: int64(q.Bond), EpochMillis: q.EpochMillis,
		})
	}
	for _, id := range a.Busy {
		out.Awarded = append(out.Awarded, raw(id))
	}
	return out
}

func showAuction(a *raftfsm.AuctionOffer) *gavelv1.Auction {
	out := &gavelv1.Auction{
		Auction: raw(a.Auction), Build: raw(a.Build), ActionDigest: raw(a.ActionDigest), ActionBytes: a.ActionBytes,
		Platform: a.Platform, TimeoutMillis: a.TimeoutMillis, InputBytes: a.InputBytes,
		Reserve: int64(a.Reserve), Bond: int64(a.Bond), OpenedMillis: a.OpenedAt, EndsMillis: a.EndsAt, Committed: a.Committed,
	}
	for _, step := range a.Value.Steps {
		out.Value = append(out.Value, &gavelv1.ValueStep{FromMillis: int64(step.StartMillis), Value: int64(step.Value)})
	}
	return out
}

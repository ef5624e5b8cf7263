package service

import (
	"context"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// checkChallenge checks what Apply cannot: that what the old build was made of is
// still there for a panel to build from.
func (s *Server) checkChallenge(ctx context.Context, m *build.Command) (build.Outcome, error) {
	var p build.Challenge
	if err := wire.Decode(m.Payload, &p); err != nil {
		return build.Refuse(build.CodeMalformed, "%v", err), nil
	}
	var known bool
	var claim *build.Claim
	var outcome build.Outcome
	s.FSM.Read(func(st *raftfsm.State) {
		if _, known = st.Build(build.ChallengeID(s.cluster, m.Sender, m.Request, p.Transcript())); !known {
			claim, outcome = st.CheckChallenge(m.Sender, &p)
		}
	})
	if known || outcome.Code != build.Done {
		return outcome, nil // a repeated challenge names the same build
	}
	_, outcome, err := s.runnable(ctx, &build.Terms{Pool: claim.Pool, Platform: claim.Platform})
	if err != nil || outcome.Code != build.Done {
		return outcome, err
	}
	_, _, err = s.held(ctx, claim.Requester, cas.OfSum(claim.ActionDigest, int64(claim.ActionBytes)))
	if err == nil {
		return build.Outcome{}, nil
	}
	if outcome, err = submissionError(ctx, err); err == nil {
		outcome = build.Refuse(build.CodeRefused, "what the build was made of is not in the farm's store any more, so that nobody here could build it again (gavel rebuild takes it from elsewhere): %s", outcome.Detail)
	}
	return outcome, err
}

// showContest fills what a challenge doubts, and whether a result still stands. A
// seat of the panel must not learn of it: it could repeat the old result.
func showContest(v *gavelv1.Build, b *build.Build, d directory) {
	if w, ok := d.Withdrawn(b.ID); ok {
		v.WithdrawnBy = raw(w.Challenge)
	}
	x := b.Contest
	if x == nil {
		return
	}
	v.Contest = &gavelv1.Contest{Build: raw(x.Build), Transcript: raw(x.Transcript), Result: raw(x.Result), Bond: int64(x.Bond), Reason: x.Reason}
	if x.Found != (build.ID{}) {
		v.Contest.Found = raw(x.Found)
	}
}

package service

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/coordinator/consensus"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// Send has one signed command decided. What this coordinator can refuse by
// itself never reaches Raft, and its receipt names index 0.
func (s *Server) Send(ctx context.Context, in *gavelv1.SendRequest) (*gavelv1.Receipt, error) {
	caller, err := s.Caller(ctx)
	if err != nil {
		return nil, err
	}
	leave, err := s.enter(s.pending, caller)
	if err != nil {
		return nil, err
	}
	defer leave()
	var m build.Command
	if len(in.Command) > maxCommandBytes {
		return nil, status.Errorf(codes.InvalidArgument, "a command of %d bytes, at most %d", len(in.Command), maxCommandBytes)
	}
	if err := wire.Decode(in.Command, &m); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if m.Sender != caller {
		return nil, status.Error(codes.PermissionDenied, "the command is of another account than the call")
	}
	outcome, index := s.precheck(&m), uint64(0)
	if outcome.Code == build.Done {
		switch m.Type {
		case build.TypeSubmit:
			outcome, err = s.checkSubmission(ctx, &m)
		case build.TypeChallenge:
			outcome, err = s.checkChallenge(ctx, &m)
		}
		if err != nil {
			return nil, err
		}
	}
	if outcome.Code == build.Done {
		if outcome, index, err = s.propose(ctx, &m); err != nil {
			return nil, err
		}
	}
	receipt, err := api.NewReceipt(s.cluster, s.Signer, in.Command, index, outcome)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return receipt, nil
}

// maxValidAhead is how far ahead of farm time a command may be valid.
const maxValidAhead = time.Hour

// precheck refuses what Apply would refuse for its form, before anything is
// written anywhere.
func (s *Server) precheck(m *build.Command) build.Outcome {
	if m.Version != build.Version || !m.Type.Signed() {
		return build.Refuse(build.CodeMalformed, "version %d of %s is not a command of a participant", m.Version, m.Type)
	}
	var now int64
	var key []byte
	var out build.Outcome
	s.FSM.Read(func(st *raftfsm.State) {
		now = st.Now()
		key, out = st.SenderKey(m)
	})
	if m.ValidUntilMillis < now {
		return build.Refuse(build.CodeStale, "the command was valid until farm time %d, it is %d", m.ValidUntilMillis, now)
	}
	// This node may be behind the one that told the sender the time: Apply holds
	// commands to the hour exactly, this only keeps far ones out.
	if m.ValidUntilMillis > now+2*maxValidAhead.Milliseconds() {
		return build.Refuse(build.CodeMalformed, "the command is valid for more than an hour ahead")
	}
	if out.Code != build.Done {
		return out
	}
	if err := wire.VerifySignature(key, m.SigningBytes(s.cluster), m.Signature); err != nil {
		return build.Refuse(build.CodeBadSignature, "%v", err)
	}
	return build.Outcome{}
}

// propose gets a command decided, or a barrier where there is none, over elections if need be: repeating it under
// its request id is harmless. Errors are statuses; Aborted says that the caller
// should repeat it.
func (s *Server) propose(ctx context.Context, m *build.Command) (build.Outcome, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	for {
		var commands []build.Command // none: all that was decided before is applied here
		if m != nil {
			commands = []build.Command{*m}
		}
		outcomes, index, err := s.Consensus.Propose(ctx, commands)
		switch {
		case err == nil && m == nil:
			return build.Outcome{}, index, nil
		case err == nil:
			return outcomes[0], index, nil
		case errors.Is(err, consensus.ErrRefused):
			return build.Outcome{}, 0, status.Error(codes.InvalidArgument, err.Error())
		}
		select {
		case <-ctx.Done():
			return build.Outcome{}, 0, status.Errorf(codes.Aborted, "the command was not decided in time (%v): repeat it", err)
		case <-time.After(proposePause):
		}
	}
}

package service

import (
	"bytes"
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
)

// clusterName is what the cluster's own key is asked for as; no account can be
// called so, because accounts of that name are told by their role.
const clusterName = "cluster"

// accountOf is the account that a key, by its AccountID, speaks for. A key that
// was revoked or replaced speaks for nobody; one that is nobody's may yet open an
// account, whose id is the key's own.
func accountOf(fsm *raftfsm.FSM, key build.ID) (account build.ID, err error) {
	fsm.Read(func(st *raftfsm.State) {
		owner, current, known := st.KeyOwner(key)
		switch {
		case known && !current && st.KeyRevoked(owner):
			err = status.Errorf(codes.Unauthenticated, "the key of %s was revoked: the admin can put a new one in its place (gavel keys rotate)", st.Name(owner))
		case known && !current:
			err = status.Errorf(codes.Unauthenticated, "%s has another key%s: give that one with --key, or put it in this one's place (gavel keys history %s shows both)", st.Name(owner), since(st, owner, key), st.Name(owner))
		case known:
			account = owner
		default:
			account = key
		}
	})
	return account, err
}

// since says when a key was replaced, as far as the state remembers.
func since(st *raftfsm.State, owner, key build.ID) string {
	for _, e := range st.KeyEvents(owner) {
		if !e.Revoked && build.AccountID(e.OldKey) == key {
			return " since " + time.UnixMilli(e.WallMillis).UTC().Format(time.RFC3339)
		}
	}
	return ""
}

// Self tells whose account a key speaks for. A key that this node does not know may
// have taken another's place a moment ago: it is looked for again once all that was
// decided before is applied here.
func (s *Server) Self(ctx context.Context, _ *gavelv1.SelfRequest) (*gavelv1.SelfResponse, error) {
	account, err := s.Caller(ctx)
	if err != nil {
		return nil, err
	}
	if s.hasAccount(account) {
		return &gavelv1.SelfResponse{Account: raw(account), Known: true}, nil
	}
	leave, err := s.enter(s.pending, account)
	if err != nil {
		return nil, err
	}
	defer leave()
	if _, _, err := s.propose(ctx, nil); err != nil {
		return nil, err
	}
	if account, err = s.Caller(ctx); err != nil {
		return nil, err
	}
	return &gavelv1.SelfResponse{Account: raw(account), Known: s.hasAccount(account)}, nil
}

func (s *Server) hasAccount(id build.ID) (known bool) {
	s.FSM.Read(func(st *raftfsm.State) { _, known = st.Account(id) })
	return known
}

// Keys tells what became of keys. It is public: revoked keys are everybody's
// concern, and first of all that of who still has one.
func (s *Server) Keys(ctx context.Context, in *gavelv1.KeysRequest) (*gavelv1.KeysResponse, error) {
	if _, err := api.Authenticate(ctx, s.cluster, api.AudienceFarm, s.now()); err != nil {
		return nil, err
	}
	out := &gavelv1.KeysResponse{}
	s.FSM.Read(func(st *raftfsm.State) {
		ids := []build.ID{build.ClusterKeyID(s.cluster)}
		for _, a := range st.Accounts() {
			ids = append(ids, a.ID)
		}
		for _, id := range ids {
			h := keyHistory(st, id)
			if in.Name == "" && len(h.Events) > 0 || in.Name != "" && h.Name == in.Name {
				out.Keys = append(out.Keys, h)
			}
		}
	})
	if in.Name != "" && len(out.Keys) == 0 {
		return nil, status.Errorf(codes.NotFound, "there is no account %q here: gavel account lists all", in.Name)
	}
	slices.SortFunc(out.Keys, func(a, b *gavelv1.KeyHistory) int { return bytes.Compare(a.Account, b.Account) })
	return out, nil
}

func keyHistory(st *raftfsm.State, id build.ID) *gavelv1.KeyHistory {
	h := &gavelv1.KeyHistory{Account: raw(id), Name: clusterName, Role: clusterName, Key: slices.Clone(st.ClusterKey()), Revoked: st.KeyRevoked(id)}
	if a, ok := st.Account(id); ok {
		h.Name, h.Role, h.Key = a.Name, a.Role.String(), slices.Clone(a.Key)
	}
	for _, e := range st.KeyEvents(id) {
		h.Events = append(h.Events, &gavelv1.KeyEvent{
			OldKey: slices.Clone(e.OldKey), NewKey: slices.Clone(e.NewKey), Revoked: e.Revoked, Reason: e.Reason, By: st.Name(e.By),
			FarmMillis: e.FarmMillis, WallMillis: e.WallMillis, Index: e.Index,
		})
	}
	return h
}

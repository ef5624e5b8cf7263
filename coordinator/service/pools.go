package service

import (
	"context"
	"encoding/hex"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// Pools lists pools with their rules and their markets. What an epoch under way
// was asked is masked: a price would help who has not asked yet.
func (s *Server) Pools(ctx context.Context, r *gavelv1.PoolsRequest) (*gavelv1.PoolsResponse, error) {
	if _, err := s.Caller(ctx); err != nil {
		return nil, err
	}
	out := &gavelv1.PoolsResponse{}
	s.FSM.Read(func(st *raftfsm.State) {
		out.FarmMillis = st.Now()
		for _, p := range st.Pools() {
			if r.Name == "" || r.Name == p.Name {
				out.Pools = append(out.Pools, showMarket(st, p))
			}
		}
	})
	return out, nil
}

func showMarket(st *raftfsm.State, p *build.Pool) *gavelv1.PoolView {
	k, _ := st.Market(p.Name)
	public := k.Public()
	v := &gavelv1.PoolView{Pool: showPool(p, st.Workers()), Rules: wire.Encode(p), Market: wire.Encode(public), Names: map[string]string{}}
	for _, id := range public.Accounts() {
		v.Names[hex.EncodeToString(id[:])] = st.Name(id)
	}
	return v
}

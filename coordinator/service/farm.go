package service

import (
	"context"
	"encoding/hex"
	"slices"
	"sync"

	"google.golang.org/grpc/status"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// shortID is an id as log lines have it.
func shortID(id build.ID) string { return hex.EncodeToString(id[:6]) }

// Info says what a client must know before it can sign anything.
func (s *Server) Info(context.Context, *gavelv1.InfoRequest) (*gavelv1.InfoResponse, error) {
	leader := s.Consensus.Status().Leader.Name
	info := &gavelv1.InfoResponse{Cluster: raw(s.cluster), Node: s.Name, Leader: leader, LogUrl: s.LogURL}
	s.FSM.Read(func(st *raftfsm.State) {
		g := st.Genesis()
		info.FarmMillis, info.Genesis = st.Now(), wire.Encode(g)
		info.Simulated, info.Currency = g.Simulated, g.Currency
		info.AuctioneerFee, info.ValidatorFee, info.UploadFee = int64(g.Params.AuctioneerFee), int64(g.Params.ValidatorFee), int64(g.Params.UploadFee)
		info.ClusterPublicKey = slices.Clone(st.ClusterKey())
		info.ChallengeBond = int64(g.Params.ChallengeBond)
		if st.Ready() {
			for _, f := range st.FormerKeys() {
				info.FormerGroupKeys = append(info.FormerGroupKeys, f.Key[:])
			}
			stage, note := st.HandoverUnderWay()
			info.Handover, info.LastHandover = stage.String(), note
			key := st.Keys().Group.Key
			info.GroupKey, info.Ready = key[:], leader != ""
		}
		for i := range g.Pools { // those of genesis first: the first is where builds go by default
			info.Pools = append(info.Pools, showPool(&g.Pools[i], st.Workers()))
		}
		for _, p := range st.Pools() {
			if !slices.ContainsFunc(g.Pools, func(q build.Pool) bool { return q.Name == p.Name }) {
				info.Pools = append(info.Pools, showPool(p, st.Workers()))
			}
		}
		for i := range g.Coordinators {
			m := &g.Coordinators[i]
			info.Coordinators = append(info.Coordinators, &gavelv1.Coordinator{
				Name: m.Name, Id: raw(m.ID), Address: s.addressOf(m.ID), SealKey: slices.Clone(m.SealKey), PublicKey: slices.Clone(m.Key),
			})
		}
	})
	return info, nil
}

func (s *Server) addressOf(coordinator build.ID) string {
	if coordinator == s.id {
		return s.Address
	}
	for _, p := range s.Peers {
		if p.ID == coordinator {
			return p.Address
		}
	}
	return ""
}

func showPool(p *build.Pool, workers []*build.Worker) *gavelv1.Pool {
	out := &gavelv1.Pool{Name: p.Name, Lane: p.Lane.String(), Domain: p.Domain.String(), Class: p.Class, Shares: p.Shares, Reserve: int64(p.Batch.Reserve), Metered: p.Batch.Metered}
	domains, platforms := make(map[string]bool), make(map[string]bool)
	for _, w := range workers {
		if !w.In(p) || w.Absent || w.Draining {
			continue
		}
		out.Workers++
		domains[w.DomainIn(p)] = true
		for _, root := range w.Platforms {
			platforms[root] = true
		}
	}
	out.Domains = uint32(len(domains))
	for root := range platforms {
		out.Platforms = append(out.Platforms, root)
	}
	slices.Sort(out.Platforms)
	return out
}

// Accounts returns the ledger, builds' escrows and the treasury included.
func (s *Server) Accounts(ctx context.Context, _ *gavelv1.AccountsRequest) (*gavelv1.AccountsResponse, error) {
	if _, err := s.Caller(ctx); err != nil {
		return nil, err
	}
	out := &gavelv1.AccountsResponse{}
	out.Index, _ = s.FSM.Applied()
	s.FSM.Read(func(st *raftfsm.State) {
		ledger := st.Ledger()
		out.Minted, out.Burned, out.Currency = int64(ledger.Minted()), int64(ledger.Burned()), st.Genesis().Currency
		for _, a := range ledger.Accounts() {
			shown := &gavelv1.Account{
				Id: raw(a.ID), Name: a.Name, Role: a.Role.String(),
				Available: int64(a.Available), Held: int64(a.Held), Stake: int64(a.Stake),
			}
			if p, ok := st.Account(a.ID); ok {
				shown.Operator = p.Operator
			}
			out.Total += shown.Available + shown.Held + shown.Stake
			out.Accounts = append(out.Accounts, shown)
		}
	})
	return out, nil
}

// Workers lists registered workers, sorted by id.
func (s *Server) Workers(ctx context.Context, _ *gavelv1.WorkersRequest) (*gavelv1.WorkersResponse, error) {
	if _, err := s.Caller(ctx); err != nil {
		return nil, err
	}
	out := &gavelv1.WorkersResponse{}
	s.FSM.Read(func(st *raftfsm.State) {
		for _, w := range st.Workers() {
			out.Workers = append(out.Workers, &gavelv1.Worker{
				Id: raw(w.ID), Name: w.Name, Pool: w.Pool, Operator: w.Operator, Machine: w.Machine, Class: w.Class,
				Platforms: slices.Clone(w.Platforms), Absent: w.Absent, Draining: w.Draining, Engaged: w.Engaged,
			})
		}
	})
	return out, nil
}

// Cluster asks every coordinator how it is. One that does not answer within a
// second is listed as unreachable.
func (s *Server) Cluster(ctx context.Context, _ *gavelv1.ClusterRequest) (*gavelv1.ClusterResponse, error) {
	if _, err := s.Caller(ctx); err != nil {
		return nil, err
	}
	own := s.ownStatus()
	out := &gavelv1.ClusterResponse{Leader: own.Leader, Term: own.Term, Nodes: make([]*gavelv1.NodeStatus, 1+len(s.Peers))}
	out.Nodes[0] = own
	var asking sync.WaitGroup
	for i, p := range s.Peers {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, statusTimeout)
			defer cancel()
			answer, err := p.Node.Status(ctx, &gavelv1.StatusRequest{})
			if err != nil {
				answer = &gavelv1.NodeStatus{Name: p.Name, State: "unreachable", Address: p.Address, Error: status.Convert(err).Message()}
			}
			out.Nodes[1+i] = answer
		})
	}
	asking.Wait()
	slices.SortFunc(out.Nodes, func(a, b *gavelv1.NodeStatus) int { return compareNames(a.Name, b.Name) })
	return out, nil
}

// compareNames orders "c2" before "c10".
func compareNames(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	if a < b {
		return -1
	}
	if a > b {
		return 1
	}
	return 0
}

// ownStatus is this node's own view.
func (s *Server) ownStatus() *gavelv1.NodeStatus {
	c := s.Consensus.Status()
	index, hash := s.FSM.Applied()
	out := &gavelv1.NodeStatus{Name: s.Name, State: c.State, Index: index, StateHash: hash[:], Term: c.Term, Leader: c.Leader.Name, Address: s.Address}
	s.FSM.Read(func(st *raftfsm.State) { out.FarmMillis = st.Now() })
	return out
}

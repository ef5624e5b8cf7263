package service

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
)

// gate bounds how much is under way, for each account and for all together.
type gate struct {
	what           string
	each, everyone int

	mu    sync.Mutex
	total int
	by    map[[32]byte]int
}

func newGate(what string, each, everyone int) *gate {
	return &gate{what: what, each: each, everyone: everyone, by: make(map[[32]byte]int)}
}

// enter takes a place or refuses; leave must be called once.
func (g *gate) enter(account [32]byte) (leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.by[account] >= g.each {
		return nil, status.Errorf(codes.ResourceExhausted, "this account has %d %s under way: wait for some to end", g.each, g.what)
	}
	if g.total >= g.everyone {
		return nil, status.Errorf(codes.Aborted, "this coordinator has %d %s under way: try another, or later", g.everyone, g.what)
	}
	g.total++
	g.by[account]++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.total--
		if g.by[account]--; g.by[account] == 0 {
			delete(g.by, account)
		}
	}, nil
}

// enter takes a place of g for a caller. Keys cost nothing, so all callers
// without an account share one account's places: strangers can crowd out each
// other, but no requester and no worker.
func (s *Server) enter(g *gate, caller [32]byte) (leave func(), err error) {
	known := false
	s.FSM.Read(func(st *raftfsm.State) { _, known = st.Account(caller) })
	if !known {
		caller = [32]byte{}
	}
	return g.enter(caller)
}

// ask is how a call about one build begins: who asks, the build, and a place of g,
// which the caller leaves if there is no error.
func (s *Server) ask(ctx context.Context, g *gate, of []byte) (caller build.ID, b *build.Build, leave func(), err error) {
	if caller, err = s.Caller(ctx); err != nil {
		return caller, nil, nil, err
	}
	id, err := id32("build", of)
	if err != nil {
		return caller, nil, nil, err
	}
	if leave, err = s.enter(g, caller); err != nil {
		return caller, nil, nil, err
	}
	if b, err = s.find(ctx, id); err != nil {
		leave()
		return caller, nil, nil, err
	}
	return caller, b, leave, nil
}

package duty

import (
	"slices"

	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
)

// Source is the applied state, as far as it concerns one coordinator.
type Source interface {
	// Changed is closed at the next change. Take it before looking.
	Changed() <-chan struct{}
	// Look returns what is asked of the coordinator now. The caller owns it.
	Look() Look
	// Build returns a copy of a live or retained build.
	Build(id ID) (*build.Build, bool)
	// Settled returns copies of at most limit settled builds that known, given
	// their ids and versions, does not have yet.
	Settled(limit int, known func(id ID, version uint64) bool) []*build.Build
}

// Generation is a key generation, done or under way.
type Generation struct {
	Ceremony  beacon.Ceremony
	Key       raftfsm.KeyDuty
	Justified [][]byte     // canonical beacon.Justifications
	Group     beacon.Group // once Key.Done
}

// Look is what the applied state asks of a coordinator.
type Look struct {
	FarmMillis int64
	Generation             // of the key in use
	Next       *Generation // of a handover under way
	Demands    []raftfsm.Demand
	Acts       []build.Auctioneer
	Openings   []raftfsm.OpeningDuty
	Revoked    []ID // coordinators whose keys were revoked
}

// NewSource looks at the state machine with the eyes of coordinator self.
func NewSource(fsm *raftfsm.FSM, self ID) Source { return source{fsm, self} }

type source struct {
	fsm  *raftfsm.FSM
	self ID
}

func (s source) Changed() <-chan struct{} { return s.fsm.Changed() }

// Look copies the lists; what their elements point to, the state never changes in place.
func (s source) Look() (look Look) {
	s.fsm.Read(func(st *raftfsm.State) {
		look = Look{
			FarmMillis: st.Now(), Generation: generation(st.Ceremony(), st.KeyDuty(s.self), st.Keys()), Demands: st.Demands(),
			Acts: st.AuctioneerDuties(s.self), Openings: st.Openings(),
		}
		if next := st.NextKeys(); next != nil {
			g := generation(st.NextCeremony(), st.NextKeyDuty(s.self), next)
			look.Next = &g
		}
		for i := range st.Genesis().Coordinators {
			if id := st.Genesis().Coordinators[i].ID; st.KeyRevoked(id) {
				look.Revoked = append(look.Revoked, id)
			}
		}
	})
	return look
}

// generation copies a key generation.
func generation(c beacon.Ceremony, duty raftfsm.KeyDuty, k *raftfsm.KeyGeneration) Generation {
	g := Generation{Ceremony: c, Key: duty, Justified: slices.Clone(k.Justified), Group: k.Group}
	g.Key.Deals, g.Key.Qualified = slices.Clone(duty.Deals), slices.Clone(duty.Qualified)
	g.Group.Shares = slices.Clone(k.Group.Shares)
	return g
}

func (s source) Build(id ID) (out *build.Build, ok bool) {
	s.fsm.Read(func(st *raftfsm.State) {
		var b *build.Build
		if b, ok = st.Build(id); ok {
			out = b.Clone()
		}
	})
	return out, ok
}

func (s source) Settled(limit int, known func(id ID, version uint64) bool) (out []*build.Build) {
	s.fsm.Read(func(st *raftfsm.State) {
		builds := st.Builds()
		for i := len(builds) - 1; i >= 0 && len(out) < limit; i-- { // the oldest leave first
			if b := builds[i]; b.State == build.Settled && !known(b.ID, b.Version) {
				out = append(out, b.Clone())
			}
		}
	})
	return out
}

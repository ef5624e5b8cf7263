package raftfsm

import (
	"fmt"
	"slices"

	"gavel/raftfsm/build"
)

// queuesTrue holds every pool's queue against a look at all live builds.
func queuesTrue(s *State) error {
	for _, pool := range s.Pools() {
		want := &queue{allotted: map[ID][]*build.Build{}}
		for _, b := range s.live {
			if b.Terms.Pool != pool.Name {
				continue
			}
			switch p := placeOf(b); p.part {
			case partWaiting:
				want.waiting = append(want.waiting, b)
			case partAllotted:
				want.allotted[p.worker] = append(want.allotted[p.worker], b)
			case partCommitted:
				want.committed = append(want.committed, b)
			case partAuctioned:
				want.auctioned++
			}
		}
		slices.SortFunc(want.waiting, inQueue)
		slices.SortFunc(want.committed, bySubmission)
		for _, list := range want.allotted {
			slices.SortFunc(list, inQueue)
		}
		got := s.queueOf(pool.Name)
		if !slices.Equal(got.waiting, want.waiting) || !slices.Equal(got.committed, want.committed) || got.auctioned != want.auctioned || len(got.allotted) != len(want.allotted) {
			return fmt.Errorf("pool %s has a queue of %d waiting, %d committed, %d auctioned, %d workers allotted to; the builds say %d, %d, %d, %d", pool.Name,
				len(got.waiting), len(got.committed), got.auctioned, len(got.allotted), len(want.waiting), len(want.committed), want.auctioned, len(want.allotted))
		}
		for w, list := range want.allotted {
			if !slices.Equal(got.allotted[w], list) {
				return fmt.Errorf("pool %s has %d builds allotted to %x, the builds say %d", pool.Name, len(got.allotted[w]), w[:4], len(list))
			}
		}
	}
	return nil
}
